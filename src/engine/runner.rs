//! What a worker does with the work on its desk, without the forward pass itself: the time and what a pass came to are told.
//!
//! Owns what happens when a pass fails: a failed batch is halved until the pair that fails stands alone, the pairs of a
//! stuck one are tried one by one, and a scorer that panicked is built anew, after pauses that grow while nothing
//! succeeds. It must not know scorers, channels or clocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_runtime::{Brake, ScorerError};

use super::PairFault;
use super::planner::{Spent, work};
use super::pool::Pool;
use super::slot::{Part, Replaced, Run, Slot, Stopped};

/// The pause before a scorer is built again when the last one served nothing: the first, and the longest.
const REBUILD_PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(10)];

/// Passes that fail one after the other before the scorer itself is blamed: halving a pass of any size down to one bad pair
/// takes fewer, while a device that is lost fails them all.
const LOST: u32 = 24;

/// Times in a row that a scorer is built in vain, or serves nothing once it is built, before its device is lost.
const LOSSES: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) pool: Arc<Pool>,
    pub(super) number: usize,
    generation: u64,
    /// The pause before the next rebuild; zero after a success.
    pause: Duration,
    /// Passes that failed since the last one that did not.
    failures: u32,
    /// Scorers built in vain since then.
    losses: u32,
    /// That was often enough to call the device lost, and nothing has succeeded since.
    in_vain: bool,
    /// Its scorers are not to be trusted any more.
    broken: bool,
}

/// A forward pass that is going on.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) part: Arc<Part>,
    started: Instant,
    tokens: u64,
}

/// What a forward pass came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// One number a pair, it is hoped.
    Logits(Vec<f32>),
    /// It failed as a whole.
    Failed(ScorerError),
    /// It panicked.
    Panicked,
}

/// Tokens of a forward pass as it was laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) tokens: u64,
    pub(super) padding: u64,
}

#[cfg(any(test, feature = "testing"))]
impl Begun {
    pub(super) const fn started(&self) -> Instant {
        self.started
    }
}

impl Runner {
    pub(super) fn new(pool: Arc<Pool>, number: usize, generation: u64) -> Self {
        let pause = Duration::ZERO;
        Self { pool, number, generation, pause, failures: 0, losses: 0, in_vain: false, broken: false }
    }

    /// The next work on the desk.
    pub(super) fn take(&self) -> Result<Option<Part>, Replaced> {
        self.slot().take(self.generation)
    }

    /// Puts work on the desk; it is taken before what lies there.
    pub(super) fn put(&self, part: Part) -> Result<(), Replaced> {
        self.slot().put(self.generation, part)
    }

    /// Leaves out what is not wanted any more, or has taken workers down; `None` when nothing is left.
    pub(super) fn sift(&self, mut part: Part, now: Instant) -> Option<Part> {
        part.units.retain(|unit| unit.claim.is_live(now));
        self.pool.refuse_quarantined(&mut part, now);
        (!part.units.is_empty()).then_some(part)
    }

    /// A forward pass begins.
    pub(super) fn begin(&self, part: Part, brake: Option<Arc<dyn Brake>>, now: Instant) -> Result<Begun, Replaced> {
        let tokens = part.units.iter().map(|unit| unit.encoding.len() as u64).sum();
        let part = Arc::new(part);
        self.slot().begin(self.generation, Run::new(Arc::clone(&part), (now, self.pool.allowed(tokens)), brake))?;
        Ok(Begun { part, started: now, tokens })
    }

    /// It is over: scores its pairs, or puts what is left of it on the desk. What a pass that succeeded cost is answered.
    pub(super) fn end(
        &mut self,
        begun: &Begun,
        (outcome, size): (Outcome, Size),
        now: Instant,
    ) -> Result<Option<Spent>, Replaced> {
        let Begun { part, started, tokens } = begun;
        let stopped = self.slot().end(self.generation)?;
        if stopped == Some(Stopped::Stuck) {
            // It came back: told to, or late. Either way the worker is well again.
            self.pool.worker_returned();
        }
        match outcome {
            Outcome::Logits(logits) if logits.len() == part.units.len() => {
                self.pause = Duration::ZERO;
                (self.failures, self.losses, self.in_vain) = (0, 0, false);
                self.pool.ledger.ran(*tokens, now.saturating_duration_since(*started));
                let spent = self.account(part, (*started, now), size);
                for (unit, logit) in part.units.iter().zip(logits) {
                    unit.claim.scored(logit);
                }
                Ok(Some(spent))
            }
            Outcome::Logits(_) => self.failed(part, None, (stopped, now)).map(|()| None),
            Outcome::Failed(error) => self.failed(part, Some(error), (stopped, now)).map(|()| None),
            Outcome::Panicked => self.panicked(part, stopped, now).map(|()| None),
        }
    }

