//! What is known of the workers, without their threads.
//!
//! Owns what is in each worker's slot, who takes work, who has been left behind, and what is done when a forward pass
//! is stuck or a worker dies. It must not know channels, clocks or scorers: `worker_pool` runs the threads around it,
//! and the simulator runs none.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rescored_core::domain::ModelCard;
use rescored_process::metrics::{Metrics, Reason};
use rescored_process::sync::lock;

use super::admission::Admission;
use super::quarantine::Quarantine;
use super::worker_slot::{MicroBatch, Seen, WorkerSlot};
use super::{EngineContext, PairError};

/// A pass is stuck when it takes this many times what its size lets expect (and [`super::Options::stuck_after`] besides): neighbours
/// on the machine slow a pass down a few times over, not twenty.
const STUCK_FACTOR: u32 = 20;

/// The provider whose device is the process's own: it is not lost while the process is there.
const CPU: &str = "cpu";

/// See the module.
pub(super) struct WorkerSupervisor {
    pub(super) admission: Arc<Admission>,
    pub(super) quarantine: Quarantine,
    pub(super) context: EngineContext,
    stuck_after: Duration,
    /// The provider of an accelerator that models run on.
    accelerator: Option<String>,
    places: Box<[Place]>,
    /// Workers that take work.
    up: AtomicU32,
    left_behind: AtomicU32,
    /// The engine's handle is gone: nothing is worth waiting for.
    closing: AtomicBool,
    /// Workers that readiness counts as dead, below zero while one has returned before the watchdog could report
    /// it; `None` once that does not matter any more.
    dead: Mutex<Option<isize>>,
}

/// One worker's place.
#[derive(Debug, Default)]
struct Place {
    slot: WorkerSlot,
    /// It has been warm once: from then on it is replaced when it ends.
    was_up: AtomicBool,
}

impl std::fmt::Debug for WorkerSupervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerSupervisor")
            .field("places", &self.places.len())
            .field("up", &self.up)
            .finish_non_exhaustive()
    }
}

impl WorkerSupervisor {
    /// Places for so many workers, none of which takes work yet.
    pub(super) fn new(
        workers: usize,
        stuck_after: Duration,
        cards: &[&ModelCard],
        admission: &Arc<Admission>,
        context: &EngineContext,
    ) -> Self {
        Self {
            admission: Arc::clone(admission),
            quarantine: Quarantine::default(),
            context: context.clone(),
            stuck_after,
            accelerator: cards.iter().find(|card| card.provider != CPU).map(|card| card.provider.clone()),
            places: (0..workers).map(|_| Place::default()).collect(),
            up: AtomicU32::new(0),
            left_behind: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            dead: Mutex::new(Some(0)),
        }
    }

    /// How many workers there are.
    pub(super) fn size(&self) -> usize {
        self.places.len()
    }

    /// A worker's slot.
    pub(super) fn worker_slot(&self, number: usize) -> &WorkerSlot {
        &self.places[number].slot
    }

    /// Whether no worker takes work.
    pub(super) fn nobody_works(&self) -> bool {
        self.up.load(Ordering::Acquire) == 0
    }

    /// A worker takes work from now on.
    pub(super) fn worker_up(&self, number: usize) {
        self.places[number].was_up.store(true, Ordering::Release);
        // Counted up and down: while models are swapped, two engines' workers share the figure.
        self.context.metrics.workers_alive.inc();
        self.admission.workers(self.up.fetch_add(1, Ordering::AcqRel) + 1);
    }

    /// A worker takes no work for now.
    pub(super) fn worker_down(&self) {
        self.context.metrics.workers_alive.dec();
        self.admission.workers(self.up.fetch_sub(1, Ordering::AcqRel) - 1);
    }

    /// Whether a worker has been warm once.
    pub(super) fn was_up(&self, number: usize) -> bool {
        self.places[number].was_up.load(Ordering::Acquire)
    }

