//! Every setting, described once: the table that parses, documents and prints.
//!
//! Owns names, defaults, ranges and the sentences of CONFIG.md. It must not know where values come from or go to.

use std::time::Duration;

use rescored_core::domain::{EmptyDocuments, LongDocuments};
use rescored_engine::options::Pinning;
use rescored_process::telemetry::options::Format;
use rescored_runtime::options::{ComputeUnits, DeviceLoss, Graphs, Kind as Runs, Precision, Provider, Shapes};

use super::error::{SettingError, Shown};
use super::kind::{
    Address, Addresses, Aliases, Bytes, Count, Endpoint, Filter, Hosts, Ids, Kind, Mode, Numbers, Or, Origins, Path,
    Period, Weights, Words, Wrong,
};
use crate::http::options::{Strict, Ui};

/// Windows of one document under `maxp`: at 512 tokens each they cover some 25,000 tokens.
const MAXP_WINDOWS: u16 = 64;

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_hours(1);

/// Whether a value may be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// It may.
    Open,
    /// It may not, neither in a fault nor in the start-up print.
    Secret,
}

/// A row of the table, whatever the type of its value.
pub trait Describe: Sync {
    /// The full name, prefix included.
    fn name(&self) -> &'static str;
    /// The default as an operator would write it.
    fn default(&self) -> &'static str;
    /// The values it takes, in words.
    fn values(&self) -> String;
    /// Whether its value may be printed.
    fn secrecy(&self) -> Secrecy;
    /// What it is for, in one sentence.
    fn meaning(&self) -> &'static str;
}

/// A row of the table.
pub(super) struct Row<K> {
    pub(super) name: &'static str,
    pub(super) secrecy: Secrecy,
    pub(super) default: &'static str,
    pub(super) kind: K,
    pub(super) meaning: &'static str,
}

/// Settings that belong together.
#[expect(missing_debug_implementations, reason = "its rows are of as many types as settings have values")]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// Its rows.
    pub rows: &'static [&'static dyn Describe],
}

/// Declares a constant for each row (name, type, secrecy, default, values, meaning), and [`GROUPS`] and [`TABLE`] of them
/// all.
macro_rules! table {
    ($($title:literal { $($name:ident: $kind:ty, $secrecy:ident, $default:literal, $values:expr, $meaning:literal;)* })*) => {
        $($(pub(super) const $name: Row<$kind> = Row {
            name: concat!("RESCORED_", stringify!($name)),
            secrecy: Secrecy::$secrecy,
            default: $default,
            kind: $values,
            meaning: $meaning,
        };)*)*

        /// Every setting by its group, in the order of CONFIG.md.
        pub static GROUPS: &[Group] = &[$(Group { title: $title, rows: &[$(&$name),*] }),*];

        /// Every setting, in the order of CONFIG.md.
        pub static TABLE: &[&dyn Describe] = &[$($(&$name,)*)*];
    };
}

