//! The server: every wire dialect in, one use case behind them, every wire dialect out.
//!
//! - `server`: sockets, routes, stop.
//! - `answer`: the way of one request, the same for all faces.
//! - `face`: the table of dialects; one file each below it.
//! - `rescore`: engine results in and out.
//! - `wire`: lenient readers of request bodies; `json`: the printing rules of answers.
//! - `operations`: probes, models, metrics; `cache`: the score cache's own operations.
//! - `openapi`: the interface's description, from the tables and types above.
//! - `error`: the one error body, and the map from cause to status.
//!
//! Owns everything that mentions HTTP or JSON keys. It must not name the engine, the models or the cache: scores come
//! from [`crate::rerank::Reranker`].

mod answer;
mod body;
mod cache;
mod error;
mod face;
mod json;
mod keys;
mod openapi;
mod operations;
pub mod options;
mod request_id;
mod rescore;
mod server;
mod wire;

pub use keys::KeysError;
pub use options::{Listen, Options};
pub use server::{BindError, Bound, State, Stop, bind};
