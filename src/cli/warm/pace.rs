//! How many chunks are on their way at once: one more after each that was taken in as many rounds, half as many after a
//! refusal, as TCP does with packets.
//!
//! Owns the places. It must not know what is sent.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use rescored_process::sync::{held, lock};

/// Several refusals within this time are one: they were sent under the same pace.
const ONE_REFUSAL: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
    most: f64,
}

#[derive(Debug)]
struct State {
    limit: f64,
    sent: u32,
    slowed: Option<Instant>,
}

/// A chunk's place; given back when it is dropped.
pub(super) struct Permit<'a>(&'a Pace);

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        let state = State { limit: 1.0, sent: 0, slowed: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), most: most.max(1) as f64 }
    }

    /// Waits for a place.
    pub(super) fn enter(&self) -> Permit<'_> {
        let state = lock(&self.state);
        let full = |state: &mut State| f64::from(state.sent) + 1.0 > state.limit.max(1.0);
        let mut state = held(self.changed.wait_while(state, full));
        state.sent += 1;
        Permit(self)
    }

    /// A chunk was taken.
    pub(super) fn faster(&self) {
        self.change(|state, most| state.limit = (state.limit + 1.0 / state.limit).min(most));
    }

    /// A chunk was refused.
    pub(super) fn slower(&self) {
        self.change(|state, _| {
            if state.slowed.is_none_or(|slowed| slowed.elapsed() > ONE_REFUSAL) {
                state.slowed = Some(Instant::now());
                state.limit = (state.limit / 2.0).max(1.0);
            }
        });
    }

    fn change(&self, how: impl FnOnce(&mut State, f64)) {
        how(&mut lock(&self.state), self.most);
        self.changed.notify_all();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.change(|state, _| state.sent -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(pace: &Pace) -> f64 {
        pace.state.lock().unwrap().limit
    }

    #[test]
    fn the_pace_grows_to_its_limit_and_a_burst_of_refusals_halves_it_once() {
        let pace = Pace::new(4);
        for _ in 0..100 {
            pace.faster();
        }
        assert!((limit(&pace) - 4.0).abs() < 1e-9);
        pace.slower();
        pace.slower();
        assert!((limit(&pace) - 2.0).abs() < 1e-9);
        let (one, two) = (pace.enter(), pace.enter());
        assert_eq!(pace.state.lock().unwrap().sent, 2);
        drop((one, two));
        assert_eq!(pace.state.lock().unwrap().sent, 0);
    }
}
