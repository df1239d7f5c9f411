//! What waits, how fast it goes, and so whether more can be promised an answer in time.
//!
//! Owns the books of admitted requests: how many estimated tokens each has left and when its caller stops waiting. A
//! request is admitted when the queue has room, when its own predicted finish lies before its deadline, and when nobody
//! who was promised an answer would lose it.
//!
//! **Prediction.** The planner serves requests in equal shares, so by the time that one with `r` tokens left is done,
//! every other has had `r` tokens or all of its own, whichever is less: it is done when the sum of these has been served.
//! The rate is the workers' recent one ([`Speed`]), not an average since the start.
//!
//! **Promises.** A request is admitted when it is predicted to need no more than [`PROMISED_PERCENT`] of its time; later
//! ones may use what that leaves. So small requests flow beside a large one, and a large one keeps its deadline.
//!
//! [`Books`] is pure: no clock, no locks. [`Ledger`] puts it under the one lock of the engine, which is held for
//! arithmetic only and under which no other is taken. It must not know texts, batches or threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::Priority;
use crate::metrics::{Metrics, Reason};

/// How much of its time a new request may be predicted to need.
const PROMISED_PERCENT: u32 = 80;

/// Who is predicted to need more than this much of its time will be late whatever is refused to others.
const HOPELESS_PERCENT: u32 = 150;

/// The share of the queue that warm-up work may fill: the rest is there for searches whenever they come.
const WARM_UP_SHARE: u64 = 2;

/// Workers' time over which the rate is averaged: long enough to even batches out, short enough to follow a change.
const MEMORY: Duration = Duration::from_secs(2);

/// Forward passes that must have been seen before a rate is believed.
const LEAST_PASSES: u32 = 3;

/// A forward pass is handed out whole, so a request may wait for one more than its share says, and another request's
/// last one: what is added to every prediction.
const GRAINS: u32 = 2;

/// The longest time that a refused caller is told to wait: past it the estimate says nothing.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// What a caller who is refused before any rate is known is told to wait.
const BLIND_RETRY: Duration = Duration::from_secs(1);

/// Names an admitted request in the books.
pub(super) type EntryId = u64;

/// What a request asks of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Its estimated tokens.
    pub(super) tokens: u64,
    /// When its caller stops waiting.
    pub(super) deadline: Instant,
    /// Who waits.
    pub(super) priority: Priority,
    /// Whether its caller takes a part of the answer, so that being late costs nothing.
    pub(super) partial: bool,
}

/// Why a request is not taken, and when it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) why: Why,
    /// Estimated tokens waiting.
    pub(super) queued: u64,
    pub(super) retry_after: Duration,
}

/// See [`Denied`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The queue has no room.
    Full,
    /// It would be late; predicted to take this long.
    Late(Duration),
    /// Somebody who was admitted before would be late.
    Crowded,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Late(_) => "late",
            Self::Crowded => "crowded",
        }
    }
}

/// How fast workers go, from their recent forward passes.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    tokens: f64,
    seconds: f64,
    passes: f64,
    seen: u32,
}

impl Speed {
    /// A worker got through `tokens` in `time`. `memory` is in workers' time.
    fn ran(&mut self, tokens: u64, time: Duration, memory: Duration) {
        let seconds = time.as_secs_f64();
        let kept = (-seconds / memory.as_secs_f64().max(0.001)).exp();
        self.tokens = self.tokens * kept + tokens as f64;
        self.seconds = self.seconds * kept + seconds;
        // Time without tokens is what a worker spends between two passes.
        let pass = u32::from(tokens > 0);
        self.passes = self.passes * kept + f64::from(pass);
        self.seen = self.seen.saturating_add(pass);
    }

    /// Tokens a second of one worker, once enough was seen to say so.
    fn of_one(&self) -> Option<f64> {
        (self.seen >= LEAST_PASSES && self.seconds > 0.0 && self.tokens > 0.0).then(|| self.tokens / self.seconds)
    }

    /// Seconds of one forward pass.
    fn grain(&self) -> f64 {
        if self.passes > 0.0 { self.seconds / self.passes } else { 0.0 }
    }
}

