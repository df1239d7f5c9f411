//! A stretch of time that several threads widen at once.
//!
//! Owns its union. It must not know what is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From the first beginning to the last end of something, in nanoseconds after the admission. Empty while the beginning
/// is not below the end.
#[derive(Debug)]
pub(super) struct TimeSpan {
    begin: AtomicU64,
    end: AtomicU64,
}

impl TimeSpan {
    pub(super) const fn empty() -> Self {
        Self { begin: AtomicU64::new(u64::MAX), end: AtomicU64::new(0) }
    }

    /// Takes in what went on from one instant to the other.
    pub(super) fn cover(&self, admitted: Instant, begun: Instant, now: Instant) {
        self.begin.fetch_min(nanos(begun.saturating_duration_since(admitted)), Ordering::Relaxed);
        self.end.fetch_max(nanos(now.saturating_duration_since(admitted)), Ordering::Relaxed);
    }

    pub(super) fn since(&self, admitted: Instant) -> Option<(Instant, Instant)> {
        let at = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed);
        let (begin, end) = (at(&self.begin), at(&self.end));
        (begin < end).then(|| (admitted + Duration::from_nanos(begin), admitted + Duration::from_nanos(end)))
    }
}

/// Nanoseconds, as far as 64 bits hold them.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
