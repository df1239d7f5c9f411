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

use super::crew::{Crew, Free};
use super::planner::Spent;
use super::runner::{Outcome, Runner, Size};
use super::slot::{Part, Replaced};
use super::{PairFault, StartError, loading};

/// How often a pause looks whether it is still worth pausing.
const PAUSE_STEP: Duration = Duration::from_millis(20);

/// A worker that waits for its next batch for less than this had one waiting: the hand-over is a part of its pace.
const HAND_OVER: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Worker {
    crew: Arc<Crew>,
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
    pub(super) fn new(crew: Arc<Crew>, number: usize, generation: u64) -> Self {
        let runner = Runner::new(Arc::clone(&crew.pool), number, generation);
        Self { crew, runner, scorers: Vec::new(), batch: Batch::default(), offered: false }
    }

    /// The first worker of a desk: reports whether it could be built.
    pub(super) fn first_shift(&mut self, report: &Sender<Result<(), StartError>>) {
        let outcome = self.build();
        let failed = outcome.is_err();
        if !failed {
            self.crew.pool.came_up(self.runner.number);
        }
        // The engine's handle may be gone already; then nobody waits for the report.
        drop(report.send(outcome));
        if failed {
            self.refuse_all();
        } else {
            self.serve();
        }
    }

    /// A worker that takes the place of one that is gone, and finds its work on the desk.
    pub(super) fn later_shift(&mut self) {
        if !self.rebuild() {
            return self.refuse_all();
        }
        self.runner.comes_back();
        tracing::info!(worker = self.runner.number, "worker replaced");
        self.serve();
    }

    fn serve(&mut self) {
        // A worker that was replaced ends here, without a word: its place is another's.
        if self.take_turns() == Ok(End::Up) {
            self.crew.pool.went_down();
        }
    }

    fn take_turns(&mut self) -> Result<End, Replaced> {
        loop {
            let mut spent = None;
            while let Some(part) = self.runner.take()? {
                let started = Instant::now();
                spent = self.forward(part)?;
                self.busy_for(started.elapsed());
                if self.runner.is_broken() && !self.restore() {
                    self.refuse_all();
                    return Ok(End::Down);
                }
            }
            let asked = Instant::now();
            let Some(part) = self.next(spent) else { return Ok(End::Up) };
            if asked.elapsed() < HAND_OVER {
                self.crew.pool.ledger.ran(0, asked.elapsed());
            }
            self.runner.put(part)?;
        }
    }

    /// Gives up whatever it is handed until the engine ends.
    fn refuse_all(&mut self) {
        self.runner.clear(PairFault::Lost);
        while let Some(part) = self.next(None) {
            drop(part);
        }
    }

    /// Its next pass; `None` when the engine ends.
    fn next(&mut self, spent: Option<Spent>) -> Option<Part> {
        if !self.offered {
            self.crew.offer(Free { spent })?;
        }
        let part = self.crew.next();
        self.offered = false;
        part
    }

    /// A step of a pause, in which whoever comes may have to be refused.
    fn pause_for(&mut self, time: Duration) {
        if self.runner.refuses() {
            self.offered = self.offered || self.crew.offer(Free { spent: None }).is_some();
        }
        if !self.offered {
            return std::thread::sleep(time);
        }
        if let Some(part) = self.crew.next_within(time) {
            self.offered = false;
            part.units.iter().for_each(|unit| unit.claim.refuse(PairFault::Failed));
        }
    }

    fn busy_for(&self, time: Duration) {
        let label = Label { worker: u32::try_from(self.runner.number).unwrap_or(u32::MAX) };
        let busy = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.crew.pool.metrics().worker_busy_microseconds.get_or_create(&label).inc_by(busy);
    }

    /// Builds one scorer a model and runs each once.
    fn build(&mut self) -> Result<(), StartError> {
        self.scorers = loading::build((&self.crew, self.runner.number), &mut self.batch)?;
        Ok(())
    }

    /// Brings a worker back whose scorers are broken; `false` when the engine ends first.
    fn restore(&mut self) -> bool {
        self.scorers.clear();
        self.runner.goes_down();
        let rebuilt = self.rebuild();
        if rebuilt {
            self.runner.comes_back();
            tracing::info!(worker = self.runner.number, "worker rebuilt");
        }
        rebuilt
    }

    /// Builds scorers until they work, after growing pauses; `false` when the engine ends first.
    fn rebuild(&mut self) -> bool {
        loop {
            let until = Instant::now() + self.runner.pause();
            while Instant::now() < until && !self.crew.pool.is_closing() {
                self.pause_for(PAUSE_STEP.min(until.saturating_duration_since(Instant::now())));
            }
            match self.build() {
                Ok(()) => return true,
                Err(error) => self.runner.not_rebuilt(&error),
            }
            if self.crew.pool.is_closing() {
                return false;
            }
        }
    }

    /// Scores a part, or puts what is left of it on the desk. What a pass that succeeded cost is answered.
    fn forward(&mut self, part: Part) -> Result<Option<Spent>, Replaced> {
        let Some(part) = self.runner.sift(part, Instant::now()) else { return Ok(None) };
        let crew = Arc::clone(&self.crew);
        let models = crew.models.get(part.model).zip(self.scorers.get_mut(part.model));
        let Some((model, scorer)) = models else { return Ok(None) };
        let encodings: Vec<&Encoding> = part.units.iter().map(|unit| &unit.encoding).collect();
        model.company.arrange(&encodings, &mut self.batch);
        let begun = self.runner.begin(part, scorer.brake(), Instant::now())?;
        let batch = &self.batch;
        let outcome = match catch_unwind(AssertUnwindSafe(|| scorer.score(batch))) {
            Ok(Ok(logits)) => Outcome::Logits(logits),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_panic) => Outcome::Panicked,
        };
        let size = Size { tokens: self.batch.tokens() as u64, padding: self.batch.padding() as u64 };
        self.runner.end(&begun, (outcome, size), Instant::now())
    }
}
