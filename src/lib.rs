//! `rescored`: a reranking sidecar.
//!
//! A map of the modules, in the direction of the arrows; each uses only what stands below it:
//!
//! - [`app`]: puts the parts together.
//! - [`rerank`]: the use case, query and documents in, scores out: past the cache, through the engine.
//! - [`cache`]: scores by the hash of their pair.
//! - [`engine`]: tokenisation, batching, scheduling, workers.
//! - [`model`]: tokenizer, tensors, ONNX Runtime sessions.
//! - [`domain`]: texts, pairs, logits, scores, rankings.
//! - [`health`], [`metrics`]: leaves that every layer may touch.

pub mod app;
pub mod cache;
pub mod domain;
pub mod engine;
pub mod health;
pub mod http;
pub mod metrics;
pub mod model;
pub mod rerank;
pub mod telemetry;
