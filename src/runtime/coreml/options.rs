//! Options of the way through CoreML.

pub use super::compute_units::ComputeUnits;

/// Settings of CoreML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The compute units that may be used.
    pub units: ComputeUnits,
}
