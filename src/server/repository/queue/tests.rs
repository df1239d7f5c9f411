//! Who waits, who is refused, and what gives a load up.

use std::sync::mpsc;

use super::*;

const LOAD: Change = Change::Load { scope: 1 };

fn queue() -> Queue {
    let health = Health::default();
    health.warmed();
    Queue::new(vec!["a".into(), "b".into()], Duration::from_mins(1), Arc::new(health))
}

fn nobody() -> Done {
    Box::new(|_| {})
}

fn states(queue: &Queue) -> Vec<State> {
    queue.list().into_iter().map(|listed| listed.state).collect()
}

// Case A7.
#[test]
fn a_few_changes_wait_and_the_next_is_refused_until_one_is_made_or_forsaken() {
    let queue = queue();
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
    let _made = queue.next().unwrap();
    let numbers: Vec<u64> = (0..MOST_WAITING).map(|_| queue.submit(LOAD, nobody(), Room::Refuse).unwrap()).collect();
    let refused = queue.submit(LOAD, nobody(), Room::Refuse).unwrap_err().to_string();
    assert!(refused.contains("4 changes wait already"), "{refused}");
    queue.abandon(numbers[1]);
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
    queue.over(&[true, true], String::new());
    assert_eq!(queue.next().unwrap().number, numbers[0], "in the order of asking");
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
}

// Case A7.
#[test]
fn an_unload_and_a_hang_up_give_the_right_load_up() {
    let queue = queue();
    let first = queue.submit(Change::Load { scope: 0 }, nobody(), Room::Refuse).unwrap();
    let made = queue.next().unwrap();
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
    queue.submit(Change::Unload { scope: 1 }, nobody(), Room::Refuse).unwrap();
    assert_eq!(made.flag.given_up(), None, "another model's");
    queue.abandon(first + 100);
    assert_eq!(made.flag.given_up(), None, "nobody's");
    queue.abandon(first);
    assert_eq!(made.flag.given_up(), Some(GivenUp::Unwanted));
    made.flag.give_up(GivenUp::Late);
    assert_eq!(made.flag.given_up(), Some(GivenUp::Unwanted), "the first reason stays");
    queue.over(&[true, true], String::new());
    assert_eq!(queue.next().unwrap().flag.given_up(), Some(GivenUp::Unloaded), "it waited");
}

#[test]
fn what_is_done_with_a_model_is_reported_while_it_is_done() {
    let queue = queue();
    assert_eq!(states(&queue), [State::Ready, State::Ready]);
    queue.over(&[true, false], String::new());
    assert_eq!(states(&queue), [State::Ready, State::Unavailable]);
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
    assert_eq!(states(&queue), [State::Ready, State::Loading], "it waits");
    let _made = queue.next();
    assert_eq!(states(&queue), [State::Ready, State::Loading]);
    assert!(queue.list()[1].reason.starts_with("loading for "), "{:?}", queue.list());
    queue.over(&[true, false], "broken".into());
    assert_eq!(queue.list()[1].reason, "broken");
    assert_eq!(queue.list()[0].reason, "");
}

#[test]
fn changes_that_do_not_end_after_they_were_given_up_stop_further_ones_but_a_rescue() {
    let queue = queue();
    queue.count_left_behind(|_| MOST_LEFT_BEHIND);
    let refused = queue.submit(LOAD, nobody(), Room::Refuse).unwrap_err().to_string();
    assert!(refused.contains("restart the process"), "{refused}");
    queue.submit(Change::MoveToCpu, nobody(), Room::Wait).unwrap();
    queue.count_left_behind(|left| left - 1);
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
}

#[test]
fn a_closed_queue_answers_who_waits_and_refuses_who_comes() {
    let queue = queue();
    queue.submit(LOAD, nobody(), Room::Refuse).unwrap();
    let made = queue.next().unwrap();
    let (reported, outcome) = mpsc::channel();
    queue.submit(LOAD, Box::new(move |outcome| reported.send(outcome).unwrap()), Room::Refuse).unwrap();
    queue.close();
    assert_eq!(made.flag.given_up(), Some(GivenUp::Closing));
    assert!(matches!(outcome.recv().unwrap(), Err(ChangeError::Closed)));
    assert!(matches!(queue.submit(LOAD, nobody(), Room::Wait), Err(ChangeError::Closed)));
    assert!(queue.next().is_none());
}
