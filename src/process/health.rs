//! Whether the process is alive, ready, or on its way out.
//!
//! Owns a few facts that several threads set and probes read. It must not know HTTP status codes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::sync::{held, lock};

/// Shared state of the process, read by probes.
#[derive(Debug, Default)]
pub struct Health {
    warmed: AtomicBool,
    draining: AtomicBool,
    workers_dead: AtomicUsize,
    gave_up: AtomicBool,
    short_of_memory: AtomicBool,
    /// Why the process is not ready yet; empty while nothing is wrong.
    trouble: Mutex<String>,
    devices: Devices,
}

/// Whether accelerators still give scores.
#[derive(Debug, Default)]
struct Devices {
    /// Somebody moves their models away when they do not.
    guarded: AtomicBool,
    lost: Mutex<bool>,
    reported: Condvar,
}

/// What a readiness probe gets.
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

    /// Says why the process is not ready yet, for whoever asks.
    pub fn set_trouble(&self, why: impl Into<String>) {
        // A text is whole whoever held it.
        *lock(&self.trouble) = why.into();
    }

    /// Why the process is not ready yet; empty while nothing is wrong.
    pub fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }

    /// Whether a stop was asked for.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
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

    /// The process cannot repair itself: a restart is the way out. There is no way back.
    pub fn gave_up(&self) {
        self.gave_up.store(true, Ordering::Release);
    }

    /// Says whether somebody moves models away from devices that are lost, so that no restart is needed for them.
    pub fn guard_devices(&self, guarded: bool) {
        self.devices.guarded.store(guarded, Ordering::Release);
    }

    /// An accelerator gives no scores any more. Whether somebody is there to move its models away.
    pub fn device_lost(&self) -> bool {
        // A flag is whole whoever held it.
        *lock(&self.devices.lost) = true;
        self.devices.reported.notify_all();
        self.devices.guarded.load(Ordering::Acquire)
    }

    /// Waits for a device to be lost, so long at most; whether one was since the last time.
    pub fn wait_for_loss(&self, at_most: Duration) -> bool {
        let lost = lock(&self.devices.lost);
        let waited = self.devices.reported.wait_timeout_while(lost, at_most, |lost| !*lost);
        let (mut lost, _) = held(waited);
        std::mem::take(&mut *lost)
    }

    /// Whether a restart would change nothing for the better.
    pub fn is_alive(&self) -> bool {
        !self.gave_up.load(Ordering::Acquire)
    }

    /// Says whether memory is so short that new work is refused.
    pub fn set_short_of_memory(&self, short: bool) {
        self.short_of_memory.store(short, Ordering::Release);
    }

    /// Whether memory is so short that new work is refused.
    pub fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Ordering::Acquire)
    }

    /// What a readiness probe gets now.
    pub fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            Readiness::Draining
        } else if !self.warmed.load(Ordering::Acquire) {
            Readiness::Starting
        } else if self.workers_dead.load(Ordering::Acquire) > 0 || !self.is_alive() {
            Readiness::Degraded
        } else {
            Readiness::Ready
        }
    }
}
