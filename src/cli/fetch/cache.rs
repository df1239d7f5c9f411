//! Files that the hub's own clients have brought already: their cache on this host.
//!
//! Owns the layout of that cache (`models--OWNER--NAME` with `snapshots/COMMIT/…`, links into `blobs/CHECKSUM`). It reads
//! there and never writes. It must not trust what it finds: whoever takes a file checks it.

use std::fs;
use std::path::{Path, PathBuf};

use super::hub::RemoteFile;

/// A repository in the cache.
#[derive(Debug)]
pub(super) struct HubCache {
    repository: Option<PathBuf>,
}

impl HubCache {
    /// The repository's folder in the cache, where there is a cache at all.
    pub(super) fn new(cache: Option<&Path>, repo: &str) -> Self {
        Self { repository: cache.map(|cache| cache.join(format!("models--{}", repo.replace('/', "--")))) }
    }

    /// Where a file of a commit may lie: of the right length, its content unchecked.
    pub(super) fn find(&self, commit: &str, file: &RemoteFile) -> Option<PathBuf> {
        let repository = self.repository.as_ref()?;
        let of_commit = repository.join("snapshots").join(commit).join(&file.path);
        // The same content in another commit is the same blob.
        let blob = file.sha256.map(|sha256| repository.join("blobs").join(sha256.to_string()));
        let whole = |path: &PathBuf| fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() == file.size);
        std::iter::once(of_commit).chain(blob).find(whole)
    }
}
