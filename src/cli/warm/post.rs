//! One chunk's way to the sidecar and back.
//!
//! Owns the reading of the sidecar's answers. It must not know pace or input.

use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

/// A sidecar that is busy with searches may take this long for a chunk.
const PATIENCE: Duration = Duration::from_hours(1);

/// The pause after a refusal that names none, or a broken connection.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, whatever a refusal names.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes of an answer at most: a hundred faults and a line a second.
const ANSWER: u64 = 16 << 20;

/// Bytes of a refusal that are read for its sentence.
const REFUSAL: u64 = 64 << 10;

/// Sends chunks; one connection a thread is kept open.
#[derive(Debug)]
pub(super) struct Sender {
    agent: Agent,
    url: String,
    target: String,
    key: Option<Secret>,
}

/// A header's value that no log shows.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

impl Secret {
    /// The whole value of an `Authorization` header.
    pub fn authorization(value: &str) -> Self {
        Self(value.to_owned())
    }

    /// A key, as `Authorization: Bearer KEY` carries it.
    pub fn bearer(key: &str) -> Self {
        Self(format!("Bearer {key}"))
    }

    /// The header's value.
    pub(super) fn value(&self) -> &str {
        &self.0
    }
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Every line was scored, or is at fault itself.
    Taken(Taken),
    /// Not now.
    Later { pause: Duration, why: String },
    /// Not this way: another try would be refused, too.
    Refused { why: String },
}

/// What a chunk came to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) pairs: u64,
    pub(super) hits: u64,
    pub(super) failed: u64,
    pub(super) faults: Vec<(u64, String)>,
}

/// The one error body.
#[derive(Deserialize)]
struct RefusalBody {
    message: String,
}

/// A line of the answer: a fault, progress, or the summary.
#[derive(Deserialize)]
struct ProgressLine {
    line: Option<u64>,
    error: Option<String>,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    pairs: u64,
    #[serde(default)]
    hits: u64,
    #[serde(default)]
    failed: u64,
}

impl Sender {
    pub(super) fn new(url: &str, key: Option<Secret>) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        let target = format!("{url}/v1/cache/warm");
        Self { agent: agent(PATIENCE), url, target, key }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn post(&self, body: &[u8]) -> Outcome {
        let request = self.agent.post(&self.target).content_type("application/x-ndjson");
        let sent = match &self.key {
            Some(key) => request.header("authorization", key.value()),
            None => request,
        }
        .send(body);
        let later = |why: String| Outcome::Later { pause: PAUSE, why };
        match sent {
            Err(error) => later(error.to_string()),
            Ok(response) if response.status() != StatusCode::OK => refused(response),
            Ok(mut response) => match response.body_mut().with_config().limit(ANSWER).read_to_string() {
                Ok(reported) => {
                    read(&reported).map_or_else(|| later("the stream was broken off".to_owned()), Outcome::Taken)
                }
                Err(error) => later(error.to_string()),
            },
        }
    }
}

/// A client whose refusals are answers like any other.
pub(super) fn agent(patience: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_global(Some(patience))
        .user_agent(concat!("rescored/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn refused(mut response: Response<ureq::Body>) -> Outcome {
    let status = response.status();
    let pause = retry_after(&response).unwrap_or(PAUSE).min(LONGEST_PAUSE);
    let text = response.body_mut().with_config().limit(REFUSAL).read_to_string().unwrap_or_default();
    let why = match serde_json::from_str::<RefusalBody>(&text) {
        Ok(reported) => format!("status {}: {}", status.as_u16(), reported.message),
        Err(_) => format!("status {}", status.as_u16()),
    };
    if is_passing(status) { Outcome::Later { pause, why } } else { Outcome::Refused { why } }
}

/// Whether another try may fare better.
pub(super) fn is_passing(status: StatusCode) -> bool {
    let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || busy.contains(&status)
}

fn retry_after(response: &Response<ureq::Body>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// What was reported about a whole chunk; `None` when the sidecar did not come to its end.
fn read(reported: &str) -> Option<Taken> {
    let mut taken = Taken::default();
    let mut complete = false;
    for line in reported.lines() {
        let reported: ProgressLine = serde_json::from_str(line).ok()?;
        if let (Some(line), Some(error)) = (reported.line, reported.error) {
            taken.faults.push((line, error));
        } else {
            (taken.pairs, taken.hits, taken.failed) = (reported.pairs, reported.hits, reported.failed);
            complete = reported.complete;
        }
    }
    complete.then_some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_counts_only_when_it_came_to_its_end() {
        let fault = "{\"line\":2,\"error\":\"wrong\"}\n";
        let progress = "{\"lines\":1,\"pairs\":10,\"hits\":0,\"failed\":1}\n";
        let end = "{\"lines\":3,\"pairs\":20,\"hits\":5,\"failed\":1,\"done\":true,\"complete\":true}\n";
        let taken = read(&format!("{fault}{progress}{end}")).unwrap();
        assert_eq!((taken.pairs, taken.hits, taken.failed, taken.faults.len()), (20, 5, 1, 1));
        for broken in [String::new(), format!("{fault}{progress}"), end.replace("true}", "false}"), "html".into()] {
            assert!(read(&broken).is_none(), "{broken}");
        }
    }
}
