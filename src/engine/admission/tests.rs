//! The admission state against a simulation of equal sharing.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The admission state of an engine that does 1,000 tokens a second in passes of 10.
fn state(limit: u64) -> AdmissionState {
    shared(&[(1, limit)])
}

/// The same, with models of these weights and limits.
fn shared(models: &[(u32, u64)]) -> AdmissionState {
    let quotas: Vec<Quota> = models.iter().map(|&(weight, queue_tokens)| Quota { weight, queue_tokens }).collect();
    let mut state = AdmissionState::new(&quotas, 1);
    for _ in 0..500 {
        state.ran(10, Duration::from_millis(10));
    }
    state
}

fn live(tokens: u64, deadline: Instant) -> Asked {
    Asked { model: 0, tokens, deadline, priority: Priority::Live, partial: false }
}

#[test]
fn the_rate_is_the_recent_one() {
    let mut state = state(1_000_000);
    assert!((state.rate().unwrap() - 1000.0).abs() < 1.0);
    // Ten times slower for four seconds: what was before counts for nothing.
    for _ in 0..400 {
        state.ran(1, Duration::from_millis(10));
    }
    assert!((state.rate().unwrap() - 100.0).abs() < 150.0, "{:?}", state.rate());
    state.workers(3);
    assert!(state.rate().unwrap() > 250.0, "three workers do three times as much");
}

#[test]
fn who_would_be_late_is_refused_and_learns_when_to_come_back() {
    let now = Instant::now();
    let mut state = state(1_000_000);
    state.admit(&live(5000, now + 30 * SECOND), now).unwrap();
    // Equal shares: 1,000 of the other's and 1,000 of its own take two seconds.
    assert!(state.admit(&live(1000, now + 3 * SECOND), now).is_ok(), "three seconds are enough");
    let rejection = state.admit(&live(1000, now + 2 * SECOND), now).unwrap_err();
    assert!(
        matches!(rejection.why, RejectReason::Late(wait) if wait > 2 * SECOND && wait < 4 * SECOND),
        "{rejection:?}"
    );
    assert!(rejection.retry_after > Duration::from_millis(500) && rejection.retry_after < 3 * SECOND, "{rejection:?}");
}

#[test]
fn a_promise_is_not_broken_for_who_comes_later() {
    let now = Instant::now();
    let mut state = state(1_000_000);
    state.admit(&live(700, now + SECOND), now).unwrap();
    // 700 and 200 fit into the second; another 200 would make the first one late.
    assert!(state.admit(&live(200, now + SECOND), now).is_ok());
    let rejection = state.admit(&live(200, now + SECOND), now).unwrap_err();
    assert_eq!(rejection.why, RejectReason::Crowded);
}

#[test]
fn small_requests_flow_beside_a_large_one() {
    let now = Instant::now();
    let mut state = state(1_000_000);
    state.admit(&live(20_000, now + 30 * SECOND), now).unwrap();
    let mut served = 0;
    // Five small ones a second, each gone before the next second begins; the large one gets the rest.
    for second in 0..20 {
        let now = now + second * SECOND;
        for _ in 0..5 {
            let small = state.admit(&live(20, now + SECOND), now).unwrap_or_else(|rejection| panic!("{rejection:?}"));
            state.leave(small, Pending::Unread(20));
            served += 20;
        }
        state.leave(0, Pending::Unread(900));
    }
    assert_eq!(served, 2000);
}

#[test]
fn alone_in_the_engine_a_request_is_always_tried() {
    let now = Instant::now();
    let mut state = state(1000);
    let id = state.admit(&live(1_000_000, now + Duration::from_millis(1)), now).unwrap();
    assert_eq!(state.admit(&live(1, now + SECOND), now).unwrap_err().why, RejectReason::Full);
    state.leave(id, Pending::Unread(1_000_000));
    assert_eq!(state.queued(), 0);
    assert!(state.admit(&live(1, now + SECOND), now).is_ok());
}

/// Case A4, a neighbour: five long texts with half a second for them, which may or may not do.
#[test]
fn nobody_is_refused_for_a_request_that_was_tried_without_a_promise() {
    let now = Instant::now();
    for tokens in [850, 1_000, 1_400] {
        let mut state = state(1_000_000);
        state.admit(&live(tokens, now + SECOND), now).unwrap();
        for _ in 0..20 {
            assert!(state.admit(&live(10, now + SECOND), now).is_ok(), "beside one of {tokens} tokens");
        }
    }
}

#[test]
fn warm_up_work_leaves_room_and_time_for_searches() {
    let now = Instant::now();
    let mut state = state(1000);
    let warm_up = |tokens| Asked { priority: Priority::WarmUp, ..live(tokens, now + 3600 * SECOND) };
    state.admit(&warm_up(400), now).unwrap();
    assert_eq!(state.admit(&warm_up(200), now).unwrap_err().why, RejectReason::Full, "half of the queue is theirs");
    assert!(state.admit(&live(700, now + SECOND), now).is_ok(), "they run only when no search waits");
    assert!(state.admit(&live(200, now + 2 * SECOND), now).is_ok());
}

