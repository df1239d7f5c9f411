//! API keys: which callers may request scores.
//!
//! Owns the key file, which is reloaded when it changes, and the comparison, whose duration reveals nothing about the
//! keys: the hash of the caller's key is compared in constant time with the hash of every key. Without a usable file no
//! caller is admitted, so emptying or deleting the file revokes its keys. It must not know what is requested.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use rescored_process::sync::lock;

use super::error::ApiError;
use super::files::{self, LOOK_EVERY, Sign};

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("RESCORED_API_KEYS_FILE: `{}` cannot be used; write at least one key, one key a line", path.display())]
pub struct KeysError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The valid keys; without a file, every caller is admitted.
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
    sign: Sign,
    looked: Instant,
}

impl Keys {
    /// Reads the file, if one is named.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, KeysError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let reading = files::read(path);
        let sign = files::sign(&[&reading]);
        let unusable = |source| KeysError { path: path.to_owned(), source };
        let hashes = reading.and_then(|content| parse(&content)).map_err(unusable)?;
        let known = Mutex::new(Known { hashes, sign, looked: Instant::now() });
        Ok(Self(Some(Guarded { path: path.to_owned(), known })))
    }

    /// Whether callers must send a key.
    pub(super) const fn are_asked_for(&self) -> bool {
        self.0.is_some()
    }

    /// Number of valid keys; `None` if no key is required.
    pub(super) fn count(&self) -> Option<usize> {
        let guarded = self.0.as_ref()?;
        Some(lock(&guarded.known).hashes.len())
    }

    /// Checks the file now, regardless of when it was last checked.
    pub(super) fn look_again(&self) {
        if let Some(guarded) = &self.0 {
            lock(&guarded.known).look_again(&guarded.path);
        }
    }

    /// Admits a caller that sends a valid key.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(guarded) = &self.0 else { return Ok(()) };
        // Of several headers, a proxy in front of this server may have checked any one, so all must be equal.
        let mut values = headers.get_all(AUTHORIZATION);
        let given = values.next().filter(|given| values.all(|other| other == *given));
        let given = given.and_then(|value| bearer(value.as_bytes()));
        let given = blake3::hash(given.ok_or(ApiError::Unauthorized)?);
        let mut known = lock(&guarded.known);
        // Checks by the timer do not count: a change is noticed by the first request a second after the last check by a
        // request.
        if known.looked.elapsed() >= LOOK_EVERY {
            known.looked = Instant::now();
            known.look_again(&guarded.path);
        }
        // No early exit: the duration must not reveal which key was close to a match.
        let fitting = known.hashes.iter().filter(|hash| **hash == given).count();
        if fitting > 0 { Ok(()) } else { Err(ApiError::Unauthorized) }
    }
}

impl Known {
    fn look_again(&mut self, path: &Path) {
        let reading = files::read(path);
        if let Err(error) = &reading
            && files::is_passing(error)
        {
            tracing::warn!(path = %path.display(), %error, "api keys cannot be reloaded now; the previous keys stay valid");
            return;
        }
        let sign = files::sign(&[&reading]);
        if sign == self.sign {
            return;
        }
        self.sign = sign;
        match reading.and_then(|content| parse(&content)) {
            Ok(hashes) => {
                tracing::info!(path = %path.display(), keys.count = hashes.len(), "api keys reloaded");
                self.hashes = hashes;
            }
            // Removing the file revokes the keys; a caller that is refused for a moment can retry.
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "no api key is valid any more; every caller is refused");
                self.hashes.clear();
            }
        }
    }
}

/// Counts the keys of a file.
///
/// # Errors
/// [`KeysError`] when the file cannot be read or has no key.
pub fn count(path: &Path) -> Result<usize, KeysError> {
    let hashes = files::read(path).and_then(|content| parse(&content));
    hashes.map(|hashes| hashes.len()).map_err(|source| KeysError { path: path.to_owned(), source })
}

/// Hashes of the keys, one key a line. Any line ending and a leading byte order mark are accepted; blank lines and
/// lines that begin with `#` are skipped.
fn parse(content: &[u8]) -> io::Result<Vec<blake3::Hash>> {
    if content.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a text file in UTF-8 or ASCII"));
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let lines = content.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    let mut hashes: Vec<blake3::Hash> = Vec::new();
    for key in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
        let hash = blake3::hash(key);
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    if hashes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no key"));
    }
    Ok(hashes)
}

