//! The workers' threads: starting them, watching over them, replacing those that do not come back.
//!
//! Owns their desks and handles, and the watchdog thread. A forward pass that takes much longer than its size lets expect
//! is stuck: readiness tells, the pass is told to stop, and where it does not, its worker is left behind and another
//! takes its desk. A thread cannot be killed: one that is left behind costs its memory, and perhaps a core, until the
//! process ends; when as many are left behind as there are workers, the process says that it wants to be restarted. It
//! must not know scheduling.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::ledger::Ledger;
use super::options::Pinning;
use super::pin::pin;
use super::planner::Spent;
use super::quarantine::Quarantine;
use super::slot::{Part, Seen, Slot};
use super::worker::Worker;
use super::{PairFault, Surroundings};
use crate::metrics::{Metrics, Reason};
use crate::model::{Model, ScorerError};

/// How often the watchdog looks: a small part of the shortest time after which a pass is stuck.
const TICK: Duration = Duration::from_millis(50);

/// A pass is stuck when it takes this many times what its size lets expect (and [`super::Options::stuck_after`] besides): neighbours
/// on the machine slow a pass down a few times over, not twenty.
const STUCK_FACTOR: u32 = 20;

/// The provider whose device is the process's own: it is not lost while the process is there.
const CPU: &str = "cpu";

/// What all workers share.
pub(super) struct Crew {
    pub(super) models: Arc<[Arc<Model>]>,
    batches: Receiver<Part>,
    idle: Sender<Free>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) quarantine: Quarantine,
    pub(super) around: Surroundings,
    pinning: Pinning,
    stuck_after: Duration,
    desks: Box<[Desk]>,
    /// Workers that take work.
    up: AtomicU32,
    left_behind: AtomicU32,
    /// The engine's handle is gone: nothing is worth waiting for.
    closing: AtomicBool,
    /// Workers that readiness has been told of as dead, below zero while one has returned before the watchdog could tell of
    /// it; `None` once that does not matter any more.
    dead: Mutex<Option<isize>>,
}

/// One worker's place.
struct Desk {
    slot: Slot,
    /// `None` once its thread is left behind and not yet replaced, or ended for good.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// It has been warm once: from then on it is replaced when it ends.
    was_up: AtomicBool,
}

/// A worker waits for its next pass.
#[derive(Debug)]
pub(super) struct Free {
    /// What its last one cost.
    pub(super) spent: Option<Spent>,
}

/// The planner thread's ends of the channels.
#[derive(Debug)]
pub(super) struct Ends {
    /// Room for one pass a worker; sent to only after a worker said that it is free.
    pub(super) batches: Sender<Part>,
    /// Room for one message a worker: none waits for the planner thread.
    pub(super) free: Receiver<Free>,
}

/// Running workers and their watchdog.
pub(super) struct Workers {
    pub(super) crew: Arc<Crew>,
    pub(super) ends: Ends,
    /// One message a worker: warm, or why not.
    pub(super) started: Receiver<Result<(), ScorerError>>,
    pub(super) watchdog: Watchdog,
}

/// The watchdog's thread; it ends when the sender is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("desks", &self.desks.len()).field("up", &self.up).finish_non_exhaustive()
    }
}

/// Starts so many workers.
pub(super) fn spawn(
    (count, pinning, stuck_after): (usize, Pinning, Duration),
    models: &Arc<[Arc<Model>]>,
    ledger: &Arc<Ledger>,
    around: &Surroundings,
) -> std::io::Result<Workers> {
    let (batches, taken) = bounded::<Part>(count);
    let (idle, free) = bounded(count);
    let (report, started) = bounded(count);
    let desk = |_| Desk { slot: Slot::default(), thread: Mutex::new(None), was_up: AtomicBool::new(false) };
    let crew = Arc::new(Crew {
        models: Arc::clone(models),
        batches: taken,
        idle,
        ledger: Arc::clone(ledger),
        quarantine: Quarantine::default(),
        around: around.clone(),
        pinning,
        stuck_after,
        desks: (0..count).map(desk).collect(),
        up: AtomicU32::new(0),
        left_behind: AtomicU32::new(0),
        closing: AtomicBool::new(false),
        dead: Mutex::new(Some(0)),
    });
    for number in 0..count {
        let report = report.clone();
        crew.start(number, 0, move |worker| worker.first_shift(&report))?;
    }
    let (stop, stopped) = bounded(0);
    let watching = Arc::clone(&crew);
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watching.watch(&stopped))?;
    let watchdog = Watchdog { stop: Some(stop), thread: Some(thread) };
    Ok(Workers { crew, ends: Ends { batches, free }, started, watchdog })
}

