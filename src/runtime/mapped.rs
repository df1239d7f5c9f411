//! Files mapped into memory: their bytes are read from the system's own copy, and need no memory of this process.
//!
//! Owns the one `unsafe` call that this takes. It must not know what the bytes mean.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;
use rescored_graph::Bytes;
use rescored_process::files;

/// The bytes of a regular file, links followed. An empty one is not mapped.
pub(super) fn bytes(path: &Path) -> io::Result<Bytes> {
    let file = files::follow(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::from(Vec::new()));
    }
    map(&file).map(Bytes::new)
}

/// A file's bytes.
#[expect(
    unsafe_code,
    reason = "a mapping has no safe counterpart; reading gigabytes of weights a process would be one"
)]
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only and handed out as bytes alone, of which nothing is assumed: every value of a byte is
    // valid, and numbers are made of them by `from_le_bytes`. What remains is another process changing the file beneath:
    // `compile` and `fetch` never write into a file that exists (they rename a whole new one over it, and the mapping keeps
    // the old one), and whoever cuts the file off by hand can as well kill the process.
    unsafe { Mmap::map(file) }
}
