//! `rescored bench cache`: its flags.

use std::time::Duration;

use clap::Args;

use super::{Common, Found};
use crate::bench::cache::{self, Options};
use crate::bench::{BenchError, Setup};

/// The flags of `bench cache`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) common: Common,
    /// Seconds of a round, where the experiment does not end by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    seconds: u16,
    /// Connections that repeat the hot request.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: u16,
    /// Documents of the hot request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    documents: u16,
    /// Distinct queries of the replay.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    queries: u32,
    /// Searches of the replay.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    searches: u32,
    /// Searches alone, and as many beside a warm-up job, at least; a p99 wants 500.
    #[arg(long, value_name = "N", default_value_t = 500)]
    live: u32,
    /// Documents of a search.
    #[arg(long, value_name = "N", default_value_t = 10)]
    hits: u16,
    /// Exponent of the queries' popularity: the query of rank r comes with a frequency of 1/r^EXPONENT.
    #[arg(long, default_value_t = 1.0)]
    exponent: f64,
    /// A Valkey or Redis to share [default: a redis-server of its own, where there is one].
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

impl Flags {
    pub(super) fn run(&self, setup: &Setup<'_>, found: Found<'_>) -> Result<(), BenchError> {
        let many = |number: u32| usize::try_from(number.max(1)).unwrap_or(usize::MAX);
        let options = Options {
            length: Duration::from_secs(self.seconds.max(1).into()),
            connections: usize::from(self.connections.max(1)),
            documents: usize::from(self.documents.max(1)),
            queries: many(self.queries),
            searches: many(self.searches),
            live: many(self.live),
            hits: usize::from(self.hits.max(1)),
            exponent: self.exponent,
            redis: self.redis.clone(),
        };
        let options = setup.effort.within.map_or_else(|| options.clone(), |within| options.within(within));
        cache::run(setup, &options, found)
    }
}
