//! What should answer over the network: the shared cache tier, and the search engine.
//!
//! Owns these checks; each is bounded in time. It must not know what is asked of either while serving.

use std::time::{Duration, Instant};

use rescored_cache::options::SharedOptions;
use serde::Deserialize;
use ureq::Agent;

use super::{Finding, chain};

/// A person waits for a doctor: longer than a request would, and not for ever.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of an engine's answer that are read.
const ANSWER: u64 = 1 << 20;

/// The part of OpenSearch's and Elasticsearch's greeting that says who they are.
#[derive(Deserialize)]
struct Greeting {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    distribution: Option<String>,
}

/// Whether the shared tier answers within a request's patience.
pub(super) fn shared_tier(options: &SharedOptions) -> Finding {
    let check = "shared cache";
    if options.url.is_none() {
        return Finding::skipped(check, "RESCORED_CACHE_REDIS is not set");
    }
    match options.ping(PATIENCE) {
        Ok(taken) if taken > options.timeout => Finding::warning(
            check,
            format!("it answers in {} ms, and requests wait for {} ms", taken.as_millis(), options.timeout.as_millis()),
            "put it nearer, or raise RESCORED_CACHE_REDIS_TIMEOUT; late answers count as misses",
        ),
        Ok(taken) => Finding::fine(check, format!("it answers in {:.1} ms", taken.as_secs_f64() * 1e3)),
        Err(error) => Finding::warning(
            check,
            format!("it does not answer: {}", chain(&error)),
            "check address, port, password and TLS in RESCORED_CACHE_REDIS; without it scores are kept in this process alone",
        ),
    }
}

/// Whether a search engine answers, and which.
pub(super) fn engine(url: &str) -> Finding {
    let check = "engine";
    let remedy =
        "check the address and that the engine runs; for https with a certificate of your own, ask from its host";
    let agent: Agent =
        Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build().into();
    let base = url.trim_end_matches('/');
    let started = Instant::now();
    let mut greeting = match agent.get(base).call() {
        Ok(answer) => answer,
        Err(error) => return Finding::fault(check, format!("{base}: no answer: {}", chain(&error)), remedy),
    };
    let taken = started.elapsed().as_millis();
    let status = greeting.status().as_u16();
    let text = greeting.body_mut().with_config().limit(ANSWER).read_to_string().unwrap_or_default();
    if let Ok(Greeting { version }) = serde_json::from_str::<Greeting>(&text) {
        let name = version.distribution.as_deref().unwrap_or("elasticsearch");
        return Finding::fine(check, format!("{base}: {name} {} in {taken} ms", version.number));
    }
    if matches!(status, 401 | 403) {
        return Finding::fine(check, format!("{base}: answers {status} in {taken} ms: it wants a user"));
    }
    match agent.get(format!("{base}/state/v1/health")).call() {
        Ok(health) if health.status().is_success() => Finding::fine(check, format!("{base}: vespa in {taken} ms")),
        Ok(_) | Err(_) => Finding::fault(
            check,
            format!("{base}: answers {status}, and is neither OpenSearch, Elasticsearch nor Vespa"),
            remedy,
        ),
    }
}
