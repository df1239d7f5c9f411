//! Moves models to the CPU when their accelerator is lost, where that is wanted.
//!
//! Owns the thread that waits for the engine's word. It must not know what a loss is, or how a move is made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rescored_process::health::Health;

use crate::repository::Repository;

/// How often the thread looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pause after a move that failed: it takes seconds of both cores and memory.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module. Dropping it ends the thread.
#[derive(Debug)]
pub struct Guard {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Begins to wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(repository: &Arc<Repository>, health: &Arc<Health>) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (stopped, repository, lost) = (Arc::clone(&over), Arc::clone(repository), Arc::clone(health));
        let thread = std::thread::Builder::new().name("device-guard".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                // What keeps a move from being made is reported by the repository itself; the next loss is another try.
                if lost.wait_for_loss(LOOK_EVERY) && repository.move_to_cpu().is_err() {
                    rest(&stopped);
                }
            }
        })?;
        health.guard_devices(true);
        Ok(Self { over, thread: Some(thread) })
    }
}

fn rest(over: &AtomicBool) {
    let until = Instant::now() + PAUSE;
    while Instant::now() < until && !over.load(Ordering::Acquire) {
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // One that panicked has said so itself.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