/// The key of `Bearer KEY`; the case of `Bearer` does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (word, key) = value.split_at_checked(7)?;
    word.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

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
        // Case C9: no value of a header is passed over.
        for (values, admitted) in [
            (["Bearer first", "Bearer first"], true),
            (["Bearer first", "Bearer third"], false),
            (["Bearer third", "Bearer first"], false),
            (["Bearer first", "Bearer second"], false),
            (["Bearer first", ""], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(keys.admit(&headers).is_ok(), admitted, "{values:?}");
        }
        assert!(admits(&Keys::open(None).unwrap(), Some("Bearer anything")));
    }

    // Case C4.
    #[test]
    fn keys_are_read_in_every_way_in_which_editors_write_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for (case, content, count) in [
            ("a byte order mark", &b"\xef\xbb\xbffirst\nsecond\n"[..], 2),
            ("a byte order mark before a comment", b"\xef\xbb\xbf# ours\nfirst", 1),
            ("line ends of Windows", b"first\r\nsecond\r\n", 2),
            ("line ends of old Macs", b"first\rsecond", 2),
            ("white space", b"\t first \n\n   \nsecond\t", 2),
            ("the same key twice", b"first\nfirst\nsecond", 2),
            ("a key that is no UTF-8", b"first\n\xff\xfe\xfd\n", 2),
        ] {
            fs::write(&path, content).unwrap();
            let keys = Keys::open(Some(&path)).unwrap();
            assert!(admits(&keys, Some("Bearer first")), "{case}");
            assert_eq!(keys.count(), Some(count), "{case}");
        }
        for (case, content) in [("UTF-16", &b"\xff\xfef\0i\0r\0s\0t\0"[..]), ("empty", b""), ("comments", b"# a\n#b")] {
            fs::write(&path, content).unwrap();
            assert!(Keys::open(Some(&path)).is_err(), "{case}");
        }
    }

    fn look(keys: &Keys) {
        keys.0.as_ref().unwrap().known.lock().unwrap().looked -= LOOK_EVERY * 2;
    }

    // Case C3.
    #[test]
    fn a_changed_file_counts_whatever_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "old").unwrap();
        let keys = Keys::open(Some(&path)).unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let write = |content: &str, time: SystemTime| {
            fs::write(&path, content).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        write("new", time);
        assert!(admits(&keys, Some("Bearer old")), "not looked at again yet");
        look(&keys);
        assert!(admits(&keys, Some("Bearer new")) && !admits(&keys, Some("Bearer old")));
        write("two", time);
        keys.look_again();
        assert!(admits(&keys, Some("Bearer two")), "at once when asked to");
    }

    // Case C3: how Kubernetes swaps a mounted secret.
    #[test]
    fn a_link_that_is_moved_to_another_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        for (version, content) in [("v1", "old"), ("v2", "new")] {
            fs::create_dir(of(version)).unwrap();
            fs::write(of(version).join("keys"), content).unwrap();
        }
        std::os::unix::fs::symlink("v1", of("..data")).unwrap();
        std::os::unix::fs::symlink("..data/keys", of("keys")).unwrap();
        let keys = Keys::open(Some(&of("keys"))).unwrap();
        assert!(admits(&keys, Some("Bearer old")));
        std::os::unix::fs::symlink("v2", of("..data_tmp")).unwrap();
        fs::rename(of("..data_tmp"), of("..data")).unwrap();
        keys.look_again();
        assert!(admits(&keys, Some("Bearer new")) && !admits(&keys, Some("Bearer old")));
    }

    // Case C2.
    #[test]
    fn without_a_file_of_keys_no_key_is_in_force_until_there_is_one_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let restore = || {
            let _ = fs::remove_dir(&path);
            fs::write(&path, "key").unwrap();
        };
        restore();
        let keys = Keys::open(Some(&path)).unwrap();
        let spoil: [(&str, &dyn Fn()); 6] = [
            ("emptied", &|| fs::write(&path, "").unwrap()),
            ("deleted", &|| fs::remove_file(&path).unwrap()),
            ("comments alone", &|| fs::write(&path, "# none\n").unwrap()),
            ("no text", &|| fs::write(&path, b"key\0\n").unwrap()),
            ("larger than any file of keys", &|| fs::File::create(&path).unwrap().set_len(8 << 30).unwrap()),
            ("a folder", &|| {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }),
        ];
        for (case, spoil) in spoil {
            spoil();
            look(&keys);
            assert!(!admits(&keys, Some("Bearer key")), "{case}");
            assert_eq!(keys.count(), Some(0), "{case}");
            restore();
            look(&keys);
            assert!(admits(&keys, Some("Bearer key")), "{case}, mended");
        }
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
