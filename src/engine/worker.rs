//! Workers: one named thread owns one scorer of every model and runs what it is handed.
//!
//! Owns the forward pass and what happens when it fails: a failed batch is halved until the pair that fails stands
//! alone, the pairs of a stuck one are tried one by one, and a scorer that panicked is built anew, after pauses that grow
//! while nothing succeeds. It must not know scheduling, or who watches over it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::PairFault;
use super::crew::{Crew, Free};
use super::planner::{Spent, work};
use super::slot::{Part, Replaced, Run, Slot, Stopped};
use crate::metrics::Worker as Label;
use crate::model::{Batch, Encoding, Scorer, ScorerError};

/// The pause before a scorer is built again when the last one served nothing: the first, and the longest.
const REBUILD_PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(10)];

/// Passes that fail one after the other before the scorer itself is blamed: halving a pass of any size down to one bad pair
/// takes fewer, while a device that is lost fails them all.
const LOST: u32 = 24;

/// Times in a row that a scorer is built in vain, or serves nothing once it is built, before its device is lost.
const LOSSES: u32 = 3;

/// How often a pause looks whether it is still worth pausing.
const PAUSE_STEP: Duration = Duration::from_millis(20);

/// Tokens of the pair that warms a worker up: long enough that memory arenas get their usual size.
const WARM_UP_TOKENS: u32 = 128;

