//! Settings from the environment: read once, checked whole, handed out as each component's own `Options`.
//!
//! Owns the way from (name, value) pairs to a [`Config`]: [`settings`] describes every variable in one table, `raw` holds
//! the texts as given, `kind` parses them, [`mod@reference`] prints the table. It must not read the process environment:
//! the caller passes `std::env::vars_os()` (or a list, in tests) and a [`Host`] in. Components know nothing of this
//! module; it knows their options.
//!
//! A new variable takes three lines: a row in [`settings::TABLE`], a field in `raw::RawConfig`, a line in `assemble`.

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
mod raw;
mod reader;
pub mod reference;
pub mod settings;
mod together;

pub use error::{ConfigError, SettingError};
pub use reader::{Effective, Origin};

use raw::RawConfig;
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
        let names::Gathered { given, faults } =
            names::gather(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
        let mut read = Reader::new(faults);
        let raw = RawConfig::from_vars(given).unwrap_or_else(|unreadable| {
            read.fault(SettingError::Unreadable(unreadable));
            RawConfig::default()
        });
        let mut config = assemble(&mut read, raw, host);
        together::check(&mut read, &config);
        config.effective = read.finish()?;
        Ok(config)
    }
}

/// One line a setting, in the table's order.
#[expect(clippy::too_many_lines, reason = "one line a setting")]
fn assemble(read: &mut Reader, raw: RawConfig, host: &Host) -> Config {
    let max_connections;
    let http = http::Options {
        listen: read.value(&settings::LISTEN, raw.listen),
        exposure: exposure(
            read,
            raw.operations_listen,
            raw.socket_mode,
            raw.allowed_hosts,
            raw.allowed_origins,
            raw.tls_cert,
            raw.tls_key,
        ),
        patience: {
            max_connections = read.value(&settings::MAX_CONNECTIONS, raw.max_connections);
            patience(read, raw.keep_alive, raw.client_timeout)
        },
        max_documents: read.value(&settings::MAX_DOCUMENTS, raw.max_documents),
        max_body: usize::try_from(read.value(&settings::MAX_BODY, raw.max_body)).unwrap_or(usize::MAX),
        max_text: usize::try_from(read.value(&settings::MAX_TEXT, raw.max_text)).unwrap_or(usize::MAX),
        deadline: read.value(&settings::DEADLINE, raw.deadline),
        long_documents: read.value(&settings::LONG_DOCUMENTS, raw.long_documents),
        leniency: leniency(read, raw.empty_documents, raw.strict),
        api_keys: read.value(&settings::API_KEYS_FILE, raw.api_keys_file),
        ui: read.value(&settings::UI, raw.ui),
    };
    let aliases;
    let model = model::Options {
        ids: {
            let ids = read.value(&settings::MODELS, raw.models);
            aliases = read.value(&settings::ALIASES, raw.aliases).unwrap_or_default();
            ids
        },
        dir: read.value(&settings::MODEL_DIR, raw.model_dir),
        runtime: read.value(&settings::RUNTIME, raw.runtime),
        provider: read.value(&settings::PROVIDER, raw.provider),
        devices: read.value(&settings::DEVICES, raw.devices),
        precision: read.value(&settings::PRECISION, raw.precision),
        graphs: read.value(&settings::GRAPH, raw.graph),
        max_length: read.value(&settings::MAX_LENGTH, raw.max_length),
        shapes: read.value(&settings::SHAPES, raw.shapes),
        coreml: coreml(read, raw.coreml_units, raw.coreml_cache),
        threads: read.value(&settings::THREADS, raw.threads),
    };
    let engine = engine::Options {
        workers: read.value(&settings::WORKERS, raw.workers),
        pinning: read.value(&settings::PIN_WORKERS, raw.pin_workers),
        tokenisers: host.cores,
        batch_tokens: read.value(&settings::BATCH_TOKENS, raw.batch_tokens),
        batch_wait: read.value(&settings::BATCH_WAIT, raw.batch_wait),
        queue_tokens: read.value_or(&settings::QUEUE_TOKENS, raw.queue_tokens, queue_left_to_us(&http, &model)),
        weights: read.value(&settings::MODEL_WEIGHTS, raw.model_weights).unwrap_or_default(),
        stuck_after: read.value(&settings::STUCK_AFTER, raw.stuck_after),
    };
    let compile = read.value(&settings::COMPILE, raw.compile);
    let load_timeout = read.value(&settings::LOAD_TIMEOUT, raw.load_timeout);
    let (cache, cache_bytes) = cache(read, raw.cache_bytes, raw.cache_weights, raw.cache_ttl);
    let snapshot = snapshot(read, raw.cache_snapshot, raw.cache_snapshot_every);
    let shared = shared(read, raw.cache_redis, raw.cache_redis_timeout);
    let (memory_limit, memory_budget) = memory(read, raw.memory_limit, raw.memory_budget);
    let (device_loss, model_control) = changes(read, raw.device_loss, raw.model_control);
    let drain = read.value(&settings::DRAIN, raw.drain);
    let (telemetry, traces) = telemetry_options(read, raw.log, raw.log_format, raw.otlp_endpoint, raw.otlp_percent);
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
    }
}

