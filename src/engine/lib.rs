//! Pairs in, logits out: tokenisation, batching, scheduling and the workers.
//!
//! The way of a pair: [`Engine::submit`] admits whole requests that fit and are predicted to be in time (`admission`);
//! the planner thread (`dispatcher`) hands chunks of texts to tokenizer threads and micro-batches of encodings to
//! workers, as `scheduler` says in the order that `planner` decides; every pair is answered once through the request's
//! [`Sink`].
//!
//! The concurrency contract:
//! 1. a scorer belongs to one worker thread for life;
//! 2. every channel is bounded, `submit` refuses instead of waiting, nothing waits unseen;
//! 3. a pair that nobody waits for any more, or whose deadline has passed, costs no inference;
//! 4. dropping the last [`Engine`] ends the threads after the work they hold;
//! 5. every admitted pair is answered exactly once, also when a worker dies: its ticket (`src/engine/pair_ticket.rs`)
//!    answers when it is dropped;
//! 6. locks are leaves: `admission`'s, held for arithmetic, and a worker's slot's (`worker_slot`), under which only a
//!    [`Sink`] and the admission state are asked;
//! 7. a worker that hangs is asked to stop (`supervisor`), then left behind and replaced (`watchdog`); its pairs are
//!    answered all the same.
//!
//! What is decided is decided without threads, channels and clocks: by `admission`, `scheduler` with its `planner`,
//! `pair_ticket`, `worker_slot`, `supervisor` and `runner`, which are given the time; around them `dispatcher`,
//! `tokenise`, `worker` and `watchdog` are the threads. The simulator drives the same parts on a time of its own.
//!
//! It must not know caches, keys, rankings or HTTP.

mod admission;
mod dispatcher;
mod loading;
pub mod mutation;
pub mod options;
mod pair_ticket;
mod pin;
mod planner;
mod quarantine;
mod runner;
mod running_passes;
mod scheduler;
#[cfg(any(test, feature = "testing"))]
#[path = "tests/simulated.rs"]
pub mod simulated;
mod start;
mod submit;
mod supervisor;
mod time_span;
mod timeline;
mod tokenise;
mod watchdog;
mod work;
mod worker;
mod worker_pool;
mod worker_slot;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rescored_core::domain::Scored;
use rescored_process::health::Health;
use rescored_process::metrics::Metrics;
use rescored_runtime::Model;

use admission::{RejectReason, Rejection};
use dispatcher::WorkerHandles;
pub use options::{Options, Pinning, Quota};
use pair_ticket::Job;
use scheduler::Waits;
pub use start::StartError;
use submit::Submitter;
use supervisor::WorkerSupervisor;
pub use timeline::Timeline;
use watchdog::Watchdog;
pub use work::{Order, Work};
use worker_pool::WorkerPool;

/// Requests that may stand between `submit` and the planner thread, which takes them at once; more means that it does
/// not keep up, which is a refusal like a full queue.
const INTAKE: usize = 1024;

/// Where a request's outcomes go. Called from worker threads; must be quick and must not panic.
pub trait Sink: Send + Sync {
    /// Takes the outcome of pair `slot`. Called exactly once for each pair of the work.
    fn settle(&self, slot: usize, outcome: Result<Scored, PairError>);

    /// Until when anybody waits for pair `slot`. After a `None`, or past that instant, the pair may be dropped
    /// unscored.
    fn wanted_until(&self, slot: usize) -> Option<Instant>;
}

/// Why a pair has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairError {
    /// It does not fit and cutting was forbidden.
    TooLong {
        /// Tokens of the whole pair.
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// Its request's instruction leaves no room for query and document.
    LongInstruction {
        /// The instruction's tokens, as far as they were read.
        tokens: u32,
        /// Tokens that it may have.
        limit: u32,
    },
    /// The tokenizer refused the text.
    Untokenisable,
    /// The model's output is NaN or infinite.
    NonFinite,
    /// The forward pass failed.
    Failed,
    /// The forward pass did not end.
    Stuck,
    /// Its deadline passed before it was scored.
    Expired,
    /// Nobody waited for it any more.
    Abandoned,
    /// The worker or the engine went away while it was waiting.
    Lost,
}

