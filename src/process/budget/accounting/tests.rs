//! Who is served, who waits and who is refused, and that nobody waits for ever.

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
fn what_can_never_fit_is_refused() {
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