#[test]
fn a_burst_on_one_model_fills_its_own_part_of_the_queue() {
    let now = Instant::now();
    let mut state =
        AdmissionState::new(&[Quota { weight: 3, queue_tokens: 750 }, Quota { weight: 1, queue_tokens: 250 }], 1);
    let of = |model, tokens| Asked { model, ..live(tokens, now + SECOND) };
    let mut admitted = Vec::new();
    let rejection = loop {
        match state.admit(&of(1, 50), now) {
            Ok(id) => admitted.push(id),
            Err(rejection) => break rejection,
        }
    };
    assert_eq!((admitted.len(), rejection.why), (5, RejectReason::Full));
    assert_eq!((rejection.queued, rejection.limit), (250, 250), "its own figures");
    state.admit(&of(0, 750), now).expect("the other's part is untouched");
    assert_eq!(state.by_model().collect::<Vec<_>>(), [750, 250]);
    assert_eq!(state.admit(&of(0, 1), now).unwrap_err().why, RejectReason::Full);
    state.leave(admitted[0], Pending::Unread(50));
    assert_eq!(state.queued(), 950);
    assert!(state.admit(&of(1, 50), now).is_ok(), "what has left makes room in its own part");
}

#[test]
fn a_burst_on_one_model_is_predicted_to_cost_another_its_share() {
    let now = Instant::now();
    let ask = |weights: [u32; 2], patience: Duration| {
        let mut state = shared(&weights.map(|weight| (weight, 1_000_000)));
        for _ in 0..100 {
            state.admit(&Asked { model: 1, ..live(300, now + 600 * SECOND) }, now).unwrap();
        }
        state.admit(&live(1000, now + patience), now)
    };
    // 1,000 tokens of its own and, by weight, 1,000 or 500 or 3,000 of the 30,000 that wait for the other.
    for (weights, millis) in [([1, 1], 2000), ([2, 1], 1500), ([1, 3], 4000)] {
        // Of its time, 80 % may be predicted to be needed.
        let needed = |part: f64| Duration::from_millis(millis).mul_f64(1.25 * part);
        assert!(ask(weights, needed(1.1)).is_ok(), "{weights:?}: {:?} are enough", needed(1.1));
        let rejection = ask(weights, needed(0.95)).unwrap_err();
        assert!(matches!(rejection.why, RejectReason::Late(_)), "{weights:?}: {rejection:?}");
    }
}

#[test]
fn a_caller_that_takes_a_part_is_not_refused_for_its_deadline() {
    let now = Instant::now();
    let mut state = state(1_000_000);
    state.admit(&live(500, now + 2 * SECOND), now).unwrap();
    let part = Asked { partial: true, ..live(50_000, now + SECOND) };
    assert!(state.admit(&part, now).is_ok());
}

#[test]
fn before_anything_ran_only_the_queue_refuses() {
    let now = Instant::now();
    let mut state = AdmissionState::new(&[Quota { weight: 1, queue_tokens: 100 }], 1);
    state.admit(&live(60, now), now).unwrap();
    state.admit(&live(40, now), now).unwrap();
    let rejection = state.admit(&live(1, now), now).unwrap_err();
    assert_eq!((rejection.why, rejection.retry_after), (RejectReason::Full, BLIND_RETRY));
}

/// Case A5.
#[test]
fn what_is_left_follows_the_texts_as_they_are_read() {
    let now = Instant::now();
    let mut state = state(1_000_000);
    let id = state.admit(&live(1000, now + 60 * SECOND), now).unwrap();
    // The first tenth is three times as much as was thought: so is the rest, as far as is known.
    state.read(id, 100, 1.0, 300);
    assert_eq!(state.queued(), 3000);
    state.leave(id, Pending::Read(300));
    assert_eq!(state.queued(), 2700);
    // The rest is next to nothing.
    state.read(id, 800, 1.0, 8);
    assert_eq!(state.queued(), 8 + 34, "a hundred are unread");
    state.leave(id, Pending::Unread(100));
    assert_eq!(state.queued(), 8);
    state.leave(id, Pending::Read(8));
    assert_eq!(state.queued(), 0);
    state.leave(id, Pending::Read(8));
    assert_eq!(state.queued(), 0, "it is gone");
}

/// Case A5.
#[test]
fn estimates_of_a_model_are_scaled_by_what_its_texts_lately_were() {
    let now = Instant::now();
    let mut state = shared(&[(1, u64::MAX / 4), (1, u64::MAX / 4)]);
    assert!((state.scale(0) - 1.0).abs() < 1e-9, "before anything is known");
    let id = state.admit(&live(10_000_000, now + SECOND), now).unwrap();
    for _ in 0..2000 {
        state.read(id, 100, 1.0, 400);
    }
    assert!((3.8..4.01).contains(&state.scale(0)), "{}", state.scale(0));
    // Scaled estimates that are right change nothing, and what was before is forgotten in time.
    for _ in 0..2000 {
        state.read(id, 400, 4.0, 400);
    }
    assert!((3.9..4.01).contains(&state.scale(0)), "{}", state.scale(0));
    for _ in 0..4000 {
        state.read(id, 400, 4.0, 10);
    }
    assert!((state.scale(0) - 1.0 / MOST_SCALE).abs() < 0.02, "{}", state.scale(0));
    assert!((state.scale(1) - 1.0).abs() < 1e-9, "another model's are its own");
}

