//! `rescored`: a reranking sidecar.
//!
//! A map of the modules, in the direction of the arrows; each uses only what stands below it:
//!
//! - [`cli`]: the sub-commands.
//! - [`app`]: puts the parts together and takes them apart.
//! - [`doctor`]: names what is wrong with a set-up, and says what to do.
//! - [`config`]: settings out of the environment, into each component's own options.
//! - [`fetch`]: brings the runtime library and models here.
//! - [`compile`]: writes a faster graph of a model and proves it.
//! - [`mod@bench`]: measures this program, and others beside it.
//! - [`eval`]: measures ranking quality and its cost on a data set.
//! - [`telemetry`]: logs, and panics as log lines.
//! - [`warm`]: the warm-up client.
//! - [`http`]: faces, limits, errors, probes.
//! - [`repository`]: loads, unloads and swaps models while the process serves.
//! - [`rerank`]: the use case, query and documents in, scores out: past the cache, through the engine.
//! - [`rescore`]: the use case, an engine's result in and the same result out, rescored; pure.
//! - [`cache`]: scores by the hash of their pair.
//! - [`engine`]: tokenisation, batching, scheduling, workers.
//! - [`model`]: manifest, tokenizer, tensors, ONNX Runtime sessions.
//! - [`graph`]: reads and writes the graphs of cross-encoders, bytes in and bytes out.
//! - [`domain`]: texts, pairs, logits, scores, rankings.
//! - [`budget`]: bytes of memory that may be held for requests at once.
//! - [`files`]: files that are read, replaced and locked with care.
//! - `json`: JSON text, read in place.
//! - [`health`], [`metrics`]: leaves that every layer may touch.

pub mod app;
pub mod bench;
pub mod budget;
pub mod cache;
pub mod cli;
pub mod compile;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod eval;
pub mod fetch;
pub mod files;
pub mod graph;
pub mod health;
pub mod http;
mod json;
pub mod metrics;
pub mod model;
pub mod repository;
pub mod rerank;
pub mod rescore;
pub mod telemetry;
pub mod warm;
