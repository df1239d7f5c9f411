//! The thread that keeps the snapshot: reads it at the start, writes it on an interval, on demand and at the end.
//!
//! Owns when. A snapshot that cannot be read or written is one warning, never a failure: it is worth some forward passes,
//! not the service. It must not know the format.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::snapshot::{Snapshot, SnapshotError};
use super::{ScoreCache, SnapshotOptions};
use crate::metrics::Reason;

/// What the thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Write now.
    Write,
    /// Write for the last time and end.
    End,
}

/// The thread. Dropping it writes the last snapshot and waits for that.
#[derive(Debug)]
pub struct Keeper {
    orders: Sender<Order>,
    loaded: Arc<Loaded>,
    thread: Option<JoinHandle<()>>,
}

/// Whether the snapshot has been read, for those who wait for it.
#[derive(Debug, Default)]
struct Loaded {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Keeper {
    /// Starts the thread, which reads the snapshot at once; none where no snapshot is to be kept.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(cache: ScoreCache, options: &SnapshotOptions) -> std::io::Result<Option<Self>> {
        let (Some(path), every) = (options.path.clone(), options.every) else { return Ok(None) };
        let (orders, taken) = channel();
        let loaded = Arc::new(Loaded::default());
        // Before the thread runs: a report knows of the snapshot from the start. A second keeper of one cache, which
        // nobody starts, would only go unheard.
        let _ = cache.inner.keeper.set(orders.clone());
        let told = Arc::clone(&loaded);
        let work = move || {
            load(&cache, &path);
            told.tell();
            let started = Instant::now();
            cache.take_over();
            tracing::debug!(took_ms = started.elapsed().as_millis(), "snapshot taken over");
            keep(&cache, (&path, every), &taken);
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(work)?;
        Ok(Some(Self { orders, loaded, thread: Some(thread) }))
    }

    /// Waits until the snapshot has been read, so that its scores are found, or refused, but no longer than this; says
    /// whether it has.
    pub fn wait_until_loaded(&self, patience: Duration) -> bool {
        self.loaded.wait(patience)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A thread that is gone has nothing more to write.
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Loaded {
    fn tell(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self, patience: Duration) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(done, patience, |done| !*done);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn load(cache: &ScoreCache, path: &Path) {
    let started = Instant::now();
    let restored = Snapshot::open(path).and_then(|snapshot| cache.announce(snapshot));
    match restored {
        Ok(restored) => {
            cache.inner.snapshot.restored(restored.kept);
            count(cache, "restored");
            tracing::info!(
                entries = restored.kept,
                foreign = restored.foreign,
                expired = restored.expired,
                took_ms = started.elapsed().as_millis(),
                "snapshot read"
            );
        }
        Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(path = %path.display(), "no snapshot yet");
        }
        Err(error) => {
            count(cache, "refused");
            warn(&error, "the snapshot is not read; it will be replaced by the next one");
        }
    }
}

fn keep(cache: &ScoreCache, (path, every): (&Path, Duration), orders: &Receiver<Order>) {
    let mut written = 0;
    loop {
        let order = orders.recv_timeout(every);
        let changes = cache.inner.changes.load(Ordering::Relaxed);
        if changes != written {
            written = changes;
            write(cache, path);
        }
        match order {
            Ok(Order::Write) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn write(cache: &ScoreCache, path: &Path) {
    let started = Instant::now();
    match cache.write_snapshot(path) {
        Ok(entries) => {
            cache.inner.snapshot.written(entries);
            count(cache, "written");
            tracing::info!(entries, took_ms = started.elapsed().as_millis(), "snapshot written");
        }
        Err(error) => {
            cache.inner.snapshot.failed();
            count(cache, "failed");
            warn(&error, "the snapshot is not written");
        }
    }
}

fn warn(error: &SnapshotError, what: &'static str) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%error, cause, "{what}");
}

fn count(cache: &ScoreCache, outcome: &'static str) {
    cache.inner.metrics.cache_snapshots.get_or_create(&Reason { reason: outcome }).inc();
}
