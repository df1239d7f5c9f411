//! Programs in use: one of each shape, shared by all workers, loaded when a batch first needs it.
//!
//! Owns what happens when a way fails while it serves: the batch goes the next way at once, a way that stalls or gives
//! what is no number is used no more, one that fails again and again neither; the CPU is the last. Each such step is a log
//! line, a figure and a line of `/info`. It must not know HTTP or the engine.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rescored_core::domain::accelerator::{Accelerator, Program, Refused, State};
use rescored_graph::coreml::Shape;
use rescored_process::sync::lock;

use super::calibrate::{Calibration, RefusedTarget, Timed};
use super::check::Sample;
use super::compute_units::{ExecutionTarget, Place};
use super::device::Device;
use super::feed::{Embed, Feed, Tokens};
use super::plan::{Priced, Run, plan};
use super::program_thread::{ProgramThread, ProgramThreadError};
use super::trial::{self, Patience};
use crate::ScorerError;

/// Failures of a way at one shape, one after the other, after which it is used no more there.
const STRIKES: u32 = 3;

/// Filled inputs of a shape that are kept for the next run, one a worker.
const SPARE_FEEDS: usize = 2;

/// What a pool is made of.
#[derive(Debug)]
pub struct Parts {
    /// Loads programs.
    pub device: Arc<dyn Device>,
    /// Sums embeddings.
    pub embed: Arc<dyn Embed>,
    /// Pairs whose logits are known.
    pub samples: Vec<Sample>,
    /// The shapes.
    pub shapes: Vec<Shape>,
    /// The ways that may be used, in tiers.
    pub tiers: Vec<Vec<ExecutionTarget>>,
    /// Where the calibration is kept.
    pub record: PathBuf,
    /// What the calibration depends on.
    pub key: String,
    /// How long is waited.
    pub patience: Patience,
}

/// See the module.
#[derive(Debug)]
pub struct ProgramPool {
    parts: Parts,
    /// In the order of the shapes, small ones first.
    slots: Vec<(Shape, Mutex<ProgramSlot>)>,
    refused: Mutex<Vec<RefusedTarget>>,
    prices: Mutex<Vec<Priced>>,
    prepared: Mutex<bool>,
    spare: Mutex<HashMap<Shape, Vec<Feed>>>,
    detours: AtomicU64,
}

/// One shape's ways and the program that is loaded.
#[derive(Debug, Default)]
struct ProgramSlot {
    /// Fastest first; [`ExecutionTarget::HOST`] is always among them.
    ways: Vec<Timed>,
    program_thread: Option<(ExecutionTarget, Arc<ProgramThread>)>,
    strikes: u32,
}

impl ProgramPool {
    /// A pool that has measured nothing yet.
    pub fn new(parts: Parts) -> Self {
        let slots = parts.shapes.iter().map(|&shape| (shape, Mutex::default())).collect();
        Self {
            parts,
            slots,
            refused: Mutex::default(),
            prices: Mutex::default(),
            prepared: Mutex::default(),
            spare: Mutex::default(),
            detours: AtomicU64::new(0),
        }
    }

    /// Reads the calibration, or measures and keeps it. Later calls do nothing.
    pub fn prepare(&self) {
        let mut prepared = lock(&self.prepared);
        if *prepared {
            return;
        }
        let Parts { shapes, tiers, record, key, .. } = &self.parts;
        let calibration = Calibration::read(record, key, shapes).unwrap_or_else(|| {
            tracing::info!(shapes = shapes.len(), "coreml: measuring units for every shape; this takes minutes, once");
            let measured = Calibration::measure(key.clone(), (tiers, shapes), |shape, way| self.trial(shape, way));
            if let Err(error) = measured.write(record) {
                tracing::warn!(path = %record.display(), %error, "coreml: the calibration cannot be kept and is measured again at the next start");
            }
            measured
        });
        for refusal in &calibration.refused {
            let RefusedTarget { way, shape, everywhere, reason } = refusal;
            tracing::warn!(%way, %shape, everywhere, reason, "coreml: units refused");
        }
        *lock(&self.refused) = calibration.refused;
        for measured in calibration.shapes {
            if let Some(slot) = self.slot(measured.shape) {
                let best = measured.ways.first();
                tracing::info!(shape = %measured.shape, way = best.map(|timed| timed.way.to_string()), milliseconds = best.map(|timed| timed.milliseconds), "coreml: units chosen");
                lock(slot).ways = measured.ways;
            }
        }
        self.price();
        self.compile();
        *prepared = true;
    }

    /// Loads now what would have to be compiled while a batch waits for it: what was measured by an earlier process, and is
    /// not in the store any more.
    fn compile(&self) {
        for (shape, slot) in &self.slots {
            let (way, _) = self.best(&lock(slot), *shape);
            if !self.parts.device.is_compiled(*shape, way)
                && let Err(error) = self.program_thread(*shape, false)
            {
                tracing::warn!(%shape, %way, %error, "coreml: a program does not load");
            }
        }
    }