/// Room for the largest request, for each model.
fn queue_left_to_us(http: &http::Options, model: &model::Options) -> u64 {
    let largest_request = u64::try_from(http.max_documents).unwrap_or(u64::MAX).saturating_mul(model.max_length.into());
    AUTO_QUEUE_TOKENS.max(largest_request).saturating_mul(model.ids.len().max(1) as u64)
}

/// What may put other models in the place of those that serve.
fn changes(read: &mut Reader, loss: Option<String>, control: Option<String>) -> (model::DeviceLoss, bool) {
    (read.value(&settings::DEVICE_LOSS, loss), read.value(&settings::MODEL_CONTROL, control))
}

fn exposure(
    read: &mut Reader,
    operations: Option<String>,
    mode: Option<String>,
    hosts: Option<String>,
    origins: Option<String>,
    certificates: Option<String>,
    key: Option<String>,
) -> http::Exposure {
    http::Exposure {
        operations: read.value(&settings::OPERATIONS_LISTEN, operations).unwrap_or_default(),
        socket_mode: read.value(&settings::SOCKET_MODE, mode),
        hosts: read.value(&settings::ALLOWED_HOSTS, hosts).unwrap_or_default(),
        origins: read.value(&settings::ALLOWED_ORIGINS, origins).unwrap_or_default(),
        tls: tls(read, certificates, key),
    }
}

fn leniency(read: &mut Reader, empty: Option<String>, strict: Option<String>) -> http::Leniency {
    let empty_documents = read.value(&settings::EMPTY_DOCUMENTS, empty);
    http::Leniency { empty_documents, strict: read.value(&settings::STRICT, strict) }
}

fn patience(read: &mut Reader, keep_alive: Option<String>, client: Option<String>) -> http::Patience {
    http::Patience {
        keep_alive: read.value(&settings::KEEP_ALIVE, keep_alive),
        client: read.value(&settings::CLIENT_TIMEOUT, client),
        ..http::Patience::default()
    }
}

/// Logs and traces.
fn telemetry_options(
    read: &mut Reader,
    filter: Option<String>,
    format: Option<String>,
    endpoint: Option<String>,
    percent: Option<String>,
) -> (telemetry::Options, telemetry::TraceOptions) {
    (telemetry(read, filter, format), traces(read, endpoint, percent))
}

fn traces(read: &mut Reader, endpoint: Option<String>, percent: Option<String>) -> telemetry::TraceOptions {
    telemetry::TraceOptions {
        endpoint: read.value(&settings::OTLP_ENDPOINT, endpoint),
        percent: read.value(&settings::OTLP_PERCENT, percent),
    }
}

/// A key is of no use without its certificate.
fn tls(read: &mut Reader, certificates: Option<String>, key: Option<String>) -> Option<http::Tls> {
    let certificates = read.value(&settings::TLS_CERT, certificates);
    let key = read.value(&settings::TLS_KEY, key);
    if certificates.is_none() && key.is_some() {
        let (name, other) = (settings::TLS_CERT.name, settings::TLS_KEY.name);
        if read.understood(name) && read.understood(other) {
            read.fault(SettingError::Lacking { name, other });
        }
    }
    certificates.map(|certificates| http::Tls { key: key.unwrap_or_else(|| certificates.clone()), certificates })
}

fn coreml(read: &mut Reader, units: Option<String>, cache: Option<String>) -> model::CoreMl {
    let units = read.value(&settings::COREML_UNITS, units);
    model::CoreMl { units, cache: read.value(&settings::COREML_CACHE, cache) }
}

fn memory(read: &mut Reader, limit: Option<String>, budget: Option<String>) -> (Option<u64>, Option<u64>) {
    (read.value(&settings::MEMORY_LIMIT, limit), read.value(&settings::MEMORY_BUDGET, budget))
}

/// The cache's options, and its bytes where they were set.
fn cache(
    read: &mut Reader,
    bytes: Option<String>,
    weights: Option<String>,
    ttl: Option<String>,
) -> (cache::Options, Option<u64>) {
    let set = read.value(&settings::CACHE_BYTES, bytes);
    let options = cache::Options {
        bytes: set.unwrap_or(AUTO_CACHE_BYTES),
        weights: read.value(&settings::CACHE_WEIGHTS, weights).unwrap_or_default(),
        ttl: read.value(&settings::CACHE_TTL, ttl),
    };
    (options, set)
}

fn snapshot(read: &mut Reader, path: Option<String>, every: Option<String>) -> cache::SnapshotOptions {
    cache::SnapshotOptions {
        path: read.value(&settings::CACHE_SNAPSHOT, path),
        every: read.value(&settings::CACHE_SNAPSHOT_EVERY, every),
    }
}

fn shared(read: &mut Reader, url: Option<String>, timeout: Option<String>) -> cache::SharedOptions {
    cache::SharedOptions {
        url: read.value(&settings::CACHE_REDIS, url),
        timeout: read.value(&settings::CACHE_REDIS_TIMEOUT, timeout),
    }
}

fn telemetry(read: &mut Reader, filter: Option<String>, format: Option<String>) -> telemetry::Options {
    telemetry::Options { filter: read.value(&settings::LOG, filter), format: read.value(&settings::LOG_FORMAT, format) }
}

#[cfg(test)]
mod tests;