impl Crew {
    fn start(
        self: &Arc<Self>,
        number: usize,
        generation: u64,
        work: impl FnOnce(&mut Worker) + Send + 'static,
    ) -> std::io::Result<()> {
        let crew = Arc::clone(self);
        let run = move || {
            crew.settle(number);
            // Made here: a scorer never leaves its thread.
            let mut worker = Worker::new(crew, number, generation);
            work(&mut worker);
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?;
        *self.desks[number].thread() = Some(thread);
        Ok(())
    }

    /// Keeps the calling thread, a worker's, on its cores, if it is to be kept.
    fn settle(&self, worker: usize) {
        if self.pinning == Pinning::Free {
            return;
        }
        match pin(worker, self.desks.len()) {
            Ok(Some(cores)) => tracing::info!(worker, ?cores, "worker pinned"),
            Ok(None) => tracing::warn!(worker, "worker not pinned: there are more workers than cores"),
            Err(error) => tracing::warn!(worker, %error, "worker not pinned: the system refuses"),
        }
    }

    /// How many workers there are.
    pub(super) fn size(&self) -> usize {
        self.desks.len()
    }

    /// Says that a worker is free; `None` once the planner thread is gone.
    pub(super) fn offer(&self, free: Free) -> Option<()> {
        self.idle.send(free).ok()
    }

    /// Waits for the next pass of a worker that has said that it is free; `None` once the planner thread is gone.
    pub(super) fn next(&self) -> Option<Part> {
        self.batches.recv().ok()
    }

    /// A worker that cannot work has said that it is free, and takes what it is given within this time.
    pub(super) fn next_within(&self, time: Duration) -> Option<Part> {
        self.batches.recv_timeout(time).ok()
    }

    /// Whether no worker takes work.
    pub(super) fn nobody_works(&self) -> bool {
        self.up.load(Ordering::Acquire) == 0
    }

    /// A worker's desk.
    pub(super) fn slot(&self, number: usize) -> &Slot {
        &self.desks[number].slot
    }

    /// A worker takes work from now on.
    pub(super) fn came_up(&self, number: usize) {
        self.desks[number].was_up.store(true, Ordering::Release);
        // Counted up and down: while models are swapped, two engines' workers share the figure.
        self.around.metrics.workers_alive.inc();
        self.ledger.workers(self.up.fetch_add(1, Ordering::AcqRel) + 1);
    }

    /// A worker takes no work for now.
    pub(super) fn went_down(&self) {
        self.around.metrics.workers_alive.dec();
        self.ledger.workers(self.up.fetch_sub(1, Ordering::AcqRel) - 1);
    }

    /// Whether the engine's handle is gone.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// How long a forward pass over so many estimated tokens may take before it is stuck.
    pub(super) fn allowed(&self, tokens: u64) -> Duration {
        self.stuck_after
            .max(self.ledger.expected(tokens).map_or(Duration::ZERO, |time| time.saturating_mul(STUCK_FACTOR)))
    }

    /// Refuses those of a part's pairs that have taken workers down before.
    pub(super) fn refuse_quarantined(&self, part: &mut Part, now: Instant) {
        let model = part.model;
        part.units.retain(|unit| {
            let held = self.quarantine.holds(model, &unit.encoding, now);
            if held {
                unit.claim.refuse(PairFault::Failed);
            }
            !held
        });
    }

    /// Has readiness know of a worker that takes no work.
    pub(super) fn worker_died(&self) {
        if let Some(dead) = lock(&self.dead).as_mut() {
            *dead += 1;
            self.around.health.worker_died();
        }
    }

    /// Has readiness know that such a worker takes work again.
    pub(super) fn worker_returned(&self) {
        if let Some(dead) = lock(&self.dead).as_mut() {
            *dead -= 1;
            self.around.health.worker_returned();
        }
    }

    /// Says that an accelerator gives no scores any more. Whether somebody moves its models away; never for CPUs.
    pub(super) fn device_lost(&self, why: &'static str) -> bool {
        let provider = self.models.iter().map(|model| model.card.provider.as_str()).find(|provider| *provider != CPU);
        let Some(provider) = provider else { return false };
        self.fault("device_lost");
        tracing::error!(provider, why, "the accelerator gives no scores any more");
        self.around.health.device_lost()
    }

    /// Counts a worker's fault.
    pub(super) fn fault(&self, reason: &'static str) {
        self.metrics().worker_faults.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.around.metrics
    }

    /// Stops every forward pass that nobody waits for.
    pub(super) fn stop_unwanted(&self) {
        let now = Instant::now();
        let stopped = self.desks.iter().filter(|desk| desk.slot.stop_unwanted(now)).count();
        self.metrics().forwards_stopped.get_or_create(&Reason { reason: "unwanted" }).inc_by(stopped as u64);
    }

    fn watch(self: Arc<Self>, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            for number in 0..self.desks.len() {
                self.look_after(number);
            }
        }
    }

