//! The lock of a hub model: the checksums its files had when they were first downloaded.
//!
//! Owns `<id>.lock.json` beside the model's folder: it outlives the folder, so that a model that was deleted and is
//! fetched again must be the same one. It must not know the network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rescored_runtime::checksum::Sha256;
use serde::{Deserialize, Serialize};

use super::FetchError;
use super::place::{disk, write};

/// Checksums by file name.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    files: BTreeMap<String, Sha256>,
}

impl Lock {
    /// Reads the lock of the model `id`; one that does not exist is empty.
    pub(super) fn open(dir: &Path, id: &str) -> Result<Self, FetchError> {
        let path = dir.join(format!("{id}.lock.json"));
        let content = match std::fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|source| FetchError::Lock { path: path.clone(), source })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content::default(),
            Err(source) => return Err(disk(&path)(source)),
        };
        Ok(Self { path, content })
    }

    /// What the file was when it was first downloaded.
    pub(super) fn get(&self, name: &str) -> Option<Sha256> {
        self.content.files.get(name).copied()
    }

    /// Remembers what a file is, on disk before this returns.
    pub(super) fn set(&mut self, name: &str, sha256: Sha256) -> Result<(), FetchError> {
        if self.content.files.insert(name.into(), sha256) == Some(sha256) {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&self.content)
            .map_err(|source| FetchError::Lock { path: self.path.clone(), source })?;
        text.push(b'\n');
        write(&self.path, &mut text.as_slice(), None).map(drop)
    }
}