    /// Whether its scorers have to be built anew before it goes on. Said once.
    pub(super) fn is_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }

    /// It takes work no more until its scorers are built anew.
    pub(super) fn goes_down(&self) {
        self.pool.worker_died();
        self.pool.went_down();
    }

    /// It takes work again.
    pub(super) fn comes_back(&self) {
        self.pool.came_up(self.number);
        self.pool.worker_returned();
    }

    /// How long to wait before its scorers are built anew.
    pub(super) fn pause(&mut self) -> Duration {
        let [first, longest] = REBUILD_PAUSES;
        let pause = self.pause;
        self.pause = (self.pause * 2).clamp(first, longest);
        pause
    }

    /// They could not be built. What lies on the desk is given up: others may be able to score it, here it would only wait.
    pub(super) fn not_rebuilt(&mut self, error: &dyn std::error::Error) {
        self.pool.fault("rebuild");
        let cause = error.source().map(ToString::to_string);
        tracing::error!(worker = self.number, %error, cause, "worker cannot be rebuilt; trying again");
        self.lose();
        if !self.pool.is_closing() {
            self.clear(PairFault::Lost);
        }
    }

    /// Gives up what lies on the desk.
    pub(super) fn clear(&self, fault: PairFault) {
        if let Ok(parts) = self.slot().clear(self.generation) {
            parts.iter().flat_map(|part| &part.units).for_each(|unit| unit.claim.refuse(fault));
        }
    }

    /// Whether whoever comes is to be refused at once rather than kept until its deadline: nobody works, and building has
    /// been in vain, so there is nobody who might score it meanwhile.
    pub(super) fn refuses(&self) -> bool {
        self.in_vain && self.pool.nobody_works()
    }

    fn slot(&self) -> &Slot {
        self.pool.slot(self.number)
    }

    /// The pass failed as a whole, or gave another number of logits than pairs.
    fn failed(
        &mut self,
        part: &Part,
        error: Option<ScorerError>,
        (stopped, now): (Option<Stopped>, Instant),
    ) -> Result<(), Replaced> {
        let pairs = part.units.len();
        match (stopped, error) {
            // Nobody waited. Those who came since wait for another try.
            (Some(Stopped::Unwanted), _) => return self.put(part.clone()),
            (Some(Stopped::Stuck), _) => return self.unstuck(part, now),
            (None, Some(error)) => {
                self.pool.fault("error");
                tracing::warn!(worker = self.number, pairs, %error, "forward pass failed");
            }
            (None, None) => {
                self.pool.fault("wrong_length");
                tracing::error!(worker = self.number, pairs, "forward pass gave another number of logits than pairs");
            }
        }
        self.failures += 1;
        if self.failures >= LOST {
            self.failures = 0;
            self.pool.fault("lost");
            tracing::error!(worker = self.number, passes = LOST, "no pass succeeds any more; building the model anew");
            self.broken = true;
            self.lose();
        }
        self.halve(part)
    }

    /// A scorer was built in vain.
    fn lose(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES {
            (self.losses, self.in_vain) = (0, true);
            // Whether anybody moves the models or not: this worker goes on trying until its engine ends.
            self.pool.device_lost("a worker's model was built anew in vain");
        }
    }

    fn panicked(&mut self, part: &Part, stopped: Option<Stopped>, now: Instant) -> Result<(), Replaced> {
        self.pool.fault("panic");
        tracing::error!(worker = self.number, pairs = part.units.len(), "forward pass panicked");
        // What it left behind is not to be trusted.
        self.broken = true;
        if let [unit] = part.units.as_slice() {
            self.pool.quarantine.strike(part.model, &unit.encoding, now);
        }
        if stopped == Some(Stopped::Stuck) { self.unstuck(part, now) } else { self.halve(part) }
    }

    /// One of the pairs made the pass hang: each is tried alone, for every further hang costs its whole patience.
    fn unstuck(&self, part: &Part, now: Instant) -> Result<(), Replaced> {
        if let [unit] = part.units.as_slice() {
            self.pool.quarantine.strike(part.model, &unit.encoding, now);
            unit.claim.refuse(PairFault::Stuck);
            return Ok(());
        }
        self.slot().put_alone(self.generation, part)
    }

    /// One of the pairs made the pass fail: a half without it goes through, a pair alone is the culprit.
    fn halve(&self, part: &Part) -> Result<(), Replaced> {
        if let [unit] = part.units.as_slice() {
            unit.claim.refuse(PairFault::Failed);
            return Ok(());
        }
        let (first, second) = part.units.split_at(part.units.len() / 2);
        for half in [second, first] {
            self.put(Part { model: part.model, units: half.to_vec() })?;
        }
        Ok(())
    }

    fn account(&self, part: &Part, (started, now): (Instant, Instant), size: Size) -> Spent {
        let units = &part.units;
        let metrics = self.pool.metrics();
        let time = now.saturating_duration_since(started);
        metrics.forwards.inc();
        metrics.tokens.inc_by(size.tokens);
        metrics.padding_tokens.inc_by(size.padding);
        metrics.batch_pairs.observe(units.len() as f64);
        metrics.forward_seconds.observe(time.as_secs_f64());
        let mut last = None;
        for unit in units {
            metrics.queue_seconds.observe(started.saturating_duration_since(unit.ready).as_secs_f64());
            unit.claim.waited(started);
            // Units of one request stand together: the pass counts once for each.
            let job = Arc::as_ptr(unit.claim.job());
            if last != Some(job) {
                unit.claim.job().inferred_for((started, now));
                last = Some(job);
            }
        }
        let work = work(units.iter().map(|unit| unit.encoding.len()));
        Spent { model: part.model, tokens: size.tokens + size.padding, work, time }
    }
}
