//! What the other crates of `rescored` share below everything: values, and JSON text.
//!
//! - [`domain`]: texts, pairs, logits, scores, rankings.
//! - [`json`]: JSON text, read in place.
//! - [`random`]: numbers from a seed, for benches, the simulator and tests.
//!
//! Pure: nothing here waits, locks, or knows a file, a socket or a model.

pub mod domain;
pub mod json;
pub mod random;

/// The program's name, as callers, operators and collectors of logs, figures and traces see it.
pub const NAME: &str = "rescored";
