//! The parts behind a server, with a model that the tests can predict, and a server around them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rescored_cache::{Options, SharedOptions};
use rescored_core::domain::{Priority, Texts, Truncation};
use rescored_engine as engine;
use rescored_process::telemetry::traces::Traces;
use rescored_server::app::Core;
use rescored_server::http::{self, Listen, Stop};
use rescored_server::rerank::{Answer, Request, RerankError};

use crate::client::Connection;
use crate::fake;

pub(crate) const CACHE: Options = Options { bytes: 64 << 20, weights: Vec::new(), ttl: None };

/// The parts, without a second tier.
pub(crate) fn core() -> Core {
    core_with(&CACHE, None)
}

/// The parts; a second tier at this address, with more patience than a service has: a test's machine may be busy.
pub(crate) fn core_with(cache: &Options, url: Option<String>) -> Core {
    core_sharing(cache, url, Duration::from_secs(1))
}

pub(crate) fn core_sharing(cache: &Options, url: Option<String>, timeout: Duration) -> Core {
    let models = ["fake", "other"].map(|id| fake::version(id, fake::Pace::default(), fake::Nature::Sound)).into();
    let engine = engine::Options {
        workers: Some(2),
        pinning: engine::Pinning::Free,
        tokenisers: 2,
        batch_tokens: Some(4096),
        batch_wait: None,
        queue_tokens: 50_000_000,
        weights: Vec::new(),
        stuck_after: Duration::from_secs(5),
    };
    let shared = SharedOptions { url, timeout };
    let core = Core::sharing(models, &engine, cache, &shared).expect("threads");
    core.reranker.wait_until_warm().expect("the fake model warms up");
    core.health.warmed();
    core
}

/// Scores one query's documents.
pub(crate) fn score(core: &Core, query: &str, documents: &[String]) -> Result<Answer, RerankError> {
    score_as(core, query, documents, Priority::Live)
}

pub(crate) fn score_as(
    core: &Core,
    query: &str,
    documents: &[String],
    priority: Priority,
) -> Result<Answer, RerankError> {
    let texts = Texts::one_query(query, documents.iter().map(|document| document.as_str().into()));
    let request = Request {
        model: None,
        texts: &texts,
        cut: Truncation::MODEL,
        refuse_cut: false,
        empty: rescored_core::domain::EmptyDocuments::Last,
        deadline: Instant::now() + Duration::from_secs(30),
        priority,
        memory: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(core.reranker.score(request))
}

/// Documents that no other call names.
pub(crate) fn documents(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

/// A thread with a name.
pub(crate) fn thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.into()).spawn(work).expect("a thread")
}

/// Waits for something that happens in the background.
#[track_caller]
pub(crate) fn eventually(what: &str, happened: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !happened() {
        assert!(Instant::now() < until, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running server. Dropping it stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(core: &Core) -> Self {
        Self::keyed(core, None)
    }

    /// One that asks for a key of this file.
    pub(crate) fn keyed(core: &Core, api_keys: Option<PathBuf>) -> Self {
        let options = http::Options {
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))],
            max_body: 1 << 20,
            max_documents: 1000,
            max_text: 1 << 20,
            deadline: Duration::from_secs(30),
            long_documents: rescored_core::domain::LongDocuments::Truncate,
            leniency: http::Leniency::default(),
            api_keys,
            exposure: http::Exposure::default(),
            patience: http::Patience::default(),
            ui: http::Ui::Off,
        };
        let (reranker, health, metrics) =
            (Arc::clone(&core.reranker), Arc::clone(&core.health), Arc::clone(&core.metrics));
        let budget = core.budget.clone();
        let state =
            http::AppServices { reranker, health, metrics, repository: None, traces: Traces::default(), budget };
        let bound = http::bind(&options, state).expect("a free port");
        let Listen::Tcp(address) = bound.addresses()[0] else { panic!("the first address is TCP") };
        let stop = bound.stop();
        let serve = move || actix_web::rt::System::new().block_on(bound.serve()).expect("serves");
        Self { address, stop, thread: Some(thread("server", serve)) }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A figure of `/metrics`.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let page = self.connect().send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is on the page"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        actix_web::rt::System::new().block_on(self.stop.now());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ended well");
        }
    }
}
