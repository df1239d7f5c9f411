//! To be written.

pub mod catalogue;
pub mod checksum;
pub mod manifest;
pub mod options;

pub use manifest::Manifest;
pub use options::Options;
