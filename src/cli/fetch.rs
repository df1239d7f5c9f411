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

use rescored_runtime::catalogue::{Catalogue, Entry, Kind, PrecisionName, Runtime};

mod cache;
mod choice;
mod error;
mod hub;
mod lock;
mod models;
mod pip;
mod place;
pub mod progress;
mod repository;
mod wheel;

pub use error::FetchError;
pub use hub::{DEFAULT_HUB, Token};
pub use progress::{Progress, Silent};

use repository::Wanted;

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
    /// Address of the model hub.
    pub hub: String,
    /// What the hub is shown to be let in; no other host is.
    pub token: Option<Token>,
    /// The folder in which the hub's own clients keep files, which are taken from there; `None` takes none.
    pub hub_cache: Option<PathBuf>,
    /// The graph to take of a repository.
    pub wish: Wish,
}

/// Which of a repository's weights are taken, where it has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// An ONNX graph also where there are safetensors.
    pub onnx: bool,
    /// The graph's arithmetic; `None` takes fp32 before int8 before fp16.
    pub precision: Option<PrecisionName>,
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

/// The folders of one run.
pub(crate) struct Place<'a> {
    options: &'a Options,
    downloads: PathBuf,
}

/// A model that was asked for.
enum Model<'a> {
    /// One of the catalogue.
    Known(&'a Entry),
    /// A repository that the catalogue does not know.
    Other(Wanted),
}

/// Brings what `options` names; what is there and whole stays untouched.
///
/// # Errors
/// When something cannot be brought; what was finished before stays.
pub fn fetch(options: &Options, progress: &mut dyn Progress) -> Result<Report, FetchError> {
    let catalogue = Catalogue::load(&options.dir)?;
    let wanted = options.models.iter().map(|name| {
        let known = catalogue.model(name).map(Model::Known);
        let other = || Wanted::parse(name).or_else(|| Wanted::of_folder(&options.dir, name));
        known.or_else(|| other().map(Model::Other)).ok_or_else(|| FetchError::UnknownModel {
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
    for model in wanted {
        models.push(match model {
            Model::Known(entry) => models::bring(&place, entry, progress)?,
            Model::Other(wanted) => repository::bring(&place, &wanted, progress)?,
        });
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
