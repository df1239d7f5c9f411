//! Settings from the environment: read once, checked whole, handed out as each component's own `Options`.
//!
//! Owns the way from (name, value) pairs to a [`Config`]: [`settings`] describes every variable in one table, `retired` the
//! names that it once had, `kind` parses texts, [`mod@reference`] prints the table. It must not read the process environment:
//! the caller passes `std::env::vars_os()` (or a list, in tests) and a [`Host`] in. Components know nothing of this
//! module; it knows their options.
//!
//! A new variable takes two lines: a row in [`settings::TABLE`] and one in `assemble`.

use std::ffi::OsString;
use std::time::Duration;

use rescored_cache::options as cache;
use rescored_engine::options as engine;
use rescored_process::telemetry::options as telemetry;
use rescored_runtime::options as model;

use crate::http::options as http;

pub mod error;
mod kind;
mod names;
mod reader;
pub mod reference;
mod retired;
pub mod settings;
mod together;

pub use error::{ConfigError, SettingError};
pub use reader::{Effective, Origin};

use reader::Reader;

/// What every variable of ours begins with.
pub const PREFIX: &str = "RESCORED_";

/// The exit code of a process that was configured wrongly (`EX_USAGE` of sysexits).
pub const EXIT_CODE: u8 = 64;

/// Least number of waiting tokens of a model under `auto`: 10,000 documents of 512 tokens fit, with room for other callers.
const AUTO_QUEUE_TOKENS: u64 = 8_000_000;

/// Bytes of the score cache under `auto`, at most.
const AUTO_CACHE_BYTES: u64 = 256 << 20;

/// Every setting of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The HTTP server.
    pub http: http::Options,
    /// Models and runtime.
    pub model: model::Options,
    /// Further names of models: each with the id of a model of [`Config::model`], or its path's last part.
    pub aliases: Vec<(String, String)>,
    /// Workers, batches and queue.
    pub engine: engine::Options,
    /// Whether graphs that are missing are written before the start.
    pub compile: bool,
    /// How long a model may take to load while the process serves.
    pub load_timeout: Duration,
    /// The score cache.
    pub cache: cache::Options,
    /// Its snapshot.
    pub snapshot: cache::SnapshotOptions,
    /// Its second tier.
    pub shared: cache::SharedOptions,
    /// Connections that there may be; `None` leaves [`Config::http`]'s, or fewer where the memory limit is small.
    pub max_connections: Option<usize>,
    /// Memory against which use is watched; `None` leaves it to the cgroup.
    pub memory_limit: Option<u64>,
    /// Bytes that may be held for requests at once; `None` leaves them to what models and cache leave of the limit.
    pub memory_budget: Option<u64>,
    /// What the cache's bytes were set to; `None` when [`Config::cache`] has the most that they are by default, which a
    /// memory limit lowers.
    pub cache_bytes: Option<u64>,
    /// What becomes of models whose accelerator is lost.
    pub device_loss: model::DeviceLoss,
    /// Whether models may be changed over HTTP.
    pub model_control: bool,
    /// How long accepted requests may take to finish once a stop was asked for.
    pub drain: Duration,
    /// Logs.
    pub telemetry: telemetry::Options,
    /// Traces.
    pub traces: telemetry::TraceOptions,
    /// Every setting as it took effect, in the table's order; secrets are redacted. [`reference::summary`] prints it.
    pub effective: Vec<Effective>,
    /// A sentence for each name in use that is no longer in the table.
    pub warnings: Vec<String>,
}

/// What the defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Cores that this process may use, by affinity and cgroup quota.
    pub cores: usize,
}

