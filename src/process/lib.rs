//! What every part of the process shares.
//!
//! - [`files`]: files that are read, replaced and locked with care.
//! - [`budget`]: bytes of memory that may be held for requests at once.
//! - [`health`], [`metrics`]: alive and ready; figures.
//! - [`sync`]: locks that outlive a panic.
//! - [`telemetry`]: logs, and panics as log lines; traces.
//!
//! It must not know what a request, a model or a score is.

pub mod budget;
pub mod files;
pub mod health;
pub mod metrics;
pub mod sync;
pub mod telemetry;
