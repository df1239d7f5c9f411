//! The arithmetic of the memory budget: what may be taken now, what has to wait and in which order, what is refused.
//!
//! Pure: no clock, no lock, no wakers. It must not know what the bytes are for.
//!
//! **Ceilings.** Each [`Class`] may take bytes only while no more than its ceiling is in use by all classes together.
//! Small requests may fill the whole budget, large ones leave a quarter of it, warm-up work leaves half. So whatever large
//! bodies do, a small request finds room.
//!
//! **Order.** Who waits is served in the order of coming, among those of its class and of classes with a higher ceiling;
//! a small request passes large ones by. Those that hold bytes already and need more come before those that hold none,
//! for only they can give bytes back.
//!
//! **No deadlock.** A reservation may wait while it holds bytes only if all those that do could be served one after the
//! other, each giving back all it has before the next, once everybody else has given back theirs; else it is refused at
//! once. (This is the banker's algorithm.) Whoever holds bytes and fits is served, whoever else waits.

use std::collections::VecDeque;

/// Reservations that may wait at once: each is a connection or a line of a warm-up stream; more means that the server is
/// flooded, and that most of them would be refused at the end of their wait anyway.
const MOST_WAITING: usize = 1024;

/// Of these, such as hold bytes already: more large requests than this are not under way at a time in any budget, and the
/// search for an order among them stays short.
const MOST_HOLDING: usize = 32;

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A request with a small body. It may fill the whole budget.
    Small,
    /// A request with a large body, and what it turns into. A quarter of the budget is kept from it.
    Large,
    /// Warm-up work. Half of the budget is kept from it.
    WarmUp,
}

impl Class {
    /// Bytes that may be in use, by everybody, when this class has taken its part.
    pub(super) const fn ceiling(self, size: u64) -> u64 {
        match self {
            Self::Small => size,
            Self::Large => size - size / 4,
            Self::WarmUp => size / 2,
        }
    }

    /// Whether an asker of this class has to stand behind a waiting one of another.
    const fn queues_behind(self, other: Self) -> bool {
        self.rank() >= other.rank()
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Small => 0,
            Self::Large => 1,
            Self::WarmUp => 2,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) class: Class,
    /// Bytes that the asker holds already.
    pub(super) held: u64,
    /// Bytes that it asks for.
    pub(super) more: u64,
}

/// Names one that waits.
pub(super) type WaitId = u64;

/// What an asker is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskOutcome {
    /// The bytes are taken.
    Taken,
    /// It has to wait; nothing is taken yet.
    Wait(WaitId),
    /// It could never be given so much.
    Never {
        /// Bytes that one of its class may hold.
        limit: u64,
    },
    /// Too many wait already, or those that wait hold too much.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    wait_id: WaitId,
    ask: Ask,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Accounting {
    size: u64,
    used: u64,
    waiting: VecDeque<Waiting>,
    next: WaitId,
}

