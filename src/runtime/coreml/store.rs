//! Where CoreML keeps what it compiled.
//!
//! Owns the folder: a sub-folder for each (graph, shape, way, system), so that nothing stale is found again, and a bound on
//! their sum, oldest use first. It must not know what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rescored_graph::coreml::Shape;

use super::compute_units::ExecutionTarget;

/// Bytes that the folder may hold. A program of the usual model takes 45 to 90 MB, and a model has 15 shapes: two models
/// fit whole.
const LIMIT: u64 = 4 << 30;

/// File in an entry whose age is the time since the entry was last used.
const MARK: &str = "used";

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
    system: String,
    limit: u64,
}

/// One compiled program's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of its folder, for people.
    pub name: String,
    /// The key that the provider keeps it under: letters and digits.
    pub key: String,
}

impl Store {
    /// The folder `root`, for a system that this text describes: another release of macOS or of ONNX Runtime compiles anew.
    pub fn new(root: PathBuf, system: &str) -> Self {
        Self { root, system: system.to_owned(), limit: LIMIT }
    }

    /// The place of a program.
    pub fn entry(&self, graph: &str, shape: Shape, way: ExecutionTarget) -> Entry {
        let facts = [graph, &shape.to_string(), &way.to_string(), &self.system];
        let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 coreml program");
        for fact in facts {
            hasher.update(&(fact.len() as u64).to_le_bytes()).update(fact.as_bytes());
        }
        let key: String = hasher.finalize().to_hex().chars().take(32).collect();
        Entry { name: format!("{shape}.{way}.{}", &key.get(..12).unwrap_or_default()), key }
    }

    /// Makes an entry's folder, marks it as used, and makes room for it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn make(&self, entry: &Entry) -> io::Result<PathBuf> {
        let folder = self.root.join(&entry.name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(MARK), b"")?;
        self.trim(&entry.name);
        Ok(folder)
    }

    /// Whether something was compiled into an entry.
    pub fn holds(&self, entry: &Entry) -> bool {
        let Ok(files) = fs::read_dir(self.root.join(&entry.name)) else { return false };
        files.filter_map(Result::ok).any(|file| file.file_name() != MARK)
    }

    /// Gives up the entries that were not asked for the longest, until the rest fits; `kept` stays.
    fn trim(&self, kept: &str) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name() != kept && entry.path().join(MARK).is_file())
            .map(|entry| {
                let used = fs::metadata(entry.path().join(MARK)).and_then(|facts| facts.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), size(&entry.path()), entry.path())
            })
            .collect();
        entries.sort();
        let mut total: u64 = size(&self.root.join(kept)) + entries.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (_, bytes, path) in entries {
            if total <= self.limit {
                return;
            }
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!(path = %path.display(), bytes, "a compiled program was given up to make room"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a compiled program cannot be removed"),
            }
            total -= bytes;
        }
    }
}

/// Bytes of all files below a folder; links are not followed.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |facts| facts.len()),
        _ => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::coreml::compute_units::ComputeUnits;
    use rescored_graph::coreml::Arithmetic;

    fn store(root: &Path, limit: u64) -> Store {
        Store { limit, ..Store::new(root.to_owned(), "macos 26.1, onnx runtime 1.31.1") }
    }

    #[test]
    fn everything_that_decides_a_compilation_has_a_place_of_its_own() {
        let base = store(Path::new("/x"), 0);
        let way = ExecutionTarget::coreml(ComputeUnits::Gpu, Arithmetic::Fp16);
        let other = Store::new("/x".into(), "macos 26.2, onnx runtime 1.31.1");
        let entries = [
            base.entry("aa", Shape::padded(1, 128), way),
            base.entry("bb", Shape::padded(1, 128), way),
            base.entry("aa", Shape::padded(8, 128), way),
            base.entry("aa", Shape { batch: 1, length: 128, slots: 4 }, way),
            base.entry("aa", Shape::padded(1, 128), ExecutionTarget::coreml(ComputeUnits::Gpu, Arithmetic::Fp32)),
            base.entry("aa", Shape::padded(1, 128), ExecutionTarget::coreml(ComputeUnits::Ane, Arithmetic::Fp16)),
            other.entry("aa", Shape::padded(1, 128), way),
        ];
        let keys: HashSet<_> = entries.iter().map(|entry| &entry.key).collect();
        let names: HashSet<_> = entries.iter().map(|entry| &entry.name).collect();
        assert_eq!((keys.len(), names.len()), (entries.len(), entries.len()));
        assert!(
            entries.iter().all(|entry| entry.key.len() == 32 && entry.key.chars().all(|c| c.is_ascii_alphanumeric()))
        );
        assert_eq!(base.entry("aa", Shape::padded(1, 128), way), entries[0]);
    }

    #[test]
    fn room_is_made_by_giving_up_what_was_not_asked_for_the_longest() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 2500);
        let entry = |length| store.entry("aa", Shape::padded(1, length), ExecutionTarget::HOST);
        for (age, length) in [(3, 32), (1, 64), (2, 128)] {
            let path = store.make(&entry(length)).unwrap();
            assert!(!store.holds(&entry(length)), "made, and nothing in it yet");
            fs::write(path.join("weights"), vec![0; 1000]).unwrap();
            let past = SystemTime::now() - Duration::from_secs(age * 3600);
            fs::File::options().write(true).open(path.join(MARK)).unwrap().set_modified(past).unwrap();
        }
        fs::create_dir(folder.path().join("not ours")).unwrap();
        fs::write(folder.path().join("not ours/file"), vec![0; 5000]).unwrap();
        store.make(&entry(256)).unwrap();
        let left = |length| folder.path().join(entry(length).name).is_dir();
        assert_eq!([32, 64, 128, 256].map(left), [false, true, true, true]);
        assert_eq!([32, 64].map(|length| store.holds(&entry(length))), [false, true]);
        assert!(folder.path().join("not ours/file").is_file(), "what this never made is never removed");
    }
}
