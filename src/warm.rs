//! The warm-up client: feeds a running sidecar's cache from files of requests, or from a query log through the search
//! engine's first stage.
//!
//! - `input`: lines of files, plain, gzip or zstd.
//! - `first_stage`: a query's documents, asked of the search engine.
//! - `pace`: how much is sent at once.
//! - `checkpoint`: how far a job came.
//!
//! Owns the job: lines go out in chunks to `POST /v1/cache/warm`, several at once, as many as the sidecar takes; what it
//! refuses for now is sent again later. It must not know how progress is shown.

pub mod checkpoint;
pub mod first_stage;
pub mod input;

mod pace;
mod post;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use checkpoint::{Checkpoint, CheckpointError};
use first_stage::FirstStage;
use input::Input;
use pace::Pace;
use post::{Outcome, Sender};

/// Lines of one chunk at most.
const CHUNK_LINES: usize = 64;

/// Bytes of one chunk at most, but for a single longer line.
const CHUNK_BYTES: usize = 4 << 20;

/// Refusals and broken connections in a row, over all senders, after which a job gives up.
const PATIENCE: u32 = 60;

/// What a job is told.
#[derive(Debug)]
pub struct Options {
    /// Address of the sidecar: `http://host:port`.
    pub url: String,
    /// Chunks on their way at once, at most.
    pub at_once: usize,
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
    /// The sidecar.
    #[error("{url}: refused or did not answer {times} times in a row, last: {last}; what was done is noted")]
    GaveUp {
        /// The address.
        url: String,
        /// How often.
        times: u32,
        /// The last refusal.
        last: String,
    },
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

/// What the senders share.
struct Job<'a> {
    source: Mutex<Source>,
    pace: Pace,
    sender: Sender,
    first_stage: Option<&'a FirstStage>,
    observer: &'a dyn Observer,
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
    /// Refusals since the last chunk that was taken.
    in_a_row: u32,
    failure: Option<WarmError>,
}

/// Runs a job to its end.
///
/// # Errors
/// [`WarmError`]; the checkpoint says how far it came.
pub fn run(mut input: Input, options: &Options, observer: &dyn Observer) -> Result<Totals, WarmError> {
    let checkpoint = Checkpoint::open(options.checkpoint.clone(), input.name())?;
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
        sender: Sender::new(&options.url),
        first_stage: options.first_stage.as_ref(),
        observer,
        state: Mutex::new(State { totals, checkpoint, in_a_row: 0, failure: None }),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.at_once.max(1) {
            scope.spawn(|| job.work());
        }
    });
    let state = job.state.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        let (body, unread) = self.body(chunk);
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
            }
        }
    }

    /// What is sent of a chunk, and the lines that the first stage had no documents for. A line at fault is sent empty, so
    /// that numbers stay.
    fn body(&self, chunk: &Chunk) -> (Vec<u8>, Vec<(u64, String)>) {
        let (mut body, mut unread) = (Vec::new(), Vec::new());
        for (line, number) in chunk.lines.iter().zip(1..) {
            let found = self.first_stage.map(|stage| stage.documents(line));
            match found {
                None => body.extend_from_slice(line.as_bytes()),
                Some(Ok(request)) => body.extend_from_slice(&request),
                Some(Err(error)) => unread.push((number, error.to_string())),
            }
            body.push(b'\n');
        }
        (body, unread)
    }

    fn done(&self, chunk: &Chunk, taken: &post::Taken, unread: u64) {
        let mut state = lock(&self.state);
        state.in_a_row = 0;
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
        state.in_a_row += 1;
        let times = state.in_a_row;
        drop(state);
        if times >= PATIENCE {
            return self.stop(WarmError::GaveUp { url: self.sender.url().to_owned(), times, last: why });
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
