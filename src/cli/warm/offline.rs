//! `rescored warm --offline`: a server of our own, on a port that nobody else knows, for as long as the job takes.
//!
//! The same faces, the same engine and the same snapshot as `serve`: so an offline score is the score that a sidecar with
//! the same settings gives. It must not know how the job is done.

use std::path::Path;
use std::sync::mpsc::channel;

use tokio::sync::oneshot;

use crate::app::{App, AppError};
use crate::cache::snapshot::{self, Snapshot, SnapshotError};
use crate::cli::Vars;
use crate::config::{Config, ConfigError, Host};
use crate::http::Listen;

/// Why nothing was scored, or not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfflineError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What lies where the snapshot shall lie is none, or is damaged: it is not written over.
    #[error("--snapshot: name another file, or take this one away")]
    Target(#[source] SnapshotError),
    /// Scores of other models that lay in the snapshot could not be kept.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The server.
    #[error(transparent)]
    App(#[from] AppError),
    /// The system.
    #[error("the system refused a thread")]
    Thread(#[from] std::io::Error),
    /// The server's thread panicked.
    #[error("the scoring thread died")]
    Died,
    /// More scores than the cache may hold.
    #[error("{0} scores did not fit; raise RESCORED_CACHE_BYTES")]
    Full(u64),
}

/// Runs a job against a server of our own, whose address it is given, and writes the scores.
pub(super) fn run<T>(vars: Vars, snapshot: &Path, job: impl FnOnce(String) -> T) -> Result<T, OfflineError> {
    // Keys are for callers from outside.
    let ours = ["RESCORED_LISTEN", "RESCORED_CACHE_SNAPSHOT", "RESCORED_API_KEYS_FILE"];
    let mut vars: Vars = vars.into_iter().filter(|(name, _)| !ours.iter().any(|known| name == known)).collect();
    let before = existing(snapshot)?;
    vars.push((ours[0].into(), "127.0.0.1:0".into()));
    vars.push((ours[1].into(), snapshot.as_os_str().to_owned()));
    let config = Config::from_vars(vars, &Host::detect())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, taken) = channel();
    let serve = move || -> Result<u64, AppError> {
        let app = App::build(&config)?;
        let metrics = std::sync::Arc::clone(&app.core().metrics);
        // The receiver waits for nothing else.
        let _ = address.send(app.addresses().first().cloned());
        app.run(async {
            // Asked to stop, or the job's thread is gone.
            let _ = stopped.await;
        })?;
        Ok(metrics.cache_evictions.get())
    };
    let server = std::thread::Builder::new().name("offline".to_owned()).spawn(serve)?;
    let done = match taken.recv() {
        Ok(Some(Listen::Tcp(address))) => Some(job(format!("http://{address}"))),
        Ok(_) | Err(_) => None,
    };
    drop(stop);
    let evicted = server.join().map_err(|_| OfflineError::Died)??;
    if let Some(before) = before {
        snapshot::keep_foreign(before, snapshot)?;
    }
    if evicted > 0 {
        return Err(OfflineError::Full(evicted));
    }
    done.ok_or(OfflineError::Died)
}

/// The snapshot that is there already. Its file stays open: what is written in its place does not touch it.
fn existing(path: &Path) -> Result<Option<Snapshot>, OfflineError> {
    match Snapshot::open(path) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OfflineError::Target(error)),
    }
}