table! {
    "Network" {
        LISTEN: Addresses, Open, "127.0.0.1:8787", Addresses,
            "Where the server listens; several addresses are served at once.";
        OPERATIONS_LISTEN: Or<Addresses>, Open, "none",
            Or { word: "none", means: "probes and metrics are served with everything else", kind: Addresses },
            "Where probes, metrics and descriptions are served alone, without TLS and keys; metrics are served nowhere else then.";
        SOCKET_MODE: Or<Mode>, Open, "none", Or { word: "none", means: "what the umask leaves", kind: Mode },
            "Permissions of UNIX sockets: who may write may connect.";
        ALLOWED_HOSTS: Or<Hosts>, Open, "none", Or { word: "none", means: "only those that are ours anyway", kind: Hosts },
            "Hosts by which this server may be asked besides addresses and names that nobody else can own, for what changes or \
             costs something without a key: a load balancer's name, for instance.";
        ALLOWED_ORIGINS: Or<Origins>, Open, "none", Or { word: "none", means: "only the page at `/ui`", kind: Origins },
            "Origins of web pages that may ask this server and read its answers (CORS).";
        TLS_CERT: Or<Path>, Open, "none", Or { word: "none", means: "no TLS", kind: Path },
            "A file of certificates in PEM, the server's own first: with it every TCP address of `RESCORED_LISTEN` speaks TLS; \
             read again when it changes.";
        TLS_KEY: Or<Path>, Open, "auto", Or { word: "auto", means: "in the same file", kind: Path },
            "The private key of `RESCORED_TLS_CERT`, in PEM.";
        MAX_CONNECTIONS: Or<Count<usize>>, Open, "auto",
            Or {
                word: "auto",
                means: "4096, or as many as a sixteenth of the memory limit has 64 KiB for",
                kind: Count { min: 1, max: 1_000_000 },
            },
            "Connections at once; when more come, the one that has been without a request for longest is shut down, or the new \
             one where all have requests.";
        KEEP_ALIVE: Period, Open, "90s", Period { min: Duration::from_millis(100), max: HOUR },
            "How long a connection may be idle between two requests; clients and balancers commonly reuse one for up to 75 s.";
        CLIENT_TIMEOUT: Period, Open, "10s", Period { min: Duration::from_millis(50), max: HOUR },
            "How long a client may take to send a request's head, and pause within its body.";
    }

    "Requests" {
        MAX_DOCUMENTS: Count<usize>, Open, "10000", Count { min: 1, max: 1_000_000 },
            "Documents of one request at most; more are refused with 413.";
        MAX_BODY: Bytes, Open, "64MiB", Bytes { min: KIB, max: 4 * GIB },
            "Size of a request's body at most; a larger one is refused with 413, and so is a query or document of more than 4 MiB, \
             but not when it is a hit of an engine's result.";
        DEADLINE: Period, Open, "30s", Period { min: Duration::from_millis(1), max: HOUR },
            "How long a request may take when its caller names no deadline of its own.";
        LONG_DOCUMENTS: Words<LongDocuments>, Open, "truncate", Words { of: &[
            ("truncate", LongDocuments::Truncate), ("maxp", LongDocuments::MaxPassage { windows: MAXP_WINDOWS }),
        ] },
            "What happens to a document that does not fit, when its caller says nothing of it: `truncate` reads its \
             beginning, `maxp` reads it in up to 64 overlapping windows and takes the best window's score.";
        EMPTY_DOCUMENTS: Words<EmptyDocuments>, Open, "last", Words { of: &[
            ("last", EmptyDocuments::Last), ("score", EmptyDocuments::Score),
        ] },
            "What becomes of a document without text (white space, control characters and characters of no width are none): \
             `last` ranks it below all others, with a logit of -500 and a sigmoid of 0, at no cost; `score` has the model score it.";
        STRICT: Words<Strict>, Open, "off", Words { of: &[("off", Strict::Off), ("on", Strict::On)] },
            "Whether a request with a key that is not served is refused with 400; otherwise it is answered, and \
             `X-Rescored-Warnings` names the key.";
    }

    "Access" {
        API_KEYS_FILE: Or<Path>, Open, "none", Or { word: "none", means: "everybody may ask", kind: Path },
            "A file of accepted API keys, one a line, read again when it changes; callers send `Authorization: Bearer KEY`; \
             probes and metrics need none.";
        UI: Words<Ui>, Open, "on", Words { of: &[("on", Ui::On), ("off", Ui::Off)] },
            "The page at `/ui`, a playground and a live view; where keys are set, what it shows needs one.";
    }

    "Models" {
        MODELS: Ids, Open, "ms-marco-MiniLM-L-12-v2", Ids { reserved: "default" },
            "Models served, the first being the default: each names a folder in `RESCORED_MODEL_DIR`, or is a path.";
        ALIASES: Or<Aliases>, Open, "none", Or { word: "none", means: "models go by their own names", kind: Aliases },
            "Further names by which requests may call a model, for clients whose model's name is fixed; a model's repository, as \
             `/info` names it in `source`, is a name of it anyway, and answers name the model by its id.";
        MODEL_DIR: Path, Open, "models", Path,
            "The folder in which models lie, relative to the working directory unless absolute.";
        RUNTIME: Or<Path>, Open, "auto", Or { word: "auto", means: "the one that `rescored fetch` brought", kind: Path },
            "The ONNX Runtime shared library.";
        PROVIDER: Words<Provider>, Open, "auto", Words { of: &[
            ("auto", Provider::Auto), ("cpu", Provider::Only(Runs::Cpu)), ("cuda", Provider::Only(Runs::Cuda)),
            ("tensorrt", Provider::Only(Runs::Tensorrt)), ("openvino", Provider::Only(Runs::OpenVino)),
            ("coreml", Provider::Only(Runs::CoreMl)),
        ] },
            "The execution provider; one that is named and does not run stops the start, `auto` takes the best that runs and \
             `/info` says which were passed over and why.";
        DEVICES: Or<Numbers>, Open, "all", Or { word: "all", means: "every one that runs", kind: Numbers },
            "The GPUs that may be used, by number; each gets workers of its own.";
        PRECISION: Words<Precision>, Open, "auto", Words { of: &[
            ("auto", Precision::Auto), ("fp32", Precision::Fp32), ("fp16", Precision::Fp16), ("int8", Precision::Int8),
        ] },
            "The arithmetic of the model; `auto` takes what suits the provider and the model's files.";
        GRAPH: Words<(Graphs, Shapes)>, Open, "auto", Words { of: &[
            ("auto", (Graphs::Best, Shapes::Refused)), ("source", (Graphs::Source, Shapes::Refused)),
            ("shape", (Graphs::Best, Shapes::Served)),
        ] },
            "The graph that runs: `auto` takes the one that `rescored compile` wrote for the precision, else the model's own; \
             `source` takes the model's own; `shape` is `auto` and serves models that `rescored compile --layers` cut to a shape \
             for benchmarks, too, whose scores mean nothing.";
        MAX_LENGTH: Count<u32>, Open, "512", Count { min: 8, max: 32_768 },
            "Tokens of a (query, document) pair at most: the query keeps its tokens, the document is cut, down to 64 tokens \
             or a fifth of the room; beyond that the query is cut; a model's own limit lowers it.";
        COREML_UNITS: Words<ComputeUnits>, Open, "all", Words { of: &[
            ("all", ComputeUnits::All), ("ane", ComputeUnits::Ane), ("gpu", ComputeUnits::Gpu), ("cpu", ComputeUnits::Cpu),
        ] },
            "The compute units of an Apple device that may run a model: `all` measures every set of them and the CPU, and takes \
             the fastest for each shape; a named one is used alone, and the CPU only where it fails or gives wrong scores.";
        THREADS: Or<Count<usize>>, Open, "auto",
            Or {
                word: "auto",
                means: "1, or what `rescored bench --tune` found best",
                kind: Count { min: 1, max: 1024 },
            },
            "Threads of one worker's forward pass on the CPU.";
    }

    "Engine" {
        WORKERS: Or<Count<usize>>, Open, "auto",
            Or { word: "auto", means: "one per core that the cgroup allows, two per GPU, or what `rescored bench --tune` found best", kind: Count { min: 1, max: 1024 } },
            "Inference workers: threads that own one session of every model each.";
        PIN_WORKERS: Words<Pinning>, Open, "off", Words { of: &[("off", Pinning::Free), ("on", Pinning::Pinned)] },
            "Whether each worker keeps to its part of the cores that the process may run on (Linux): `on` where these belong to \
             this process alone, as by a cpuset; several that pin would meet on the same cores.";
        BATCH_TOKENS: Or<Count<usize>>, Open, "auto",
            Or {
                word: "auto",
                means: "what suits the provider, 512 on the CPU",
                kind: Count { min: 8, max: 1_048_576 },
            },
            "Tokens of one forward pass at most, padding included; a single longer pair goes alone.";
        BATCH_WAIT: Or<Period>, Open, "auto",
            Or {
                word: "auto",
                means: "`0ms` on the CPU, `1ms` on accelerators that have work",
                kind: Period { min: Duration::ZERO, max: Duration::from_secs(1) },
            },
            "How long a forward pass that is not full waits for more pairs, of the same request or of others.";
        QUEUE_TOKENS: Or<Count<u64>>, Open, "auto",
            Or {
                word: "auto",
                means: "8,000,000 a model, or `RESCORED_MAX_DOCUMENTS` x `RESCORED_MAX_LENGTH` where that is more",
                kind: Count { min: 8, max: 1_000_000_000_000 },
            },
            "Estimated tokens that may wait before new work is refused with 429; models share them by weight.";
        MODEL_WEIGHTS: Or<Weights>, Open, "even", Or { word: "even", means: "all models alike", kind: Weights },
            "Weights by which models share forward passes while several have work, counted in tokens, the queue (each has its part \
             of `RESCORED_QUEUE_TOKENS`, so that a burst on one cannot fill it for another) and the budget of the score cache; a \
             model that is not named weighs 1.";
        STUCK_AFTER: Period, Open, "5s", Period { min: Duration::from_millis(10), max: HOUR },
            "A forward pass that takes longer than this, and 20 times longer than its size lets expect, is stuck: it is asked to \
             stop, and its worker is replaced if it does not.";
    }

    "Loading models" {
        COMPILE: Words<bool>, Open, "off", Words { of: &[("off", false), ("on", true)] },
            "Whether `serve` writes, before it starts, the graphs that `rescored compile` would write for the CPU and that are not \
             there; where that fails it says so and serves the model's own graph.";
        LOAD_TIMEOUT: Period, Open, "2m", Period { min: Duration::from_millis(100), max: HOUR },
            "How long a model may take to load, run once and prove itself while the process serves; past it the load is given up \
             and what served before serves on; at the start nothing is given up: `/readyz` and the log tell past it which model \
             is not ready yet.";
    }

    "Score cache" {
        CACHE_BYTES: Or<Bytes>, Open, "auto",
            Or {
                word: "auto",
                means: "256MiB, or an eighth of the memory limit where that is less",
                kind: Bytes { min: 0, max: 1024 * GIB },
            },
            "Budget of the score cache in resident memory, of which a score takes 288 bytes, or 320 with an age limit; `0` turns it off.";
        CACHE_TTL: Or<Period>, Open, "none", Or {
            word: "none",
            means: "kept while there is room",
            kind: Period { min: Duration::from_secs(1), max: Duration::from_hours(365 * 24) },
        },
            "Age after which a score is computed anew.";
        CACHE_SNAPSHOT: Or<Path>, Open, "none", Or { word: "none", means: "the cache ends with the process", kind: Path },
            "A file that the score cache is read from at the start, and written to on an interval and at the end; no link, for its owner alone, and written by one process at a time, which holds `.lock` beside it.";
        CACHE_SNAPSHOT_EVERY: Period, Open, "5m", Period { min: Duration::from_secs(1), max: Duration::from_hours(24) },
            "How often the snapshot is written, when scores came or went since the last one.";
        CACHE_REDIS: Or<Address>, Secret, "none", Or { word: "none", means: "nothing is shared", kind: Address },
            "A Valkey or Redis in which sidecars share their scores; late or down, it is left alone and costs nothing.";
        CACHE_REDIS_TIMEOUT: Period, Open, "10ms", Period { min: Duration::from_millis(1), max: Duration::from_secs(10) },
            "How long a request waits for the shared scores at most; as long again for each 1,000 documents.";
    }

    "Memory" {
        MEMORY_LIMIT: Or<Bytes>, Open, "auto",
            Or { word: "auto", means: "the cgroup's limit, if there is one", kind: Bytes { min: 1 << 20, max: 1024 * GIB } },
            "Memory against which use is watched: at 85 % caches are halved, at 92 % new work is refused, at 97 % new connections \
             wait.";
        MEMORY_BUDGET: Or<Bytes>, Open, "auto",
            Or {
                word: "auto",
                means: "what the memory limit leaves beside models, cache and connections",
                kind: Bytes { min: 1 << 20, max: 1024 * GIB },
            },
            "Memory that may be held for requests at once (bodies as they arrive, their texts, answers until they are read, \
             warm-up lines): what does not fit waits for up to 5 s and is refused with 503 then, or at once with 413 when it could \
             never fit; a quarter is kept for small requests.";
    }

    "Operation" {
        DEVICE_LOSS: Words<DeviceLoss>, Open, "fail", Words { of: &[("fail", DeviceLoss::Fail), ("cpu", DeviceLoss::Cpu)] },
            "What becomes of models whose accelerator gives no scores any more: `fail` fails their requests and builds them anew \
             until they work, `cpu` moves them to the CPU, whose scores have cache keys of their own; answers, `/info`, a metric \
             and the log tell.";
        MODEL_CONTROL: Words<bool>, Open, "off", Words { of: &[("off", false), ("on", true)] },
            "Whether models are loaded, unloaded and swapped over HTTP (`POST /v2/repository/...`): by holders of a key, and \
             without keys from this host only; SIGHUP loads changed files in any case.";
        DRAIN: Period, Open, "25s", Period { min: Duration::ZERO, max: HOUR },
            "How long the end may take after SIGTERM or SIGINT: accepted requests have all of it but the last tenth, a second at \
             most, in which the rest ends.";
    }

    "Logs and traces" {
        LOG: Filter, Open, "info,actix_server=warn,actix_http=off", Filter,
            "Which log lines are written.";
        LOG_FORMAT: Words<Format>, Open, "auto", Words { of: &[
            ("auto", Format::Auto), ("json", Format::Json), ("text", Format::Text),
        ] },
            "The shape of a log line on standard error; `auto` is text on a terminal and JSON elsewhere.";
        OTLP_ENDPOINT: Or<Endpoint>, Open, "none", Or { word: "none", means: "nothing is traced", kind: Endpoint },
            "Where traces are sent, by OTLP as protobuf over HTTP; a receiver that is late or down costs spans, never answers.";
        OTLP_PERCENT: Count<u32>, Open, "100", Count { min: 0, max: 100 },
            "Of a hundred requests that come without `traceparent`, how many are traced; with it, the caller has decided.";
    }
}

