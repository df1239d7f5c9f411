//! Changes of models that were asked for: which is made, which wait, and what is reported about each model meanwhile.
//!
//! Owns the bound on waiting changes, their order, and who gives one up. It must not know how a change is made.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rescored_process::health::{Health, Readiness};
use rescored_process::sync::{held, lock};

use super::{ChangeError, Changed, GivenUp, Listed, State};

/// Changes that may wait for the one that is made: a deployment changes a model or two at a time, and each takes seconds.
const MOST_WAITING: usize = 4;

/// Changes that were given up and whose threads have not ended, at most: each may hold a model's memory.
const MOST_LEFT_BEHIND: usize = 4;

/// Gets the outcome of a change.
pub(super) type Done = Box<dyn FnOnce(Result<Changed, ChangeError>) + Send>;

/// A change that can be made. Models are named by their place among the configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A model answers by its files as they are now.
    Load {
        /// The model.
        scope: usize,
    },
    /// A model answers no more.
    Unload {
        /// The model.
        scope: usize,
    },
    /// Models whose accelerator was lost answer from the CPU.
    MoveToCpu,
}

/// What becomes of a change that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is refused.
    Refuse,
    /// Whoever asks waits. For the process itself, which asks for one change at a time.
    Wait,
}

/// A change whose turn has come.
pub(super) struct Turn {
    pub(super) number: u64,
    pub(super) change: Change,
    pub(super) flag: Arc<Flag>,
    pub(super) done: Done,
}

/// Whether a change is still wanted, and why not.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicU8);

/// See the module.
pub(super) struct Queue {
    state: Mutex<Waiting>,
    moved: Condvar,
    limit: Duration,
    health: Arc<Health>,
}

struct Waiting {
    turns: VecDeque<Turn>,
    current: Option<Current>,
    next: u64,
    closed: bool,
    left_behind: usize,
    models: Vec<Known>,
}

/// The change that is being made.
struct Current {
    number: u64,
    change: Change,
    flag: Arc<Flag>,
    since: Instant,
}

/// What is known of a model while nothing is done with it.
struct Known {
    id: String,
    served: bool,
    reason: String,
}

impl Flag {
    /// Why the change is not wanted any more.
    pub(super) fn given_up(&self) -> Option<GivenUp> {
        [GivenUp::Late, GivenUp::Unloaded, GivenUp::Unwanted, GivenUp::Closing]
            .into_iter()
            .find(|why| code(*why) == self.0.load(Ordering::Acquire))
    }

    /// Gives the change up; the first reason stays.
    pub(super) fn give_up(&self, why: GivenUp) {
        // Losing against another reason is as good.
        let _ = self.0.compare_exchange(0, code(why), Ordering::AcqRel, Ordering::Acquire);
    }
}

const fn code(why: GivenUp) -> u8 {
    match why {
        GivenUp::Late => 1,
        GivenUp::Unloaded => 2,
        GivenUp::Unwanted => 3,
        GivenUp::Closing => 4,
    }
}

impl Change {
    /// The model that it is about.
    const fn scope(self) -> Option<usize> {
        match self {
            Self::Load { scope } | Self::Unload { scope } => Some(scope),
            Self::MoveToCpu => None,
        }
    }

