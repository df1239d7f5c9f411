//! `rescored`: a reranking sidecar.
//!
//! A map of the modules, in the direction of the arrows; each uses only what stands below it:
//!
//! - [`rerank`]: the use case, query and documents in, scores out: past the cache, through the engine.
//! - [`rescore`]: an engine's own response in, the same response out with new scores; pure, scoring is injected.
//! - [`domain`]: texts, pairs, logits, scores, rankings.
//! - [`health`], [`metrics`]: leaves that every layer may touch.

pub mod cache;
pub mod domain;
pub mod engine;
pub mod health;
pub mod http;
pub mod metrics;
pub mod model;
pub mod rerank;
pub mod rescore;
pub mod telemetry;
