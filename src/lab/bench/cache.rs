//! What the score cache is worth on this host, over HTTP: a request that is all hits, a replay of searches through one, two
//! and three tiers, and searches beside a warm-up job at full speed.
//!
//! - `hot`, `replay`, `beside`: the experiments.
//! - `zipf`: which query comes next; pure.
//! - `redis`: a tier to share, for as long as a replay takes.
//! - `wire`: the smallest client, so that the load takes as little of the host as it can.
//!
//! Owns the experiments' sizes. It must not know how scores are kept.

mod beside;
mod hot;
mod redis;
mod replay;
mod wire;
mod zipf;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::report::Section;
use super::served::{Served, Setting};
use super::{BenchError, Setup};

/// Sizes of the experiments.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long a round takes, where the experiment does not end by itself.
    pub length: Duration,
    /// Connections that repeat the hot request.
    pub connections: usize,
    /// Documents of the hot request.
    pub documents: usize,
    /// Distinct queries of the replay.
    pub queries: usize,
    /// Searches of the replay.
    pub searches: usize,
    /// Searches alone, and beside a warm-up job, at least.
    pub live: usize,
    /// Documents of a search.
    pub hits: usize,
    /// The exponent of the queries' popularity.
    pub exponent: f64,
    /// A Valkey or Redis to share; `None` starts a redis-server, where there is one.
    pub redis: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(3),
            connections: 4,
            documents: 100,
            queries: 1000,
            searches: 5000,
            live: 500,
            hits: 10,
            exponent: 1.0,
            redis: None,
        }
    }
}

/// What all experiments take at their default sizes, on two cores with the default model, roughly; starts included.
const WHOLE: Duration = Duration::from_mins(3);

impl Options {
    /// The same, made smaller where that takes too long. Roughly: sizes are as those of `WHOLE` for each minute.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        let share = (time.as_secs_f64() / WHOLE.as_secs_f64()).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let part = |count: usize, least: usize| ((count as f64 * share) as usize).max(least.min(count));
        Self {
            length: self.length.mul_f64(share).max(LEAST_LENGTH.min(self.length)),
            queries: part(self.queries, 50),
            searches: part(self.searches, 200),
            live: part(self.live, 100),
            ..self.clone()
        }
    }
}

/// A round shorter than this shows nothing.
const LEAST_LENGTH: Duration = Duration::from_millis(500);

/// A server with a cache, and whatever else an experiment sets.
fn serve(setup: &Setup<'_>, settings: &[Setting]) -> Result<Served, String> {
    let mut all: Vec<Setting> =
        vec![("RESCORED_MODELS", setup.model.clone()), ("RESCORED_CACHE_BYTES", "256MiB".to_owned())];
    all.extend_from_slice(settings);
    setup.program.serve(&all)
}

/// One of the experiments.
type Experiment = fn(&Setup<'_>, &Options) -> Result<Section, String>;

/// All experiments, one after the other, each handed on as soon as it is done.
///
/// # Errors
/// [`BenchError::Answer`]; what was handed on before is valid.
pub fn run(setup: &Setup<'_>, options: &Options, found: &mut dyn FnMut(Section)) -> Result<(), BenchError> {
    let experiments: [(&str, Experiment); 3] = [
        ("a request that is all hits", hot::run),
        ("searches through the tiers", replay::run),
        ("searches beside a warm-up job", beside::run),
    ];
    for (done, (what, experiment)) in experiments.iter().enumerate() {
        setup.watch.step(done, experiments.len(), what);
        found(super::observed(|| experiment(setup, options)).map_err(BenchError::Answer)?);
    }
    Ok(())
}

/// A word that no earlier run's texts hold, so that nothing is a hit that this run has not put there.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_time_and_never_grow_or_vanish() {
        let whole = Options::default();
        assert_eq!(whole.within(Duration::from_hours(1)), whole);
        let half = whole.within(WHOLE / 2);
        assert_eq!((half.queries, half.searches, half.live), (500, 2500, 250));
        assert_eq!(half.length, whole.length / 2);
        let least = whole.within(Duration::ZERO);
        assert_eq!((least.queries, least.searches, least.live), (50, 200, 100));
        assert_eq!(least.length, LEAST_LENGTH);
        let small = Options { searches: 10, ..whole };
        assert_eq!(small.within(Duration::ZERO).searches, 10, "what was asked for is not raised");
    }
}