impl PairError {
    /// A short fixed word, for metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::LongInstruction { .. } => "long_instruction",
            Self::Untokenisable => "untokenisable",
            Self::NonFinite => "non_finite",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::Lost => "lost",
        }
    }
}

/// Why work was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionError {
    /// Too many tokens of its model are waiting.
    Full {
        /// Estimated tokens waiting.
        queued: u64,
        /// Estimated tokens of the model that may wait.
        limit: u64,
        /// When room for this work is expected, from the recent drain rate.
        retry_after: Duration,
    },
    /// It would not be answered in time, or somebody admitted before would not.
    Late {
        /// Estimated tokens waiting.
        queued: u64,
        /// How long it was predicted to take; `None` when it would only make others late.
        predicted: Option<Duration>,
        /// When there is time for it again, from the recent drain rate.
        retry_after: Duration,
    },
    /// Memory is short.
    Memory,
    /// The engine's threads are gone.
    Closed,
}

/// Time that one piece of work took, summed over threads. Read when it is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Tokenisation.
    pub tokenise: Duration,
    /// The longest wait of a pair between admission and its forward pass.
    pub queue: Duration,
    /// Forward passes that its pairs took part in.
    pub inference: Duration,
    /// When that happened.
    pub timeline: Timeline,
}

/// Admitted work. Dropping it does not cancel: the [`Sink`] says what is still wanted, and [`CancelNotifier`] has it
/// asked.
#[derive(Debug)]
pub struct WorkHandle {
    job: Arc<Job>,
}

impl WorkHandle {
    /// Where the time went so far.
    pub fn times(&self) -> Times {
        self.job.times()
    }

    /// Pairs that it stands for.
    #[cfg(any(test, feature = "testing"))]
    pub fn pairs(&self) -> u64 {
        self.job.work.documents.len() as u64
    }

    /// Somebody who waited for its pairs has gone; [`CancelNotifier::notify`] has the engine look whether anybody is
    /// left.
    pub fn abandon(&self) {
        self.job.abandon();
    }
}

/// Notifies the engine that somebody who waited has gone, so that it drops at once what nobody waits for.
#[derive(Clone, Debug)]
pub struct CancelNotifier(Sender<()>);

impl CancelNotifier {
    /// Notifies it. Never waits.
    pub fn notify(&self) {
        // Full: it is about to look anyway. Disconnected: it is gone, and with it all work.
        let _ = self.0.try_send(());
    }
}

/// Reports a thread without which no request can be answered, when it panics.
struct DeathNotice(Arc<Health>);

impl Drop for DeathNotice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.gave_up();
        }
    }
}

/// The engine: a handle to its threads. Dropping it ends them.
#[derive(Debug)]
pub struct Engine {
    // Above the threads: fields drop in order, and threads end when the intake is gone.
    submitter: Submitter,
    /// `None` in the simulator, which does their work.
    threads: Option<Threads>,
}

/// The threads of an engine.
#[derive(Debug)]
struct Threads {
    all: Vec<JoinHandle<()>>,
    pool: Arc<WorkerPool>,
    // Below the worker pool: it looks after the workers until the last has ended.
    _watchdog: Watchdog,
    started: Receiver<Result<(), StartError>>,
}

/// What the engine needs of the rest of the process.
#[derive(Clone, Debug)]
pub struct EngineContext {
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Dead workers are reported here.
    pub health: Arc<Health>,
}

