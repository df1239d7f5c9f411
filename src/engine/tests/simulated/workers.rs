//! The simulator's workers and their watchdog: passes that score, fail, hang or panic, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_core::domain::Priority;
use rescored_runtime::{CancelHandle, ScorerError};

use super::{FaultProfile, Faults, Random, Simulated, logit};
use crate::mutation::{self, Mutation};
use crate::pair_ticket::PairTicket;
use crate::planner::Spent;
use crate::runner::{Begun, Outcome, Runner, Size};
use crate::worker_slot::{MicroBatch, Replaced};

/// How often the watchdog looks.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// What a token of a forward pass takes.
const TOKEN: Duration = Duration::from_micros(100);

/// A worker: its runner, what it is at, and what stops its pass.
pub(super) struct Worker {
    pub(super) runner: Runner,
    pub(super) state: State,
    pub(super) cancel_handle: Arc<Flag>,
}

/// What a worker is at.
pub(super) enum State {
    /// It has said that it is free.
    Free,
    /// It looks at its slot.
    Turns {
        at: Instant,
    },
    Runs {
        begun: Begun,
        at: Instant,
        fate: Fate,
    },
    Rebuilds {
        at: Instant,
        offered: bool,
    },
    /// Its thread has ended by itself.
    Dead,
    /// Its slot is another's, or its engine is gone.
    Gone,
}

/// What a forward pass will come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Scores,
    Fails,
    Panics,
    TooFew,
    NotFinite,
    /// Until it is asked to stop.
    Hangs,
    /// Even when it is asked to stop.
    Deaf,
    /// The worker's own code panics.
    Dies,
}