impl Accounting {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, used: 0, waiting: VecDeque::new(), next: 0 }
    }

    /// Bytes in all.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in use.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes bytes, if they may be taken now.
    pub(super) fn take(&mut self, ask: Ask) -> Result<(), AskOutcome> {
        if ask.more == 0 {
            return Ok(());
        }
        let limit = ask.class.ceiling(self.size);
        if ask.held.saturating_add(ask.more) > limit {
            return Err(AskOutcome::Never { limit });
        }
        let is_behind = |other: &Waiting| ask.held == 0 && ask.class.queues_behind(other.ask.class);
        if self.fits(ask) && !self.waiting.iter().any(is_behind) {
            self.used += ask.more;
            return Ok(());
        }
        Err(AskOutcome::Full)
    }

    /// Takes bytes, or puts the asker into the queue.
    pub(super) fn ask(&mut self, ask: Ask) -> AskOutcome {
        match self.take(ask) {
            Ok(()) => AskOutcome::Taken,
            Err(AskOutcome::Full) if self.may_wait(ask) => {
                let wait_id = self.next;
                self.next += 1;
                let place = if ask.held > 0 {
                    self.waiting.iter().position(|other| other.ask.held == 0).unwrap_or(self.waiting.len())
                } else {
                    self.waiting.len()
                };
                self.waiting.insert(place, Waiting { wait_id, ask });
                AskOutcome::Wait(wait_id)
            }
            Err(outcome) => outcome,
        }
    }

    fn may_wait(&self, ask: Ask) -> bool {
        if ask.held == 0 {
            return self.waiting.len() < MOST_WAITING;
        }
        let mut holding: Vec<Ask> = self.waiting.iter().map(|one| one.ask).filter(|one| one.held > 0).collect();
        holding.push(ask);
        holding.len() <= MOST_HOLDING && self.have_an_order(holding)
    }

    /// Whether all of these can be served one after the other when nobody else holds anything.
    fn have_an_order(&self, mut asks: Vec<Ask>) -> bool {
        let mut held: u64 = asks.iter().map(|one| one.held).sum();
        while !asks.is_empty() {
            let next = asks.iter().position(|one| held.saturating_add(one.more) <= one.class.ceiling(self.size));
            let Some(next) = next else { return false };
            held -= asks.swap_remove(next).held;
        }
        true
    }

    /// Gives bytes back; the tickets are those of who has its bytes now.
    pub(super) fn give_back(&mut self, bytes: u64) -> Vec<WaitId> {
        self.used = self.used.saturating_sub(bytes);
        self.serve()
    }

    /// Somebody waits no longer. `false` when its bytes had been taken for it already: they are given back.
    pub(super) fn leave(&mut self, wait_id: WaitId, bytes: u64) -> (bool, Vec<WaitId>) {
        match self.waiting.iter().position(|one| one.wait_id == wait_id) {
            Some(place) => {
                self.waiting.remove(place);
                // It may have stood in somebody's way.
                (true, self.serve())
            }
            None => (false, self.give_back(bytes)),
        }
    }

    /// Changes the size. What is in use stays so, even when that is more than the new size.
    pub(super) fn resize(&mut self, size: u64) -> Vec<WaitId> {
        self.size = size;
        self.serve()
    }

    fn fits(&self, ask: Ask) -> bool {
        self.used.saturating_add(ask.more) <= ask.class.ceiling(self.size)
    }

    /// Serves whoever can be, in order.
    fn serve(&mut self) -> Vec<WaitId> {
        let (mut served, mut place) = (Vec::new(), 0);
        // The least rank that is stopped: nobody that holds nothing overtakes one of its own class or of a stricter one.
        let mut stopped = u8::MAX;
        while let Some(&Waiting { wait_id, ask }) = self.waiting.get(place) {
            if (ask.held > 0 || ask.class.rank() < stopped) && self.fits(ask) {
                self.used += ask.more;
                self.waiting.remove(place);
                served.push(wait_id);
            } else {
                stopped = stopped.min(ask.class.rank());
                place += 1;
            }
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ask(class: Class, held: u64, more: u64) -> Ask {
        Ask { class, held, more }
    }

    fn wait_id(outcome: AskOutcome) -> WaitId {
        let AskOutcome::Wait(wait_id) = outcome else { panic!("must wait, not {outcome:?}") };
        wait_id
    }

    #[test]
    fn large_requests_leave_room_for_small_ones() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Large, 0, 75)), AskOutcome::Taken);
        let large = wait_id(accounting.ask(ask(Class::Large, 0, 1)));
        assert_eq!(accounting.ask(ask(Class::Small, 0, 25)), AskOutcome::Taken, "small ones pass large ones by");
        let small = wait_id(accounting.ask(ask(Class::Small, 0, 1)));
        assert_eq!(accounting.give_back(20), [small], "80 in use: still too much for large ones");
        assert_eq!(accounting.give_back(20), [large]);
    }

    #[test]
    fn what_can_never_fit_is_told_so() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Large, 70, 6)), AskOutcome::Never { limit: 75 });
        assert_eq!(accounting.ask(ask(Class::Small, 0, 101)), AskOutcome::Never { limit: 100 });
        assert_eq!(accounting.ask(ask(Class::WarmUp, 0, 51)), AskOutcome::Never { limit: 50 });
        assert_eq!(accounting.used(), 0);
    }

    #[test]
    fn a_class_is_served_in_the_order_of_coming() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Large, 0, 70)), AskOutcome::Taken);
        let first = wait_id(accounting.ask(ask(Class::Large, 0, 50)));
        let second = wait_id(accounting.ask(ask(Class::Large, 0, 5)));
        assert!(accounting.give_back(10).is_empty(), "the second would fit, but the first came before it");
        assert_eq!(accounting.give_back(60), [first, second]);
    }

    #[test]
    fn whoever_leaves_gives_back_what_was_taken_for_it() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Small, 0, 100)), AskOutcome::Taken);
        let first = wait_id(accounting.ask(ask(Class::Small, 0, 60)));
        let second = wait_id(accounting.ask(ask(Class::Small, 0, 30)));
        assert_eq!(accounting.leave(first, 60), (true, vec![]));
        assert_eq!(accounting.give_back(100), [second]);
        assert_eq!(accounting.leave(second, 30), (false, vec![]), "it had been served and did not hear of it");
        assert_eq!(accounting.used(), 0);
    }

    #[test]
    fn those_that_wait_and_hold_can_be_served_one_after_the_other() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Large, 0, 75)), AskOutcome::Taken);
        let first = wait_id(accounting.ask(ask(Class::Large, 40, 20)));
        assert_eq!(
            accounting.ask(ask(Class::Large, 20, 20)),
            AskOutcome::Full,
            "60 bytes would stand still, and 20 more are too many"
        );
        let second = wait_id(accounting.ask(ask(Class::Large, 10, 10)));
        let fresh = wait_id(accounting.ask(ask(Class::Large, 0, 10)));
        assert_eq!(accounting.give_back(10), [second], "who holds bytes goes on as soon as it can");
        assert_eq!(accounting.give_back(20), [first], "75 in use");
        assert_eq!(accounting.give_back(60), [fresh]);
    }

    #[test]
    fn one_that_is_alone_may_wait_whatever_it_holds() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Small, 0, 90)), AskOutcome::Taken);
        assert_eq!(accounting.ask(ask(Class::Small, 0, 10)), AskOutcome::Taken);
        let grows = wait_id(accounting.ask(ask(Class::Small, 90, 10)));
        assert_eq!(accounting.give_back(10), [grows]);
    }

    #[test]
    fn a_smaller_budget_lets_those_in_use_finish() {
        let mut accounting = Accounting::new(100);
        assert_eq!(accounting.ask(ask(Class::Small, 0, 90)), AskOutcome::Taken);
        assert!(accounting.resize(50).is_empty());
        let waits = wait_id(accounting.ask(ask(Class::Small, 0, 40)));
        assert!(accounting.give_back(70).is_empty(), "20 + 40 is more than 50");
        assert_eq!(accounting.resize(60), [waits]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(Class, u64),
        Grow(usize, u64),
        GiveBack(usize),
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let class = prop_oneof![Just(Class::Small), Just(Class::Large), Just(Class::WarmUp)];
        let step = prop_oneof![
            (class, 1_u64..60).prop_map(|(class, bytes)| Step::Ask(class, bytes)),
            (any::<usize>(), 1_u64..30).prop_map(|(which, bytes)| Step::Grow(which, bytes)),
            any::<usize>().prop_map(Step::GiveBack),
            any::<usize>().prop_map(Step::Leave),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// Reservations as the shell keeps them.
    #[derive(Default)]
    struct Model {
        /// Class and bytes of those that hold some and do not wait.
        held: Vec<(Class, u64)>,
        /// Ticket, class, bytes held, bytes asked for.
        waits: Vec<(WaitId, Ask)>,
    }

    impl Model {
        fn outcome(&mut self, ask: Ask, outcome: AskOutcome) {
            match outcome {
                AskOutcome::Taken => self.held.push((ask.class, ask.held + ask.more)),
                AskOutcome::Wait(wait_id) => self.waits.push((wait_id, ask)),
                AskOutcome::Never { .. } | AskOutcome::Full if ask.held > 0 => self.held.push((ask.class, ask.held)),
                AskOutcome::Never { .. } | AskOutcome::Full => {}
            }
        }

        fn served(&mut self, tickets: Vec<WaitId>) {
            for wait_id in tickets {
                let place = self.waits.iter().position(|(one, _)| *one == wait_id).expect("it waits");
                let (_, ask) = self.waits.remove(place);
                self.held.push((ask.class, ask.held + ask.more));
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_are_neither_lost_nor_lent_twice_and_everybody_is_served(steps in steps()) {
            let mut accounting = Accounting::new(100);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Ask(class, more) => {
                        let ask = ask(class, 0, more);
                        let outcome = accounting.ask(ask);
                        model.outcome(ask, outcome);
                    }
                    Step::Grow(which, more) if !model.held.is_empty() => {
                        let which = which % model.held.len();
                        let (class, held) = model.held.remove(which);
                        let ask = ask(class, held, more);
                        let outcome = accounting.ask(ask);
                        model.outcome(ask, outcome);
                    }
                    Step::GiveBack(which) if !model.held.is_empty() => {
                        let which = which % model.held.len();
                        let (_, bytes) = model.held.remove(which);
                        let served = accounting.give_back(bytes);
                        model.served(served);
                    }
                    Step::Leave(which) if !model.waits.is_empty() => {
                        let which = which % model.waits.len();
                        let (wait_id, ask) = model.waits.remove(which);
                        let (waited, served) = accounting.leave(wait_id, ask.more);
                        prop_assert!(waited);
                        model.served(served);
                        if ask.held > 0 {
                            let served = accounting.give_back(ask.held);
                            model.served(served);
                        }
                    }
                    Step::Grow(..) | Step::GiveBack(_) | Step::Leave(_) => {}
                }
                let held: u64 = model.held.iter().map(|(_, bytes)| bytes).sum();
                let waiting: u64 = model.waits.iter().map(|(_, ask)| ask.held).sum();
                prop_assert_eq!(accounting.used(), held + waiting);
                prop_assert!(accounting.used() <= accounting.size());
                // Nobody waits for those alone that wait themselves.
                prop_assert!(model.waits.is_empty() || held > 0, "{:?}", model.waits);
            }
            // When whoever holds bytes gives them back, everybody who waits is served in the end.
            while let Some((_, bytes)) = model.held.pop() {
                let served = accounting.give_back(bytes);
                model.served(served);
            }
            prop_assert!(model.waits.is_empty(), "{:?}", model.waits);
            prop_assert_eq!(accounting.used(), 0);
        }
    }
}
