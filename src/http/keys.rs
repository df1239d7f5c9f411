//! API keys: who may ask for scores.
//!
//! Owns the keys' file, which is read again when it changes, and the comparison, whose time tells nothing of the keys:
//! hashes are compared, in constant time, with every key. It must not know what is asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::error::Refusal;

/// How often the file is looked at: a key that was taken back works for no longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file of keys that is of no use.
#[derive(Debug, thiserror::Error)]
#[error("RESCORED_API_KEYS_FILE: `{}` cannot be used; it holds one key a line, at least one", path.display())]
pub struct KeysError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The keys in force; without a file, everybody may ask.
#[derive(Debug)]
pub(super) struct Keys(Option<Guarded>);

#[derive(Debug)]
struct Guarded {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    hashes: Vec<blake3::Hash>,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl Keys {
    /// Reads the file, if one is named.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, KeysError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let unusable = |source| KeysError { path: path.to_owned(), source };
        let (hashes, modified) = read(path).map_err(unusable)?;
        let known = Mutex::new(Known { hashes, modified, looked: Instant::now() });
        Ok(Self(Some(Guarded { path: path.to_owned(), known })))
    }

    /// Whether callers must name a key.
    pub(super) const fn are_asked_for(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the caller names a key that is in force.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(guarded) = &self.0 else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let given = blake3::hash(given.ok_or(Refusal::Unauthorized)?);
        let mut known = guarded.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.look_again(&guarded.path);
        // No early end: the time of a comparison must not tell which key came close.
        let fitting = known.hashes.iter().filter(|hash| **hash == given).count();
        if fitting > 0 { Ok(()) } else { Err(Refusal::Unauthorized) }
    }
}

impl Known {
    fn look_again(&mut self, path: &Path) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let modified = fs::metadata(path).and_then(|facts| facts.modified()).ok();
        if modified == self.modified {
            return;
        }
        match read(path) {
            Ok((hashes, modified)) => {
                tracing::info!(keys.count = hashes.len(), "api keys read again");
                (self.hashes, self.modified) = (hashes, modified);
            }
            // The keys known so far stay: an editor that is writing must not lock everybody out.
            Err(error) => tracing::warn!(path = %path.display(), %error, "api keys cannot be read again"),
        }
    }
}

/// How many keys a file holds.
///
/// # Errors
/// [`KeysError`] when it cannot be read or holds none.
pub fn count(path: &Path) -> Result<usize, KeysError> {
    read(path).map(|(hashes, _)| hashes.len()).map_err(|source| KeysError { path: path.to_owned(), source })
}

/// Hashes of the keys, one a line; blank lines and lines that begin with `#` are passed over.
fn read(path: &Path) -> io::Result<(Vec<blake3::Hash>, Option<SystemTime>)> {
    let modified = fs::metadata(path)?.modified().ok();
    let text = fs::read_to_string(path)?;
    let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hashes: Vec<_> = keys.map(|key| blake3::hash(key.as_bytes())).collect();
    if hashes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no key"));
    }
    Ok((hashes, modified))
}

/// The key of `Bearer KEY`, whatever the case of the word.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (word, key) = value.split_at_checked(7)?;
    word.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn admits(keys: &Keys, header: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        }
        keys.admit(&headers).is_ok()
    }

    #[test]
    fn keys_of_the_file_are_admitted_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# ours\nfirst\n\n second \n").unwrap();
        let keys = Keys::open(Some(&path)).unwrap();
        for good in ["Bearer first", "bearer second", "BEARER  first "] {
            assert!(admits(&keys, Some(good)), "{good}");
        }
        for bad in ["Bearer third", "Bearer # ours", "Bearer ", "first", "Basic first", ""] {
            assert!(!admits(&keys, Some(bad)), "{bad}");
        }
        assert!(!admits(&keys, None));
        assert!(admits(&Keys::open(None).unwrap(), Some("Bearer anything")));
    }

    #[test]
    fn a_changed_file_counts_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "old").unwrap();
        let keys = Keys::open(Some(&path)).unwrap();
        let look = |content: &str, age: u64| {
            fs::write(&path, content).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
            let mut known = keys.0.as_ref().unwrap().known.lock().unwrap();
            known.looked -= LOOK_EVERY * 2;
        };
        look("new", 100);
        assert!(admits(&keys, Some("Bearer new")) && !admits(&keys, Some("Bearer old")));
        look("# none\n", 50);
        assert!(admits(&keys, Some("Bearer new")), "keys known so far stay");
    }

    #[test]
    fn a_file_without_a_key_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        assert!(Keys::open(Some(&path)).is_err(), "missing");
        fs::write(&path, "# nothing\n").unwrap();
        assert!(Keys::open(Some(&path)).is_err(), "empty");
    }
}
