//! What waits, how fast it goes, and so whether more can be promised an answer in time.
//!
//! Owns the account of admitted requests: how many tokens each has left and when its caller stops waiting. What is left
//! is estimated until its texts are read, then known; what of it is still unread is scaled by what was read so far, and
//! later requests' estimates by what the model's texts lately turned out to be. A request is admitted when the queue
//! has room, when its own predicted finish lies before its deadline, and when nobody who was promised an answer would
//! lose it.
//!
//! **Prediction.** The planner serves a model's requests in equal shares, so by the time that one with `r` tokens left is
//! done, every other of its model has had `r` tokens or all of its own, whichever is less. Models share by weight, so by
//! the time that one has had so many tokens, every other has had as many by weight, or all of its own. The request is done
//! when the sum of these has been served. The rate is the workers' recent one ([`Speed`]), not an average since the start.
//!
//! **Room.** Each model has its part of the queue ([`Quota`]), so that a burst on one cannot fill it for the others.
//!
//! **Promises.** A request is admitted when it is predicted to need no more than [`PROMISED_PERCENT`] of its time; later
//! ones may use what that leaves. So small requests flow beside a large one, and a large one keeps its deadline. One that
//! is tried without such a prediction, because nothing else waits, is promised nothing: nobody is refused for its sake.
//!
//! [`AdmissionState`] is pure: no clock, no locks. [`Admission`] puts it under the one lock of the engine, which is
//! held for arithmetic only and under which no other is taken. It must not know texts, batches or threads.

mod entry;
mod shares;
mod speed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rescored_core::domain::Priority;
use rescored_process::metrics::{Level, Metrics, Reason, Refused, Served};
use rescored_process::sync::lock;

use super::options::Quota;

use entry::Entry;
pub(super) use entry::{Asked, EntryId, Pending, RejectReason, Rejection};
use shares::{Loads, Share};
use speed::Speed;

/// How much of its time a new request may be predicted to need.
const PROMISED_PERCENT: u32 = 80;

/// Who is predicted to need more than this much of its time will be late whatever is refused to others.
const HOPELESS_PERCENT: u32 = 150;

/// The share of a model's queue that warm-up work may fill: the rest is there for searches whenever they come.
const WARM_UP_SHARE: u64 = 2;

/// Workers' time over which the rate is averaged: long enough to even batches out, short enough to follow a change.
const MEMORY: Duration = Duration::from_secs(2);

/// A forward pass is handed out whole, so a request may wait for one more than its share says, and another request's
/// last one: what is added to every prediction. Every other model that has work may have a pass out before, too.
const GRAINS: usize = 2;

/// The longest time that a refused caller is asked to wait: past it the estimate says nothing.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// What a caller who is refused before any rate is known is asked to wait.
const BLIND_RETRY: Duration = Duration::from_secs(1);

/// Estimated tokens of read texts over which a model's estimates are held against what they turned out to be.
const LEARNT: f64 = 50_000.0;

/// How far estimates are scaled at most, either way: beyond it the text is not like those before.
const MOST_SCALE: f64 = 8.0;

/// See the module.
#[derive(Debug)]
pub(super) struct AdmissionState {
    models: Vec<Queue>,
    /// In order, so that the same calls always have the same outcome.
    entries: BTreeMap<EntryId, Entry>,
    next: EntryId,
    speed: Speed,
    workers: u32,
}

/// What waits for a model.
#[derive(Clone, Copy, Debug)]
struct Queue {
    quota: Quota,
    live: u64,
    warm_up: u64,
    /// Of pairs that were lately read: what they were estimated at without a scale, and what they are.
    learnt: (f64, f64),
}

impl AdmissionState {
    /// The admission state of an engine whose models have these quotas.
    pub(super) fn new(quotas: &[Quota], workers: usize) -> Self {
        Self {
            models: quotas
                .iter()
                .map(|&quota| Queue { quota, live: 0, warm_up: 0, learnt: (LEARNT, LEARNT) })
                .collect(),
            entries: BTreeMap::new(),
            next: 0,
            speed: Speed::default(),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
        }
    }

    /// Admits a request, or says why not.
    pub(super) fn admit(&mut self, asked: &Asked, now: Instant) -> Result<EntryId, Rejection> {
        let loads = self.loads(now);
        self.room(asked, &loads)?;
        let promised = match asked.priority {
            Priority::Live => self.in_time(asked, &loads, now)?,
            Priority::WarmUp => false,
        };
        let id = self.next;
        self.next += 1;
        let Asked { model, tokens: unread, deadline, priority, partial: _ } = *asked;
        if let Some(waiting) = self.waiting(model, priority) {
            *waiting += unread;
        }
        self.entries.insert(id, Entry { model, known: 0, unread, learnt: (0, 0), deadline, priority, promised });
        Ok(id)
    }