    const fn loads(self, model: usize) -> bool {
        matches!(self, Self::Load { scope } if scope == model)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("listed", &self.list()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Over models that all are served.
    pub(super) fn new(ids: Vec<String>, limit: Duration, health: Arc<Health>) -> Self {
        let known = |id| Known { id, served: true, reason: String::new() };
        let models = ids.into_iter().map(known).collect();
        let state = Waiting { turns: VecDeque::new(), current: None, next: 0, closed: false, left_behind: 0, models };
        Self { state: Mutex::new(state), moved: Condvar::new(), limit, health }
    }

    /// How long a change may take.
    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    /// A model's place among the configured ones.
    pub(super) fn scope(&self, name: &str) -> Result<usize, ChangeError> {
        let state = self.state();
        state.models.iter().position(|model| model.id == name).ok_or_else(|| ChangeError::Unknown {
            name: name.chars().filter(char::is_ascii_graphic).take(64).collect(),
            known: state.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A model's id; of a move, that of the default.
    pub(super) fn id(&self, change: Change) -> String {
        self.state().models.get(change.scope().unwrap_or(0)).map(|model| model.id.clone()).unwrap_or_default()
    }

    /// Ids of the models that are served.
    pub(super) fn served(&self) -> Vec<String> {
        self.state().models.iter().filter(|model| model.served).map(|model| model.id.clone()).collect()
    }

    /// Every model and what becomes of it.
    pub(super) fn list(&self) -> Vec<Listed> {
        let starting = self.health.readiness() == Readiness::Starting;
        let state = self.state();
        let reported = |(scope, model): (usize, &Known)| {
            let at_work = state.current.as_ref().filter(|current| current.change.scope() == Some(scope));
            let loads = at_work.filter(|current| current.change.loads(scope));
            let waits = state.turns.iter().any(|turn| turn.change.loads(scope));
            let reason = match (at_work, waits) {
                (Some(current), _) => {
                    let (spent, limit) = (current.since.elapsed().as_secs_f64(), self.limit.as_secs_f64());
                    let what = if loads.is_some() { "loading" } else { "unloading" };
                    format!("{what} for {spent:.1} s, of {limit} s at most")
                }
                (None, true) => "its load waits for a change of another model".to_owned(),
                (None, false) if starting && model.served => self.health.trouble(),
                (None, false) => model.reason.clone(),
            };
            let state = match (model.served, loads.is_some() || waits) {
                (true, _) if starting => State::Loading,
                (true, _) => State::Ready,
                (false, true) => State::Loading,
                (false, false) => State::Unavailable,
            };
            Listed { id: model.id.clone(), state, reason }
        };
        state.models.iter().enumerate().map(reported).collect()
    }

    /// Puts a change at the end of the queue; gives its number.
    pub(super) fn submit(&self, change: Change, done: Done, room: Room) -> Result<u64, ChangeError> {
        let mut state = self.state();
        if let Change::Unload { scope } = change {
            state.give_loads_up(scope);
        }
        loop {
            if state.closed {
                return Err(ChangeError::Closed);
            }
            if state.left_behind >= MOST_LEFT_BEHIND && change != Change::MoveToCpu {
                return Err(ChangeError::Clogged(state.left_behind));
            }
            if state.turns.len() < MOST_WAITING {
                break;
            }
            if room == Room::Refuse {
                return Err(ChangeError::Busy { waiting: state.turns.len() });
            }
            state = held(self.moved.wait(state));
        }
        state.next += 1;
        let number = state.next;
        state.turns.push_back(Turn { number, change, flag: Arc::default(), done });
        drop(state);
        self.moved.notify_all();
        Ok(number)
    }

    /// Waits for the next change; `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<Turn> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(turn) = state.turns.pop_front() {
                let (number, change, flag) = (turn.number, turn.change, Arc::clone(&turn.flag));
                state.current = Some(Current { number, change, flag, since: Instant::now() });
                drop(state);
                self.moved.notify_all();
                return Some(turn);
            }
            state = held(self.moved.wait(state));
        }
    }

    /// The change that was made, or failed, is over; `reason` stays in the list. Its model is served or not; for a move,
    /// nothing is said of that.
    pub(super) fn over(&self, served: &[bool], reason: String) {
        let mut state = self.state();
        let scope = state.current.take().and_then(|current| current.change.scope());
        for (model, served) in state.models.iter_mut().zip(served) {
            model.served = *served;
        }
        if let Some(model) = scope.and_then(|scope| state.models.get_mut(scope)) {
            model.reason = reason;
        }
    }

    /// A thread of a change that was given up goes on, or has ended after all.
    pub(super) fn count_left_behind(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.state();
        state.left_behind = change(state.left_behind);
    }

    /// Nobody waits for this change any more.
    pub(super) fn abandon(&self, number: u64) {
        let mut state = self.state();
        if let Some(current) = state.current.as_ref().filter(|current| current.number == number) {
            current.flag.give_up(GivenUp::Unwanted);
        }
        let waiting = state.turns.len();
        state.turns.retain(|turn| turn.number != number);
        if state.turns.len() < waiting {
            drop(state);
            self.moved.notify_all();
        }
    }

    /// Gives up what is being changed, and refuses every change from now on.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if let Some(current) = &state.current {
            current.flag.give_up(GivenUp::Closing);
        }
        let waiting = std::mem::take(&mut state.turns);
        drop(state);
        self.moved.notify_all();
        for turn in waiting {
            (turn.done)(Err(ChangeError::Closed));
        }
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        // What a panicking holder left is whole: every change is made by one assignment.
        lock(&self.state)
    }
}

impl Waiting {
    /// Gives up every load of a model: the one that is made stops by itself, those that wait are tried and stop at once.
    fn give_loads_up(&self, scope: usize) {
        if let Some(current) = self.current.as_ref().filter(|current| current.change.loads(scope)) {
            current.flag.give_up(GivenUp::Unloaded);
        }
        for turn in self.turns.iter().filter(|turn| turn.change.loads(scope)) {
            turn.flag.give_up(GivenUp::Unloaded);
        }
    }
}

#[cfg(test)]
mod tests;
