//! What every handler shares, and the rules that follow from it alone.
//!
//! Owns the list of what is shared. It must not know what listens, nor which handler uses what.

use std::sync::Arc;
use std::time::Duration;

use rescored_core::domain::LongDocuments;
use rescored_core::json::unread::Unread;
use rescored_process::budget::Budget;
use rescored_process::health::Health;
use rescored_process::metrics::Metrics;
use rescored_process::telemetry::traces::Traces;
use tokio::sync::Semaphore;

use super::access::Access;
use super::body;
use super::connections::Connections;
use super::dialect::RequestLimits;
use super::error::RequestError;
use super::keys::Keys;
use super::live::Live;
use super::options::{Leniency, Strict};
use super::warm_ups::Places;
use crate::repository::Repository;
use crate::rerank::Reranker;

/// Large bodies that are read or printed at once: the cores belong to inference.
pub(super) const LARGE_BODY_PERMITS: usize = 2;

/// What every handler sees.
#[derive(Debug)]
pub(super) struct AppState {
    pub(super) reranker: Arc<Reranker>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
    pub(super) limits: RequestLimits,
    pub(super) max_body: usize,
    pub(super) max_text: usize,
    pub(super) deadline: Duration,
    pub(super) long_documents: LongDocuments,
    pub(super) leniency: Leniency,
    pub(super) keys: Keys,
    /// Whose requests are taken.
    pub(super) access: Access,
    /// `None` where models are not changed over HTTP.
    pub(super) repository: Option<Arc<Repository>>,
    pub(super) client_pause: Duration,
    /// Memory that requests may take.
    pub(super) budget: Budget,
    /// Those that are open.
    pub(super) connections: Arc<Connections>,
    /// Places at which large bodies are read and printed.
    pub(super) large_body_permits: Semaphore,
    /// Places for warm-up streams.
    pub(super) warm_ups: Places,
    /// The last minutes, for the page.
    pub(super) live: Live,
}

impl AppState {
    /// Refuses what asks for something that is not served, where the operator wants that.
    pub(super) fn admit_unread(&self, unread: &Unread) -> Result<(), RequestError> {
        match self.leniency.strict {
            Strict::On if !unread.is_empty() => {
                let name = unread.first().unwrap_or("body");
                Err(RequestError::field(name, "not served here, and RESCORED_STRICT is on; leave it out"))
            }
            Strict::On | Strict::Off => Ok(()),
        }
    }

    /// Shows how many keys are in force.
    pub(super) fn count_keys(&self) {
        let count = self.keys.count().unwrap_or_default();
        self.metrics.api_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What a body may be whose caller waits this long.
    pub(super) const fn body(&self, patience: Duration, reading: body::Reading) -> body::Terms<'_> {
        body::Terms { limit: self.max_body, patience, pause: self.client_pause, budget: &self.budget, reading }
    }
}
