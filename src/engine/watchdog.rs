//! The workers' threads: starting them, watching over them, replacing those that do not come back.
//!
//! Owns the watchdog thread; what is done when a forward pass is stuck is `supervisor`'s. A thread cannot be killed: one
//! that is left behind costs its memory, and perhaps a core, until the process ends; when as many are left behind as there
//! are workers, the process says that it wants to be restarted. It must not know scheduling.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rescored_runtime::Model;

use super::StartError;
use super::loading::Loading;
use super::options::Pinning;
use super::pin::pin;
use super::supervisor::WorkerSupervisor;
use super::worker::Worker;
use super::worker_pool::{WorkerIdle, WorkerPool};
use super::worker_slot::MicroBatch;

/// How often the watchdog looks: a small part of the shortest time after which a pass is stuck.
const TICK: Duration = Duration::from_millis(50);

/// The planner thread's ends of the channels.
#[derive(Debug)]
pub(super) struct Ends {
    /// Room for one pass a worker; sent to only after a worker said that it is free.
    pub(super) batches: Sender<MicroBatch>,
    /// Room for one message a worker: none waits for the planner thread.
    pub(super) free: Receiver<WorkerIdle>,
}

/// Running workers and their watchdog.
pub(super) struct Workers {
    pub(super) pool: Arc<WorkerPool>,
    pub(super) ends: Ends,
    /// One message a worker: warm, or why not.
    pub(super) started: Receiver<Result<(), StartError>>,
    pub(super) watchdog: Watchdog,
}

/// The watchdog's thread; it ends when the sender is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts as many workers as the pool has places.
pub(super) fn spawn(
    supervisor: WorkerSupervisor,
    pinning: Pinning,
    models: &Arc<[Arc<Model>]>,
) -> std::io::Result<Workers> {
    let count = supervisor.size();
    let (batches, taken) = bounded::<MicroBatch>(count);
    let (idle, free) = bounded(count);
    let (report, started) = bounded(count);
    let pool = Arc::new(WorkerPool {
        models: Arc::clone(models),
        supervisor: Arc::new(supervisor),
        batches: taken,
        idle,
        pinning,
        threads: (0..count).map(|_| Mutex::new(None)).collect(),
        loading: (0..count).map(|_| Loading::default()).collect(),
    });
    for number in 0..count {
        let report = report.clone();
        pool.start(number, 0, move |worker| worker.run_first(&report))?;
    }
    let (stop, stopped) = bounded(0);
    let watching = Arc::clone(&pool);
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watching.watch(&stopped))?;
    let watchdog = Watchdog { stop: Some(stop), thread: Some(thread) };
    Ok(Workers { pool, ends: Ends { batches, free }, started, watchdog })
}

impl WorkerPool {
    fn start(
        self: &Arc<Self>,
        number: usize,
        generation: u64,
        work: impl FnOnce(&mut Worker) + Send + 'static,
    ) -> std::io::Result<()> {
        let pool = Arc::clone(self);
        let run = move || {
            pool.settle(number);
            // Made here: a scorer never leaves its thread.
            let mut worker = Worker::new(pool, number, generation);
            work(&mut worker);
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?;
        *self.thread(number) = Some(thread);
        Ok(())
    }

    /// Keeps the calling thread, a worker's, on its cores, if it is to be kept.
    fn settle(&self, worker: usize) {
        if self.pinning == Pinning::Free {
            return;
        }
        match pin(worker, self.threads.len()) {
            Ok(Some(cores)) => {
                let cores = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                tracing::info!(worker, cores, "worker pinned");
            }
            Ok(None) => tracing::warn!(worker, "worker not pinned: there are more workers than cores"),
            Err(error) => tracing::warn!(worker, %error, "worker not pinned: the system refuses"),
        }
    }

    fn watch(self: Arc<Self>, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            for number in 0..self.threads.len() {
                self.check_worker(number);
            }
        }
    }

    fn check_worker(self: &Arc<Self>, number: usize) {
        if let Some(generation) = self.supervisor.check_worker(number, Instant::now()) {
            // The thread goes on without a slot; nobody waits for it.
            drop(self.thread(number).take());
            self.hand_over(number, generation);
            return;
        }
        // A worker whose own code panicked: whatever happens to a scorer is caught where it is called.
        let ended = self.thread(number).as_ref().is_some_and(JoinHandle::is_finished);
        if ended && self.supervisor.was_up(number) && !self.supervisor.is_closing() {
            self.hand_over(number, self.supervisor.replace_dead(number));
        }
    }

    fn hand_over(self: &Arc<Self>, number: usize, generation: u64) {
        if let Err(error) = self.start(number, generation, Worker::run_replacement) {
            tracing::error!(worker = number, %error, "no thread for a new worker; the process should be restarted");
            self.supervisor.context.health.gave_up();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}
