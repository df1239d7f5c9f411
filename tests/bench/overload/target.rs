//! What is loaded: the program with the real model, or a server in this process whose model takes its time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rescored_cache as cache;
use rescored_core::domain::LongDocuments;
use rescored_engine as engine;
use rescored_lab::bench::served::Started;
use rescored_server::app::Core;
use rescored_server::http::{self, Exposure, Listen, Patience};

use super::client::Connection;
use super::fake::{self, Pace};
use super::load::Kind;
use super::program::program;

/// A server under load.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Words of a document: what makes its tokens.
    pub(crate) words: usize,
    /// What they are.
    pub(crate) kind: Kind,
    _running: Running,
}

/// Ends what it holds when it is dropped.
enum Running {
    Program(#[expect(dead_code, reason = "ended by being dropped")] Started),
    Server(http::Stop, Option<JoinHandle<()>>),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Program(_) => {}
            Self::Server(stop, thread) => {
                actix_web::rt::System::new().block_on(stop.now());
                drop(thread.take().map(JoinHandle::join));
            }
        }
    }
}

/// Starts the program over the real model. The deadline is the product's default, not the lab's, and the cache small: no
/// pair is asked for twice, and one that fills up would look like memory that leaks.
pub(crate) fn start() -> Started {
    let settings = [("RESCORED_CACHE_BYTES", "4MiB".to_owned()), ("RESCORED_DEADLINE", "30s".to_owned())];
    program().start(&settings).unwrap_or_else(|why| panic!("rescored does not start: {why}"))
}

/// Where it listens.
pub(crate) fn address(started: &Started) -> SocketAddr {
    started.url().trim_start_matches("http://").parse().expect("an address")
}

impl Target {
    /// The program with the real model.
    pub(crate) fn real() -> Self {
        let mut started = start();
        started.forget_log();
        Self { address: address(&started), words: 60, kind: Kind::Words, _running: Running::Program(started) }
    }

    /// Two workers that do 200,000 tokens a second together, in passes of 512.
    pub(crate) fn timed() -> Self {
        let model = fake::version(
            "timed",
            Pace { pass: Duration::ZERO, token: Duration::from_micros(10) },
            fake::Nature::Sound,
        );
        let options = engine::Options {
            workers: Some(2),
            pinning: engine::Pinning::Free,
            tokenisers: 2,
            batch_tokens: Some(512),
            batch_wait: None,
            queue_tokens: 8_000_000,
            weights: Vec::new(),
            stuck_after: Duration::from_secs(5),
        };
        let core =
            Core::start(vec![model], &options, &cache::Options { bytes: 4 << 20, weights: Vec::new(), ttl: None })
                .expect("threads");
        core.reranker.wait_until_warm().expect("it warms up");
        core.health.warmed();
        let options = http::Options {
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))],
            max_body: 64 << 20,
            max_documents: 10_000,
            max_text: 1 << 20,
            deadline: Duration::from_secs(30),
            long_documents: LongDocuments::Truncate,
            leniency: http::Leniency::default(),
            api_keys: None,
            exposure: Exposure::default(),
            patience: Patience::default(),
            ui: http::Ui::Off,
        };
        let state = http::AppServices {
            reranker: Arc::clone(&core.reranker),
            health: Arc::clone(&core.health),
            metrics: Arc::clone(&core.metrics),
            repository: None,
            traces: rescored_process::telemetry::traces::Traces::default(),
            budget: core.budget.clone(),
        };
        let bound = http::bind(&options, state).expect("a free port");
        let Listen::Tcp(address) = bound.addresses()[0] else { panic!("the only address is TCP") };
        let stop = bound.stop();
        let serve = move || {
            let _core = core;
            actix_web::rt::System::new().block_on(bound.serve()).expect("serves");
        };
        let thread = std::thread::Builder::new().name("server".into()).spawn(serve).expect("a thread");
        Self { address, words: 6, kind: Kind::Words, _running: Running::Server(stop, Some(thread)) }
    }

    /// The same with documents of another kind, of about as many tokens.
    pub(crate) fn of(self, kind: Kind) -> Self {
        let words = match kind {
            // A character of Chinese is a token.
            Kind::Words | Kind::Chinese => self.words,
            Kind::Code => (self.words / 15).max(1),
            Kind::Base64 => self.words / 2,
        };
        Self { words, kind, ..self }
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = Connection::open(self.address).send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        let values = page.text().lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
