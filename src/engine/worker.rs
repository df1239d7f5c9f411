//! Workers: one named thread owns one scorer of every model and runs what it is handed.
//!
//! Owns the forward pass and what happens when it fails: a failed batch is halved until the pair that fails stands
//! alone, and a scorer that panicked is built anew. It must not know scheduling.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::claim::Unit;
use super::planner::{Spent, work};
use super::{PairFault, Surroundings};
use crate::health::Health;
use crate::metrics::{Metrics, Worker as Label};
use crate::model::{Batch, Encoding, Model, Scorer, ScorerError};

/// How long a worker waits before it tries again to build a scorer that could not be built.
const REBUILD_PAUSE: Duration = Duration::from_millis(500);

/// Tokens of the pair that warms a worker up: long enough that memory arenas get their usual size.
const WARM_UP_TOKENS: u32 = 128;

/// Encodings of one model for one forward pass.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) model: usize,
    pub(super) units: Vec<Unit>,
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
    pub(super) batches: Sender<Forward>,
    /// Room for one message a worker: none waits for the planner thread.
    pub(super) free: Receiver<Free>,
}

/// Running workers.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) ends: Ends,
    /// One message a worker: warm, or why not.
    pub(super) started: Receiver<Result<(), ScorerError>>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// Starts `count` workers.
pub(super) fn spawn(count: usize, models: &Arc<[Model]>, around: &Surroundings) -> std::io::Result<Workers> {
    let (batches, taken) = bounded::<Forward>(count);
    let (idle, free) = bounded(count);
    let (report, started) = bounded(count);
    let threads = (0..count)
        .map(|number| {
            let (taken, idle, report) = (taken.clone(), idle.clone(), report.clone());
            let label = Label { worker: u32::try_from(number).unwrap_or(u32::MAX) };
            let (models, around) = (Arc::clone(models), around.clone());
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _notice = DeathNotice(Arc::clone(&around.health));
                // Made here: a scorer never leaves its thread.
                Worker { models, scorers: Vec::new(), batch: Batch::default(), label, around }
                    .run((&idle, &taken), &report);
            })
        })
        .collect::<std::io::Result<_>>()?;
    Ok(Workers { ends: Ends { batches, free }, started, threads })
}

/// Reports a worker whose own code panicked: whatever happens to a scorer is caught where it is called.
struct DeathNotice(Arc<Health>);

impl Drop for DeathNotice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.worker_died();
        }
    }
}

/// See the module.
struct Worker {
    models: Arc<[Model]>,
    /// By model; empty while there is none.
    scorers: Vec<Box<dyn Scorer>>,
    batch: Batch,
    label: Label,
    around: Surroundings,
}

impl Worker {
    fn run(&mut self, (idle, batches): (&Sender<Free>, &Receiver<Forward>), report: &Sender<Result<(), ScorerError>>) {
        let outcome = self.build();
        let failed = outcome.is_err();
        // The engine's handle may be gone already; then nobody waits for the report.
        drop(report.send(outcome));
        if failed {
            return;
        }
        let alive = self.around.metrics.workers_alive.clone();
        alive.inc();
        let mut spent = None;
        while idle.send(Free { spent: spent.take() }).is_ok() {
            let Ok(forward) = batches.recv() else { break };
            if self.scorers.is_empty() {
                // The last forward pass panicked: what it left behind is not to be trusted.
                alive.dec();
                self.rebuild();
                alive.inc();
            }
            let started = Instant::now();
            spent = self.forward(forward.model, forward.units);
            let busy = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.around.metrics.worker_busy_microseconds.get_or_create(&self.label).inc_by(busy);
        }
        alive.dec();
    }

    /// Builds one scorer a model and runs each once.
    fn build(&mut self) -> Result<(), ScorerError> {
        let mut scorers = Vec::with_capacity(self.models.len());
        for model in self.models.iter() {
            let mut scorer = catch_unwind(AssertUnwindSafe(|| model.scorers.build()))
                .unwrap_or_else(|_| Err(ScorerError::Runtime { message: "loading the model panicked".to_owned() }))?;
            let length = WARM_UP_TOKENS.min(model.card.max_length);
            model.company.arrange(&[&Encoding::new(vec![1; length as usize], length / 2, 0)], &mut self.batch);
            scorer.score(&self.batch)?;
            scorers.push(scorer);
        }
        self.scorers = scorers;
        Ok(())
    }

    fn rebuild(&mut self) {
        self.around.health.worker_died();
        while let Err(error) = self.build() {
            tracing::error!(worker = self.label.worker, %error, "worker cannot be rebuilt; trying again");
            std::thread::sleep(REBUILD_PAUSE);
        }
        self.around.health.worker_returned();
        tracing::info!(worker = self.label.worker, "worker rebuilt");
    }

    /// Scores units, halving them when the forward pass fails. What one that did not cost is answered.
    fn forward(&mut self, model: usize, mut units: Vec<Unit>) -> Option<Spent> {
        let started = Instant::now();
        units.retain(|unit| unit.claim.is_live(started));
        if units.is_empty() {
            return None;
        }
        let encodings: Vec<&Encoding> = units.iter().map(|unit| &unit.encoding).collect();
        let (known, scorer) = (self.models.get(model)?, self.scorers.get_mut(model)?);
        known.company.arrange(&encodings, &mut self.batch);
        let batch = &self.batch;
        match catch_unwind(AssertUnwindSafe(|| scorer.score(batch))) {
            Ok(Ok(logits)) if logits.len() == units.len() => {
                let spent = self.account(model, &units, started);
                for (unit, logit) in units.into_iter().zip(logits) {
                    unit.claim.scored(logit);
                }
                return Some(spent);
            }
            Ok(outcome) => {
                if let Err(error) = outcome {
                    tracing::warn!(worker = self.label.worker, pairs = units.len(), %error, "forward pass failed");
                }
                self.halve(model, units);
            }
            Err(_panic) => {
                tracing::error!(worker = self.label.worker, pairs = units.len(), "forward pass panicked");
                self.scorers.clear();
                self.rebuild();
                self.halve(model, units);
            }
        }
        None
    }

    /// One of the units made the pass fail: a half without it goes through, a unit alone is the culprit.
    fn halve(&mut self, model: usize, mut units: Vec<Unit>) {
        if let [unit] = units.as_slice() {
            unit.claim.refuse(PairFault::Failed);
            return;
        }
        let second = units.split_off(units.len() / 2);
        self.forward(model, units);
        self.forward(model, second);
    }

    fn account(&self, model: usize, units: &[Unit], started: Instant) -> Spent {
        let spent = started.elapsed();
        let metrics: &Metrics = &self.around.metrics;
        metrics.forwards.inc();
        metrics.tokens.inc_by(self.batch.tokens() as u64);
        metrics.padding_tokens.inc_by(self.batch.padding() as u64);
        metrics.batch_pairs.observe(units.len() as f64);
        metrics.forward_seconds.observe(spent.as_secs_f64());
        let mut last = None;
        for unit in units {
            metrics.queue_seconds.observe((started - unit.ready).as_secs_f64());
            unit.claim.waited(started);
            // Units of one request stand together: the pass counts once for each.
            let job = Arc::as_ptr(unit.claim.job());
            if last != Some(job) {
                unit.claim.job().inferred_for(spent);
                last = Some(job);
            }
        }
        let tokens = (self.batch.tokens() + self.batch.padding()) as u64;
        let work = work(units.iter().map(|unit| unit.encoding.len()));
        Spent { model, tokens, work, time: spent }
    }
}