    fn trial(&self, shape: Shape, way: ExecutionTarget) -> Result<Timed, super::calibrate::Flaw> {
        let Parts { device, embed, samples, patience, .. } = &self.parts;
        trial::measure(device, (shape, way), (samples, &**embed), patience)
    }

    /// One logit a pair, in order.
    ///
    /// # Errors
    /// [`ScorerError`] when not even the CPU runs what is asked for.
    pub fn score(&self, tokens: &Tokens) -> Result<Vec<f32>, ScorerError> {
        let lengths = tokens.lengths();
        let runs = plan(&lengths, &lock(&self.prices).clone());
        let mut logits = vec![None; lengths.len()];
        for run in &runs {
            let mut feed = self.feed(run.shape);
            feed.fill(run, tokens, &*self.parts.embed);
            let feed = Arc::new(feed);
            let output = self.run(run, &feed)?;
            self.keep(feed);
            for (pair, logit) in Feed::answers(run, &output) {
                logits[pair] = logit;
            }
        }
        let got = logits.iter().flatten().count();
        logits.into_iter().collect::<Option<Vec<f32>>>().ok_or(ScorerError::Shape { pairs: lengths.len(), got })
    }

    /// Runs by the best way that works, down to the CPU.
    fn run(&self, run: &Run, feed: &Arc<Feed>) -> Result<Vec<f32>, ScorerError> {
        loop {
            let (way, program_thread, patience) = self.program_thread(run.shape, true)?;
            let host = way.place == Place::Host;
            match program_thread.run(feed, patience) {
                Ok(output) if host || finite(run, &output) => {
                    self.struck(run.shape, 0);
                    return Ok(output);
                }
                // It may be the document's doing: then the CPU says the same.
                Ok(_) => self.refuse(way, run.shape, (true, "it gave what is no number".to_owned())),
                Err(ProgramThreadError::Stalled(waited)) => {
                    let reason = format!("no answer within {:.1} s", waited.as_secs_f64());
                    self.let_go(run.shape, &program_thread);
                    if host {
                        return Err(ScorerError::Runtime { message: reason });
                    }
                    self.refuse(way, run.shape, (true, reason));
                }
                Err(fault @ (ProgramThreadError::Failed(_) | ProgramThreadError::Died)) => {
                    self.let_go(run.shape, &program_thread);
                    if host {
                        return Err(ScorerError::Runtime { message: fault.to_string() });
                    }
                    tracing::warn!(%way, shape = %run.shape, error = %fault, "coreml: a run failed; the batch goes the next way");
                    self.detours.fetch_add(1, Ordering::Relaxed);
                    let strikes = self.struck(run.shape, 1);
                    if strikes >= STRIKES {
                        self.struck(run.shape, 0);
                        self.refuse(
                            way,
                            run.shape,
                            (false, format!("{strikes} runs failed one after the other: {fault}")),
                        );
                    } else {
                        return self.detour(run, feed);
                    }
                }
            }
        }
    }

    /// One run by the CPU, while the shape's own way gets another chance with the next batch.
    fn detour(&self, run: &Run, feed: &Arc<Feed>) -> Result<Vec<f32>, ScorerError> {
        let failed = |fault: ProgramThreadError| ScorerError::Runtime { message: fault.to_string() };
        let Patience { load, run: patience, .. } = self.parts.patience;
        let (program_thread, _) =
            ProgramThread::start(Arc::clone(&self.parts.device), (run.shape, ExecutionTarget::HOST), load)
                .map_err(failed)?;
        program_thread.run(feed, patience).map_err(failed)
    }

    /// The program of a shape: the one that is loaded, else the best that loads and gives the right scores.
    fn program_thread(
        &self,
        shape: Shape,
        serving: bool,
    ) -> Result<(ExecutionTarget, Arc<ProgramThread>, Duration), ScorerError> {
        let unknown = || ScorerError::Graph { message: format!("no program has the shape {shape}") };
        let mut slot = lock(self.slot(shape).ok_or_else(unknown)?);
        loop {
            let (way, milliseconds) = self.best(&slot, shape);
            let patience = self.parts.patience.of(milliseconds);
            if let Some((loaded, program_thread)) = &slot.program_thread
                && *loaded == way
            {
                return Ok((way, Arc::clone(program_thread), patience));
            }
            let Parts { device, embed, samples, patience: waits, .. } = &self.parts;
            let waits =
                if serving && way != ExecutionTarget::HOST { waits.while_serving(milliseconds) } else { *waits };
            match trial::load(device, (shape, way), (samples, &**embed), &waits) {
                Ok((program_thread, _, _)) => {
                    tracing::info!(%shape, %way, "coreml: program loaded");
                    let program_thread = Arc::new(program_thread);
                    slot.program_thread = Some((way, Arc::clone(&program_thread)));
                    return Ok((way, program_thread, patience));
                }
                Err(flaw) if way == ExecutionTarget::HOST => return Err(ScorerError::Runtime { message: flaw.reason }),
                // A slow start says less than a wrong score.
                Err(flaw) => self.note(RefusedTarget { way, shape, everywhere: flaw.wrong, reason: flaw.reason }),
            }
        }
    }