impl Host {
    /// The host that this process runs on; one core when the system does not say.
    pub fn detect() -> Self {
        Self { cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
    }
}

impl Config {
    /// Reads every setting from (name, value) pairs; names that do not begin with [`PREFIX`] are none of ours.
    ///
    /// Takes `std::env::vars_os()` as it is: a value that is not UTF-8 is a fault among the others. An empty value means
    /// that the variable is unset.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that was found, unknown names included.
    pub fn from_vars<Name, Value>(
        vars: impl IntoIterator<Item = (Name, Value)>,
        host: &Host,
    ) -> Result<Self, ConfigError>
    where
        Name: Into<OsString>,
        Value: Into<OsString>,
    {
        let names::Gathered { given, faults, warnings } =
            names::gather(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
        let mut read = Reader::new(given, faults);
        let mut config = assemble(&mut read, host);
        together::check(&mut read, &config);
        config.warnings = warnings;
        config.effective = read.finish()?;
        Ok(config)
    }
}

/// One line a setting, in the table's order.
#[expect(clippy::too_many_lines, reason = "one line a setting")]
fn assemble(read: &mut Reader, host: &Host) -> Config {
    let max_connections;
    let http = http::Options {
        listen: read.value(&settings::LISTEN),
        exposure: exposure(read),
        patience: {
            max_connections = read.value(&settings::MAX_CONNECTIONS);
            patience(read)
        },
        max_documents: read.value(&settings::MAX_DOCUMENTS),
        max_body: usize::try_from(read.value(&settings::MAX_BODY)).unwrap_or(usize::MAX),
        max_text: http::MAX_TEXT,
        deadline: read.value(&settings::DEADLINE),
        long_documents: read.value(&settings::LONG_DOCUMENTS),
        leniency: leniency(read),
        api_keys: read.value(&settings::API_KEYS_FILE),
        ui: read.value(&settings::UI),
    };
    let (aliases, shapes);
    let model = model::Options {
        ids: {
            let ids = read.value(&settings::MODELS);
            aliases = read.value(&settings::ALIASES).unwrap_or_default();
            ids
        },
        dir: read.value(&settings::MODEL_DIR),
        runtime: read.value(&settings::RUNTIME),
        provider: read.value(&settings::PROVIDER),
        devices: read.value(&settings::DEVICES),
        precision: read.value(&settings::PRECISION),
        graphs: {
            let (graphs, which) = read.value(&settings::GRAPH);
            shapes = which;
            graphs
        },
        max_length: read.value(&settings::MAX_LENGTH),
        shapes,
        coreml: model::CoreMl { units: read.value(&settings::COREML_UNITS) },
        threads: read.value(&settings::THREADS),
    };
    let engine = engine::Options {
        workers: read.value(&settings::WORKERS),
        pinning: read.value(&settings::PIN_WORKERS),
        tokenisers: host.cores,
        batch_tokens: read.value(&settings::BATCH_TOKENS),
        batch_wait: read.value(&settings::BATCH_WAIT),
        queue_tokens: read.value_or(&settings::QUEUE_TOKENS, queue_left_to_us(&http, &model)),
        weights: read.value(&settings::MODEL_WEIGHTS).unwrap_or_default(),
        stuck_after: read.value(&settings::STUCK_AFTER),
    };
    let compile = read.value(&settings::COMPILE);
    let load_timeout = read.value(&settings::LOAD_TIMEOUT);
    let (cache, cache_bytes) = cache(read, &engine.weights);
    let snapshot = snapshot(read);
    let shared = shared(read);
    let memory_limit = read.value(&settings::MEMORY_LIMIT);
    let memory_budget = read.value(&settings::MEMORY_BUDGET);
    let device_loss = read.value(&settings::DEVICE_LOSS);
    let model_control = read.value(&settings::MODEL_CONTROL);
    let drain = read.value(&settings::DRAIN);
    let telemetry = telemetry(read);
    let traces = traces(read);
    Config {
        http,
        model,
        aliases,
        engine,
        compile,
        load_timeout,
        cache,
        snapshot,
        shared,
        max_connections,
        memory_limit,
        memory_budget,
        cache_bytes,
        device_loss,
        model_control,
        drain,
        telemetry,
        traces,
        effective: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Room for the largest request, for each model.
fn queue_left_to_us(http: &http::Options, model: &model::Options) -> u64 {
    let largest_request = u64::try_from(http.max_documents).unwrap_or(u64::MAX).saturating_mul(model.max_length.into());
    AUTO_QUEUE_TOKENS.max(largest_request).saturating_mul(model.ids.len().max(1) as u64)
}

fn exposure(read: &mut Reader) -> http::Exposure {
    http::Exposure {
        operations: read.value(&settings::OPERATIONS_LISTEN).unwrap_or_default(),
        socket_mode: read.value(&settings::SOCKET_MODE),
        hosts: read.value(&settings::ALLOWED_HOSTS).unwrap_or_default(),
        origins: read.value(&settings::ALLOWED_ORIGINS).unwrap_or_default(),
        tls: tls(read),
    }
}

fn leniency(read: &mut Reader) -> http::Leniency {
    let empty_documents = read.value(&settings::EMPTY_DOCUMENTS);
    http::Leniency { empty_documents, strict: read.value(&settings::STRICT) }
}

fn patience(read: &mut Reader) -> http::Patience {
    http::Patience {
        keep_alive: read.value(&settings::KEEP_ALIVE),
        client: read.value(&settings::CLIENT_TIMEOUT),
        ..http::Patience::default()
    }
}

fn traces(read: &mut Reader) -> telemetry::TraceOptions {
    telemetry::TraceOptions {
        endpoint: read.value(&settings::OTLP_ENDPOINT),
        percent: read.value(&settings::OTLP_PERCENT),
    }
}

/// A key is of no use without its certificate.
fn tls(read: &mut Reader) -> Option<http::Tls> {
    let certificates = read.value(&settings::TLS_CERT);
    let key = read.value(&settings::TLS_KEY);
    if certificates.is_none() && key.is_some() {
        let (name, other) = (settings::TLS_CERT.name, settings::TLS_KEY.name);
        if read.understood(name) && read.understood(other) {
            read.fault(SettingError::Lacking { name, other });
        }
    }
    certificates.map(|certificates| http::Tls { key: key.unwrap_or_else(|| certificates.clone()), certificates })
}

/// The cache's options, and its bytes where they were set.
fn cache(read: &mut Reader, weights: &[(String, u32)]) -> (cache::Options, Option<u64>) {
    let set = read.value(&settings::CACHE_BYTES);
    let options = cache::Options {
        bytes: set.unwrap_or(AUTO_CACHE_BYTES),
        weights: weights.to_vec(),
        ttl: read.value(&settings::CACHE_TTL),
    };
    (options, set)
}

fn snapshot(read: &mut Reader) -> cache::SnapshotOptions {
    cache::SnapshotOptions {
        path: read.value(&settings::CACHE_SNAPSHOT),
        every: read.value(&settings::CACHE_SNAPSHOT_EVERY),
    }
}

fn shared(read: &mut Reader) -> cache::SharedOptions {
    cache::SharedOptions {
        url: read.value(&settings::CACHE_REDIS),
        timeout: read.value(&settings::CACHE_REDIS_TIMEOUT),
    }
}

fn telemetry(read: &mut Reader) -> telemetry::Options {
    telemetry::Options { filter: read.value(&settings::LOG), format: read.value(&settings::LOG_FORMAT) }
}

#[cfg(test)]
mod tests;