    /// A request larger than the whole limit is admitted when nothing else of its model and priority waits: refusing it
    /// for ever would make the limit a size limit. Warm-up work never stands in the way of live work.
    fn room(&self, asked: &Asked, loads: &Loads) -> Result<(), Rejection> {
        let Some(queue) = self.models.get(asked.model) else { return Ok(()) };
        let limit = queue.quota.queue_tokens;
        let (waiting, most) = match asked.priority {
            Priority::Live => (queue.live, limit),
            Priority::WarmUp => (queue.warm_up, limit / WARM_UP_SHARE),
        };
        if waiting == 0 || waiting.saturating_add(asked.tokens) <= most {
            return Ok(());
        }
        let over = (waiting + asked.tokens).saturating_sub(most);
        let retry_after = self.time_for(loads.until(asked.model, over, None)).min(LONGEST_RETRY);
        Err(Rejection { why: RejectReason::Full, queued: queue.live + queue.warm_up, limit, retry_after })
    }

    /// Checks the new request's deadline and everybody else's; whether it is promised an answer in time. Alone in the
    /// engine, a request is always tried: nobody is harmed, and a rate that has become wrong is learnt anew.
    fn in_time(&self, asked: &Asked, loads: &Loads, now: Instant) -> Result<bool, Rejection> {
        let Some(rate) = self.rate() else { return Ok(!asked.partial) };
        let busy = loads.busy();
        #[expect(clippy::cast_precision_loss, reason = "models are few")]
        let grain = self.speed.grain() * (GRAINS + busy.max(1) - 1) as f64;
        let finish = |tokens: u64| tokens as f64 / rate + grain;
        let part_of = |slack: f64, percent: u32| slack * f64::from(percent) / 100.0;
        let own = finish(loads.until(asked.model, loads.served(asked.model, asked.tokens) + asked.tokens, None));
        let promised = part_of(asked.deadline.saturating_duration_since(now).as_secs_f64(), PROMISED_PERCENT);
        let in_time = own <= promised;
        if busy > 0 && !asked.partial && !in_time {
            return Err(self.rejection(RejectReason::Late(seconds(own)), asked, seconds(own - promised)));
        }
        let broken = loads.all().find_map(|(model, one)| {
            let served = loads.served(model, one.left);
            let before = loads.until(model, served, None);
            let with = if model == asked.model { served + asked.tokens.min(one.left) } else { served };
            let after = loads.until(model, with, Some((asked.model, asked.tokens)));
            let hopeless = finish(before) - grain > part_of(one.slack, HOPELESS_PERCENT);
            (one.promised && !hopeless && finish(after) > one.slack).then_some(before)
        });
        match broken {
            Some(before) => Err(self.rejection(RejectReason::Crowded, asked, seconds(finish(before)))),
            None => Ok(in_time && !asked.partial),
        }
    }

    fn rejection(&self, why: RejectReason, asked: &Asked, retry_after: Duration) -> Rejection {
        let limit = self.models.get(asked.model).map_or(0, |queue| queue.quota.queue_tokens);
        Rejection { why, queued: self.queued(), limit, retry_after: retry_after.min(LONGEST_RETRY) }
    }

    /// Live requests that share, by model.
    fn loads(&self, now: Instant) -> Loads {
        let mut shares: Vec<Vec<Share>> = vec![Vec::new(); self.models.len()];
        for entry in self.entries.values().filter(|entry| entry.priority == Priority::Live) {
            if let Some(shares) = shares.get_mut(entry.model) {
                shares.push(entry.share(now));
            }
        }
        let weights = self.models.iter().map(|queue| queue.quota.weight);
        Loads::of(shares.into_iter().zip(weights))
    }

    /// A pair of a request is off the queue, whatever came of it.
    pub(super) fn leave(&mut self, id: EntryId, pair: Pending) {
        self.change(id, |entry| match pair {
            Pending::Unread(estimated) => entry.unread = entry.unread.saturating_sub(estimated),
            Pending::Read(tokens) => entry.known = entry.known.saturating_sub(tokens),
        });
        if self.entries.get(&id).is_some_and(|entry| entry.known == 0 && entry.unread == 0) {
            self.entries.remove(&id);
        }
    }