    fn look_after(self: &Arc<Self>, number: usize) {
        let worker = number;
        match self.slot(number).look(Instant::now()) {
            Seen::Well => self.replace_if_dead(number),
            Seen::JustStuck { pairs } => {
                tracing::error!(worker, pairs, "forward pass is stuck; told to stop");
                self.fault("stuck");
                self.metrics().forwards_stopped.get_or_create(&Reason { reason: "stuck" }).inc();
                self.worker_died();
            }
            Seen::Lost { generation, culprit } => {
                tracing::error!(worker, "worker did not come back; another takes its place");
                self.fault("lost");
                self.went_down();
                if let Some((model, unit)) = culprit {
                    self.quarantine.strike(model, &unit.encoding, Instant::now());
                    unit.claim.refuse(PairFault::Stuck);
                }
                self.leave_behind(number);
                self.hand_over(number, generation);
            }
        }
    }

    /// The thread goes on without a desk; nobody waits for it.
    fn leave_behind(&self, number: usize) {
        drop(self.desks[number].thread().take());
        let left = self.left_behind.fetch_add(1, Ordering::AcqRel) + 1;
        self.metrics().workers_left_behind.set(left.into());
        if left as usize >= self.desks.len() {
            if self.device_lost("as many workers hang as there are") {
                return;
            }
            tracing::error!(left, "as many workers hang as there are; the process should be restarted");
            self.around.health.gave_up();
        }
    }

    /// A worker whose own code panicked: whatever happens to a scorer is caught where it is called.
    fn replace_if_dead(self: &Arc<Self>, number: usize) {
        let desk = &self.desks[number];
        let ended = desk.thread().as_ref().is_some_and(JoinHandle::is_finished);
        if !ended || !desk.was_up.load(Ordering::Acquire) || self.is_closing() {
            return;
        }
        tracing::error!(worker = number, "worker died; another takes its place");
        self.fault("died");
        self.worker_died();
        self.went_down();
        let generation = desk.slot.succeed();
        self.hand_over(number, generation);
    }

    fn hand_over(self: &Arc<Self>, number: usize, generation: u64) {
        if let Err(error) = self.start(number, generation, Worker::later_shift) {
            tracing::error!(worker = number, %error, "no thread for a new worker; the process should be restarted");
            self.around.health.gave_up();
        }
    }
}

impl Desk {
    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // No code that can panic runs under this lock.
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// The engine's handle goes away: workers that cannot work give up what they hold.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // What becomes of its workers is no more of the process's readiness.
        let dead = lock(&self.dead).take().unwrap_or_default();
        for _ in 0..dead {
            self.around.health.worker_returned();
        }
        for _ in dead..0 {
            self.around.health.worker_died();
        }
    }

    /// Waits until every worker has ended, those left behind aside.
    pub(super) fn join(&self) {
        for desk in &self.desks {
            // Not a plain join: while a worker hangs, the watchdog may put another in its place.
            while desk.thread().as_ref().is_some_and(|thread| !thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // A thread that panicked has been reported.
            drop(desk.thread().take().map(JoinHandle::join));
        }
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under this lock.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}
