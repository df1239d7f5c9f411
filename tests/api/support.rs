//! A server on a port of its own, with a model that the tests can predict, and a client that sends exactly the bytes it
//! is asked to.

mod client;
mod fake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rescored_cache as cache;
use rescored_core::domain::LongDocuments;
use rescored_engine as engine;
use rescored_process::health::Health;
use rescored_process::telemetry::TraceOptions;
use rescored_process::telemetry::traces::Traces;
use rescored_server::app::{Core, Guard};
use rescored_server::http::{self, Listen, Stop, Ui};
use rescored_server::repository::{self, Opener};
use rescored_server::rerank::Names;

pub(crate) use client::{Connection, Response};
pub(crate) use fake::{ACCELERATED, Nature, Pace, version};

/// What a test may want different.
pub(crate) struct Setup {
    pub(crate) max_documents: usize,
    pub(crate) max_body: usize,
    pub(crate) deadline: Duration,
    pub(crate) queue_tokens: u64,
    pub(crate) weights: Vec<(String, u32)>,
    pub(crate) stuck_after: Duration,
    pub(crate) batch_tokens: usize,
    pub(crate) pace: Pace,
    pub(crate) warm: bool,
    pub(crate) sockets: Vec<PathBuf>,
    pub(crate) models: Vec<&'static str>,
    pub(crate) aliases: Vec<(&'static str, &'static str)>,
    pub(crate) batch_wait: Option<Duration>,
    pub(crate) long_documents: LongDocuments,
    pub(crate) leniency: http::Leniency,
    pub(crate) api_keys: Option<PathBuf>,
    pub(crate) exposure: http::Exposure,
    pub(crate) patience: http::Patience,
    pub(crate) ui: Ui,
    /// Bytes of the memory budget; without bound when `None`.
    pub(crate) memory: Option<u64>,
    /// What is peculiar about the models.
    pub(crate) nature: Nature,
    /// Whether models move to the CPU when their device is lost; for this there has to be an opener.
    pub(crate) guarded: bool,
    /// Who opens models anew; `None` leaves them unchanged for ever.
    pub(crate) opener: Option<Box<dyn Opener>>,
    /// How long a change of the models may take.
    pub(crate) load_timeout: Duration,
    pub(crate) traces: TraceOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_documents: 10_000,
            max_body: 64 << 20,
            deadline: Duration::from_secs(30),
            queue_tokens: 50_000_000,
            weights: Vec::new(),
            stuck_after: Duration::from_secs(5),
            batch_tokens: 4096,
            batch_wait: None,
            pace: Pace::default(),
            warm: true,
            sockets: Vec::new(),
            models: vec!["fake", "other"],
            aliases: Vec::new(),
            long_documents: LongDocuments::Truncate,
            leniency: http::Leniency::default(),
            api_keys: None,
            exposure: http::Exposure::default(),
            patience: http::Patience::default(),
            ui: Ui::On,
            memory: None,
            nature: Nature::Sound,
            guarded: false,
            opener: None,
            load_timeout: Duration::from_mins(1),
            traces: TraceOptions::default(),
        }
    }
}

/// A running server. Dropping it stops it.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) health: Arc<Health>,
    pub(crate) traces: Traces,
    pub(crate) stop: Stop,
    pub(crate) addresses: Vec<Listen>,
    thread: Option<JoinHandle<()>>,
    guard: Option<Guard>,
}

/// An engine of two workers.
pub(crate) fn two_workers() -> engine::Options {
    engine::Options {
        workers: Some(2),
        pinning: engine::Pinning::Free,
        tokenisers: 2,
        batch_tokens: None,
        batch_wait: None,
        queue_tokens: 50_000_000,
        weights: Vec::new(),
        stuck_after: Duration::from_secs(5),
    }
}

impl App {
    pub(crate) fn start() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        Self::try_with(setup).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_with(setup: Setup) -> Result<Self, http::BindError> {
        let models = setup.models.iter().map(|id| version(id, setup.pace, setup.nature)).collect();
        let engine = engine::Options {
            batch_tokens: Some(setup.batch_tokens),
            batch_wait: setup.batch_wait,
            queue_tokens: setup.queue_tokens,
            weights: setup.weights,
            stuck_after: setup.stuck_after,
            ..two_workers()
        };
        let cache = cache::Options { bytes: 64 << 20, weights: Vec::new(), ttl: None };
        let nothing = cache::SharedOptions { url: None, timeout: Duration::ZERO };
        let aliases = setup.aliases.iter().map(|&(alias, id)| (alias.to_owned(), id.to_owned())).collect();
        let core = Core::named(models, &engine, &cache, &nothing, Names::new(aliases)).expect("threads");
        core.reranker.wait_until_warm().expect("the fake model warms up");
        if setup.warm {
            core.health.warmed();
        }
        let mut listen = vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
        listen.extend(setup.sockets.into_iter().map(Listen::Unix));
        let options = http::Options {
            listen,
            max_body: setup.max_body,
            max_documents: setup.max_documents,
            max_text: 1 << 20,
            deadline: setup.deadline,
            long_documents: setup.long_documents,
            leniency: setup.leniency,
            api_keys: setup.api_keys,
            exposure: setup.exposure,
            patience: setup.patience,
            ui: setup.ui,
        };
        let mut core = core;
        if let Some(bytes) = setup.memory {
            core.budget.resize(bytes);
        }
        let changes = repository::Options { engine: engine.clone(), time_limit: setup.load_timeout };
        let repository = setup.opener.map(|opener| core.repository(opener, changes).expect("a thread"));
        let guard = repository.as_ref().filter(|_| setup.guarded);
        let guard = guard.map(|repository| Guard::start(repository, &core.health).expect("a thread"));
        let Core { reranker, health, metrics, budget, .. } = core;
        let traces = Traces::start(&setup.traces, &metrics).expect("a receiver's address");
        let mut app =
            Self::serve(&options, http::AppServices { reranker, health, metrics, repository, traces, budget })?;
        app.guard = guard;
        Ok(app)
    }

    fn serve(options: &http::Options, state: http::AppServices) -> Result<Self, http::BindError> {
        let (health, traces) = (Arc::clone(&state.health), state.traces.clone());
        let bound = http::bind(options, state)?;
        let addresses = bound.addresses().to_vec();
        let Listen::Tcp(address) = addresses[0] else { panic!("the first address is TCP") };
        let stop = bound.stop();
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                actix_web::rt::System::new().block_on(bound.serve()).expect("serves");
            })
            .expect("a thread");
        Ok(Self { address, health, traces, stop, addresses, thread: Some(thread), guard: None })
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    /// A figure of the metrics page; 0 while it has never been counted.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.post_with(path, body, "")
    }

    /// Posts JSON with further headers, each ended by `\r\n`.
    pub(crate) fn post_with(&self, path: &str, body: impl AsRef<[u8]>, headers: &str) -> Response {
        self.connect().post(path, body, headers)
    }

    /// Waits for the server's end, as a process would after a stop.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ended well");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            actix_web::rt::System::new().block_on(self.stop.now());
            thread.join().expect("the server ended well");
        }
    }
}
