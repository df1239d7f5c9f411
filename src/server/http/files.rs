//! Small files that are read again while the server runs: keys, certificates.
//!
//! Contents are compared and not times: a copy may keep the time of its source, and a mounted secret is swapped by moving
//! a link. Owns the bounded reading and the sign by which a change is seen. It must not know what the files mean.

use std::io;
use std::path::Path;
use std::time::Duration;

/// How often files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes that a file may have: ten thousands of keys, hundreds of certificates.
const LARGEST: u64 = 1 << 20;

/// What files held when they were looked at.
pub(super) type Sign = blake3::Hash;

/// Reads a file of moderate size.
///
/// # Errors
/// When it is no regular file, which could make the reader wait for ever, is larger than 1 MiB, or cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    rescored_process::files::read(path, LARGEST)
}

/// What distinguishes one reading from another: the content, or why there is none.
pub(super) fn sign(readings: &[&io::Result<Vec<u8>>]) -> Sign {
    let mut hasher = blake3::Hasher::new();
    for reading in readings {
        match reading {
            Ok(content) => hasher.update(blake3::hash(content).as_bytes()),
            Err(error) => hasher.update(error.to_string().as_bytes()),
        };
        // Two files that swap their contents are a change.
        hasher.update(b"\0");
    }
    hasher.finalize()
}

/// The system is short of something at this moment, which says nothing of the file.
pub(super) fn is_passing(error: &io::Error) -> bool {
    /// No more files may be open, in this process or on this host; the same numbers on Linux and macOS.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}
