//! The thread that keeps the snapshot: reads it at the start, writes it on an interval, on demand and at the end.
//!
//! Owns when, and the lock that gives one process the right to write. A snapshot that cannot be read or written while the
//! process serves is one warning, never a failure: it is worth some forward passes, not the service. The last one is
//! waited for no longer than the end of the process allows, on whatever file system it lies. It must not know the format.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rescored_process::files::{self, Lock};
use rescored_process::metrics::Reason;
use rescored_process::sync::{held, lock};

use super::snapshot::{self, Snapshot, SnapshotError};
use super::{ScoreCache, SnapshotOptions};

/// What the thread is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Write now.
    Write,
    /// Write for the last time and end.
    End,
}

/// What became of the last snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is there, or nothing had changed since the one before.
    Written,
    /// It could not be written.
    Failed {
        /// Why not; without the path.
        why: String,
    },
    /// Another process keeps the file.
    Locked,
    /// It is still being written, or the one before is still being read: nobody waits for it any more.
    Late,
}

/// How long a snapshot writer that is dropped waits for its thread at most.
const PATIENCE_AT_DROP: Duration = Duration::from_secs(30);

/// The thread. Dropping it writes the last snapshot and waits for that, within reason.
#[derive(Debug)]
pub struct SnapshotWriter {
    path: PathBuf,
    orders: Sender<Order>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// How far the thread is, for those who wait for it.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The snapshot has been read, or refused.
    loaded: bool,
    /// The thread is at its end.
    ended: Option<Ending>,
    /// Nobody waits for the thread any more.
    left: bool,
}

impl Ending {
    /// What the file system said, where it did: the path is reported beside it.
    fn failed(error: &SnapshotError) -> Self {
        Self::Failed { why: std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string) }
    }
}

impl SnapshotWriter {
    /// Starts the thread, which reads the snapshot at once; none where no snapshot is to be kept.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(cache: ScoreCache, options: &SnapshotOptions) -> std::io::Result<Option<Self>> {
        let (Some(path), every) = (options.path.clone(), options.every) else { return Ok(None) };
        let (orders, taken) = channel();
        // Before the thread runs: a report knows of the snapshot from the start. A second snapshot writer of one cache,
        // which nobody starts, would only go unheard.
        let _ = cache.inner.snapshot_writer.set(orders.clone());
        let file = path.clone();
        let work = move |progress: &Progress| {
            if files::is_open_to_others(&path) {
                let path = path.display();
                tracing::warn!(%path, "snapshot: others may write in its folder; give it one of its own");
            }
            // Before it is read: from now on what lies there is ours to replace, or another process's.
            let lock = Right::new(&cache, path.clone());
            load(&cache, &path);
            progress.change(|state| state.loaded = true);
            let started = Instant::now();
            cache.take_over();
            tracing::debug!(took_ms = started.elapsed().as_millis(), "snapshot taken over");
            keep(&cache, lock, every, &taken)
        };
        Self::spawn(file, orders, work).map(Some)
    }

    fn spawn(
        path: PathBuf,
        orders: Sender<Order>,
        work: impl FnOnce(&Progress) -> Ending + Send + 'static,
    ) -> std::io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let reported = Arc::clone(&progress);
        let run = move || {
            // A thread that panics has written nothing more.
            let mut ended = Ended { progress: reported, ending: Ending::Failed { why: "its thread died".to_owned() } };
            ended.ending = work(&ended.progress);
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(run)?;
        Ok(Self { path, orders, progress, thread: Some(thread) })
    }

    /// The file that is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the snapshot has been read, so that its scores are found, or refused, but no longer than this; says
    /// whether it has.
    pub fn wait_until_loaded(&self, patience: Duration) -> bool {
        self.progress.wait(patience, |state| state.loaded || state.ended.is_some()).loaded
    }

    /// Has the last snapshot written, and waits for it no longer than this. One that is late is left to itself: nothing
    /// waits for it any more, and the old one is still there.
    pub fn finish(&self, patience: Duration) -> Ending {
        // A thread that is gone has nothing more to write.
        let _ = self.orders.send(Order::End);
        let ended = self.progress.wait(patience, |state| state.ended.is_some()).ended;
        ended.unwrap_or_else(|| {
            self.progress.change(|state| state.left = true);
            Ending::Late
        })
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        let left = self.progress.wait(Duration::ZERO, |_| true).left;
        let late = left || self.finish(PATIENCE_AT_DROP) == Ending::Late;
        if let Some(thread) = self.thread.take().filter(|_| !late) {
            drop(thread.join());
        }
    }
}

