//! Weights that lie in files beside their graph: whether those may be read, and what they hold.
//!
//! Owns the check of each file that a graph names, and its hash. A graph may read files of its own model only: what lies
//! elsewhere is not among what was fetched, checksummed and fingerprinted. It must not know what the values mean.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rescored_graph::{Beside, External};
use rescored_process::files;

use super::{Manifest, mapped};

/// Why a graph's weights cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// It names a file that is not the model's.
    #[error(
        "model `{id}`: `{}` keeps weights in `{location}`, which leads out of the model's folder; export it with its weights beside it",
        graph.display()
    )]
    Outside {
        /// The model.
        id: String,
        /// The graph.
        graph: PathBuf,
        /// What it names.
        location: String,
    },
    /// It names a file that cannot be read.
    #[error("model `{id}`: `{}` holds weights of `{}` and cannot be read; put it there", path.display(), graph.display())]
    Unreadable {
        /// The model.
        id: String,
        /// The graph.
        graph: PathBuf,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file was there and cannot be read any more.
    #[error("model: `{}` holds weights and cannot be read any more; put it there", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is shorter than the graph says.
    #[error(
        "model `{id}`: `{}` holds weights of `{}` and has {found} bytes of at least {least}; bring it anew",
        path.display(),
        graph.display()
    )]
    Short {
        /// The model.
        id: String,
        /// The graph.
        graph: PathBuf,
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// Bytes that the graph reads of it.
        least: u64,
    },
}

/// The files beside a graph that hold its weights, as they were when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalData {
    files: Vec<Weights>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Weights {
    location: String,
    path: PathBuf,
    hash: blake3::Hash,
    stamp: Stamp,
}

