//! `rescored warm --offline`: a server of our own, on a port that nobody else knows, for as long as the job takes.
//!
//! The same faces, the same engine and the same snapshot as `serve`: so an offline score is the score that a sidecar with
//! the same settings gives. It must not know how the job is done.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use rescored_cache::snapshot::{self, Snapshot, SnapshotError};
use rescored_server::app::{App, AppError};
use rescored_server::config::{Config, ConfigError, Host};
use rescored_server::http::Listen;
use tokio::sync::oneshot;

use crate::commands::Vars;

/// Settings that are not taken from the environment: where to listen and to write is ours to say; keys, certificates and
/// further addresses are for callers from outside, and those of a sidecar that runs here are taken.
const OURS: [&str; 7] = [
    "RESCORED_LISTEN",
    "RESCORED_CACHE_SNAPSHOT",
    "RESCORED_API_KEYS_FILE",
    "RESCORED_TLS_CERT",
    "RESCORED_TLS_KEY",
    "RESCORED_OPERATIONS_LISTEN",
    "RESCORED_SOCKET_MODE",
];

/// Why nothing was scored, or not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfflineError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What lies where the snapshot shall lie is none, or is damaged: it is not written over.
    #[error(
        "--snapshot: `{}`: {problem}; wanted is a whole snapshot to add to, or a new file in a folder that is there: name another \
         file, or take this one away",
        path.display()
    )]
    Target {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The scores are lost.
    #[error("--snapshot: `{}` could not be written: {why}; look at its folder's permissions and free space", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Scores of other models that lay in the snapshot could not be kept.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The server.
    #[error(transparent)]
    App(AppError),
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

impl From<AppError> for OfflineError {
    /// The snapshot is what the caller asked for, so it is reported by the flag that named it.
    fn from(error: AppError) -> Self {
        if let AppError::Snapshot { path, why } = error { Self::Unwritten { path, why } } else { Self::App(error) }
    }
}

/// Runs a job against a server of our own, whose address it is given, and writes the scores.
pub(super) fn run<T>(vars: Vars, snapshot: &Path, job: impl FnOnce(String) -> T) -> Result<T, OfflineError> {
    let mut vars: Vars = vars.into_iter().filter(|(name, _)| !OURS.iter().any(|known| name == known)).collect();
    let before = existing(snapshot)?;
    // Before hours of work: a file that a server keeps is not ours to write. Lifted again: our own server takes it.
    drop(snapshot::lock(snapshot)?);
    vars.push((OURS[0].into(), "127.0.0.1:0".into()));
    vars.push((OURS[1].into(), snapshot.as_os_str().to_owned()));
    let config = Config::from_vars(vars, &Host::detect())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, taken) = channel();
    let serve = move || -> Result<Figures, AppError> {
        let app = App::build(&config)?;
        let (metrics, cache) = (std::sync::Arc::clone(&app.core().metrics), app.core().cache.clone());
        // The receiver waits for nothing else.
        let _ = address.send(app.addresses().first().cloned());
        app.run(async {
            // Asked to stop, or the job's thread is gone.
            let _ = stopped.await;
        })?;
        let unwritten = cache.report().snapshot.is_some_and(|snapshot| snapshot.failed || snapshot.locked);
        Ok(Figures { evicted: metrics.cache_evictions.get(), unwritten })
    };
    let server = std::thread::Builder::new().name("offline".to_owned()).spawn(serve)?;
    let done = match taken.recv() {
        Ok(Some(Listen::Tcp(address))) => Some(job(format!("http://{address}"))),
        Ok(_) | Err(_) => None,
    };
    drop(stop);
    let Figures { evicted, unwritten } = server.join().map_err(|_| OfflineError::Died)??;
    if unwritten {
        let why = "another process took it, or the file system refused it; the log says which".to_owned();
        return Err(OfflineError::Unwritten { path: snapshot.to_owned(), why });
    }
    if let Some(before) = before {
        snapshot::keep_foreign(before, snapshot)?;
    }
    if evicted > 0 {
        return Err(OfflineError::Full(evicted));
    }
    done.ok_or(OfflineError::Died)
}

/// What became of the scores.
struct Figures {
    /// Those that did not fit into the cache.
    evicted: u64,
    /// Whether the last snapshot could not be written.
    unwritten: bool,
}

/// The snapshot that is there already. Its file stays open: what is written in its place does not touch it.
fn existing(path: &Path) -> Result<Option<Snapshot>, OfflineError> {
    let refused = |problem: &dyn Display| OfflineError::Target { path: path.to_owned(), problem: problem.to_string() };
    match Snapshot::open(path) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_none_or(Path::is_dir) { Ok(None) } else { Err(refused(&"its folder is not there")) }
        }
        Err(SnapshotError::File { source, .. }) => Err(refused(&source)),
        Err(SnapshotError::Foreign { .. }) => Err(refused(&"no snapshot of scores")),
        Err(SnapshotError::Version { found, .. }) => {
            Err(refused(&format_args!("format {found} is of another version")))
        }
        Err(SnapshotError::Torn { what, .. }) => Err(refused(&format_args!("torn, {what}"))),
        Err(error @ SnapshotError::Locked { .. }) => Err(error.into()),
    }
}
