//! To be written.

pub mod options;

pub use options::Options;
