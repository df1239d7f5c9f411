//! Downloads files of the model hub, going on where an earlier download broke off.
//!
//! Owns the hub's addresses, redirects and ranges. It must not know which files make a model.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rescored_runtime::catalogue::{Hub, SourceFile};
use rescored_runtime::checksum::Sha256;
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use super::place::{check, digest, disk, folder, remove, rename};
use super::{FetchError, Progress};

/// Connections that may break during one file.
const ATTEMPTS: u32 = 4;

/// Hops from the hub's address to the store that holds the bytes; the hub takes two or three.
const HOPS: u32 = 8;

/// A file on the hub.
pub(super) struct Remote {
    url: String,
}

/// A download: from where, over which half file, to where.
pub(super) struct Download {
    pub(super) source: Remote,
    pub(super) part: PathBuf,
    pub(super) to: PathBuf,
}

/// The answer at the end of the redirects.
struct Answer {
    response: Response<ureq::Body>,
    /// The checksum that the hub itself states for large files.
    stated: Option<Sha256>,
}

/// Why one attempt did not bring the whole file.
enum Broken {
    /// Another attempt goes on from here.
    Connection(Box<dyn std::error::Error + Send + Sync>),
    /// No attempt will help.
    Final(Box<FetchError>),
}

impl Broken {
    fn last(error: FetchError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Remote {
    pub(super) fn new(hub: &str, repository: &Hub, file: &SourceFile) -> Self {
        let hub = hub.trim_end_matches('/');
        Self { url: format!("{hub}/{}/resolve/{}/{}", repository.repo, repository.revision, file.from) }
    }
}

impl Download {
    /// Brings the file, and says what it is. Without an `expected` checksum the one that the hub states must hold.
    pub(super) fn run(
        self,
        expected: Option<Sha256>,
        progress: &mut dyn Progress,
    ) -> Result<(Sha256, u64), FetchError> {
        for path in [&self.part, &self.to] {
            folder(path.parent().unwrap_or(Path::new(".")))?;
        }
        if expected.is_none() {
            // Nothing would tell whether the rest of a file belongs to its beginning.
            remove(&self.part)?;
        }
        let resumed = self.part.exists();
        match self.attempt_all(expected, progress) {
            // The file on the hub may have changed under the half that was here: once more, from its beginning.
            Err(FetchError::WrongHash { .. }) if resumed => {
                remove(&self.part)?;
                self.attempt_all(expected, progress)
            }
            done => done,
        }
    }

    fn attempt_all(&self, expected: Option<Sha256>, progress: &mut dyn Progress) -> Result<(Sha256, u64), FetchError> {
        let agent = agent();
        let mut attempt = 1;
        let stated = loop {
            match self.attempt(&agent, progress) {
                Ok(stated) => break stated,
                Err(Broken::Final(error)) => return Err(*error),
                Err(Broken::Connection(_)) if attempt < ATTEMPTS && self.has_part() => attempt += 1,
                Err(Broken::Connection(source)) => {
                    return Err(FetchError::HubUnreachable {
                        url: self.source.url.clone(),
                        path: self.to.clone(),
                        source,
                    });
                }
            }
        };
        let found = digest(&self.part)?;
        let Some((sha256, size)) = found else { return Err(disk(&self.part)(std::io::ErrorKind::NotFound.into())) };
        if let Err(error) = check(&self.to, expected.or(stated), sha256) {
            remove(&self.part)?;
            return Err(error);
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

    /// One connection: appends what the hub sends to the half file.
    fn attempt(&self, agent: &Agent, progress: &mut dyn Progress) -> Result<Option<Sha256>, Broken> {
        let offset = self.length();
        let Answer { response, stated } = self.ask(agent, offset)?;
        let status = response.status();
        let mut at = match status {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(offset) => offset,
            StatusCode::OK => 0,
            // The half file is as long as the whole one, or longer: its checksum will tell.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => return Ok(stated),
            _ => {
                return Err(Broken::last(FetchError::HubRefused {
                    url: self.source.url.clone(),
                    status: status.as_u16(),
                    path: self.to.clone(),
                }));
            }
        };
        let total = response.body().content_length().map(|rest| at + rest);
        let mut part = self.open_part(at).map_err(Broken::last)?;
        progress.begin(&self.source.url, total);
        let copied = copy(response.into_body().into_reader(), &mut part, |bytes| {
            at += bytes;
            progress.advance_to(at);
        });
        progress.end();
        copied.map_err(|broken| broken.at(&self.part))?;
        part.sync_all().map_err(disk(&self.part)).map_err(Broken::last)?;
        match total {
            Some(total) if at < total => Err(Broken::Connection(format!("{at} of {total} bytes came").into())),
            Some(_) | None => Ok(stated),
        }
    }

    fn open_part(&self, at: u64) -> Result<File, FetchError> {
        let mut options = OpenOptions::new();
        options.create(true);
        let options = if at == 0 { options.write(true).truncate(true) } else { options.append(true) };
        options.open(&self.part).map_err(disk(&self.part))
    }

    /// Asks for the bytes from `offset` on, and follows redirects by hand: what the hub states about a file stands in
    /// the headers of the redirect.
    fn ask(&self, agent: &Agent, offset: u64) -> Result<Answer, Broken> {
        let mut url = self.source.url.clone();
        let mut stated = None;
        for _ in 0..HOPS {
            let mut request = agent.get(&url);
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            let response = request.call().map_err(|error| Broken::Connection(error.into()))?;
            stated = stated.or_else(|| linked_checksum(&response));
            if !response.status().is_redirection() {
                return Ok(Answer { response, stated });
            }
            let Some(next) = text(&response, header::LOCATION.as_str()).and_then(|to| join(&url, to)) else { break };
            url = next;
        }
        let source = "redirected too often, to nowhere, or from https to http".into();
        Err(Broken::last(FetchError::HubUnreachable { url: self.source.url.clone(), path: self.to.clone(), source }))
    }
}

/// What stopped a copy: the side that sends or the disk.
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

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // A compressed answer has no byte ranges of the file.
        .accept_encoding("identity")
        .user_agent(concat!("rescored/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn text<'a>(response: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Files in large-file storage carry their SHA-256 as the linked entity tag.
fn linked_checksum(response: &Response<ureq::Body>) -> Option<Sha256> {
    text(response, "x-linked-etag")?.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// Where a partial answer begins.
fn range_start(response: &Response<ureq::Body>) -> Option<u64> {
    text(response, header::CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The address that a redirect from `base` leads to; never from https to http.
fn join(base: &str, to: &str) -> Option<String> {
    let (scheme, rest) = base.split_once("://")?;
    if to.starts_with("https://") || (to.starts_with("http://") && scheme == "http") {
        return Some(to.into());
    }
    let host = rest.split('/').next()?;
    (to.starts_with('/') && !to.starts_with("//")).then(|| format!("{scheme}://{host}{to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_on_but_never_out_of_encryption() {
        for (base, to, expected) in [
            ("https://hub/a/b", "/c/d", Some("https://hub/c/d")),
            ("https://hub/a/b", "https://store/x?y=1", Some("https://store/x?y=1")),
            ("https://hub/a/b", "http://store/x", None),
            ("http://hub:80/a", "http://store/x", Some("http://store/x")),
            ("https://hub/a", "//store/x", None),
            ("https://hub/a", "ftp://store/x", None),
        ] {
            assert_eq!(join(base, to).as_deref(), expected, "{base} -> {to}");
        }
    }
}
