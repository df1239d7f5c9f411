//! A worker's slot: what it is running and what it has still to run, where others can see it.
//!
//! Owns the hand-over between a worker, those who stop its forward pass, and the worker that takes its place when it does
//! not come back. Work is kept here and not on the worker's stack, so a worker that hangs takes nothing along. It must
//! not know scheduling or scorers beyond their [`CancelHandle`].

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rescored_process::sync::lock;
use rescored_runtime::CancelHandle;

use super::pair_ticket::Sequence;

/// How long a forward pass that was asked to stop may go on before its worker is given up.
const STOPPING: Duration = Duration::from_secs(1);

/// Encodings of one model that go through one forward pass, or through several when that fails.
#[derive(Clone, Debug)]
pub(super) struct MicroBatch {
    pub(super) model: usize,
    pub(super) sequences: Vec<Sequence>,
}

/// A forward pass that is going on.
pub(super) struct Run {
    pub(super) micro_batch: Arc<MicroBatch>,
    pub(super) started: Instant,
    /// Past this it is stuck.
    pub(super) allowed: Duration,
    pub(super) cancel_handle: Option<Arc<dyn CancelHandle>>,
    stopped: Option<(Stopped, Instant)>,
}

/// Why a forward pass was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Nobody waits for any of its pairs.
    Unwanted,
    /// It takes too long.
    Stuck,
}

/// The slot has another worker: whoever gets this ends, and touches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replaced;

/// What the watchdog sees.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing to do.
    Well,
    /// It has just been found stuck and asked to stop.
    JustStuck {
        /// Pairs in the pass.
        pairs: usize,
    },
    /// It did not stop. The slot is a new worker's now, who finds in it what there is still to do.
    Lost {
        /// Whose slot it is now.
        generation: u64,
        /// The encoding that was alone in the pass, with its model.
        culprit: Option<(usize, Sequence)>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WorkerSlot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    generation: u64,
    run: Option<Run>,
    /// The last one is next.
    pending: Vec<MicroBatch>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("pairs", &self.micro_batch.sequences.len())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl MicroBatch {
    /// One micro-batch an encoding.
    fn alone(&self) -> impl Iterator<Item = Self> {
        let model = self.model;
        self.sequences.iter().map(move |sequence| Self { model, sequences: vec![sequence.clone()] })
    }
}

impl Run {
    /// One that begins now and is stuck when it takes longer than `allowed`.
    pub(super) fn new(
        micro_batch: Arc<MicroBatch>,
        started: Instant,
        allowed: Duration,
        cancel_handle: Option<Arc<dyn CancelHandle>>,
    ) -> Self {
        Self { micro_batch, started, allowed, cancel_handle, stopped: None }
    }

    fn stop(&mut self, why: Stopped, now: Instant) {
        self.stopped = Some((why, now));
        if let Some(cancel_handle) = &self.cancel_handle {
            cancel_handle.stop();
        }
    }
}

impl WorkerSlot {
    /// Puts work into the slot; it is taken before what is there.
    pub(super) fn put(&self, generation: u64, micro_batch: MicroBatch) -> Result<(), Replaced> {
        let mut state = self.state(generation)?;
        state.pending.push(micro_batch);
        Ok(())
    }

    /// Puts each encoding into the slot alone.
    pub(super) fn put_alone(&self, generation: u64, micro_batch: &MicroBatch) -> Result<(), Replaced> {
        self.state(generation)?.pending.extend(micro_batch.alone());
        Ok(())
    }

    /// Takes the next work from the slot.
    pub(super) fn take(&self, generation: u64) -> Result<Option<MicroBatch>, Replaced> {
        Ok(self.state(generation)?.pending.pop())
    }

    /// Takes all work from the slot.
    pub(super) fn clear(&self, generation: u64) -> Result<Vec<MicroBatch>, Replaced> {
        Ok(std::mem::take(&mut self.state(generation)?.pending))
    }

    /// A forward pass begins.
    pub(super) fn begin(&self, generation: u64, run: Run) -> Result<(), Replaced> {
        let mut state = self.state(generation)?;
        // Under the lock: whoever stops a pass holds it, so the order to stop one pass never meets the next.
        if let Some(cancel_handle) = &run.cancel_handle {
            cancel_handle.release();
        }
        state.run = Some(run);
        Ok(())
    }

    /// The forward pass is over; says whether it was asked to stop.
    pub(super) fn end(&self, generation: u64) -> Result<Option<Stopped>, Replaced> {
        let run = self.state(generation)?.run.take();
        Ok(run.and_then(|run| run.stopped).map(|(why, _)| why))
    }

    /// Stops the forward pass when nobody waits for any of its pairs; says whether it did.
    pub(super) fn stop_unwanted(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(run) = state.run.as_mut().filter(|run| run.stopped.is_none() && run.cancel_handle.is_some()) else {
            return false;
        };
        let unwanted = !run.micro_batch.sequences.iter().any(|sequence| sequence.ticket.is_live(now));
        if unwanted {
            run.stop(Stopped::Unwanted, now);
        }
        unwanted
    }

    /// Looks after the forward pass.
    pub(super) fn look(&self, now: Instant) -> Seen {
        let mut state = self.lock();
        let Some(run) = state.run.as_mut() else { return Seen::Well };
        match run.stopped {
            Some((Stopped::Stuck, since)) if now.saturating_duration_since(since) > STOPPING => {
                let micro_batch = Arc::clone(&run.micro_batch);
                state.run = None;
                state.generation += 1;
                let culprit = match micro_batch.sequences.as_slice() {
                    [sequence] => Some((micro_batch.model, sequence.clone())),
                    _ => None,
                };
                if culprit.is_none() {
                    state.pending.extend(micro_batch.alone());
                }
                Seen::Lost { generation: state.generation, culprit }
            }
            Some((Stopped::Stuck, _)) => {
                // Said again: a scorer may have begun something else before it heard.
                if let Some(cancel_handle) = &run.cancel_handle {
                    cancel_handle.stop();
                }
                Seen::Well
            }
            None | Some((Stopped::Unwanted, _)) if now.saturating_duration_since(run.started) > run.allowed => {
                run.stop(Stopped::Stuck, now);
                Seen::JustStuck { pairs: run.micro_batch.sequences.len() }
            }
            None | Some((Stopped::Unwanted, _)) => Seen::Well,
        }
    }

    /// A worker died of a fault of its own: the slot is another's. What was in its forward pass is to be tried again.
    pub(super) fn succeed(&self) -> u64 {
        let mut state = self.lock();
        state.generation += 1;
        if let Some(run) = state.run.take() {
            state.pending.extend(run.micro_batch.alone());
        }
        state.generation
    }

    fn state(&self, generation: u64) -> Result<MutexGuard<'_, State>, Replaced> {
        let state = self.lock();
        if state.generation == generation { Ok(state) } else { Err(Replaced) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What can panic under this lock is a sink; the state is whole between any two statements here.
        lock(&self.0)
    }
}
