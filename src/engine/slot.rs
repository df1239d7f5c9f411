//! A worker's desk: what it is running and what it has still to run, where others can see it.
//!
//! Owns the hand-over between a worker, those who stop its forward pass, and the worker that takes its place when it does
//! not come back. Work lies here and not on the worker's stack, so a worker that hangs takes nothing along. It must not
//! know scheduling or scorers beyond their [`Brake`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rescored_runtime::Brake;

use super::claim::Unit;

/// How long a forward pass that was told to stop may go on before its worker is given up.
const STOPPING: Duration = Duration::from_secs(1);

/// Encodings of one model that go through one forward pass, or through several when that fails.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) model: usize,
    pub(super) units: Vec<Unit>,
}

/// A forward pass that is going on.
pub(super) struct Run {
    pub(super) part: Arc<Part>,
    pub(super) started: Instant,
    /// Past this it is stuck.
    pub(super) allowed: Duration,
    pub(super) brake: Option<Arc<dyn Brake>>,
    stopped: Option<(Stopped, Instant)>,
}

/// Why a forward pass was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Nobody waits for any of its pairs.
    Unwanted,
    /// It takes too long.
    Stuck,
}

/// The desk has another worker: whoever gets this ends, and touches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replaced;

/// What the watchdog sees.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing to do.
    Well,
    /// It has just been found stuck and told to stop.
    JustStuck {
        /// Pairs in the pass.
        pairs: usize,
    },
    /// It did not stop. The desk is a new worker's now, who finds on it what there is still to do.
    Lost {
        /// Whose desk it is now.
        generation: u64,
        /// The encoding that was alone in the pass, with its model.
        culprit: Option<(usize, Unit)>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    generation: u64,
    run: Option<Run>,
    /// The last one is next.
    pending: Vec<Part>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("pairs", &self.part.units.len())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl Part {
    /// One part an encoding.
    fn alone(&self) -> impl Iterator<Item = Self> {
        let model = self.model;
        self.units.iter().map(move |unit| Self { model, units: vec![unit.clone()] })
    }
}

impl Run {
    /// One that begins now and is stuck when it takes longer than `allowed`.
    pub(super) fn new(part: Arc<Part>, (started, allowed): (Instant, Duration), brake: Option<Arc<dyn Brake>>) -> Self {
        Self { part, started, allowed, brake, stopped: None }
    }

    fn stop(&mut self, why: Stopped, now: Instant) {
        self.stopped = Some((why, now));
        if let Some(brake) = &self.brake {
            brake.stop();
        }
    }
}

impl Slot {
    /// Puts work on the desk; it is taken before what lies there.
    pub(super) fn put(&self, generation: u64, part: Part) -> Result<(), Replaced> {
        let mut state = self.state(generation)?;
        state.pending.push(part);
        Ok(())
    }

    /// Puts each encoding on the desk alone.
    pub(super) fn put_alone(&self, generation: u64, part: &Part) -> Result<(), Replaced> {
        self.state(generation)?.pending.extend(part.alone());
        Ok(())
    }

    /// Takes the next work off the desk.
    pub(super) fn take(&self, generation: u64) -> Result<Option<Part>, Replaced> {
        Ok(self.state(generation)?.pending.pop())
    }

    /// Takes all work off the desk.
    pub(super) fn clear(&self, generation: u64) -> Result<Vec<Part>, Replaced> {
        Ok(std::mem::take(&mut self.state(generation)?.pending))
    }

    /// A forward pass begins.
    pub(super) fn begin(&self, generation: u64, run: Run) -> Result<(), Replaced> {
        let mut state = self.state(generation)?;
        // Under the lock: whoever stops a pass holds it, so the order to stop one pass never meets the next.
        if let Some(brake) = &run.brake {
            brake.release();
        }
        state.run = Some(run);
        Ok(())
    }

    /// The forward pass is over; says whether it was told to stop.
    pub(super) fn end(&self, generation: u64) -> Result<Option<Stopped>, Replaced> {
        let run = self.state(generation)?.run.take();
        Ok(run.and_then(|run| run.stopped).map(|(why, _)| why))
    }

    /// Stops the forward pass when nobody waits for any of its pairs; says whether it did.
    pub(super) fn stop_unwanted(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(run) = state.run.as_mut().filter(|run| run.stopped.is_none() && run.brake.is_some()) else {
            return false;
        };
        let unwanted = !run.part.units.iter().any(|unit| unit.claim.is_live(now));
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
                let part = Arc::clone(&run.part);
                state.run = None;
                state.generation += 1;
                let culprit = match part.units.as_slice() {
                    [unit] => Some((part.model, unit.clone())),
                    _ => None,
                };
                if culprit.is_none() {
                    state.pending.extend(part.alone());
                }
                Seen::Lost { generation: state.generation, culprit }
            }
            Some((Stopped::Stuck, _)) => {
                // Said again: a scorer may have begun something else before it heard.
                if let Some(brake) = &run.brake {
                    brake.stop();
                }
                Seen::Well
            }
            None | Some((Stopped::Unwanted, _)) if now.saturating_duration_since(run.started) > run.allowed => {
                run.stop(Stopped::Stuck, now);
                Seen::JustStuck { pairs: run.part.units.len() }
            }
            None | Some((Stopped::Unwanted, _)) => Seen::Well,
        }
    }

    /// A worker died of a fault of its own: the desk is another's. What was in its forward pass is to be tried again.
    pub(super) fn succeed(&self) -> u64 {
        let mut state = self.lock();
        state.generation += 1;
        if let Some(run) = state.run.take() {
            state.pending.extend(run.part.alone());
        }
        state.generation
    }

    fn state(&self, generation: u64) -> Result<MutexGuard<'_, State>, Replaced> {
        let state = self.lock();
        if state.generation == generation { Ok(state) } else { Err(Replaced) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What can panic under this lock is a sink; the state is whole between any two statements here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
