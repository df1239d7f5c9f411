//! Pairs in, logits out: tokenisation, batching, scheduling and the workers.
//!
//! The way of a pair: [`Engine::submit`] admits whole requests by their estimated tokens; the planner thread hands
//! chunks of texts to tokenizer threads and micro-batches of encodings to workers, both in the order that
//! `planner` decides; every pair is answered once through the request's [`Sink`].
//!
//! The concurrency contract:
//! 1. a scorer belongs to one worker thread for life;
//! 2. every channel is bounded, `submit` refuses instead of waiting, nothing waits unseen;
//! 3. a pair that nobody waits for any more, or whose deadline has passed, costs no inference;
//! 4. dropping the last [`Engine`] ends the threads after the work they hold;
//! 5. every admitted pair is answered exactly once, also when a worker dies: its claim (`src/engine/claim.rs`) answers
//!    when it is dropped;
//! 6. there are no locks on the way, so there is no lock order.
//!
//! It must not know caches, keys, rankings or HTTP.

mod claim;
mod dispatcher;
pub mod options;
mod planner;
mod tokenise;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::domain::{Cut, LongDocuments, Priority, Scored};
use crate::health::Health;
use crate::metrics::{Metrics, Reason};
use crate::model::{Model, ScorerError};

use claim::{Arrival, Job};
pub use options::Options;

/// Requests that may stand between `submit` and the planner thread, which takes them at once; more means that it does
/// not keep up, which is a refusal like a full queue.
const INTAKE: usize = 1024;

/// Bytes of text that make one token, for estimates before tokenisation. English WordPiece takes 4 to 5.
const BYTES_PER_TOKEN: u64 = 4;

/// The longest time that a refused caller is told to wait: past it the estimate says nothing.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// What is to be scored: every document against its query. Owned, because it outlives the caller's body.
#[derive(Debug)]
pub struct Work {
    /// Which of the engine's models.
    pub model: usize,
    /// The distinct queries.
    pub queries: Vec<Box<str>>,
    /// Every pair: its query's position, and the document.
    pub documents: Vec<(u32, Box<str>)>,
    /// How over-long documents are fitted.
    pub cut: Cut,
    /// Fail an over-long pair instead of cutting it.
    pub refuse_cut: bool,
    /// Work past this instant is not started.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
    /// Which of its pairs go first.
    pub order: Order,
}

/// Which pairs of a request go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The longest, so that all workers finish together: the quickest way to a whole answer.
    #[default]
    LongestFirst,
    /// As given, so that whatever the deadline leaves undone is the end of the list.
    AsGiven,
}

/// Where a request's outcomes go. Called from worker threads; must be quick and must not panic.
pub trait Sink: Send + Sync {
    /// Takes the outcome of pair `slot`. Called exactly once for each pair of the work.
    fn settle(&self, slot: usize, outcome: Result<Scored, PairFault>);

    /// Whether anybody still waits for pair `slot`. After a `false`, the pair may be dropped unscored.
    fn wanted(&self, slot: usize) -> bool;
}

/// Why a pair has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairFault {
    /// It does not fit and cutting was forbidden.
    TooLong {
        /// Tokens of the whole pair.
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The tokenizer refused the text.
    Untokenisable,
    /// The model's output is NaN or infinite.
    NonFinite,
    /// The forward pass failed.
    Failed,
    /// Its deadline passed before it was scored.
    Expired,
    /// Nobody waited for it any more.
    Abandoned,
    /// The worker or the engine went away while it was waiting.
    Lost,
}

impl PairFault {
    /// A short fixed word, for metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Untokenisable => "untokenisable",
            Self::NonFinite => "non_finite",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::Lost => "lost",
        }
    }
}

/// Why work was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many tokens are waiting.
    Full {
        /// Estimated tokens waiting.
        queued: u64,
        /// Estimated tokens that may wait.
        limit: u64,
        /// When room for this work is expected, from the drain rate so far.
        retry_after: Duration,
    },
    /// The engine's threads are gone.
    Closed,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
#[error("a worker could not load or run its model")]
pub struct StartError(#[source] ScorerError);

/// Time that one piece of work took, summed over threads. Read when it is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Tokenisation.
    pub tokenise: Duration,
    /// The longest wait of a pair between admission and its forward pass.
    pub queue: Duration,
    /// Forward passes that its pairs took part in.
    pub inference: Duration,
}

/// Admitted work. Dropping it does not cancel: the [`Sink`] says what is still wanted.
#[derive(Debug)]
pub struct Ticket {
    job: Arc<Job>,
}

impl Ticket {
    /// Where the time went so far.
    pub fn times(&self) -> Times {
        self.job.times()
    }
}

/// Estimated tokens waiting, and how fast they go. Shared with claims, which subtract themselves.
#[derive(Debug)]
struct Load {
    queued: AtomicU64,
    limit: u64,
    drained: AtomicU64,
    since: Instant,
    metrics: Arc<Metrics>,
}

impl Load {
    /// Admits `tokens`, or says how many are waiting. A request larger than the whole limit is admitted when nothing
    /// else waits: refusing it for ever would make the limit a size limit.
    fn admit(&self, tokens: u64) -> Result<(), u64> {
        self.queued
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
                (queued == 0 || queued + tokens <= self.limit).then_some(queued + tokens)
            })
            .map(|queued| self.show(queued + tokens))
    }

    fn leave(&self, tokens: u64) {
        let before = self.queued.fetch_sub(tokens, Ordering::AcqRel);
        self.drained.fetch_add(tokens, Ordering::Relaxed);
        self.show(before - tokens);
    }

    fn show(&self, queued: u64) {
        self.metrics.queue_tokens.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// How long `tokens` take at the average rate since the start; a second when there is no rate yet.
    fn time_for(&self, tokens: u64) -> Duration {
        let drained = self.drained.load(Ordering::Relaxed);
        if drained == 0 {
            return Duration::from_secs(1);
        }
        let rate = drained as f64 / self.since.elapsed().as_secs_f64();
        Duration::try_from_secs_f64(tokens as f64 / rate).map_or(LONGEST_RETRY, |time| time.min(LONGEST_RETRY))
    }
}

