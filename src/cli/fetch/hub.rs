//! Downloads files of the model hub, resuming interrupted downloads.
//!
//! Owns partial files and the check that a file is complete; `connection` owns the requests, `listing` the hub's
//! listing of a repository. It must not know which files make a model.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rescored_runtime::checksum::Sha256;
use ureq::http::{Response, StatusCode, header};

use super::place::{check, digest, disk, folder, remove, rename};
use super::{FetchError, Progress};

mod connection;
mod listing;

pub(super) use connection::Connection;
pub use connection::{DEFAULT_HUB, Token};
pub(super) use listing::{Listing, RemoteFile};

use connection::{Answer, Failed, text};

/// Maximum number of attempts for one file; each resumes where the previous one stopped.
const ATTEMPTS: u32 = 4;

/// A download: its URL, its partial file and its destination.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Connection,
    /// Repository and revision.
    pub(super) of: (&'a str, &'a str),
    /// The file's URL.
    pub(super) url: String,
    /// Its size in bytes, if known.
    pub(super) size: Option<u64>,
    pub(super) part: PathBuf,
    pub(super) to: PathBuf,
}

/// Why an attempt did not download the whole file.
enum Broken {
    /// The connection failed; another attempt can resume.
    Connection(Box<dyn std::error::Error + Send + Sync>),
    /// Another attempt would not help.
    Final(Box<FetchError>),
}

impl Broken {
    fn last(error: FetchError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Connection {
    /// The URL of a file at a revision of a repository.
    pub(super) fn file(&self, repo: &str, revision: &str, path: &str) -> String {
        format!("{}/{repo}/resolve/{}/{}", self.hub(), escaped(revision, false), escaped(path, true))
    }
}

impl Download<'_> {
    /// Downloads the file and returns its checksum and size. Without an `expected` checksum, the file must match the
    /// checksum that the hub states.
    pub(super) fn run(
        self,
        expected: Option<Sha256>,
        progress: &mut dyn Progress,
    ) -> Result<(Sha256, u64), FetchError> {
        for path in [&self.part, &self.to] {
            folder(path.parent().unwrap_or(Path::new(".")))?;
        }
        if expected.is_none() {
            // Without a checksum, nothing shows whether the partial file belongs to the file on the hub.
            remove(&self.part)?;
        }
        let resumed = self.part.exists();
        match self.attempt_all(expected, progress) {
            // The file on the hub may have changed since the partial file was written: start again from the beginning.
            Err(FetchError::WrongHash { .. }) if resumed => {
                remove(&self.part)?;
                self.attempt_all(expected, progress)
            }
            done => done,
        }
    }

    fn attempt_all(&self, expected: Option<Sha256>, progress: &mut dyn Progress) -> Result<(Sha256, u64), FetchError> {
        let mut attempt = 1;
        let stated = loop {
            match self.attempt(progress) {
                Ok(stated) => break stated,
                Err(Broken::Final(error)) => return Err(*error),
                Err(Broken::Connection(_)) if attempt < ATTEMPTS && self.has_part() => attempt += 1,
                Err(Broken::Connection(source)) => {
                    return Err(FetchError::HubUnreachable { url: self.url.clone(), path: self.to.clone(), source });
                }
            }
        };
        let found = digest(&self.part)?;
        let Some((sha256, size)) = found else { return Err(disk(&self.part)(std::io::ErrorKind::NotFound.into())) };
        if let Err(error) = check(&self.to, expected.or(stated), sha256) {
            remove(&self.part)?;
            return Err(error);
        }
        if let Some(expected) = self.size.filter(|&expected| expected != size) {
            remove(&self.part)?;
            return Err(FetchError::WrongSize { path: self.to.clone(), expected, found: size });
        }
        rename(&self.part, &self.to)?;
        Ok((sha256, size))
    }

    fn has_part(&self) -> bool {
        self.length() > 0
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.part).map_or(0, |part| part.len())
    }

    /// Sends one request and writes the body to the partial file; returns the checksum that the hub states.
    fn attempt(&self, progress: &mut dyn Progress) -> Result<Option<Sha256>, Broken> {
        let offset = self.length();
        let Answer { response, stated } = self.hub.ask(&self.url, offset)?;
        let status = response.status();
        let mut at = match status {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(offset) => offset,
            StatusCode::OK => 0,
            // The partial file is at least as long as the whole file: its checksum decides.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => return Ok(stated),
            _ => {
                // The listing of a gated repository is often public, so the refusal may come only here.
                let refusal = self.hub.refusal(&response, self.of).filter(|_| status != StatusCode::NOT_FOUND);
                return Err(Broken::last(refusal.unwrap_or_else(|| FetchError::HubRefused {
                    url: self.url.clone(),
                    status: status.as_u16(),
                    path: self.to.clone(),
                })));
            }
        };
        let total = response.body().content_length().map(|rest| at + rest);
        let mut part = self.open_part(at).map_err(Broken::last)?;
        progress.begin(&self.url, total);
        let copied = copy(response.into_body().into_reader(), &mut part, |bytes| {
            at += bytes;
            progress.advance_to(at);
        });
        progress.end();
        copied.map_err(|broken| broken.at(&self.part))?;
        part.sync_all().map_err(disk(&self.part)).map_err(Broken::last)?;
        match total {
            Some(total) if at < total => Err(Broken::Connection(format!("received {at} of {total} bytes").into())),
            Some(_) | None => Ok(stated),
        }
    }

    fn open_part(&self, at: u64) -> Result<File, FetchError> {
        let mut options = OpenOptions::new();
        options.create(true);
        let options = if at == 0 { options.write(true).truncate(true) } else { options.append(true) };
        options.open(&self.part).map_err(disk(&self.part))
    }
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Self {
        Self::Connection(failed.cause())
    }
}

/// Percent-encodes a part of a URL. A slash separates the segments of a path, but is part of a revision's name.
fn escaped(text: &str, is_path: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// Which side of a copy failed.
enum Copy {
    Source(std::io::Error),
    Disk(std::io::Error),
}

impl Copy {
    fn at(self, path: &Path) -> Broken {
        match self {
            Self::Source(error) => Broken::Connection(error.into()),
            Self::Disk(error) => Broken::last(disk(path)(error)),
        }
    }
}

fn copy(mut from: impl Read, to: &mut File, mut copied: impl FnMut(u64)) -> Result<(), Copy> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).map_err(Copy::Source)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).map_err(Copy::Disk)?;
        copied(read as u64);
    }
}

/// The offset at which a partial response begins.
fn range_start(response: &Response<ureq::Body>) -> Option<u64> {
    text(response, header::CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
