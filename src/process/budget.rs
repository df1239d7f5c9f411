//! The memory budget: bytes that may be held for requests at once, taken before they are used and given back on drop.
//!
//! Whatever a caller can make large is accounted here: bodies while they arrive, the texts that they become, what scoring
//! keeps of each pair, answers until they are read, lines of warm-up streams, replies of the shared tier of the cache.
//! `accounting` owns the arithmetic; this file owns the lock around it, the waiting and the figures. The lock is held
//! for arithmetic only, and no other is taken under it. It must not know HTTP, nor what the bytes are for.

mod accounting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::sync::lock;

use tokio::sync::oneshot;

use crate::metrics::{Metrics, Reason};

use accounting::{Accounting, Ask, AskOutcome, WaitId};

pub use accounting::Class;

/// How long somebody waits for memory at most. A search that waits longer is better off at another replica.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The budget. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    accounting: Accounting,
    /// Who waits to hear that it has its bytes.
    asleep: HashMap<WaitId, oneshot::Sender<()>>,
}

/// Bytes that were taken; they are given back when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the bytes back"]
pub struct Reservation {
    budget: Budget,
    class: Class,
    bytes: u64,
}

/// Why bytes were not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// So much is never given to one.
    #[error(
        "{needed} bytes of memory are needed, one request may hold {limit}; send less, or raise RESCORED_MEMORY_BUDGET"
    )]
    TooLarge {
        /// Bytes that it would hold.
        needed: u64,
        /// Bytes that one of its class may hold.
        limit: u64,
    },
    /// There is none now.
    #[error("no memory is free for {needed} more bytes now; retry in a second")]
    Full {
        /// Bytes asked for.
        needed: u64,
    },
}

/// What there is to report about the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// How many wait for some.
    pub waiting: usize,
}

/// One that waits. Dropped before it has its bytes, it leaves the queue.
struct Waiting<'b> {
    budget: &'b Budget,
    wait_id: WaitId,
    bytes: u64,
    has_them: bool,
}

impl BudgetError {
    const fn word(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Full { .. } => "full",
        }
    }
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let state = State { accounting: Accounting::new(bytes), asleep: HashMap::new() };
        let budget = Self(Arc::new(Inner { state: Mutex::new(state), metrics }));
        budget.show(&budget.state());
        budget
    }

    /// Takes bytes, or waits for them for [`LONGEST_WAIT`] at most.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub async fn reserve(&self, class: Class, bytes: u64) -> Result<Reservation, BudgetError> {
        let mut reservation = self.nothing(class);
        reservation.grow(bytes).await?;
        Ok(reservation)
    }

    /// Takes bytes if they are free now. That they are not is no refusal yet, and not counted as one.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn try_reserve(&self, class: Class, bytes: u64) -> Result<Reservation, BudgetError> {
        let mut reservation = self.nothing(class);
        reservation.try_grow(bytes)?;
        Ok(reservation)
    }

    /// Whether so much could be given to one of this class when nobody else held anything.
    ///
    /// # Errors
    /// [`BudgetError::TooLarge`].
    pub fn admits(&self, class: Class, bytes: u64) -> Result<(), BudgetError> {
        let limit = class.ceiling(self.state().accounting.size());
        if bytes > limit { Err(self.denied(BudgetError::TooLarge { needed: bytes, limit })) } else { Ok(()) }
    }

    /// A reservation that holds nothing yet.
    pub fn nothing(&self, class: Class) -> Reservation {
        Reservation { budget: self.clone(), class, bytes: 0 }
    }

    /// Whether somebody waits for memory: then those who hold some in vain should not.
    pub fn is_short(&self) -> bool {
        self.state().accounting.waiting() > 0
    }

    /// Changes the size; what is in use stays so.
    pub fn resize(&self, bytes: u64) {
        let mut state = self.state();
        let served = state.accounting.resize(bytes);
        self.wake(state, &served);
    }

    /// What there is to report.
    pub fn report(&self) -> Report {
        let state = self.state();
        let accounting = &state.accounting;
        Report { bytes: accounting.size(), used_bytes: accounting.used(), waiting: accounting.waiting() }
    }

    fn denied(&self, denied: BudgetError) -> BudgetError {
        self.0.metrics.memory.budget_refusals.get_or_create(&Reason { reason: denied.word() }).inc();
        denied
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let mut state = self.state();
            let served = state.accounting.give_back(bytes);
            self.wake(state, &served);
        }
    }

    /// Wakes those who have their bytes, once the lock is free.
    fn wake(&self, mut state: MutexGuard<'_, State>, served: &[WaitId]) {
        let woken: Vec<_> = served.iter().filter_map(|wait_id| state.asleep.remove(wait_id)).collect();
        self.show(&state);
        drop(state);
        for one in woken {
            // Who hears no more gives its bytes back itself: see `Waiting`.
            let _ = one.send(());
        }
    }

    fn show(&self, state: &State) {
        let level = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (accounting, metrics) = (&state.accounting, &self.0.metrics);
        metrics.memory.budget_bytes.set(level(accounting.size()));
        metrics.memory.budget_used_bytes.set(level(accounting.used()));
        metrics.memory.budget_waiting.set(level(accounting.waiting() as u64));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock; a poisoned one is whole all the same.
        lock(&self.0.state)
    }
}

impl Reservation {
    /// Bytes held.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From now on it grows as another class does.
    pub const fn reclass(&mut self, class: Class) {
        self.class = class;
    }

