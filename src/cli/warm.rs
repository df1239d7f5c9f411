//! The warm-up client: feeds a running sidecar's cache from files of requests, or from a query log through the search
//! engine's first stage.
//!
//! - `input`: lines of files, plain, gzip or zstd.
//! - `first_stage`: a query's documents, asked of the search engine.
//! - `pace`: how much is sent at once.
//! - `checkpoint`: how far a job came.
//!
//! Owns the job: lines go out in chunks to `POST /v1/cache/warm`, several at once, as many as the sidecar takes; what it
//! refuses for now is sent again later; what it refuses for good ends the job. It must not know how progress is shown.

pub mod checkpoint;
pub mod first_stage;
pub mod input;

mod pace;
mod post;

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_process::sync::{held, lock};

use checkpoint::{Checkpoint, CheckpointError};
use first_stage::{FirstStage, FirstStageError};
use input::Input;
use pace::Pace;
use post::{Outcome, Sender};

pub use post::Secret;

/// Lines of one chunk at most.
const CHUNK_LINES: usize = 64;

/// Bytes of one chunk at most, but for a single longer line.
const CHUNK_BYTES: usize = 4 << 20;

/// Pauses between tries of a search, one a try.
const SEARCH_PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];

/// What a job is given.
#[derive(Debug)]
pub struct Options {
    /// Address of the sidecar: `http://host:port`.
    pub url: String,
    /// The sidecar's key, where it wants one.
    pub key: Option<Secret>,
    /// Chunks on their way at once, at most.
    pub at_once: usize,
    /// How long the sidecar may take nothing before the job gives up.
    pub patience: Duration,
    /// Where the job notes how far it came; a job that finds a note of the same input goes on from there.
    pub checkpoint: Option<PathBuf>,
    /// Where the documents come from, when lines are queries alone.
    pub first_stage: Option<FirstStage>,
}

/// What a job has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lines done in this run, those at fault included.
    pub lines: u64,
    /// Lines that an earlier run had done.
    pub resumed: u64,
    /// Pairs scored or found.
    pub pairs: u64,
    /// Pairs that the cache held already.
    pub hits: u64,
    /// Lines that could not be scored.
    pub failed: u64,
    /// Chunks that were sent again.
    pub retries: u64,
}

/// Who watches a job. Called from several threads.
pub trait Observer: Sync {
    /// A chunk is done; `at` is the place in the input's files.
    fn advance(&self, totals: &Totals, at: u64);
    /// A line is at fault.
    fn fault(&self, line: u64, error: &str);
    /// Something that whoever waits for the job may want to know.
    fn note(&self, what: &str);
}

/// Why a job ended before its input.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// The input.
    #[error("input: cannot be read")]
    Input(#[from] io::Error),
    /// The note of an earlier run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The sidecar is busy or gone.
    #[error("{url}: took nothing for {} s, last: {last}", patience.as_secs())]
    GaveUp {
        /// The address.
        url: String,
        /// For how long.
        patience: Duration,
        /// The last refusal.
        last: String,
    },
    /// The sidecar refused for good.
    #[error("{url}: {why}")]
    Refused {
        /// The address.
        url: String,
        /// What it said.
        why: String,
    },
    /// The search engine refused for good.
    #[error(transparent)]
    FirstStage(FirstStageError),
}

/// Lines that are sent together.
struct Chunk {
    /// Counts chunks, from 0.
    number: u64,
    /// Number of its first line, from 1.
    first: u64,
    lines: Vec<String>,
    /// The place in the input behind it.
    at: u64,
}

/// What is sent of a chunk, and its lines that are at fault before that, by their number in it.
type Body = (Vec<u8>, Vec<(u64, String)>);

/// What the senders share.
struct Job<'a> {
    source: Mutex<Source>,
    pace: Pace,
    sender: Sender,
    first_stage: Option<&'a FirstStage>,
    observer: &'a dyn Observer,
    patience: Duration,
    state: Mutex<State>,
    over: AtomicBool,
}

struct Source {
    input: Input,
    next: u64,
}

struct State {
    totals: Totals,
    checkpoint: Checkpoint,
    /// The last refusal that was reported, and since when nothing was taken; `None` while chunks are taken.
    waiting: Option<(String, Instant)>,
    failure: Option<WarmError>,
}

