//! The variables as given: flat, every field an optional text.
//!
//! Owns the only use of `envy`. Texts only, because envy's own conversions stop at the first error and do not name the
//! variable. It must not judge values.

use serde::Deserialize;

use super::PREFIX;

/// Every variable of the table, lower case and without its prefix; a test holds the names equal to the table's.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) listen: Option<String>,
    pub(super) operations_listen: Option<String>,
    pub(super) socket_mode: Option<String>,
    pub(super) allowed_hosts: Option<String>,
    pub(super) allowed_origins: Option<String>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) max_connections: Option<String>,
    pub(super) keep_alive: Option<String>,
    pub(super) client_timeout: Option<String>,
    pub(super) max_documents: Option<String>,
    pub(super) max_body: Option<String>,
    pub(super) max_text: Option<String>,
    pub(super) deadline: Option<String>,
    pub(super) long_documents: Option<String>,
    pub(super) empty_documents: Option<String>,
    pub(super) strict: Option<String>,
    pub(super) api_keys_file: Option<String>,
    pub(super) ui: Option<String>,
    pub(super) models: Option<String>,
    pub(super) aliases: Option<String>,
    pub(super) model_control: Option<String>,
    pub(super) model_weights: Option<String>,
    pub(super) model_dir: Option<String>,
    pub(super) runtime: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) devices: Option<String>,
    pub(super) device_loss: Option<String>,
    pub(super) precision: Option<String>,
    pub(super) graph: Option<String>,
    pub(super) max_length: Option<String>,
    pub(super) shapes: Option<String>,
    pub(super) coreml_units: Option<String>,
    pub(super) coreml_cache: Option<String>,
    pub(super) workers: Option<String>,
    pub(super) pin_workers: Option<String>,
    pub(super) threads: Option<String>,
    pub(super) batch_tokens: Option<String>,
    pub(super) batch_wait: Option<String>,
    pub(super) queue_tokens: Option<String>,
    pub(super) stuck_after: Option<String>,
    pub(super) compile: Option<String>,
    pub(super) load_timeout: Option<String>,
    pub(super) cache_bytes: Option<String>,
    pub(super) cache_weights: Option<String>,
    pub(super) cache_ttl: Option<String>,
    pub(super) cache_snapshot: Option<String>,
    pub(super) cache_snapshot_every: Option<String>,
    pub(super) cache_redis: Option<String>,
    pub(super) cache_redis_timeout: Option<String>,
    pub(super) memory_limit: Option<String>,
    pub(super) memory_budget: Option<String>,
    pub(super) drain: Option<String>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) otlp_endpoint: Option<String>,
    pub(super) otlp_percent: Option<String>,
}

/// The table lists a variable that [`RawConfig`] has no field for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the environment could not be gathered")]
pub struct Unreadable(#[source] envy::Error);

impl RawConfig {
    /// Takes (full name, value) pairs whose names are in the table, each once.
    pub(super) fn from_vars(vars: impl IntoIterator<Item = (&'static str, String)>) -> Result<Self, Unreadable> {
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value));
        envy::prefixed(PREFIX).from_iter(vars).map_err(Unreadable)
    }
}
