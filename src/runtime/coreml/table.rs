//! The table of embeddings, mapped into memory: pages are read when a token needs them, and shared by all workers.
//!
//! It has one `unsafe` call. It must not know models.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rescored_graph::coreml::{BadTable, Header};

use super::feed::Embed;

/// A table.
#[derive(Debug)]
pub struct Table {
    bytes: Bytes,
    header: Header,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
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
        let bytes = map(&File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let header = Header::read(&bytes)?;
        Ok(Self { bytes: Bytes::Mapped(bytes), header })
    }

    /// A table in memory, before it is kept.
    ///
    /// # Errors
    /// [`BadTable`].
    pub fn held(bytes: Vec<u8>) -> Result<Self, BadTable> {
        let header = Header::read(&bytes)?;
        Ok(Self { bytes: Bytes::Held(bytes), header })
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
        let bytes: &[u8] = match &self.bytes {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Held(bytes) => bytes,
        };
        self.header.sum(bytes, token, row);
    }
}

#[expect(unsafe_code, reason = "a mapping has no safe counterpart; reading 50 MB a process would be one")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private to this module, which reads bytes and assumes nothing of them: every
    // value of a byte is valid, and floats are made of them by `from_le_bytes`. What remains is another process changing
    // the file beneath: `compile` never writes into a table that exists (it renames a whole new file over it, and the
    // mapping keeps the old one), and whoever cuts the file off by hand can as well kill the process.
    unsafe { Mmap::map(file) }
}