/// A request that was admitted and is not finished.
#[derive(Clone, Copy, Debug)]
struct Entry {
    left: u64,
    deadline: Instant,
    priority: Priority,
    partial: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Books {
    limit: u64,
    entries: HashMap<EntryId, Entry>,
    next: EntryId,
    live: u64,
    warm_up: u64,
    speed: Speed,
    workers: u32,
}

impl Books {
    pub(super) fn new(limit: u64, workers: usize) -> Self {
        Self {
            limit,
            entries: HashMap::new(),
            next: 0,
            live: 0,
            warm_up: 0,
            speed: Speed::default(),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
        }
    }

    /// Admits a request, or says why not.
    pub(super) fn admit(&mut self, asked: &Asked, now: Instant) -> Result<EntryId, Denied> {
        self.room(asked)?;
        if asked.priority == Priority::Live {
            self.in_time(asked, now)?;
        }
        let id = self.next;
        self.next += 1;
        *self.queue(asked.priority) += asked.tokens;
        let Asked { tokens: left, deadline, priority, partial } = *asked;
        self.entries.insert(id, Entry { left, deadline, priority, partial });
        Ok(id)
    }

    /// A request larger than the whole limit is admitted when nothing else of its priority waits: refusing it for ever
    /// would make the limit a size limit. Warm-up work never stands in the way of live work.
    fn room(&self, asked: &Asked) -> Result<(), Denied> {
        let (waiting, limit) = match asked.priority {
            Priority::Live => (self.live, self.limit),
            Priority::WarmUp => (self.warm_up, self.limit / WARM_UP_SHARE),
        };
        if waiting == 0 || waiting.saturating_add(asked.tokens) <= limit {
            return Ok(());
        }
        let over = (waiting + asked.tokens).saturating_sub(limit);
        Err(self.denied(Why::Full, self.time_for(over)))
    }

    /// Checks the new request's deadline and everybody else's. Alone in the engine, a request is always tried: nobody is
    /// harmed, and a rate that has become wrong is learnt anew.
    fn in_time(&self, asked: &Asked, now: Instant) -> Result<(), Denied> {
        let Some(rate) = self.rate() else { return Ok(()) };
        let live = self.entries.values().filter(|entry| entry.priority == Priority::Live);
        let shares = Shares::of(live.map(|entry| Share::of(entry, now)).collect());
        if shares.sorted.is_empty() {
            return Ok(());
        }
        let grain = self.speed.grain() * f64::from(GRAINS);
        let finish = |tokens: u64| tokens as f64 / rate + grain;
        let part_of = |slack: f64, percent: u32| slack * f64::from(percent) / 100.0;
        let own = finish(shares.served(asked.tokens) + asked.tokens);
        let promised = part_of(asked.deadline.saturating_duration_since(now).as_secs_f64(), PROMISED_PERCENT);
        if !asked.partial && own > promised {
            return Err(self.denied(Why::Late(seconds(own)), seconds(own - promised)));
        }
        let broken = shares.sorted.iter().find(|one| {
            let before = shares.served(one.left);
            let hopeless = finish(before) - grain > part_of(one.slack, HOPELESS_PERCENT);
            !one.partial && !hopeless && finish(before + asked.tokens.min(one.left)) > one.slack
        });
        match broken {
            Some(one) => Err(self.denied(Why::Crowded, seconds(finish(shares.served(one.left))))),
            None => Ok(()),
        }
    }

    fn denied(&self, why: Why, retry_after: Duration) -> Denied {
        Denied { why, queued: self.live + self.warm_up, retry_after: retry_after.min(LONGEST_RETRY) }
    }

    /// Tokens of a request are off the queue, whatever came of them.
    pub(super) fn leave(&mut self, id: EntryId, tokens: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let gone = tokens.min(entry.left);
        let priority = entry.priority;
        entry.left -= gone;
        if entry.left == 0 {
            self.entries.remove(&id);
        }
        *self.queue(priority) -= gone;
    }

    /// A worker got through `tokens` in `time`.
    pub(super) fn ran(&mut self, tokens: u64, time: Duration) {
        self.speed.ran(tokens, time, MEMORY * self.workers.max(1));
    }