/// What changes with a file's content, whoever keeps its modification time: the system sets the time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl ExternalData {
    /// Finds and hashes the files that a graph of this model names.
    ///
    /// # Errors
    /// [`ExternalError`] for the first that is not there, too short, or none of the model's.
    pub fn open(manifest: &Manifest, graph: &Path, named: &[External]) -> Result<Self, ExternalError> {
        let open = |one: &External| {
            let path = within(manifest, graph, &one.location)?;
            let (id, graph) = (manifest.id.clone(), graph.to_owned());
            match read(&path) {
                Ok((_, stamp)) if stamp.bytes < one.least_bytes => {
                    let (found, least) = (stamp.bytes, one.least_bytes);
                    Err(ExternalError::Short { id, graph, path, found, least })
                }
                Ok((hash, stamp)) => Ok(Weights { location: one.location.clone(), path, hash, stamp }),
                Err(source) => Err(ExternalError::Unreadable { id, graph, path, source }),
            }
        };
        Ok(Self { files: named.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Whether the files hold what they held when they were opened. Files that nobody has touched are not read again.
    pub fn is_unchanged(&self) -> bool {
        self.files.iter().all(|file| {
            let touched = std::fs::metadata(&file.path).map_or(true, |facts| Stamp::of(&facts) != file.stamp);
            !touched || read(&file.path).is_ok_and(|(hash, _)| hash == file.hash)
        })
    }

    /// The files' bytes, mapped.
    ///
    /// # Errors
    /// [`ExternalError`] for the first that cannot be read.
    pub fn map(&self) -> Result<Beside, ExternalError> {
        let bytes = |file: &Weights| {
            let unreadable = |source| ExternalError::Gone { path: file.path.clone(), source };
            Ok((file.location.clone(), mapped::bytes(&file.path).map_err(unreadable)?))
        };
        self.files.iter().map(bytes).collect()
    }

    /// Whether the graph holds all of its weights itself.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Names and hashes, in the order of the names.
    pub fn hashes(&self) -> impl Iterator<Item = (&str, &blake3::Hash)> {
        self.files.iter().map(|file| (file.location.as_str(), &file.hash))
    }
}

impl Stamp {
    fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            bytes: facts.len(),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

/// The path of a file that a graph names: below the graph's folder, and with links followed in the model's folder, or
/// beside the graph's own file, as the model hub's cache keeps the files of a snapshot.
fn within(manifest: &Manifest, graph: &Path, location: &str) -> Result<PathBuf, ExternalError> {
    let outside = || ExternalError::Outside {
        id: manifest.id.clone(),
        graph: graph.to_owned(),
        location: location.chars().take(200).collect(),
    };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || location.contains('\\') || !Path::new(location).components().all(plain) {
        return Err(outside());
    }
    let path = graph.with_file_name("").join(location);
    // What is not there has no real path; reading it reports that.
    let (Ok(real), Ok(folder), Ok(own)) = (path.canonicalize(), manifest.dir.canonicalize(), graph.canonicalize())
    else {
        return Ok(path);
    };
    let beside = own.parent().is_some() && own.parent() == real.parent();
    if real.starts_with(folder) || beside { Ok(path) } else { Err(outside()) }
}

/// A file's hash. The stamp is taken first: what changes while it is read is seen as a change later.
fn read(path: &Path) -> io::Result<(blake3::Hash, Stamp)> {
    let file = files::follow(path)?;
    let facts = file.metadata()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok((hasher.finalize(), Stamp::of(&facts)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn manifest(dir: &Path) -> Manifest {
        for (name, content) in [("onnx/model.onnx", "x"), ("tokenizer.json", "{}"), ("onnx/w/a.bin", "abcd")] {
            let path = dir.join("m").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        std::fs::write(dir.join("out.bin"), "abcd").unwrap();
        Manifest::open(dir, "m").unwrap()
    }

    fn open(dir: &Path, location: &str) -> Result<ExternalData, String> {
        let manifest = manifest(dir);
        let named = [External { location: location.into(), least_bytes: 4 }];
        ExternalData::open(&manifest, &manifest.graph, &named).map_err(|error| error.to_string())
    }

    // Case B9.
    #[test]
    fn files_of_the_model_are_read_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        manifest(dir.path());
        let onnx = dir.path().join("m/onnx");
        std::fs::write(onnx.join("short.bin"), "abc").unwrap();
        std::os::unix::fs::symlink(dir.path().join("out.bin"), onnx.join("link.bin")).unwrap();
        std::os::unix::fs::symlink("w/a.bin", onnx.join("inside.bin")).unwrap();
        let outside = "leads out of the model's folder";
        let absolute = dir.path().join("m/onnx/w/a.bin").display().to_string();
        for (why, location, fault) in [
            ("below the graph's folder", "w/a.bin", None),
            ("written another way", "./w/a.bin", None),
            ("a link to a file of the model", "inside.bin", None),
            ("out of the graph's folder", "../tokenizer.json", Some(outside)),
            ("out of the model's folder", "../../out.bin", Some(outside)),
            ("an absolute path, even into the folder", absolute.as_str(), Some(outside)),
            ("a link that leads out", "link.bin", Some(outside)),
            ("no name", "", Some(outside)),
            ("another system's way out", "..\\out.bin", Some(outside)),
            ("the runtime's mark of an address in memory", "*/_ORT_MEM_ADDR_/*", Some("cannot be read; put it there")),
            ("a file that is missing", "gone.bin", Some("gone.bin` holds weights of")),
            ("a folder", "w", Some("cannot be read")),
            ("a file that was cut", "short.bin", Some("has 3 bytes of at least 4")),
        ] {
            let found = open(dir.path(), location);
            match fault {
                None => assert!(found.is_ok(), "{why}: {found:?}"),
                Some(fault) => {
                    assert!(found.as_ref().is_err_and(|reported| reported.contains(fault)), "{why}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn files_of_a_hubs_cache_lie_beside_each_other_behind_their_links() {
        let dir = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (dir.path().join("blobs"), dir.path().join("snapshots/m"));
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::create_dir_all(&snapshot).unwrap();
        for (name, content) in [("model.onnx", "x"), ("model.onnx_data", "abcd"), ("tokenizer.json", "{}")] {
            std::fs::write(blobs.join(name), content).unwrap();
            std::os::unix::fs::symlink(blobs.join(name), snapshot.join(name)).unwrap();
        }
        let manifest = Manifest::open(&dir.path().join("snapshots"), "m").unwrap();
        let named = [External { location: "model.onnx_data".into(), least_bytes: 4 }];
        ExternalData::open(&manifest, &manifest.graph, &named).unwrap();
    }

    // Case B9: the same size and the same modification time, as `cp -p` leaves them.
    #[test]
    fn other_bytes_are_seen_whatever_the_files_time_says() {
        let dir = tempfile::tempdir().unwrap();
        let before = open(dir.path(), "w/a.bin").unwrap();
        assert!(before.is_unchanged());
        let path = dir.path().join("m/onnx/w/a.bin");
        let time = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "abce").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert!(!before.is_unchanged(), "before it is opened anew");
        let manifest = Manifest::open(dir.path(), "m").unwrap();
        let named = [External { location: "w/a.bin".into(), least_bytes: 0 }];
        let after = ExternalData::open(&manifest, &manifest.graph, &named).unwrap();
        assert_ne!(before.hashes().collect::<Vec<_>>(), after.hashes().collect::<Vec<_>>());
        std::fs::write(&path, "abcd").unwrap();
        assert!(before.is_unchanged(), "touched, and the same");
    }
}