/// Reports at the thread's end how it ended.
struct Ended {
    progress: Arc<Progress>,
    ending: Ending,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let ending = self.ending.clone();
        self.progress.change(|state| state.ended = Some(ending));
    }
}

impl Progress {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait(&self, patience: Duration, enough: impl Fn(&State) -> bool) -> State {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, patience, |state| !enough(state));
        held(waited).0.clone()
    }
}

/// The right to write the file, taken when it can be had.
struct Right {
    path: PathBuf,
    lock: Option<Lock>,
}

impl Right {
    fn new(cache: &ScoreCache, path: PathBuf) -> Self {
        let mut right = Self { path, lock: None };
        // The first time it is reported as a failure of its own; later with each snapshot that is due.
        let _ = right.take(cache);
        right
    }

    /// The lock, asked for anew where it was not to be had before: its holder may be gone.
    fn take(&mut self, cache: &ScoreCache) -> Result<&Lock, Ending> {
        let lock = match self.lock.take() {
            Some(lock) => Ok(lock),
            None => snapshot::lock(&self.path),
        };
        let held = matches!(lock, Err(SnapshotError::Locked { .. }));
        cache.inner.snapshot.set_locked(held);
        match lock {
            Ok(lock) => Ok(self.lock.insert(lock)),
            Err(error) => {
                let (outcome, ending) =
                    if held { ("locked", Ending::Locked) } else { ("failed", Ending::failed(&error)) };
                if !held {
                    cache.inner.snapshot.failed();
                }
                count(cache, outcome);
                warn(&error, "the snapshot is not written");
                Err(ending)
            }
        }
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
                future = restored.future,
                surplus = restored.surplus,
                took_ms = started.elapsed().as_millis(),
                "snapshot read"
            );
        }
        Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(path = %path.display(), "no snapshot yet");
        }
        Err(error) => {
            count(cache, "refused");
            warn(&error, "the snapshot is not read; the next one replaces it, if it is a file");
        }
    }
}

fn keep(cache: &ScoreCache, mut right: Right, every: Duration, orders: &Receiver<Order>) -> Ending {
    let (mut written, mut ending) = (0, Ending::Written);
    loop {
        let order = orders.recv_timeout(every);
        let changes = cache.inner.changes.load(Ordering::Relaxed);
        if changes != written {
            ending = right.take(cache).map_or_else(|ending| ending, |lock| write(cache, lock));
            if ending == Ending::Written {
                written = changes;
            }
        }
        match order {
            Ok(Order::Write) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return ending,
        }
    }
}

fn write(cache: &ScoreCache, lock: &Lock) -> Ending {
    let started = Instant::now();
    match cache.replace_snapshot(lock) {
        Ok(entries) => {
            cache.inner.snapshot.written(entries);
            count(cache, "written");
            tracing::info!(entries, took_ms = started.elapsed().as_millis(), "snapshot written");
            Ending::Written
        }
        Err(error) => {
            cache.inner.snapshot.failed();
            count(cache, "failed");
            warn(&error, "the snapshot is not written");
            Ending::failed(&error)
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

#[cfg(test)]
mod tests {
    use super::*;

    // Case A10.
    #[test]
    fn a_file_system_that_hangs_is_waited_for_no_longer_than_allowed() {
        let (orders, taken) = channel();
        let (release, hangs) = channel::<()>();
        let work = move |_: &Progress| {
            assert_eq!(taken.recv(), Ok(Order::End));
            // The file system: nothing comes back until the test lets go.
            let _ = hangs.recv();
            Ending::Written
        };
        let snapshot_writer = SnapshotWriter::spawn(PathBuf::new(), orders, work).unwrap();
        assert!(!snapshot_writer.wait_until_loaded(Duration::from_millis(1)));
        assert_eq!(snapshot_writer.finish(Duration::from_millis(20)), Ending::Late);
        let started = Instant::now();
        drop(snapshot_writer);
        assert!(started.elapsed() < PATIENCE_AT_DROP / 3, "what is late is left to itself");
        drop(release);
    }

    #[test]
    fn what_a_thread_came_to_is_reported_even_when_it_panics() {
        let snapshot_writer = SnapshotWriter::spawn(PathBuf::new(), channel().0, |_| Ending::Locked).unwrap();
        assert_eq!(snapshot_writer.finish(Duration::from_secs(20)), Ending::Locked);
        let snapshot_writer =
            SnapshotWriter::spawn(PathBuf::new(), channel().0, |_| panic!("as a test wants")).unwrap();
        assert!(matches!(snapshot_writer.finish(Duration::from_secs(20)), Ending::Failed { .. }));
    }
}
