//! What the workers' threads share.
//!
//! Owns their handles and their ends of the channels, and the wait for their end; `watchdog` starts and replaces them. It
//! must not know scheduling, nor what a worker does.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rescored_process::sync::lock;
use rescored_runtime::Model;

use super::loading::{self, Loading};
use super::options::Pinning;
use super::planner::Spent;
use super::supervisor::WorkerSupervisor;
use super::worker_slot::MicroBatch;

/// What all workers' threads share.
pub(super) struct WorkerPool {
    pub(super) models: Arc<[Arc<Model>]>,
    pub(super) supervisor: Arc<WorkerSupervisor>,
    pub(super) batches: Receiver<MicroBatch>,
    pub(super) idle: Sender<WorkerIdle>,
    pub(super) pinning: Pinning,
    /// By worker; `None` once its thread is left behind and not yet replaced, or ended for good.
    pub(super) threads: Box<[Mutex<Option<JoinHandle<()>>>]>,
    /// What each worker loads.
    pub(super) loading: Box<[Loading]>,
}

/// A worker waits for its next pass.
#[derive(Debug)]
pub(super) struct WorkerIdle {
    /// What its last one cost.
    pub(super) spent: Option<Spent>,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool").field("pool", &self.supervisor).finish_non_exhaustive()
    }
}

impl WorkerPool {
    /// Says that a worker is free; `None` once the planner thread is gone.
    pub(super) fn offer(&self, free: WorkerIdle) -> Option<()> {
        self.idle.send(free).ok()
    }

    /// Waits for the next pass of a worker that has said that it is free; `None` once the planner thread is gone.
    pub(super) fn next(&self) -> Option<MicroBatch> {
        self.batches.recv().ok()
    }

    /// A worker that cannot work has said that it is free, and takes what it is given within this time.
    pub(super) fn next_within(&self, time: Duration) -> Option<MicroBatch> {
        self.batches.recv_timeout(time).ok()
    }

    /// What a worker loads.
    pub(super) fn loading(&self, number: usize) -> &Loading {
        &self.loading[number]
    }

    /// Ids of the models that are being loaded.
    pub(super) fn loads(&self) -> Vec<String> {
        loading::ids(self.loading.iter().filter_map(Loading::model), &self.models)
    }

    /// The engine's handle goes away: what cannot work gives up what it holds, and what loads stops where it can.
    pub(super) fn close(&self) {
        self.supervisor.close();
        // A worker that begins its first pass later sees that the engine is closing.
        self.loading.iter().for_each(Loading::stop);
    }

    /// Waits until every worker has ended, those left behind aside: also those that go on loading a model.
    pub(super) fn join(&self) {
        let patience = Instant::now() + loading::PATIENCE_TO_END;
        for number in 0..self.threads.len() {
            // Not a plain join: while a worker hangs, the watchdog may put another in its place.
            while self.thread(number).as_ref().is_some_and(|thread| !thread.is_finished()) {
                if Instant::now() > patience && self.loading(number).model().is_some() {
                    tracing::error!(worker = number, "a first forward pass does not end; its thread is left behind");
                    self.supervisor.metrics().workers_left_behind.inc();
                    drop(self.thread(number).take());
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            // A thread that panicked has been reported.
            drop(self.thread(number).take().map(JoinHandle::join));
        }
    }

    /// A worker's thread.
    pub(super) fn thread(&self, number: usize) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // No code that can panic runs under this lock.
        lock(&self.threads[number])
    }
}