    /// A pair of a request was read: it is `tokens`, and was estimated at `estimated`, which is `scale` times the plain
    /// estimate.
    pub(super) fn read(&mut self, id: EntryId, estimated: u64, scale: f64, tokens: u64) {
        let model = self.entries.get(&id).map(|entry| entry.model);
        self.change(id, |entry| {
            entry.unread = entry.unread.saturating_sub(estimated);
            entry.known += tokens;
            entry.learnt.0 += estimated;
            entry.learnt.1 += tokens;
        });
        if let Some(queue) = model.and_then(|model| self.models.get_mut(model)) {
            let plain = estimated as f64 / scale;
            let kept = (-plain / LEARNT).exp();
            queue.learnt = (queue.learnt.0 * kept + plain, queue.learnt.1 * kept + tokens as f64);
        }
    }

    /// How many times their plain estimate a model's texts lately were.
    pub(super) fn scale(&self, model: usize) -> f64 {
        let learnt = self.models.get(model).map_or((1.0, 1.0), |queue| queue.learnt);
        (learnt.1 / learnt.0).clamp(1.0 / MOST_SCALE, MOST_SCALE)
    }

    fn change(&mut self, id: EntryId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = entry.left();
        change(entry);
        let (model, priority, after) = (entry.model, entry.priority, entry.left());
        if let Some(waiting) = self.waiting(model, priority) {
            *waiting = waiting.saturating_sub(before) + after;
        }
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
    pub(super) fn queued(&self) -> u64 {
        self.by_model().sum()
    }

    /// The same by model.
    pub(super) fn by_model(&self) -> impl Iterator<Item = u64> {
        self.models.iter().map(|queue| queue.live + queue.warm_up)
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

    fn waiting(&mut self, model: usize, priority: Priority) -> Option<&mut u64> {
        let queue = self.models.get_mut(model)?;
        Some(match priority {
            Priority::Live => &mut queue.live,
            Priority::WarmUp => &mut queue.warm_up,
        })
    }
}

/// Never negative, never beyond what an answer can carry.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// The admission state, for all threads.
#[derive(Debug)]
pub(super) struct Admission {
    state: Mutex<AdmissionState>,
    /// By model.
    served: Vec<Served>,
    /// Estimated tokens that wait, by model.
    levels: Vec<Level>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// The admission state of an engine over models of these names.
    pub(super) fn new(state: AdmissionState, models: impl Iterator<Item = String>, metrics: Arc<Metrics>) -> Self {
        let served: Vec<Served> = models.map(|model| Served { model }).collect();
        let levels = served.iter().map(|served| metrics.model_queue_tokens.get_or_create(served).clone()).collect();
        Self { state: Mutex::new(state), served, levels, metrics }
    }

    /// Admits a request, or counts and says why not.
    pub(super) fn admit(&self, asked: &Asked, now: Instant) -> Result<EntryId, Rejection> {
        let mut state = self.state();
        let admitted = state.admit(asked, now);
        self.show(&state);
        drop(state);
        admitted.inspect_err(|rejection| self.refused(asked.model, rejection.why.word()))
    }

    pub(super) fn refused(&self, model: usize, reason: &'static str) {
        self.metrics.refusals.get_or_create(&Reason { reason }).inc();
        if let Some(served) = self.served.get(model) {
            let label = Refused { model: served.model.clone(), reason };
            self.metrics.model_refusals.get_or_create(&label).inc();
        }
    }

    pub(super) fn leave(&self, id: EntryId, pair: Pending) {
        let mut state = self.state();
        state.leave(id, pair);
        self.show(&state);
    }

    pub(super) fn read(&self, id: EntryId, estimated: u64, scale: f64, tokens: u64) {
        let mut state = self.state();
        state.read(id, estimated, scale, tokens);
        self.show(&state);
    }

    pub(super) fn scale(&self, model: usize) -> f64 {
        self.state().scale(model)
    }

    pub(super) fn ran(&self, tokens: u64, time: Duration) {
        let mut state = self.state();
        state.ran(tokens, time);
        self.show(&state);
    }

    pub(super) fn workers(&self, workers: u32) {
        self.state().workers(workers);
    }

    pub(super) fn queued(&self) -> u64 {
        self.state().queued()
    }

    pub(super) fn expected(&self, tokens: u64) -> Option<Duration> {
        self.state().expected(tokens)
    }

    pub(super) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn show(&self, state: &AdmissionState) {
        let level = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        self.metrics.queue_tokens.set(level(state.queued()));
        for (shown, tokens) in self.levels.iter().zip(state.by_model()) {
            shown.set(level(tokens));
        }
        #[expect(clippy::cast_possible_truncation, reason = "no machine does 2^63 tokens a second")]
        self.metrics.drain_tokens_per_second.set(state.rate().unwrap_or(0.0) as i64);
    }

    fn state(&self) -> MutexGuard<'_, AdmissionState> {
        // No code that can panic runs under this lock; a poisoned state is whole all the same.
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests;
