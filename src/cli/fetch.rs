//! Brings the ONNX Runtime library and models into the model folder.
//!
//! Owns the order of the steps, the lock that keeps two fetches apart, and the errors. It asks the catalogue what is
//! wanted, pip for wheels and the model hub for files. It must not know terminals or sub-commands.
//!
//! Every run hashes what lies there already and touches the network only for what is missing or damaged. Nothing is
//! trusted for its name: a file counts once its SHA-256 is that of the catalogue, or of the lock file that the first
//! download of a hub file leaves beside the model.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use rescored_runtime::catalogue::{Catalogue, CatalogueError, Kind, Runtime, RuntimeError};
use rescored_runtime::checksum::Sha256;

mod hub;
mod lock;
mod models;
mod pip;
mod place;
pub mod progress;
mod wheel;

pub use progress::{Progress, Silent};

/// What to bring, whence and whereto.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder in which models lie.
    pub dir: PathBuf,
    /// The provider that the runtime library is to bring.
    pub provider: Kind,
    /// Ids of the models wanted, or repositories on the hub; none brings the runtime library alone.
    pub models: Vec<String>,
    /// The Python whose pip downloads wheels.
    pub python: PathBuf,
    /// Address of the model hub, without a slash at its end.
    pub hub: String,
}

/// What a fetch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The runtime library.
    pub runtime: Item,
    /// The models, in the order they were asked for.
    pub models: Vec<Item>,
}

/// One thing that lies in the model folder now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is, in words.
    pub name: String,
    /// The library, or the model's folder.
    pub path: PathBuf,
    /// How it came there.
    pub outcome: Outcome,
}

/// How a thing came to lie in the model folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, and its bytes are right.
    Present,
    /// It was brought now.
    Fetched,
}

/// Why a fetch ended early. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// There is no library for this system.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model is not in the catalogue.
    #[error("model: `{name}` is not in the catalogue (known: {known}); add it to {}, or put an ONNX file and tokenizer.json into {}", catalogue.display(), folder.display())]
    UnknownModel {
        /// The name as given.
        name: String,
        /// Ids in the catalogue.
        known: String,
        /// Where entries can be added.
        catalogue: PathBuf,
        /// Where a model can be put by hand.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("`{}` cannot be written or read; check permissions and free space, or choose another --model-dir", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The Python that was named cannot be started.
    #[error("python: `{}` cannot be started; install Python 3 with pip, or name another by --python", python.display())]
    NoPython {
        /// The program.
        python: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Python has no pip.
    #[error("pip: `{} -m pip` does not run; install it: `{0} -m ensurepip --upgrade`, or the package python3-pip of your system", python.display())]
    NoPip {
        /// The Python.
        python: PathBuf,
    },
    /// pip ended with a failure.
    #[error("pip: {package} was not downloaded: {reason}; check the network and pip's index, or put {file} into {} by hand", folder.display())]
    Pip {
        /// Name and version.
        package: String,
        /// pip's last word.
        reason: String,
        /// The wheel.
        file: String,
        /// Where it can be put.
        folder: PathBuf,
    },
    /// The wheel is not what was asked for.
    #[error("wheel: `{}` holds no `{member}`; delete it and run this again", path.display())]
    Wheel {
        /// The wheel.
        path: PathBuf,
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// Bytes are not what the catalogue or the lock says.
    #[error("sha256: `{}` is {found}, expected {expected}; the source changed or the download was altered: delete it if it is there and run this again, and do not use it until they agree", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// What it must be.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// The hub does not answer.
    #[error("hub: `{url}` does not answer; check the network and HTTPS_PROXY, name a mirror by --hub, or put {} there by hand and run this again", path.display())]
    HubUnreachable {
        /// The address.
        url: String,
        /// Where the file can be put.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hub answers, but not with the file.
    #[error("hub: `{url}` answers {status}; check the catalogue's repo, revision and file names, or put {} there by hand and run this again", path.display())]
    HubRefused {
        /// The address.
        url: String,
        /// Its status.
        status: u16,
        /// Where the file can be put.
        path: PathBuf,
    },
    /// The lock file is damaged.
    #[error("lock: `{}` is not understood; restore it, or delete it to trust the hub anew", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// The folders of one run.
pub(crate) struct Place<'a> {
    options: &'a Options,
    downloads: PathBuf,
}

/// Brings what `options` names; what is there and whole stays untouched.
///
/// # Errors
/// When something cannot be brought; what was finished before stays.
pub fn fetch(options: &Options, progress: &mut dyn Progress) -> Result<Report, FetchError> {
    let catalogue = Catalogue::load(&options.dir)?;
    let wanted = options.models.iter().map(|name| {
        catalogue.model(name).ok_or_else(|| FetchError::UnknownModel {
            name: name.clone(),
            known: catalogue.ids(),
            catalogue: options.dir.join("catalogue.toml"),
            folder: options.dir.join(name),
        })
    });
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    let place = Place { options, downloads: options.dir.join(".downloads") };
    place::folder(&place.downloads)?;
    let _lock = alone(&place.downloads, progress)?;
    let runtime = bring_runtime(&place, &catalogue, progress)?;
    let mut models = Vec::new();
    for entry in wanted {
        models.push(models::bring(&place, entry, progress)?);
    }
    Ok(Report { runtime, models })
}

fn bring_runtime(place: &Place<'_>, catalogue: &Catalogue, progress: &mut dyn Progress) -> Result<Item, FetchError> {
    let runtime = catalogue.runtime(place.options.provider)?;
    let path = runtime.path(&place.options.dir);
    let name =
        format!("ONNX Runtime {} ({}, {} {})", runtime.version, runtime.provider.word(), runtime.os, runtime.arch);
    if is_whole(runtime, &place.options.dir, progress)? {
        return Ok(Item { name, path, outcome: Outcome::Present });
    }
    let wheel = wheel::obtain(place, &runtime.wheel, progress)?;
    for (path, member) in runtime.beside(&place.options.dir) {
        wheel.unpack(&member.member, &path, member.sha256)?;
    }
    // Last: where it lies, all of it does.
    wheel.unpack(&runtime.member, &path, runtime.sha256)?;
    wheel.discard()?;
    Ok(Item { name, path, outcome: Outcome::Fetched })
}

/// Whether the library and what belongs beside it are there, byte for byte.
fn is_whole(runtime: &Runtime, dir: &Path, progress: &mut dyn Progress) -> Result<bool, FetchError> {
    let own = std::iter::once((runtime.path(dir), runtime.sha256));
    for (path, sha256) in own.chain(runtime.beside(dir).map(|(path, member)| (path, member.sha256))) {
        match place::digest(&path)? {
            Some((found, _)) if found == sha256 => {}
            Some(_) => {
                progress.say(&format!("{} is damaged; fetching it again", path.display()));
                return Ok(false);
            }
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Waits until no other fetch works on this folder; the lock goes when the file is closed, also by a kill.
fn alone(downloads: &Path, progress: &mut dyn Progress) -> Result<File, FetchError> {
    let path = downloads.join("lock");
    let file =
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(place::disk(&path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress.say("another fetch is at work on this folder; waiting for it"),
        // Some network file systems have no locks; temporary names and renames keep files whole there too.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(file),
        Err(TryLockError::Error(source)) => return Err(FetchError::Disk { path, source }),
    }
    file.lock().map_err(place::disk(&path))?;
    Ok(file)
}
