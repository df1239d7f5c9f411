//! What the way through CoreML can be told.

use std::path::PathBuf;

pub use super::units::Units;

/// Settings of CoreML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The compute units that may be used.
    pub units: Units,
    /// Where compiled programs are kept; `None` means beside the model.
    pub cache: Option<PathBuf>,
}
