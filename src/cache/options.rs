//! Options of the score cache.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use super::shared::{Broken, Unreachable, UrlError, check_url};

/// Settings of the first tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Budget in bytes, which the models share by weight; 0 turns the tier off.
    pub bytes: u64,
    /// Weights of models by their ids; a model that is not named weighs 1.
    pub weights: Vec<(String, u32)>,
    /// Age after which a score is computed anew; `None` keeps it for as long as there is room.
    pub ttl: Option<Duration>,
}

impl Options {
    /// A model's weight.
    pub(super) fn weight(&self, model: &str) -> u32 {
        self.weights.iter().find(|(id, _)| id == model).map_or(1, |(_, weight)| *weight)
    }
}

/// Settings of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// The file; `None` keeps no snapshot.
    pub path: Option<PathBuf>,
    /// How often it is written, when something changed.
    pub every: Duration,
}

/// Settings of the second tier.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedOptions {
    /// Where it is; may hold a password. `None` shares nothing.
    pub url: Option<String>,
    /// How long a request waits for it at most.
    pub timeout: Duration,
}

impl SharedOptions {
    /// Connects as the cache does, and says how long a round trip takes then.
    ///
    /// # Errors
    /// [`Unreachable`] when nobody answers within `patience`; its text holds no password.
    pub fn ping(&self, patience: Duration) -> Result<Duration, Unreachable> {
        super::shared::ping(self.url.as_deref().unwrap_or_default(), patience)
    }
}

impl fmt::Debug for SharedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map(|_| "(redacted)");
        f.debug_struct("SharedOptions").field("url", &url).field("timeout", &self.timeout).finish()
    }
}
