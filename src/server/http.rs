//! The server: every wire dialect in, one use case behind them, every wire dialect out.
//!
//! - `server`: what listens where, and the stop; `routes`, `sockets`, `tls`, `connections`, `assembly`, `transport`,
//!   `stop`: its parts.
//! - `state`: what every handler shares; `warm_ups`, `live`: parts of it.
//! - `answer`: the way of one request, the same for all dialects; `record`: what is reported of it.
//! - `body`: requests' bodies as they arrive, `structure` and `cost`: the memory that they take; `outgoing`: answers until
//!   they are read.
//! - `timing`: where a request's time went; `spans`: the same for traces.
//! - `dialect`: the table of dialects; one file each below it; `named`: the model that a path names.
//! - `rescore`: engine results in and out.
//! - `wire`: lenient readers of request bodies; `json`: the printing rules of answers.
//! - `operations`: probes, models, metrics; `cache`: the score cache's own operations.
//! - `openapi`: the interface's description, from the tables and types above; `describe`: what it is made of.
//! - `ui`: the page at `/ui`.
//! - `access`: whose requests are taken, by `Host` and `Origin`; `guard`: has every request asked; `keys`: by API keys; `files`, `reread`: small files read again.
//! - `error`: the one error body, and the map from cause to status.
//!
//! Owns everything that mentions HTTP or JSON keys. It must not name the engine, the models or the cache: scores come
//! from [`crate::rerank::Reranker`].

mod accept;
mod access;
mod answer;
mod assembly;
mod body;
mod cache;
mod card;
mod caught;
mod connections;
mod cost;
mod describe;
mod dialect;
mod error;
mod figures;
mod files;
mod guard;
mod instruction;
mod json;
mod keys;
mod live;
mod named;
mod openapi;
mod operations;
pub mod options;
mod outgoing;
mod record;
mod repository;
mod request_id;
mod reread;
mod rescore;
mod routes;
mod server;
mod sockets;
mod spans;
mod state;
mod stop;
mod structure;
mod timing;
mod tls;
mod transport;
mod ui;
mod warm_ups;
mod wire;

pub use connections::{Interrupted, PLANNED_BYTES};
pub use keys::{KeysError, count as count_keys};
pub use options::{Exposure, HostName, Leniency, Listen, Options, Origin, Patience, Strict, Tls, Ui};
pub use reread::Files;
pub use server::{AppServices, BindError, Bound, bind};
pub use stop::Stop;
pub use tls::{TlsError, check as check_tls};

/// Reads a body as one of the dialects does: a doorway for fuzz targets.
#[cfg(fuzzing)]
pub fn read_body(dialect: usize, body: &[u8]) {
    let dialect = &dialect::DIALECTS[dialect % dialect::DIALECTS.len()];
    if let Ok(call) = (dialect.read)(body, dialect::RequestLimits { max_documents: 1000 }) {
        assert!(call.texts.pairs.iter().all(|pair| pair.query < call.texts.queries.len()), "a pair without its query");
        drop(call.into_owned());
    }
}