impl Engine {
    /// Starts the threads. Workers load their models in the background: see [`Engine::wait_until_warm`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(options: &Options, models: &Arc<[Arc<Model>]>, context: &EngineContext) -> std::io::Result<Self> {
        let count = options.count(models.iter().map(|model| model.batching));
        let cards: Vec<_> = models.iter().map(|model| &model.card).collect();
        let (submitter, callers) = Submitter::open(options, count, &cards, context);
        let admission = &submitter.admission;
        let supervisor = WorkerSupervisor::new(count, options.stuck_after, &cards, admission, context);
        let workers = watchdog::spawn(supervisor, options.pinning, models)?;
        let tokenisers = tokenise::spawn(options.tokenisers, models, context)?;
        let waits: Vec<_> = models.iter().map(|model| options.batch_wait.unwrap_or(model.batching.wait)).collect();
        let batching = |((model, wait), quota): ((&Arc<Model>, &Duration), &Quota)| planner::Batching {
            policy: model.batching_policy,
            tokens: options.batch_tokens.unwrap_or(model.batching.tokens),
            // Whoever waits for more pairs wants passes to be large.
            spread: if wait.is_zero() { count } else { 1 },
            weight: quota.weight,
        };
        let batchings: Vec<_> = models.iter().zip(&waits).zip(&submitter.quotas).map(batching).collect();
        let planner = planner::Planner::new(&batchings).with_readers(options.tokenisers);
        let handles =
            WorkerHandles { tokenisers: tokenisers.ends, workers: workers.ends, pool: Arc::clone(&workers.pool) };
        // Who sets a time wants it waited; of our own accord we keep no device idle.
        let waits = Waits { longest: waits, whatever: options.batch_wait.is_some() };
        let mut all = vec![dispatcher::spawn(planner, waits, callers, handles)?];
        all.extend(tokenisers.threads);
        let threads = Threads { all, pool: workers.pool, _watchdog: workers.watchdog, started: workers.started };
        Ok(Self { submitter, threads: Some(threads) })
    }

    /// Blocks until every worker has loaded its models and has run one forward pass of each.
    ///
    /// # Errors
    /// The first worker's failure.
    pub fn wait_until_warm(&self) -> Result<(), StartError> {
        self.wait_until_warm_while(&|| true)
    }

    /// As [`Engine::wait_until_warm`], for as long as `wanted` says so.
    ///
    /// # Errors
    /// The first worker's failure, or [`StartError::Unfinished`].
    pub fn wait_until_warm_while(&self, wanted: &dyn Fn() -> bool) -> Result<(), StartError> {
        let Some(threads) = &self.threads else { return Ok(()) };
        for _ in 0..threads.pool.supervisor.size() {
            loop {
                match threads.started.recv_timeout(loading::LOOK_EVERY) {
                    Ok(outcome) => break outcome?,
                    Err(RecvTimeoutError::Disconnected) => return Err(StartError::Died),
                    Err(RecvTimeoutError::Timeout) if wanted() => {}
                    Err(RecvTimeoutError::Timeout) => return Err(StartError::Unfinished { models: self.loading() }),
                }
            }
        }
        Ok(())
    }

    /// Ids of the models that workers are loading, or running for the first time.
    pub fn loading(&self) -> Vec<String> {
        self.threads.as_ref().map(|threads| threads.pool.loads()).unwrap_or_default()
    }

    /// Admits work, or refuses it at once. Outcomes go to `sink`.
    ///
    /// # Errors
    /// [`AdmissionError`]; `sink` is not called then.
    pub fn submit(&self, work: Work, sink: Arc<dyn Sink>, now: Instant) -> Result<WorkHandle, AdmissionError> {
        self.submitter.submit(work, sink, now)
    }

    /// What notifies this engine that somebody who waited has gone.
    pub fn cancel_notifier(&self) -> CancelNotifier {
        self.submitter.cancel_notifier.clone()
    }

    /// What each model has of what they share.
    pub fn quotas(&self) -> &[Quota] {
        &self.submitter.quotas
    }
}

impl From<Rejection> for AdmissionError {
    fn from(rejection: Rejection) -> Self {
        let Rejection { why, queued, limit, retry_after } = rejection;
        match why {
            RejectReason::Full => Self::Full { queued, limit, retry_after },
            RejectReason::Late(predicted) => Self::Late { queued, predicted: Some(predicted), retry_after },
            RejectReason::Crowded => Self::Late { queued, predicted: None, retry_after },
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(threads) = &mut self.threads else { return };
        threads.pool.close();
        self.submitter.intake = None;
        for thread in threads.all.drain(..) {
            // A thread that panicked has been reported by its guard.
            drop(thread.join());
        }
        threads.pool.join();
    }
}