#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl CancelHandle for Flag {
    fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Simulated {
    /// Does what a worker is to do now.
    pub(super) fn work(
        &mut self,
        number: usize,
        now: Instant,
        random: &mut Random,
        faults: &mut Faults,
    ) -> Result<(), String> {
        let worker = &mut self.workers[number];
        let mut spent = None;
        match std::mem::replace(&mut worker.state, State::Gone) {
            State::Runs { begun, fate, .. } => {
                if fate == Fate::Dies {
                    worker.state = State::Dead;
                    return Ok(());
                }
                let size = Size {
                    tokens: begun.micro_batch.sequences.iter().map(|sequence| sequence.encoding.len() as u64).sum(),
                    padding: 0,
                };
                match worker.runner.end(&begun, worker.outcome(&begun, fate), size, now) {
                    Ok(cost) => spent = cost,
                    Err(Replaced) => return Ok(()),
                }
                if worker.runner.is_broken() {
                    worker.runner.mark_down();
                    worker.state = State::Rebuilds { at: now + worker.runner.pause(), offered: false };
                    return Ok(());
                }
            }
            State::Rebuilds { offered, .. } => {
                if self.fault_profile == FaultProfile::WithFaults && random.one_in(4) {
                    *faults.entry("scorer that cannot be built").or_default() += 1;
                    self.losses += 1;
                    worker.runner.not_rebuilt(&ScorerError::Runtime { message: "failed by the simulator".into() });
                    if worker.runner.refuses() && !offered {
                        self.free.push_back(None);
                    }
                    let offered = offered || worker.runner.refuses();
                    worker.state = State::Rebuilds { at: now + worker.runner.pause(), offered };
                    return Ok(());
                }
                worker.runner.mark_up();
                if offered {
                    worker.state = State::Free;
                    return Ok(());
                }
            }
            State::Turns { .. } => {}
            state @ (State::Free | State::Dead | State::Gone) => {
                worker.state = state;
                return Ok(());
            }
        }
        self.take_turn(number, spent, now, random, faults)
    }

    fn take_turn(
        &mut self,
        number: usize,
        spent: Option<Spent>,
        now: Instant,
        random: &mut Random,
        faults: &mut Faults,
    ) -> Result<(), String> {
        let Ok(taken) = self.workers[number].runner.take() else { return Ok(()) };
        let Some(micro_batch) = taken else {
            self.workers[number].state = State::Free;
            self.free.push_back(spent);
            return Ok(());
        };
        let Some(micro_batch) = self.workers[number].runner.drop_unwanted(micro_batch, now) else {
            self.workers[number].state = State::Turns { at: now + random.micros(5) };
            return Ok(());
        };
        self.look_at(&micro_batch, now)?;
        let fate = self.fate(&micro_batch, random, faults);
        let tokens: u32 =
            micro_batch.sequences.iter().map(|sequence| u32::try_from(sequence.encoding.len()).unwrap()).sum();
        let time = match fate {
            Fate::Hangs => Duration::from_hours(1),
            Fate::Deaf => Duration::from_secs(20),
            _ => TOKEN * tokens,
        };
        let worker = &mut self.workers[number];
        let cancel_handle = Arc::clone(&worker.cancel_handle) as Arc<dyn CancelHandle>;
        if let Ok(begun) = worker.runner.begin(micro_batch, Some(cancel_handle), now) {
            worker.state = State::Runs { begun, at: now + time, fate };
        }
        Ok(())
    }

    /// Invariants 4 and 5, when a pass begins.
    fn look_at(&self, micro_batch: &MicroBatch, now: Instant) -> Result<(), String> {
        for sequence in &micro_batch.sequences {
            if sequence.ticket.wanted_until().is_none_or(|until| until <= now) {
                return Err("invariant 4: a pair that nobody waits for is scored".into());
            }
            let text = |ticket: &PairTicket| {
                let work = &ticket.job().work;
                let (query, document) = &work.documents[ticket.slot() as usize];
                (work.model, work.refuse_cut, work.queries[*query as usize].clone(), document.clone())
            };
            let live = |ticket: &PairTicket| ticket.job().work.priority == Priority::Live;
            let running = self.workers.iter().filter_map(|worker| match &worker.state {
                State::Runs { begun, .. } => Some(&begun.micro_batch.sequences),
                _ => None,
            });
            let twin = running.flatten().find(|other| {
                live(&other.ticket)
                    && live(&sequence.ticket)
                    && other.ticket.wanted_until().is_some_and(|until| until > now)
                    && !other.ticket.is_answered()
                    && text(&other.ticket) == text(&sequence.ticket)
            });
            if twin.is_some() {
                return Err("invariant 5: a pair in flight is computed again".into());
            }
        }
        Ok(())
    }

    fn fate(&mut self, micro_batch: &MicroBatch, random: &mut Random, faults: &mut Faults) -> Fate {
        if self.fault_profile == FaultProfile::NoFaults {
            return Fate::Scores;
        }
        let poisoned = micro_batch.sequences.iter().any(|sequence| {
            sequence.ticket.job().work.documents[sequence.ticket.slot() as usize].1.ends_with("poison")
        });
        let (fate, kind) = match random.below(1000) {
            _ if poisoned => (Fate::Panics, "pass that panics on a document"),
            0..30 => (Fate::Fails, "pass that fails"),
            30..40 => (Fate::Panics, "pass that panics"),
            40..45 => (Fate::TooFew, "pass that gives too few logits"),
            45..50 => (Fate::NotFinite, "pass that gives no numbers"),
            50..56 => (Fate::Hangs, "pass that hangs until it is asked to stop"),
            56..59 => (Fate::Deaf, "pass that never stops"),
            59..62 => (Fate::Dies, "worker that dies"),
            _ => return Fate::Scores,
        };
        *faults.entry(kind).or_default() += 1;
        fate
    }

    /// What the watchdog does at each look.
    pub(super) fn watch(&mut self, now: Instant, random: &mut Random, faults: &mut Faults) {
        self.watch_at = now + TICK;
        if mutation::is(Mutation::NobodyWatches) {
            return;
        }
        for number in 0..self.workers.len() {
            let generation = match self.supervisor.check_worker(number, now) {
                Some(generation) => {
                    *faults.entry("worker left behind").or_default() += 1;
                    Some(generation)
                }
                None if matches!(self.workers[number].state, State::Dead) => Some(self.supervisor.replace_dead(number)),
                None => None,
            };
            if let Some(generation) = generation {
                let runner = Runner::new(Arc::clone(&self.supervisor), number, generation);
                let state = State::Rebuilds { at: now + random.micros(1000), offered: false };
                let next = Worker { runner, state, cancel_handle: Arc::default() };
                let former = std::mem::replace(&mut self.workers[number], next);
                self.zombies.push(former);
            }
        }
    }
}

impl Worker {
    /// When it does something next.
    pub(super) fn at(&self) -> Option<Instant> {
        match &self.state {
            // Asked to stop, it fails at once, if it hears.
            State::Runs { at, fate, begun } if *fate != Fate::Deaf && self.is_stopped() => {
                Some((*at).min(begun.started()))
            }
            State::Turns { at } | State::Rebuilds { at, .. } | State::Runs { at, .. } => Some(*at),
            State::Free | State::Dead | State::Gone => None,
        }
    }

    /// Whether its pass was asked to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.cancel_handle.0.load(Ordering::Acquire)
    }

    fn outcome(&self, begun: &Begun, fate: Fate) -> Outcome {
        let logits = || begun.micro_batch.sequences.iter().map(|sequence| logit(sequence.encoding.ids()));
        let failed = || Outcome::Failed(ScorerError::Runtime { message: "failed by the simulator".into() });
        match fate {
            _ if self.is_stopped() => failed(),
            Fate::Scores | Fate::Deaf | Fate::Dies => Outcome::Logits(logits().collect()),
            Fate::Fails | Fate::Hangs => failed(),
            Fate::Panics => Outcome::Panicked,
            Fate::TooFew => Outcome::Logits(logits().skip(1).collect()),
            Fate::NotFinite => Outcome::Logits(logits().map(|_| f32::NAN).collect()),
        }
    }
}