/// Runs a job to its end.
///
/// # Errors
/// [`WarmError`]; the checkpoint says how far it came.
pub fn run(mut input: Input, options: &Options, observer: &dyn Observer) -> Result<Totals, WarmError> {
    let checkpoint = Checkpoint::open(options.checkpoint.clone(), &input.identity()?)?;
    if checkpoint.is_replaced() {
        observer.note("the checkpoint is of another input; beginning with the first line");
    }
    let resumed = checkpoint.lines();
    for _ in 0..resumed {
        if input.next_line()?.is_none() {
            break;
        }
    }
    let totals = Totals { resumed, ..Totals::default() };
    let job = Job {
        source: Mutex::new(Source { input, next: 0 }),
        pace: Pace::new(options.at_once),
        sender: Sender::new(&options.url, options.key.clone()),
        first_stage: options.first_stage.as_ref(),
        observer,
        patience: options.patience,
        state: Mutex::new(State { totals, checkpoint, waiting: None, failure: None }),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.at_once.max(1) {
            scope.spawn(|| job.work());
        }
    });
    let state = held(job.state.into_inner());
    match state.failure {
        None => {
            state.checkpoint.remove()?;
            Ok(state.totals)
        }
        Some(failure) => Err(failure),
    }
}

impl Job<'_> {
    fn work(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let chunk = match lock(&self.source).chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return,
                Err(error) => return self.stop(error.into()),
            };
            self.send(&chunk);
        }
    }

    /// Sends a chunk until it is taken or the job ends.
    fn send(&self, chunk: &Chunk) {
        let (body, unread) = match self.body(chunk) {
            Ok(body) => body,
            Err(error) => return self.stop(WarmError::FirstStage(error)),
        };
        while !self.over.load(Ordering::Relaxed) {
            let permit = self.pace.enter();
            let outcome = self.sender.post(&body);
            drop(permit);
            match outcome {
                Outcome::Taken(taken) => {
                    self.pace.faster();
                    for (line, error) in taken.faults.iter().chain(&unread) {
                        self.observer.fault(chunk.first + line - 1, error);
                    }
                    return self.done(chunk, &taken, unread.len() as u64);
                }
                Outcome::Later { pause, why } => self.later(pause, why),
                Outcome::Refused { why } => {
                    return self.stop(WarmError::Refused { url: self.sender.url().to_owned(), why });
                }
            }
        }
    }

    /// What is sent of a chunk, and the lines that the first stage had no documents for. A line at fault is sent empty, so
    /// that numbers stay.
    fn body(&self, chunk: &Chunk) -> Result<Body, FirstStageError> {
        let (mut body, mut unread) = (Vec::new(), Vec::new());
        for (line, number) in chunk.lines.iter().zip(1..) {
            match self.first_stage.map(|stage| self.search(stage, line)) {
                None => body.extend_from_slice(line.as_bytes()),
                Some(Ok(request)) => body.extend_from_slice(&request),
                Some(Err(error)) if error.is_final() => return Err(error),
                Some(Err(error)) => unread.push((number, error.to_string())),
            }
            body.push(b'\n');
        }
        Ok((body, unread))
    }

    /// Asks the search engine, and asks again what it was too busy for.
    fn search(&self, stage: &FirstStage, line: &str) -> Result<Vec<u8>, FirstStageError> {
        for pause in SEARCH_PAUSES {
            match stage.documents(line) {
                Err(error) if error.is_passing() && !self.over.load(Ordering::Relaxed) => std::thread::sleep(pause),
                other => return other,
            }
        }
        stage.documents(line)
    }

    fn done(&self, chunk: &Chunk, taken: &post::Taken, unread: u64) {
        let mut state = lock(&self.state);
        state.waiting = None;
        state.totals.lines += chunk.lines.len() as u64;
        state.totals.pairs += taken.pairs;
        state.totals.hits += taken.hits;
        state.totals.failed += taken.failed + unread;
        let noted = state.checkpoint.done(chunk.number, chunk.lines.len() as u64);
        let totals = state.totals;
        drop(state);
        self.observer.advance(&totals, chunk.at);
        if let Err(error) = noted {
            self.stop(error.into());
        }
    }

    fn later(&self, pause: Duration, why: String) {
        self.pace.slower();
        let mut state = lock(&self.state);
        state.totals.retries += 1;
        let (reported, since) = state.waiting.get_or_insert_with(|| (String::new(), Instant::now()));
        let waited = since.elapsed();
        // Once for each reason, not once for each try.
        let news = (*reported != why).then(|| reported.clone_from(&why));
        drop(state);
        if waited >= self.patience {
            let url = self.sender.url().to_owned();
            return self.stop(WarmError::GaveUp { url, patience: self.patience, last: why });
        }
        if news.is_some() {
            self.observer.note(&format!("waiting for {}: {why}", self.sender.url()));
        }
        std::thread::sleep(pause);
    }

    fn stop(&self, error: WarmError) {
        lock(&self.state).failure.get_or_insert(error);
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Source {
    fn chunk(&mut self) -> io::Result<Option<Chunk>> {
        let first = self.input.lines() + 1;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            let Some(line) = self.input.next_line()? else { break };
            bytes += line.len();
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        Ok(Some(Chunk { number, first, lines, at: self.input.at() }))
    }
}
