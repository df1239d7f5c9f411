//! The table of embeddings, mapped into memory: pages are read when a token needs them, and shared by all workers.
//!
//! It must not know models.

use std::path::{Path, PathBuf};

use rescored_graph::Bytes;
use rescored_graph::coreml::{BadTable, Header};

use super::feed::Embed;
use crate::mapped;

/// A table.
#[derive(Debug)]
pub struct Table {
    bytes: Bytes,
    header: Header,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read.
    #[error("embeddings: `{}` cannot be read; run: rescored compile --provider coreml", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no table.
    #[error(transparent)]
    Bad(#[from] BadTable),
}

impl Table {
    /// Maps a file that `compile` wrote.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let unreadable = |source| TableError::Unreadable { path: path.to_owned(), source };
        let bytes = mapped::bytes(path).map_err(unreadable)?;
        let header = Header::read(bytes.as_slice())?;
        Ok(Self { bytes, header })
    }

    /// A table in memory, before it is kept.
    ///
    /// # Errors
    /// [`BadTable`].
    pub fn held(bytes: Vec<u8>) -> Result<Self, BadTable> {
        let header = Header::read(&bytes)?;
        Ok(Self { bytes: Bytes::from(bytes), header })
    }
}

impl Embed for Table {
    fn width(&self) -> usize {
        self.header.width
    }

    fn padding(&self) -> Option<usize> {
        self.header.padding
    }

    fn embed(&self, token: [usize; 3], row: &mut [f32]) {
        self.header.sum(self.bytes.as_slice(), token, row);
    }
}