    /// Workers that take work now.
    pub(super) fn workers(&mut self, workers: u32) {
        self.workers = workers;
    }

    /// Estimated tokens that wait.
    pub(super) const fn queued(&self) -> u64 {
        self.live + self.warm_up
    }

    /// Tokens a second of all workers together.
    pub(super) fn rate(&self) -> Option<f64> {
        self.speed.of_one().map(|one| one * f64::from(self.workers.max(1)))
    }

    /// How long one worker takes for `tokens`, when that is known.
    pub(super) fn expected(&self, tokens: u64) -> Option<Duration> {
        self.speed.of_one().map(|one| seconds(tokens as f64 / one).max(seconds(self.speed.grain())))
    }

    fn time_for(&self, tokens: u64) -> Duration {
        self.rate().map_or(BLIND_RETRY, |rate| seconds(tokens as f64 / rate))
    }

    const fn queue(&mut self, priority: Priority) -> &mut u64 {
        match priority {
            Priority::Live => &mut self.live,
            Priority::WarmUp => &mut self.warm_up,
        }
    }
}

/// One request under equal sharing.
#[derive(Clone, Copy, Debug)]
struct Share {
    left: u64,
    /// Seconds until its deadline.
    slack: f64,
    partial: bool,
}

impl Share {
    fn of(entry: &Entry, now: Instant) -> Self {
        let slack = entry.deadline.saturating_duration_since(now).as_secs_f64();
        Self { left: entry.left, slack, partial: entry.partial }
    }
}

/// All requests that share, the smallest first.
#[derive(Debug)]
struct Shares {
    sorted: Vec<Share>,
    /// The sum of what the first ones have left, for none of them, the first, the first two...
    sums: Vec<u64>,
}

impl Shares {
    fn of(mut sorted: Vec<Share>) -> Self {
        sorted.sort_unstable_by_key(|share| share.left);
        let mut sums = vec![0];
        sums.extend(sorted.iter().scan(0, |sum, share| {
            *sum += share.left;
            Some(*sum)
        }));
        Self { sorted, sums }
    }

    /// Tokens of these that are served under equal sharing until one with `left` tokens is done: of each, all it has left
    /// or as many as that one's, whichever is less.
    fn served(&self, left: u64) -> u64 {
        let smaller = self.sorted.partition_point(|share| share.left <= left);
        let larger = (self.sorted.len() - smaller) as u64;
        self.sums.get(smaller).copied().unwrap_or(0) + larger * left
    }
}

/// Never negative, never beyond what a caller can be told.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// The books, for all threads.
#[derive(Debug)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    pub(super) fn new(books: Books, metrics: Arc<Metrics>) -> Self {
        Self { books: Mutex::new(books), metrics }
    }

    /// Admits a request, or counts and tells why not.
    pub(super) fn admit(&self, asked: &Asked) -> Result<EntryId, Denied> {
        let now = Instant::now();
        let mut books = self.books();
        let admitted = books.admit(asked, now);
        self.show(&books);
        drop(books);
        admitted.inspect_err(|denied| self.refused(denied.why.word()))
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.metrics.refusals.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn leave(&self, id: EntryId, tokens: u64) {
        let mut books = self.books();
        books.leave(id, tokens);
        self.show(&books);
    }

    pub(super) fn ran(&self, tokens: u64, time: Duration) {
        let mut books = self.books();
        books.ran(tokens, time);
        self.show(&books);
    }

    pub(super) fn workers(&self, workers: u32) {
        self.books().workers(workers);
    }

    pub(super) fn queued(&self) -> u64 {
        self.books().queued()
    }

    pub(super) fn expected(&self, tokens: u64) -> Option<Duration> {
        self.books().expected(tokens)
    }

    pub(super) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn show(&self, books: &Books) {
        self.metrics.queue_tokens.set(i64::try_from(books.queued()).unwrap_or(i64::MAX));
        #[expect(clippy::cast_possible_truncation, reason = "no machine does 2^63 tokens a second")]
        self.metrics.drain_tokens_per_second.set(books.rate().unwrap_or(0.0) as i64);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // No code that can panic runs under this lock; poisoned books are whole all the same.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
