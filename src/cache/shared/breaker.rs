//! Whether the tier is asked at present.
//!
//! Closed: it is. Open: it is left alone until its pause is over; then the asking thread probes it, and either closes
//! the breaker or opens it for twice as long. No request waits for a probe. A tier that answers probes and is late for
//! requests is left alone for longer each time, too: pauses begin anew only after it has answered for a while.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rescored_process::metrics::Level;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// The tier is well again when it has answered for so long.
const STEADY: Duration = LONGEST;

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker {
    started: Instant,
    /// Milliseconds from `started` until which the tier is left alone; 0 while the breaker is closed.
    until: AtomicU64,
    /// Milliseconds from `started` to the last closing.
    closed: AtomicU64,
    /// Openings since the tier was last well.
    openings: AtomicI64,
    up: Level,
}

impl Breaker {
    /// Open, and due for a probe: a tier that was never reached is not asked by a request.
    pub(super) fn new(up: Level) -> Self {
        let (until, closed) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { started: Instant::now(), until, closed, openings: AtomicI64::new(0), up }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.until.load(Ordering::Acquire) == 0
    }

    /// How long the tier is still to be left alone; `None` while the breaker is closed.
    pub(super) fn pause(&self) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        (until > 0).then(|| Duration::from_millis(until.saturating_sub(self.now())))
    }

    /// The tier answers.
    pub(super) fn close(&self) {
        self.closed.store(self.now(), Ordering::Relaxed);
        self.until.store(0, Ordering::Release);
        self.up.set(1);
    }

    /// The tier does not answer. The pause, when this is the first time since it was well.
    pub(super) fn open(&self) -> Option<Duration> {
        let for_long = Duration::from_millis(self.now().saturating_sub(self.closed.load(Ordering::Relaxed))) >= STEADY;
        if self.is_closed() && for_long {
            self.openings.store(0, Ordering::Relaxed);
        }
        let before = self.openings.fetch_add(1, Ordering::Relaxed);
        let doublings = u32::try_from(before.clamp(0, 16)).unwrap_or(16);
        let pause = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        let until = self.now().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.until.store(until.max(1), Ordering::Release);
        self.up.set(0);
        (before == 0).then_some(pause)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_begin_anew_after_a_while_of_success() {
        let breaker = Breaker::new(Level::default());
        assert!(!breaker.is_closed(), "before the first answer");
        assert!(breaker.pause().unwrap() <= Duration::from_millis(1), "due for a probe at once");
        breaker.close();
        assert!(breaker.is_closed() && breaker.pause().is_none());
        assert_eq!(breaker.open(), Some(FIRST), "the first failure is reported");
        let mut longest = Duration::ZERO;
        for _ in 0..40 {
            breaker.close();
            assert_eq!(breaker.open(), None, "the others are not, though it answered in between");
            longest = longest.max(breaker.pause().unwrap());
        }
        assert!(longest > LONGEST / 2 && longest <= LONGEST, "{longest:?}");
        let long_ago = Instant::now().checked_sub(2 * STEADY).unwrap();
        let breaker = Breaker { started: long_ago, closed: AtomicU64::new(1), until: AtomicU64::new(0), ..breaker };
        assert_eq!(breaker.open(), Some(FIRST));
    }
}