    /// The fastest way of a shape that is not refused, and its time.
    fn best(&self, slot: &ProgramSlot, shape: Shape) -> (ExecutionTarget, f64) {
        let refused = lock(&self.refused);
        let out = |way: ExecutionTarget| {
            refused.iter().any(|refusal| refusal.way == way && (refusal.everywhere || refusal.shape == shape))
        };
        let best = slot.ways.iter().find(|timed| !out(timed.way));
        best.map_or((ExecutionTarget::HOST, 0.0), |timed| (timed.way, timed.milliseconds))
    }

    fn refuse(&self, way: ExecutionTarget, shape: Shape, (everywhere, reason): (bool, String)) {
        self.detours.fetch_add(1, Ordering::Relaxed);
        self.note(RefusedTarget { way, shape, everywhere, reason });
        self.price();
    }

    fn note(&self, refusal: RefusedTarget) {
        let RefusedTarget { way, shape, everywhere, reason } = &refusal;
        tracing::error!(%way, %shape, everywhere, reason, "coreml: units refused; the next best way is used");
        let mut refused = lock(&self.refused);
        if !refused.iter().any(|old| old.way == refusal.way && old.shape == refusal.shape) {
            refused.push(refusal);
        }
    }

    /// Forgets a program that is of no use any more, unless another took its place.
    fn let_go(&self, shape: Shape, program_thread: &Arc<ProgramThread>) {
        let Some(slot) = self.slot(shape) else { return };
        let mut slot = lock(slot);
        if slot.program_thread.as_ref().is_some_and(|(_, held)| Arc::ptr_eq(held, program_thread)) {
            slot.program_thread = None;
        }
    }

    fn slot(&self, shape: Shape) -> Option<&Mutex<ProgramSlot>> {
        self.slots.iter().find(|(known, _)| *known == shape).map(|(_, slot)| slot)
    }

    /// Counts failures one after the other; a run that went well starts anew.
    fn struck(&self, shape: Shape, more: u32) -> u32 {
        let Some(slot) = self.slot(shape) else { return 0 };
        let mut slot = lock(slot);
        slot.strikes = if more == 0 { 0 } else { slot.strikes + more };
        slot.strikes
    }

    /// Prices every shape by its best way.
    fn price(&self) {
        let priced = |(shape, slot): &(Shape, Mutex<ProgramSlot>)| {
            let shape = *shape;
            let (_, milliseconds) = self.best(&lock(slot), shape);
            // A shape whose ways are all unmeasured costs what its places cost; rare, and better than nothing.
            let price = if milliseconds > 0.0 { milliseconds } else { shape.places() as f64 };
            Priced { shape, price }
        };
        let all = self.slots.iter().map(priced).collect();
        *lock(&self.prices) = all;
    }

    fn feed(&self, shape: Shape) -> Feed {
        let spare = lock(&self.spare).get_mut(&shape).and_then(Vec::pop);
        spare.unwrap_or_else(|| Feed::new(shape, self.parts.embed.width()))
    }

    fn keep(&self, feed: Arc<Feed>) {
        // A thread that was left behind may hold it still.
        if let Ok(feed) = Arc::try_unwrap(feed) {
            let mut spare = lock(&self.spare);
            let feeds = spare.entry(feed.shape).or_default();
            if feeds.len() < SPARE_FEEDS {
                feeds.push(feed);
            }
        }
    }
}

impl Accelerator for ProgramPool {
    fn state(&self) -> State {
        let program = |(shape, slot): &(Shape, Mutex<ProgramSlot>)| {
            let shape = *shape;
            let name = shape.to_string();
            // Held for as long as a program loads: whoever asks is not kept waiting for it.
            let Ok(slot) = slot.try_lock() else { return Program { shape: name, ..Program::default() } };
            let (way, milliseconds) = self.best(&slot, shape);
            let agreement = slot.ways.iter().find(|timed| timed.way == way).map(|timed| timed.agreement);
            let agreement = agreement.unwrap_or_default();
            Program {
                shape: name,
                way: way.to_string(),
                milliseconds,
                loaded: slot.program_thread.is_some(),
                most: agreement.most,
                company: agreement.company,
            }
        };
        let refused = |refusal: &RefusedTarget| Refused {
            way: refusal.way.to_string(),
            shape: (!refusal.everywhere).then(|| refusal.shape.to_string()),
            reason: refusal.reason.clone(),
        };
        State {
            programs: self.slots.iter().map(program).collect(),
            refused: lock(&self.refused).iter().map(refused).collect(),
            detours: self.detours.load(Ordering::Relaxed),
        }
    }
}

fn finite(run: &Run, output: &[f32]) -> bool {
    Feed::answers(run, output).all(|(_, logit)| logit.is_some_and(f32::is_finite))
}

#[cfg(test)]
mod tests;
