//! Places for warm-up streams: how many there may be at once.
//!
//! Owns the count. It must not know what a stream does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Streams at once; more are refused with 429.
pub(super) const STREAMS: usize = 4;

/// Places for streams. Clones are the same places.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<AtomicUsize>);

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Places);

impl Places {
    /// One of them, if any is free.
    pub(super) fn take(&self) -> Option<Place> {
        let free = |taken: usize| (taken < STREAMS).then_some(taken + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