/// The engine: a handle to its threads. Dropping it ends them.
#[derive(Debug)]
pub struct Engine {
    // Above the handles: fields drop in order, and threads end when this sender is gone.
    intake: Option<Sender<Arrival>>,
    threads: Vec<JoinHandle<()>>,
    load: Arc<Load>,
    started: Receiver<Result<(), ScorerError>>,
    workers: usize,
    /// Tokens of a pair at most, by model.
    lengths: Vec<u32>,
}

/// What the engine needs of the rest of the process.
#[derive(Clone, Debug)]
pub struct Surroundings {
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
    pub fn start(options: &Options, models: &Arc<[Model]>, around: &Surroundings) -> std::io::Result<Self> {
        let (intake, taken) = bounded(INTAKE);
        let load = Arc::new(Load {
            queued: AtomicU64::new(0),
            limit: options.queue_tokens,
            drained: AtomicU64::new(0),
            since: Instant::now(),
            metrics: Arc::clone(&around.metrics),
        });
        let workers = worker::spawn(options.workers, models, around)?;
        let tokenisers = tokenise::spawn(options.tokenisers, models)?;
        let waits: Vec<_> = models.iter().map(|model| options.batch_wait.unwrap_or(model.batching.wait)).collect();
        let batching = |(model, wait): (&Model, &Duration)| planner::Batching {
            company: model.company,
            tokens: options.batch_tokens.unwrap_or(model.batching.tokens),
            // Whoever waits for company wants passes to be large.
            spread: if wait.is_zero() { options.workers } else { 1 },
        };
        let planner = planner::Planner::new(&models.iter().zip(&waits).map(batching).collect::<Vec<_>>());
        let dispatcher = dispatcher::spawn((planner, waits), taken, tokenisers.ends, workers.ends)?;
        let lengths = models.iter().map(|model| model.card.max_length).collect();
        let mut threads = vec![dispatcher];
        threads.extend(tokenisers.threads);
        threads.extend(workers.threads);
        Ok(Self { intake: Some(intake), threads, load, started: workers.started, workers: options.workers, lengths })
    }

    /// Blocks until every worker has loaded its models and has run one forward pass of each.
    ///
    /// # Errors
    /// The first worker's failure.
    pub fn wait_until_warm(&self) -> Result<(), StartError> {
        for _ in 0..self.workers {
            let died = || Err(ScorerError::Runtime { message: "a worker died while it was loading".to_owned() });
            self.started.recv().unwrap_or_else(|_| died()).map_err(StartError)?;
        }
        Ok(())
    }

    /// Admits work, or refuses it at once. Outcomes go to `sink`.
    ///
    /// # Errors
    /// [`Refusal`]; `sink` is not called then.
    pub fn submit(&self, work: Work, sink: Arc<dyn Sink>) -> Result<Ticket, Refusal> {
        let Some(intake) = &self.intake else { return Err(Refusal::Closed) };
        let most = work.most_tokens(self.lengths.get(work.model).copied().unwrap_or(u32::MAX));
        let tokens = work.estimated_tokens(most);
        if let Err(queued) = self.load.admit(tokens) {
            self.load.metrics.refusals.get_or_create(&Reason { reason: "queue_full" }).inc();
            let over = (queued + tokens).saturating_sub(self.load.limit);
            return Err(Refusal::Full { queued, limit: self.load.limit, retry_after: self.load.time_for(over) });
        }
        let job = Arc::new(Job::new((work, most), sink, Arc::clone(&self.load)));
        let (arrival, refusal) = match intake.try_send(Arrival::new(Arc::clone(&job))) {
            Ok(()) => return Ok(Ticket { job }),
            Err(TrySendError::Disconnected(arrival)) => (arrival, Refusal::Closed),
            Err(TrySendError::Full(arrival)) => {
                let queued = self.load.queued.load(Ordering::Acquire);
                (arrival, Refusal::Full { queued, limit: self.load.limit, retry_after: Duration::from_secs(1) })
            }
        };
        arrival.defuse();
        self.load.leave(tokens);
        Err(refusal)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.intake = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has been reported by its guard.
            drop(thread.join());
        }
    }
}

impl Work {
    /// Tokens that one pair can become at most with a model of this length.
    fn most_tokens(&self, length: u32) -> u64 {
        let length = self.cut.max_length.map_or(length, |asked| asked.min(length));
        let windows = match self.cut.long_documents {
            LongDocuments::Truncate => 1,
            LongDocuments::MaxPassage { windows } => windows,
        };
        u64::from(length) * u64::from(windows)
    }

    /// Tokens that the whole work is expected to be, from its bytes; of each pair at most `most`.
    fn estimated_tokens(&self, most: u64) -> u64 {
        self.documents.iter().map(|(query, document)| self.estimate((*query, document), most)).sum()
    }

    fn estimate(&self, (query, document): (u32, &str), most: u64) -> u64 {
        let query = self.queries.get(query as usize).map_or(0, |query| query.len());
        (1 + (query + document.len()) as u64 / BYTES_PER_TOKEN).min(most)
    }
}
