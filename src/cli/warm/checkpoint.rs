//! A note of how far a job came, so that the next run of it goes on from there.
//!
//! Owns the note's file: one JSON object, replaced whole. Chunks end out of order; the note counts lines up to the first
//! that is not done.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rescored_process::files::{self, Draft};
use serde::{Deserialize, Serialize};

/// Bytes of a note at most: it names an input and a number.
const LONGEST: u64 = 1 << 20;

/// Where a note lies, and what it says.
#[derive(Debug)]
pub struct Checkpoint {
    path: Option<PathBuf>,
    note: Note,
    /// The next chunk that is not done.
    next: u64,
    /// Chunks done beyond it, with their lines.
    ahead: BTreeMap<u64, u64>,
    /// Whether the note that was there is of another input.
    replaced: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    input: String,
    lines: u64,
}

/// Why a note is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system.
    #[error("checkpoint: `{}` cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No note at all.
    #[error("checkpoint: `{}` is no checkpoint; name another file", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
}

impl Checkpoint {
    /// The note at a path, or a new one of this input when there is none or it is of another; without a path nothing is
    /// noted.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(path: Option<PathBuf>, input: &str) -> Result<Self, CheckpointError> {
        let mut note = Note { input: input.to_owned(), lines: 0 };
        let mut replaced = false;
        if let Some(path) = &path {
            match read(path) {
                Ok(text) => {
                    let other = || CheckpointError::Other { path: path.clone() };
                    let found: Note = serde_json::from_slice(&text).map_err(|_| other())?;
                    replaced = found.input != input;
                    note.lines = if replaced { 0 } else { found.lines };
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(CheckpointError::File { path: path.clone(), source }),
            }
        }
        Ok(Self { path, note, next: 0, ahead: BTreeMap::new(), replaced })
    }

    /// Whether the note that was there is of another input, and so says nothing about this one.
    pub const fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// Lines that are done.
    pub const fn lines(&self) -> u64 {
        self.note.lines
    }

    /// A chunk of so many lines is done.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn done(&mut self, chunk: u64, lines: u64) -> Result<(), CheckpointError> {
        self.ahead.insert(chunk, lines);
        let before = self.next;
        while let Some(lines) = self.ahead.remove(&self.next) {
            self.note.lines += lines;
            self.next += 1;
        }
        match &self.path {
            Some(path) if self.next > before => {
                let failed = |source| CheckpointError::File { path: path.clone(), source };
                let text = serde_json::to_vec(&self.note).map_err(|error| failed(error.into()))?;
                let draft = Draft::create(path).map_err(failed)?;
                io::Write::write_all(&mut draft.file(), &text).map_err(failed)?;
                draft.publish().map_err(failed)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The job is done: the next one begins anew.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn remove(self) -> Result<(), CheckpointError> {
        let Some(path) = self.path else { return Ok(()) };
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CheckpointError::File { path, source }),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A note's text. A longer file is no note.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    files::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_lines_up_to_the_first_that_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("note"));
        let noted = || Checkpoint::open(path.clone(), "input").unwrap().lines();
        let mut checkpoint = Checkpoint::open(path.clone(), "input").unwrap();
        for (chunk, lines) in [(1, 64), (0, 64), (3, 10), (2, 64)] {
            checkpoint.done(chunk, lines).unwrap();
            let expected = match chunk {
                1 => 0,
                0 | 3 => 128,
                _ => 202,
            };
            assert_eq!(noted(), expected, "after chunk {chunk}");
        }
        let another = Checkpoint::open(path.clone(), "another").unwrap();
        assert_eq!((another.is_replaced(), another.lines()), (true, 0), "a note of yesterday's log");
        checkpoint.remove().unwrap();
        assert_eq!(noted(), 0);
        std::fs::write(path.as_deref().unwrap(), "somebody's letter").unwrap();
        assert!(matches!(Checkpoint::open(path, "input"), Err(CheckpointError::Other { .. })));
    }

    // Case C6.
    #[test]
    fn a_note_is_never_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("note"));
        std::fs::write(&victim, "precious").unwrap();
        // Where a note was once written before it took its place.
        std::os::unix::fs::symlink(&victim, folder.path().join("note.partial")).unwrap();
        let mut checkpoint = Checkpoint::open(Some(path.clone()), "input").unwrap();
        checkpoint.done(0, 64).unwrap();
        assert_eq!(Checkpoint::open(Some(path.clone()), "input").unwrap().lines(), 64);
        checkpoint.remove().unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(matches!(Checkpoint::open(Some(path), "input"), Err(CheckpointError::File { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