/// The row with this full name.
pub(super) fn find(name: &str) -> Option<&'static dyn Describe> {
    TABLE.iter().copied().find(|row| row.name() == name)
}

impl<K: Kind> Row<K> {
    /// The default's value.
    #[expect(clippy::expect_used, reason = "defaults are constants, and a test reads every one of them")]
    pub(super) fn preset(&self) -> K::Value {
        self.kind.parse(self.default).map_err(|wrong| wrong.problem).expect("a default is valid")
    }

    /// The fault of a text that this row does not take.
    pub(super) fn fault(&self, text: &str, wrong: Wrong) -> SettingError {
        let given = self.secrecy.show(text);
        // A parser's sentence may repeat parts of the text.
        let wrong = match self.secrecy {
            Secrecy::Open => wrong,
            Secrecy::Secret => Wrong::new("was not understood"),
        };
        SettingError::Value {
            name: self.name,
            given,
            problem: wrong.problem,
            valid: self.kind.values(),
            hint: wrong.hint,
        }
    }
}

impl<K: Kind> Describe for Row<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> &'static str {
        self.default
    }

    fn values(&self) -> String {
        self.kind.values()
    }

    fn secrecy(&self) -> Secrecy {
        self.secrecy
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }
}

impl Secrecy {
    /// The value as a fault may show it.
    pub(super) fn show(self, text: &str) -> Shown {
        match self {
            Self::Open => Shown::open(text),
            Self::Secret => Shown::redacted(),
        }
    }

    /// The value as the start-up print may show it.
    pub(super) fn effective(self, text: String) -> String {
        match self {
            Self::Open => text,
            Self::Secret => "(redacted)".to_owned(),
        }
    }
}
