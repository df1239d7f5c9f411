//! The sidecar's server: what it speaks, what it does, and how its parts are put together.
//!
//! - [`app`]: puts the parts together and takes them apart.
//! - [`config`]: settings out of the environment, into each component's own options.
//! - [`http`]: faces, limits, errors, probes.
//! - [`repository`]: loads, unloads and swaps models while the process serves.
//! - [`rerank`]: the use case, query and documents in, scores out: past the cache, through the engine.
//! - [`rescore`]: the use case, an engine's result in and the same result out, rescored; pure.
//!
//! `tests/tidy.rs` holds which of them may use which.

pub mod app;
pub mod config;
pub mod http;
pub mod repository;
pub mod rerank;
pub mod rescore;