/// A worker that waits for its next batch for less than this had one waiting: the hand-over is a part of its pace.
const HAND_OVER: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Worker {
    crew: Arc<Crew>,
    number: usize,
    generation: u64,
    /// By model; empty while there is none.
    scorers: Vec<Box<dyn Scorer>>,
    batch: Batch,
    /// The pause before the next rebuild; zero after a success.
    pause: Duration,
    /// Passes that failed since the last one that did not.
    failures: u32,
    /// Scorers built in vain since then.
    losses: u32,
    /// That was often enough to call the device lost, and nothing has succeeded since.
    in_vain: bool,
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
        Self {
            crew,
            number,
            generation,
            scorers: Vec::new(),
            batch: Batch::default(),
            pause: Duration::ZERO,
            failures: 0,
            losses: 0,
            in_vain: false,
            offered: false,
        }
    }

    /// The first worker of a desk: reports whether it could be built.
    pub(super) fn first_shift(&mut self, report: &Sender<Result<(), ScorerError>>) {
        let outcome = self.build();
        let failed = outcome.is_err();
        if !failed {
            self.crew.came_up(self.number);
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
        self.crew.came_up(self.number);
        self.crew.worker_returned();
        tracing::info!(worker = self.number, "worker replaced");
        self.serve();
    }

    fn serve(&mut self) {
        // A worker that was replaced ends here, without a word: its place is another's.
        if self.take_turns() == Ok(End::Up) {
            self.crew.went_down();
        }
    }

    fn take_turns(&mut self) -> Result<End, Replaced> {
        loop {
            let mut spent = None;
            while let Some(part) = self.slot().take(self.generation)? {
                let started = Instant::now();
                spent = self.forward(part)?;
                self.busy_for(started.elapsed());
                if self.scorers.is_empty() && !self.restore() {
                    self.refuse_all();
                    return Ok(End::Down);
                }
            }
            let asked = Instant::now();
            let Some(part) = self.next(spent) else { return Ok(End::Up) };
            if asked.elapsed() < HAND_OVER {
                self.crew.ledger.ran(0, asked.elapsed());
            }
            self.slot().put(self.generation, part)?;
        }
    }

    /// Gives up whatever it is handed until the engine ends: each pair answers by being dropped.
    fn refuse_all(&mut self) {
        drop(self.slot().clear(self.generation));
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

    /// A step of a pause. While nobody works and building has been in vain, whoever comes is refused at once rather than
    /// kept until its deadline: there is nobody who might score it meanwhile.
    fn pause_for(&mut self, time: Duration) {
        if self.in_vain && self.crew.nobody_works() {
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

    fn slot(&self) -> &Slot {
        self.crew.slot(self.number)
    }

    fn busy_for(&self, time: Duration) {
        let label = Label { worker: u32::try_from(self.number).unwrap_or(u32::MAX) };
        let busy = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.crew.metrics().worker_busy_microseconds.get_or_create(&label).inc_by(busy);
    }

    /// Builds one scorer a model and runs each once.
    fn build(&mut self) -> Result<(), ScorerError> {
        let mut scorers = Vec::with_capacity(self.crew.models.len());
        for model in self.crew.models.iter() {
            let batch = &mut self.batch;
            let built = catch_unwind(AssertUnwindSafe(|| {
                let mut scorer = model.scorers.build()?;
                let length = WARM_UP_TOKENS.min(model.card.max_length);
                model.company.arrange(&[&Encoding::new(vec![1; length as usize], length / 2, 0)], batch);
                scorer.score(batch)?;
                Ok(scorer)
            }));
            let panicked = |_| Err(ScorerError::Runtime { message: "loading the model panicked".to_owned() });
            scorers.push(built.unwrap_or_else(panicked)?);
        }
        self.scorers = scorers;
        Ok(())
    }

    /// Brings a worker back whose scorer panicked; `false` when the engine ends first.
    fn restore(&mut self) -> bool {
        self.crew.worker_died();
        self.crew.went_down();
        let rebuilt = self.rebuild();
        if rebuilt {
            self.crew.came_up(self.number);
            self.crew.worker_returned();
            tracing::info!(worker = self.number, "worker rebuilt");
        }
        rebuilt
    }

    /// Builds scorers until they work, after growing pauses; `false` when the engine ends first.
    fn rebuild(&mut self) -> bool {
        let [first, longest] = REBUILD_PAUSES;
        loop {
            let until = Instant::now() + self.pause;
            self.pause = (self.pause * 2).clamp(first, longest);
            while Instant::now() < until && !self.crew.is_closing() {
                self.pause_for(PAUSE_STEP.min(until.saturating_duration_since(Instant::now())));
            }
            match self.build() {
                Ok(()) => return true,
                Err(error) => {
                    self.crew.fault("rebuild");
                    tracing::error!(worker = self.number, %error, "worker cannot be rebuilt; trying again");
                    self.lose();
                }
            }
            if self.crew.is_closing() {
                return false;
            }
            // Others may be able to score them; here they would only wait.
            if let Ok(parts) = self.slot().clear(self.generation) {
                parts.iter().flat_map(|part| &part.units).for_each(|unit| unit.claim.refuse(PairFault::Lost));
            }
        }
    }

    /// Scores a part, or puts what is left of it on the desk. What a pass that succeeded cost is answered.
    fn forward(&mut self, mut part: Part) -> Result<Option<Spent>, Replaced> {
        let now = Instant::now();
        part.units.retain(|unit| unit.claim.is_live(now));
        self.crew.refuse_quarantined(&mut part, now);
        if part.units.is_empty() {
            return Ok(None);
        }
        let crew = Arc::clone(&self.crew);
        let Some(model) = crew.models.get(part.model) else { return Ok(None) };
        let Some(scorer) = self.scorers.get_mut(part.model) else {
            // Only a panic takes scorers away: they are built anew before the next part is taken.
            return self.slot().put(self.generation, part).map(|()| None);
        };
        let encodings: Vec<&Encoding> = part.units.iter().map(|unit| &unit.encoding).collect();
        model.company.arrange(&encodings, &mut self.batch);
        let tokens = part.units.iter().map(|unit| unit.estimate).sum();
        let part = Arc::new(part);
        let run = Run::new(Arc::clone(&part), crew.allowed(tokens), scorer.brake());
        crew.slot(self.number).begin(self.generation, run)?;
        let started = Instant::now();
        let batch = &self.batch;
        let outcome = catch_unwind(AssertUnwindSafe(|| scorer.score(batch)));
        let spent = started.elapsed();
        let stopped = crew.slot(self.number).end(self.generation)?;
        if stopped == Some(Stopped::Stuck) {
            // It came back: told to, or late. Either way the worker is well again.
            crew.worker_returned();
        }
        match outcome {
            Ok(Ok(logits)) if logits.len() == part.units.len() => {
                self.pause = Duration::ZERO;
                (self.failures, self.losses, self.in_vain) = (0, 0, false);
                crew.ledger.ran(tokens, spent);
                let spent = self.account(&part, started, spent);
                for (unit, logit) in part.units.iter().zip(logits) {
                    unit.claim.scored(logit);
                }
                Ok(Some(spent))
            }
            Ok(outcome) => self.failed(&part, outcome.err(), stopped).map(|()| None),
            Err(_panic) => self.panicked(&part, stopped).map(|()| None),
        }
    }

    /// The pass failed as a whole, or gave another number of logits than pairs.
    fn failed(&mut self, part: &Part, error: Option<ScorerError>, stopped: Option<Stopped>) -> Result<(), Replaced> {
        let pairs = part.units.len();
        match (stopped, error) {
            // Nobody waited. Those who came since wait for another try.
            (Some(Stopped::Unwanted), _) => return self.slot().put(self.generation, part.clone()),
            (Some(Stopped::Stuck), _) => return self.unstuck(part),
            (None, Some(error)) => {
                self.crew.fault("error");
                tracing::warn!(worker = self.number, pairs, %error, "forward pass failed");
            }
            (None, None) => {
                self.crew.fault("wrong_length");
                tracing::error!(worker = self.number, pairs, "forward pass gave another number of logits than pairs");
            }
        }
        self.failures += 1;
        if self.failures >= LOST {
            self.failures = 0;
            self.crew.fault("lost");
            tracing::error!(worker = self.number, passes = LOST, "no pass succeeds any more; building the model anew");
            self.scorers.clear();
            self.lose();
        }
        self.halve(part)
    }

    /// A scorer was built in vain.
    fn lose(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES {
            (self.losses, self.in_vain) = (0, true);
            // Whether anybody moves the models or not: this worker goes on trying until its engine ends.
            self.crew.device_lost("a worker's model was built anew in vain");
        }
    }

    fn panicked(&mut self, part: &Part, stopped: Option<Stopped>) -> Result<(), Replaced> {
        self.crew.fault("panic");
        tracing::error!(worker = self.number, pairs = part.units.len(), "forward pass panicked");
        // What it left behind is not to be trusted.
        self.scorers.clear();
        if let [unit] = part.units.as_slice() {
            self.crew.quarantine.strike(part.model, &unit.encoding, Instant::now());
        }
        if stopped == Some(Stopped::Stuck) { self.unstuck(part) } else { self.halve(part) }
    }

    /// One of the pairs made the pass hang: each is tried alone, for every further hang costs its whole patience.
    fn unstuck(&self, part: &Part) -> Result<(), Replaced> {
        if let [unit] = part.units.as_slice() {
            self.crew.quarantine.strike(part.model, &unit.encoding, Instant::now());
            unit.claim.refuse(PairFault::Stuck);
            return Ok(());
        }
        self.slot().put_alone(self.generation, part)
    }

    /// One of the pairs made the pass fail: a half without it goes through, a pair alone is the culprit.
    fn halve(&self, part: &Part) -> Result<(), Replaced> {
        if let [unit] = part.units.as_slice() {
            unit.claim.refuse(PairFault::Failed);
            return Ok(());
        }
        let (first, second) = part.units.split_at(part.units.len() / 2);
        for half in [second, first] {
            self.slot().put(self.generation, Part { model: part.model, units: half.to_vec() })?;
        }
        Ok(())
    }

    fn account(&self, part: &Part, started: Instant, spent: Duration) -> Spent {
        let units = &part.units;
        let metrics = self.crew.metrics();
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
        Spent { model: part.model, tokens, work, time: spent }
    }
}
