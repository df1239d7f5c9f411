//! What the score cache can be told.

use std::time::Duration;

/// Settings of the score cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Budget in bytes; 0 turns the cache off.
    pub bytes: u64,
    /// Age after which a score is computed anew; `None` keeps it for as long as there is room.
    pub ttl: Option<Duration>,
}
