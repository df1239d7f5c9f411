//! `rescored-lab`: what measures the sidecar, kept out of its binary.
//!
//! - [`commands`]: `bench` and `eval`, their flags, exit codes.
//! - [`mod@bench`]: measures this program, and others beside it.
//! - [`eval`]: measures ranking quality and its cost on a data set.
//!
//! `rescored bench` and `rescored eval` are handed to this program.

pub mod bench;
pub mod commands;
pub mod eval;
