//! What a worker does with the work in its slot, without the forward pass itself: the time and what a pass came to are
//! arguments.
//!
//! Owns what happens when a pass fails: a failed batch is halved until the pair that fails stands alone, the pairs of a
//! stuck one are tried one by one, and a scorer that panicked is built anew, after pauses that grow while nothing
//! succeeds. It must not know scorers, channels or clocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_runtime::{CancelHandle, ScorerError};

use super::PairError;
use super::planner::{Spent, work};
use super::supervisor::WorkerSupervisor;
use super::worker_slot::{MicroBatch, Replaced, Run, Stopped, WorkerSlot};

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
    pub(super) supervisor: Arc<WorkerSupervisor>,
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
    pub(super) micro_batch: Arc<MicroBatch>,
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
    pub(super) fn new(supervisor: Arc<WorkerSupervisor>, number: usize, generation: u64) -> Self {
        let pause = Duration::ZERO;
        Self { supervisor, number, generation, pause, failures: 0, losses: 0, in_vain: false, broken: false }
    }

    /// The next work in the slot.
    pub(super) fn take(&self) -> Result<Option<MicroBatch>, Replaced> {
        self.worker_slot().take(self.generation)
    }

    /// Puts work into the slot; it is taken before what is there.
    pub(super) fn put(&self, micro_batch: MicroBatch) -> Result<(), Replaced> {
        self.worker_slot().put(self.generation, micro_batch)
    }

    /// Leaves out what is not wanted any more, or has taken workers down; `None` when nothing is left.
    pub(super) fn drop_unwanted(&self, mut micro_batch: MicroBatch, now: Instant) -> Option<MicroBatch> {
        micro_batch.sequences.retain(|sequence| sequence.ticket.is_live(now));
        self.supervisor.refuse_quarantined(&mut micro_batch, now);
        (!micro_batch.sequences.is_empty()).then_some(micro_batch)
    }

    /// A forward pass begins.
    pub(super) fn begin(
        &self,
        micro_batch: MicroBatch,
        cancel_handle: Option<Arc<dyn CancelHandle>>,
        now: Instant,
    ) -> Result<Begun, Replaced> {
        let tokens = micro_batch.sequences.iter().map(|sequence| sequence.encoding.len() as u64).sum();
        let micro_batch = Arc::new(micro_batch);
        self.worker_slot().begin(
            self.generation,
            Run::new(Arc::clone(&micro_batch), now, self.supervisor.allowed(tokens), cancel_handle),
        )?;
        Ok(Begun { micro_batch, started: now, tokens })
    }

    /// It is over: scores its pairs, or puts what is left of it into the slot. What a pass that succeeded cost is
    /// answered.
    pub(super) fn end(
        &mut self,
        begun: &Begun,
        outcome: Outcome,
        size: Size,
        now: Instant,
    ) -> Result<Option<Spent>, Replaced> {
        let Begun { micro_batch, started, tokens } = begun;
        let stopped = self.worker_slot().end(self.generation)?;
        if stopped == Some(Stopped::Stuck) {
            // It came back: stopped, or late. Either way the worker is well again.
            self.supervisor.worker_returned();
        }
        match outcome {
            Outcome::Logits(logits) if logits.len() == micro_batch.sequences.len() => {
                self.pause = Duration::ZERO;
                (self.failures, self.losses, self.in_vain) = (0, 0, false);
                self.supervisor.admission.ran(*tokens, now.saturating_duration_since(*started));
                let spent = self.account(micro_batch, *started, now, size);
                for (sequence, logit) in micro_batch.sequences.iter().zip(logits) {
                    sequence.ticket.scored(logit);
                }
                Ok(Some(spent))
            }
            Outcome::Logits(_) => self.failed(micro_batch, None, stopped, now).map(|()| None),
            Outcome::Failed(error) => self.failed(micro_batch, Some(error), stopped, now).map(|()| None),
            Outcome::Panicked => self.panicked(micro_batch, stopped, now).map(|()| None),
        }
    }

    /// Whether its scorers have to be built anew before it goes on. Said once.
    pub(super) fn is_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }

    /// It takes work no more until its scorers are built anew.
    pub(super) fn mark_down(&self) {
        self.supervisor.worker_died();
        self.supervisor.worker_down();
    }

    /// It takes work again.
    pub(super) fn mark_up(&self) {
        self.supervisor.worker_up(self.number);
        self.supervisor.worker_returned();
    }

    /// How long to wait before its scorers are built anew.
    pub(super) fn pause(&mut self) -> Duration {
        let [first, longest] = REBUILD_PAUSES;
        let pause = self.pause;
        self.pause = (self.pause * 2).clamp(first, longest);
        pause
    }

    /// They could not be built. What is in the slot is given up: others may be able to score it, here it would only
    /// wait.
    pub(super) fn not_rebuilt(&mut self, error: &dyn std::error::Error) {
        self.supervisor.fault("rebuild");
        let cause = error.source().map(ToString::to_string);
        tracing::error!(worker = self.number, %error, cause, "worker cannot be rebuilt; trying again");
        self.lose();
        if !self.supervisor.is_closing() {
            self.clear(PairError::Lost);
        }
    }

    /// Gives up what is in the slot.
    pub(super) fn clear(&self, fault: PairError) {
        if let Ok(micro_batches) = self.worker_slot().clear(self.generation) {
            micro_batches
                .iter()
                .flat_map(|micro_batch| &micro_batch.sequences)
                .for_each(|sequence| sequence.ticket.refuse(fault));
        }
    }

    /// Whether whoever comes is to be refused at once rather than kept until its deadline: nobody works, and building has
    /// been in vain, so there is nobody who might score it meanwhile.
    pub(super) fn refuses(&self) -> bool {
        self.in_vain && self.supervisor.nobody_works()
    }

    fn worker_slot(&self) -> &WorkerSlot {
        self.supervisor.worker_slot(self.number)
    }

    /// The pass failed as a whole, or gave another number of logits than pairs.
    fn failed(
        &mut self,
        micro_batch: &MicroBatch,
        error: Option<ScorerError>,
        stopped: Option<Stopped>,
        now: Instant,
    ) -> Result<(), Replaced> {
        let pairs = micro_batch.sequences.len();
        match (stopped, error) {
            // Nobody waited. Those who came since wait for another try.
            (Some(Stopped::Unwanted), _) => return self.put(micro_batch.clone()),
            (Some(Stopped::Stuck), _) => return self.retry_alone(micro_batch, now),
            (None, Some(error)) => {
                self.supervisor.fault("error");
                tracing::warn!(worker = self.number, pairs, %error, "forward pass failed");
            }
            (None, None) => {
                self.supervisor.fault("wrong_length");
                tracing::error!(worker = self.number, pairs, "forward pass gave another number of logits than pairs");
            }
        }
        self.failures += 1;
        if self.failures >= LOST {
            self.failures = 0;
            self.supervisor.fault("lost");
            tracing::error!(worker = self.number, passes = LOST, "no pass succeeds any more; building the model anew");
            self.broken = true;
            self.lose();
        }
        self.halve(micro_batch)
    }

    /// A scorer was built in vain.
    fn lose(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES {
            (self.losses, self.in_vain) = (0, true);
            // Whether anybody moves the models or not: this worker goes on trying until its engine ends.
            self.supervisor.device_lost("a worker's model was built anew in vain");
        }
    }

    fn panicked(&mut self, micro_batch: &MicroBatch, stopped: Option<Stopped>, now: Instant) -> Result<(), Replaced> {
        self.supervisor.fault("panic");
        tracing::error!(worker = self.number, pairs = micro_batch.sequences.len(), "forward pass panicked");
        // What it left behind is not to be trusted.
        self.broken = true;
        if let [sequence] = micro_batch.sequences.as_slice() {
            self.supervisor.quarantine.strike(micro_batch.model, &sequence.encoding, now);
        }
        if stopped == Some(Stopped::Stuck) { self.retry_alone(micro_batch, now) } else { self.halve(micro_batch) }
    }

    /// One of the pairs made the pass hang: each is tried alone, for every further hang costs its whole patience.
    fn retry_alone(&self, micro_batch: &MicroBatch, now: Instant) -> Result<(), Replaced> {
        if let [sequence] = micro_batch.sequences.as_slice() {
            self.supervisor.quarantine.strike(micro_batch.model, &sequence.encoding, now);
            sequence.ticket.refuse(PairError::Stuck);
            return Ok(());
        }
        self.worker_slot().put_alone(self.generation, micro_batch)
    }

    /// One of the pairs made the pass fail: a half without it goes through, a pair alone is the culprit.
    fn halve(&self, micro_batch: &MicroBatch) -> Result<(), Replaced> {
        if let [sequence] = micro_batch.sequences.as_slice() {
            sequence.ticket.refuse(PairError::Failed);
            return Ok(());
        }
        let (first, second) = micro_batch.sequences.split_at(micro_batch.sequences.len() / 2);
        for half in [second, first] {
            self.put(MicroBatch { model: micro_batch.model, sequences: half.to_vec() })?;
        }
        Ok(())
    }

    fn account(&self, micro_batch: &MicroBatch, started: Instant, now: Instant, size: Size) -> Spent {
        let sequences = &micro_batch.sequences;
        let metrics = self.supervisor.metrics();
        let time = now.saturating_duration_since(started);
        metrics.forwards.inc();
        metrics.tokens.inc_by(size.tokens);
        metrics.padding_tokens.inc_by(size.padding);
        metrics.batch_pairs.observe(sequences.len() as f64);
        metrics.forward_seconds.observe(time.as_secs_f64());
        let mut last = None;
        for sequence in sequences {
            metrics.queue_seconds.observe(started.saturating_duration_since(sequence.ready).as_secs_f64());
            sequence.ticket.waited(started);
            // Sequences of one request stand together: the pass counts once for each.
            let job = Arc::as_ptr(sequence.ticket.job());
            if last != Some(job) {
                sequence.ticket.job().inferred_for(started, now);
                last = Some(job);
            }
        }
        let work = work(sequences.iter().map(|sequence| sequence.encoding.len()));
        Spent { model: micro_batch.model, tokens: size.tokens + size.padding, work, time }
    }
}
