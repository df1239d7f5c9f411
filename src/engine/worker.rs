//! Workers: one named thread owns one scorer of every model and runs what it is handed.
//!
//! Owns the scorers and the forward pass; what is made of its outcome is `runner`'s. It must not know scheduling, or who
//! watches over it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rescored_process::metrics::Worker as Label;
use rescored_runtime::{Batch, Encoding, Scorer};

use super::planner::Spent;
use super::runner::{Outcome, Runner, Size};
use super::worker_pool::{WorkerIdle, WorkerPool};
use super::worker_slot::{MicroBatch, Replaced};
use super::{PairError, StartError, loading};

/// How often a pause looks whether it is still worth pausing.
const PAUSE_STEP: Duration = Duration::from_millis(20);

/// A worker that waits for its next batch for less than this had one waiting: the hand-over is a part of its pace.
const HAND_OVER: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Worker {
    pool: Arc<WorkerPool>,
    runner: Runner,
    /// By model; empty while there is none.
    scorers: Vec<Box<dyn Scorer>>,
    batch: Batch,
    /// It has said that it is free and was given nothing yet.
    offered: bool,
}

/// How a worker was when its engine ended.
#[derive(PartialEq, Eq)]
enum End {
    /// It took work.
    Up,
    /// It could not, and had said so.
    Down,
}

impl Worker {
    pub(super) fn new(pool: Arc<WorkerPool>, number: usize, generation: u64) -> Self {
        let runner = Runner::new(Arc::clone(&pool.supervisor), number, generation);
        Self { pool, runner, scorers: Vec::new(), batch: Batch::default(), offered: false }
    }

    /// The first worker of a slot: reports whether it could be built.
    pub(super) fn run_first(&mut self, report: &Sender<Result<(), StartError>>) {
        let outcome = self.build();
        let failed = outcome.is_err();
        if !failed {
            self.pool.supervisor.worker_up(self.runner.number);
        }
        // The engine's handle may be gone already; then nobody waits for the report.
        drop(report.send(outcome));
        if failed {
            self.refuse_all();
        } else {
            self.serve();
        }
    }

    /// A worker that takes the place of one that is gone, and finds its work in the slot.
    pub(super) fn run_replacement(&mut self) {
        if !self.rebuild() {
            return self.refuse_all();
        }
        self.runner.mark_up();
        tracing::info!(worker = self.runner.number, "worker replaced");
        self.serve();
    }

    fn serve(&mut self) {
        // A worker that was replaced ends here, without a word: its place is another's.
        if self.take_turns() == Ok(End::Up) {
            self.pool.supervisor.worker_down();
        }
    }

    fn take_turns(&mut self) -> Result<End, Replaced> {
        loop {
            let mut spent = None;
            while let Some(micro_batch) = self.runner.take()? {
                let started = Instant::now();
                spent = self.forward(micro_batch)?;
                self.busy_for(started.elapsed());
                if self.runner.is_broken() && !self.restore() {
                    self.refuse_all();
                    return Ok(End::Down);
                }
            }
            let asked = Instant::now();
            let Some(micro_batch) = self.next(spent) else { return Ok(End::Up) };
            if asked.elapsed() < HAND_OVER {
                self.pool.supervisor.admission.ran(0, asked.elapsed());
            }
            self.runner.put(micro_batch)?;
        }
    }

    /// Gives up whatever it is handed until the engine ends.
    fn refuse_all(&mut self) {
        self.runner.clear(PairError::Lost);
        while let Some(micro_batch) = self.next(None) {
            drop(micro_batch);
        }
    }

    /// Its next pass; `None` when the engine ends.
    fn next(&mut self, spent: Option<Spent>) -> Option<MicroBatch> {
        if !self.offered {
            self.pool.offer(WorkerIdle { spent })?;
        }
        let micro_batch = self.pool.next();
        self.offered = false;
        micro_batch
    }

    /// A step of a pause, in which whoever comes may have to be refused.
    fn pause_for(&mut self, time: Duration) {
        if self.runner.refuses() {
            self.offered = self.offered || self.pool.offer(WorkerIdle { spent: None }).is_some();
        }
        if !self.offered {
            return std::thread::sleep(time);
        }
        if let Some(micro_batch) = self.pool.next_within(time) {
            self.offered = false;
            micro_batch.sequences.iter().for_each(|sequence| sequence.ticket.refuse(PairError::Failed));
        }
    }

    fn busy_for(&self, time: Duration) {
        let label = Label { worker: u32::try_from(self.runner.number).unwrap_or(u32::MAX) };
        let busy = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.pool.supervisor.metrics().worker_busy_microseconds.get_or_create(&label).inc_by(busy);
    }

    /// Builds one scorer a model and runs each once.
    fn build(&mut self) -> Result<(), StartError> {
        let Self { pool, runner, batch, .. } = self;
        let is_unwanted = || pool.supervisor.is_closing();
        self.scorers = loading::build(&pool.models, pool.loading(runner.number), is_unwanted, batch)?;
        Ok(())
    }

    /// Brings a worker back whose scorers are broken; `false` when the engine ends first.
    fn restore(&mut self) -> bool {
        self.scorers.clear();
        self.runner.mark_down();
        let rebuilt = self.rebuild();
        if rebuilt {
            self.runner.mark_up();
            tracing::info!(worker = self.runner.number, "worker rebuilt");
        }
        rebuilt
    }

    /// Builds scorers until they work, after growing pauses; `false` when the engine ends first.
    fn rebuild(&mut self) -> bool {
        loop {
            let until = Instant::now() + self.runner.pause();
            while Instant::now() < until && !self.pool.supervisor.is_closing() {
                self.pause_for(PAUSE_STEP.min(until.saturating_duration_since(Instant::now())));
            }
            match self.build() {
                Ok(()) => return true,
                Err(error) => self.runner.not_rebuilt(&error),
            }
            if self.pool.supervisor.is_closing() {
                return false;
            }
        }
    }

    /// Scores a micro-batch, or puts what is left of it into the slot. What a pass that succeeded cost is answered.
    fn forward(&mut self, micro_batch: MicroBatch) -> Result<Option<Spent>, Replaced> {
        let Some(micro_batch) = self.runner.drop_unwanted(micro_batch, Instant::now()) else { return Ok(None) };
        let pool = Arc::clone(&self.pool);
        let models = pool.models.get(micro_batch.model).zip(self.scorers.get_mut(micro_batch.model));
        let Some((model, scorer)) = models else { return Ok(None) };
        let encodings: Vec<&Encoding> = micro_batch.sequences.iter().map(|sequence| &sequence.encoding).collect();
        model.batching_policy.arrange(&encodings, &mut self.batch);
        let begun = self.runner.begin(micro_batch, scorer.cancel_handle(), Instant::now())?;
        let batch = &self.batch;
        let outcome = match catch_unwind(AssertUnwindSafe(|| scorer.score(batch))) {
            Ok(Ok(logits)) => Outcome::Logits(logits),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_panic) => Outcome::Panicked,
        };
        let size = Size { tokens: self.batch.tokens() as u64, padding: self.batch.padding() as u64 };
        self.runner.end(&begun, outcome, size, Instant::now())
    }
}