    /// Takes more bytes, or waits for them for [`LONGEST_WAIT`] at most. What is held stays held whatever comes of it.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub async fn grow(&mut self, more: u64) -> Result<(), BudgetError> {
        if more == 0 {
            return Ok(());
        }
        let ask = self.asks(more);
        let (outcome, heard) = {
            let mut state = self.budget.state();
            let outcome = state.accounting.ask(ask);
            let heard = if let AskOutcome::Wait(wait_id) = outcome {
                let (wake, heard) = oneshot::channel();
                state.asleep.insert(wait_id, wake);
                Some((wait_id, heard))
            } else {
                None
            };
            self.budget.show(&state);
            (outcome, heard)
        };
        if let Some((wait_id, heard)) = heard {
            let mut waiting = Waiting { budget: &self.budget, wait_id, bytes: more, has_them: false };
            if !matches!(tokio::time::timeout(LONGEST_WAIT, heard).await, Ok(Ok(()))) {
                drop(waiting);
                return Err(self.budget.denied(BudgetError::Full { needed: more }));
            }
            waiting.has_them = true;
        } else {
            self.judge(outcome, more)?;
        }
        self.bytes += more;
        Ok(())
    }

    /// Takes more bytes if they are free now. That they are not is no refusal yet, and not counted as one.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn try_grow(&mut self, more: u64) -> Result<(), BudgetError> {
        let ask = self.asks(more);
        let outcome = {
            let mut state = self.budget.state();
            let outcome = state.accounting.take(ask);
            self.budget.show(&state);
            outcome
        };
        match outcome {
            Ok(()) => self.bytes += more,
            Err(AskOutcome::Full) => return Err(BudgetError::Full { needed: more }),
            Err(outcome) => self.judge(outcome, more)?,
        }
        Ok(())
    }

    /// Hands a part of what is held to a reservation of its own; no more than there is.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), class: self.class, bytes }
    }

    /// Takes what is lacking to so many bytes, or gives back what is too much.
    ///
    /// # Errors
    /// As [`Reservation::grow`].
    pub async fn resize(&mut self, bytes: u64) -> Result<(), BudgetError> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes).await;
        }
        self.shrink(bytes);
        Ok(())
    }

    /// Gives back what is held beyond so many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.budget.give_back(less);
    }

    const fn asks(&self, more: u64) -> Ask {
        Ask { class: self.class, held: self.bytes, more }
    }

    fn judge(&self, outcome: AskOutcome, more: u64) -> Result<(), BudgetError> {
        match outcome {
            AskOutcome::Taken => Ok(()),
            AskOutcome::Never { limit } => {
                Err(self.budget.denied(BudgetError::TooLarge { needed: self.bytes + more, limit }))
            }
            AskOutcome::Wait(_) | AskOutcome::Full => Err(self.budget.denied(BudgetError::Full { needed: more })),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.has_them {
            return;
        }
        let mut state = self.budget.state();
        state.asleep.remove(&self.wait_id);
        let (_, served) = state.accounting.leave(self.wait_id, self.bytes);
        self.budget.wake(state, &served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(bytes: u64) -> (Budget, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Budget::new(bytes, Arc::clone(&metrics)), metrics)
    }

    /// Runs a future on a paused clock.
    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let (budget, metrics) = budget(100);
        let mut first = budget.try_reserve(Class::Small, 60).unwrap();
        assert_eq!(budget.try_reserve(Class::Small, 50).unwrap_err(), BudgetError::Full { needed: 50 });
        first.shrink(50);
        let second = budget.try_reserve(Class::Small, 50).unwrap();
        assert_eq!(budget.report(), Report { bytes: 100, used_bytes: 100, waiting: 0 });
        drop((first, second));
        assert_eq!(budget.report().used_bytes, 0);
        assert!(budget.try_reserve(Class::Small, 101).is_err());
        assert!(metrics.render().contains("rescored_memory_budget_refusals_total{reason=\"too_large\"} 1"));
    }

    #[test]
    fn one_that_waits_is_woken_and_one_that_leaves_is_forgotten() {
        let (budget, _) = budget(100);
        run(async {
            let held = budget.reserve(Class::Small, 100).await.unwrap();
            let impatient = tokio::time::timeout(Duration::from_millis(10), budget.reserve(Class::Small, 100)).await;
            assert!(impatient.is_err());
            assert_eq!(budget.report().waiting, 0, "it left the queue");
            let waits = budget.reserve(Class::Small, 40);
            let frees = async {
                tokio::task::yield_now().await;
                assert!(budget.is_short());
                drop(held);
            };
            let (got, ()) = tokio::join!(waits, frees);
            assert_eq!(got.unwrap().bytes(), 40);
        });
        assert_eq!(budget.report(), Report { bytes: 100, used_bytes: 0, waiting: 0 });
    }

    #[test]
    fn a_part_that_was_split_off_is_given_back_by_itself() {
        let (budget, _) = budget(100);
        let mut whole = budget.try_reserve(Class::Small, 60).unwrap();
        let part = whole.split(20);
        drop(whole);
        assert_eq!(budget.report().used_bytes, 20);
        drop(part);
        assert_eq!(budget.report().used_bytes, 0);
    }

    #[test]
    fn what_can_never_fit_is_refused_at_once() {
        let (budget, _) = budget(100);
        let denied = run(budget.reserve(Class::Large, 76)).unwrap_err();
        assert_eq!(denied, BudgetError::TooLarge { needed: 76, limit: 75 });
        assert!(denied.to_string().contains("RESCORED_MEMORY_BUDGET"), "{denied}");
    }
}