/// Tokens that the simulated engine does in a millisecond: many, so that shares come out even.
const A_MILLISECOND: u64 = 1_000_000;

/// Milliseconds of a forward pass.
const A_PASS: u64 = 10;

proptest! {
    /// Whoever is admitted is done before its deadline, give or take one forward pass, when the engine shares equally and
    /// keeps its rate: simulated millisecond by millisecond, with arrivals at any time. One that was alone is tried in any
    /// case.
    #[test]
    fn promises_are_kept(arrivals in proptest::collection::vec((0u64..3000, 1u64..800, 50u64..2500), 1..60)) {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut state = AdmissionState::new(&[Quota { weight: 1, queue_tokens: u64::MAX / 2 }], 1);
        for _ in 0..500 {
            state.ran(10 * A_MILLISECOND, Duration::from_millis(10));
        }
        let mut arrivals = arrivals;
        arrivals.sort_unstable();
        let mut waiting = std::collections::VecDeque::from(arrivals);
        // In work: entry, tokens left, deadline in milliseconds, whether it was tried alone.
        let mut active: Vec<(EntryId, u64, u64, bool)> = Vec::new();
        for millis in 0..60_000 {
            while let Some(&(_, tokens, patience)) = waiting.front().filter(|(when, ..)| *when <= millis) {
                waiting.pop_front();
                let (alone, tokens) = (active.is_empty(), tokens * A_MILLISECOND);
                if let Ok(id) = state.admit(&live(tokens, at(millis + patience)), at(millis)) {
                    active.push((id, tokens, millis + patience, alone));
                }
            }
            let share = A_MILLISECOND / (active.len() as u64).max(1);
            for (id, left, deadline, alone) in &mut active {
                let served = share.min(*left);
                *left -= served;
                state.leave(*id, Pending::Unread(served));
                prop_assert!(*left > 0 || *alone || millis <= *deadline + A_PASS, "promised {deadline} ms, done at {millis} ms");
            }
            active.retain(|(_, left, ..)| *left > 0);
            if active.is_empty() && waiting.is_empty() {
                break;
            }
        }
        prop_assert!(active.is_empty());
        prop_assert_eq!(state.queued(), 0);
    }

    /// The same with several models that share by weight.
    #[test]
    fn promises_are_kept_beside_other_models(
        weights in proptest::collection::vec(1u32..9, 2..4),
        arrivals in proptest::collection::vec((0u64..3000, 0usize..4, 1u64..800, 50u64..2500), 1..60),
    ) {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let quotas: Vec<Quota> =
            weights.iter().map(|&weight| Quota { weight, queue_tokens: u64::MAX / 8 }).collect();
        let mut state = AdmissionState::new(&quotas, 1);
        for _ in 0..500 {
            state.ran(10 * A_MILLISECOND, Duration::from_millis(10));
        }
        let mut arrivals = arrivals;
        arrivals.sort_unstable();
        let mut waiting = std::collections::VecDeque::from(arrivals);
        // In work: entry, model, tokens left, deadline in milliseconds, whether it was tried alone.
        let mut active: Vec<(EntryId, usize, u64, u64, bool)> = Vec::new();
        for millis in 0..60_000 {
            while let Some(&(_, model, tokens, patience)) = waiting.front().filter(|(when, ..)| *when <= millis) {
                waiting.pop_front();
                let (alone, tokens, model) = (active.is_empty(), tokens * A_MILLISECOND, model % weights.len());
                let asked = Asked { model, ..live(tokens, at(millis + patience)) };
                if let Ok(id) = state.admit(&asked, at(millis)) {
                    active.push((id, model, tokens, millis + patience, alone));
                }
            }
            let of = |model: usize| active.iter().filter(|(_, its, ..)| *its == model).count() as u64;
            let counts: Vec<u64> = (0..weights.len()).map(of).collect();
            let busy: u64 = weights.iter().zip(&counts).filter(|(_, count)| **count > 0).map(|(w, _)| u64::from(*w)).sum();
            for (id, model, left, deadline, alone) in &mut active {
                let share = A_MILLISECOND * u64::from(weights[*model]) / busy / counts[*model];
                let served = share.max(1).min(*left);
                *left -= served;
                state.leave(*id, Pending::Unread(served));
                let late = *deadline + A_PASS * weights.len() as u64;
                prop_assert!(*left > 0 || *alone || millis <= late, "promised {deadline} ms, done at {millis} ms");
            }
            active.retain(|(_, _, left, ..)| *left > 0);
            if active.is_empty() && waiting.is_empty() {
                break;
            }
        }
        prop_assert!(active.is_empty());
        prop_assert_eq!(state.queued(), 0);
    }
}