    /// Whether the engine's handle is gone.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// How long a forward pass over so many tokens may take before it is stuck.
    pub(super) fn allowed(&self, tokens: u64) -> Duration {
        self.stuck_after
            .max(self.admission.expected(tokens).map_or(Duration::ZERO, |time| time.saturating_mul(STUCK_FACTOR)))
    }

    /// Refuses those of a micro-batch's pairs that have taken workers down before.
    pub(super) fn refuse_quarantined(&self, micro_batch: &mut MicroBatch, now: Instant) {
        let model = micro_batch.model;
        micro_batch.sequences.retain(|sequence| {
            let held = self.quarantine.holds(model, &sequence.encoding, now);
            if held {
                sequence.ticket.refuse(PairError::Failed);
            }
            !held
        });
    }

    /// Has readiness know of a worker that takes no work.
    pub(super) fn worker_died(&self) {
        if let Some(dead) = lock(&self.dead).as_mut() {
            *dead += 1;
            self.context.health.worker_died();
        }
    }

    /// Has readiness know that such a worker takes work again.
    pub(super) fn worker_returned(&self) {
        if let Some(dead) = lock(&self.dead).as_mut() {
            *dead -= 1;
            self.context.health.worker_returned();
        }
    }

    /// Says that an accelerator gives no scores any more. Whether somebody moves its models away; never for CPUs.
    pub(super) fn device_lost(&self, why: &'static str) -> bool {
        let Some(provider) = &self.accelerator else { return false };
        self.fault("device_lost");
        tracing::error!(provider, why, "the accelerator gives no scores any more");
        self.context.health.device_lost()
    }

    /// Counts a worker's fault.
    pub(super) fn fault(&self, reason: &'static str) {
        self.metrics().worker_faults.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    /// Stops every forward pass that nobody waits for.
    pub(super) fn stop_unwanted(&self, now: Instant) {
        let stopped = self.places.iter().filter(|place| place.slot.stop_unwanted(now)).count();
        self.metrics().forwards_stopped.get_or_create(&Reason { reason: "unwanted" }).inc_by(stopped as u64);
    }

    /// Looks after a worker's forward pass. Where the worker does not come back, it is left behind, and another of the
    /// generation given takes its slot.
    pub(super) fn check_worker(&self, worker: usize, now: Instant) -> Option<u64> {
        match self.worker_slot(worker).look(now) {
            Seen::Well => None,
            Seen::JustStuck { pairs } => {
                tracing::error!(worker, pairs, "forward pass is stuck; asked to stop");
                self.fault("stuck");
                self.metrics().forwards_stopped.get_or_create(&Reason { reason: "stuck" }).inc();
                self.worker_died();
                None
            }
            Seen::Lost { generation, culprit } => {
                tracing::error!(worker, "worker did not come back; another takes its place");
                self.fault("lost");
                self.worker_down();
                if let Some((model, sequence)) = culprit {
                    self.quarantine.strike(model, &sequence.encoding, now);
                    sequence.ticket.refuse(PairError::Stuck);
                }
                self.leave_behind();
                Some(generation)
            }
        }
    }

    /// A worker's thread has ended by a fault of its own; another of the generation given takes its slot.
    pub(super) fn replace_dead(&self, worker: usize) -> u64 {
        tracing::error!(worker, "worker died; another takes its place");
        self.fault("died");
        self.worker_died();
        self.worker_down();
        self.worker_slot(worker).succeed()
    }

    fn leave_behind(&self) {
        let left = self.left_behind.fetch_add(1, Ordering::AcqRel) + 1;
        self.metrics().workers_left_behind.set(left.into());
        if left as usize >= self.size() {
            if self.device_lost("as many workers hang as there are") {
                return;
            }
            tracing::error!(left, "as many workers hang as there are; the process should be restarted");
            self.context.health.gave_up();
        }
    }

    /// The engine's handle goes away: workers that cannot work give up what they hold.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // What becomes of its workers is no more of the process's readiness.
        let dead = lock(&self.dead).take().unwrap_or_default();
        for _ in 0..dead {
            self.context.health.worker_returned();
        }
        for _ in dead..0 {
            self.context.health.worker_died();
        }
    }
}
