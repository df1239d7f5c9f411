//! Whether the process is alive, ready, or on its way out.
//!
//! Owns three facts that several threads set and probes read. It must not know HTTP status codes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared state of the process, read by probes.
#[derive(Debug, Default)]
pub struct Health {
    warmed: AtomicBool,
    draining: AtomicBool,
    workers_dead: AtomicUsize,
}

/// What a readiness probe is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Takes work.
    Ready,
    /// The warm-up inference has not finished.
    Starting,
    /// A worker died and has not been replaced.
    Degraded,
    /// A stop was asked for; what was accepted is being finished.
    Draining,
}

impl Readiness {
    /// One word for logs and bodies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
        }
    }
}

impl Health {
    /// The warm-up inference succeeded on every worker.
    pub fn warmed(&self) {
        self.warmed.store(true, Ordering::Release);
    }

    /// A stop was asked for. There is no way back.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// A worker stopped taking work.
    pub fn worker_died(&self) {
        self.workers_dead.fetch_add(1, Ordering::AcqRel);
    }

    /// A worker that had died takes work again.
    pub fn worker_returned(&self) {
        self.workers_dead.fetch_sub(1, Ordering::AcqRel);
    }

    /// What a readiness probe is told now.
    pub fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            Readiness::Draining
        } else if !self.warmed.load(Ordering::Acquire) {
            Readiness::Starting
        } else if self.workers_dead.load(Ordering::Acquire) > 0 {
            Readiness::Degraded
        } else {
            Readiness::Ready
        }
    }
}
