//! The last minutes in figures: sampled on an interval, kept in a ring.
//!
//! Owns the ring and its arithmetic. Nothing is kept beyond five minutes and nothing of it is a text: whoever wants more
//! has `/metrics`. It must not know who asks, nor what is drawn of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::http::StatusCode;
use rescored_process::metrics::{Metrics, Worker};
use rescored_process::sync::lock;
use serde::Serialize;

/// How often a sample is taken.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// Samples kept: five minutes.
pub(super) const KEPT: usize = 150;

/// Samples over whose requests a quantile is taken: one of two seconds alone would jump.
const SMOOTHED: usize = 5;

/// Bounds of latencies grow by a quarter of a doubling, from 50 µs: 90 of them reach five minutes, each quantile is off
/// by a tenth at most.
const BUCKETS: usize = 90;
const FIRST_BOUND: f64 = 50e-6;
const BOUNDS_IN_A_DOUBLING: f64 = 4.0;

/// What a row holds, in its order.
pub(super) const COLUMNS: [&str; 15] = [
    "at_ms",
    "seconds",
    "requests",
    "failed",
    "refused",
    "pairs",
    "cached",
    "scored",
    "p50_ms",
    "p99_ms",
    "queue_tokens",
    "in_flight",
    "workers",
    "busy_share",
    "padding_share",
];

/// Counts what the metrics keep by label, and keeps the samples.
#[derive(Debug)]
pub(super) struct Live {
    metrics: Arc<Metrics>,
    pub(super) started: Instant,
    answered: Answered,
    ring: Mutex<Ring>,
}

/// Requests for scores since the start.
#[derive(Debug)]
struct Answered {
    all: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    /// By latency.
    buckets: [AtomicU64; BUCKETS],
}

/// Samples, and the totals at the last one.
#[derive(Debug)]
struct Ring {
    /// Number of the next sample.
    next: u64,
    before: Totals,
    /// Latencies of the last few samples' requests.
    latencies: VecDeque<[u64; BUCKETS]>,
    rows: VecDeque<Row>,
}

/// Everything that only grows, at one moment.
#[derive(Clone, Debug)]
struct Totals {
    at: Instant,
    requests: u64,
    failed: u64,
    refused: u64,
    pairs: u64,
    cached: u64,
    scored: u64,
    tokens: u64,
    padding: u64,
    busy_microseconds: u64,
    buckets: [u64; BUCKETS],
}

/// One sample, in the order of [`COLUMNS`].
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row(u64, f64, u64, u64, u64, u64, u64, u64, Option<f64>, Option<f64>, i64, i64, i64, f64, f64);

impl Live {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let answered = Answered {
            all: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        let now = Instant::now();
        let ring = Ring {
            next: 1,
            before: Totals::now(&metrics, &answered, now),
            latencies: VecDeque::with_capacity(SMOOTHED),
            rows: VecDeque::with_capacity(KEPT),
        };
        Self { metrics, started: now, answered, ring: Mutex::new(ring) }
    }

    /// Counts an answer to a request for scores.
    pub(super) fn count(&self, status: StatusCode, took: Duration) {
        let one = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        one(&self.answered.all);
        match status.as_u16() {
            429 | 503 => drop(one(&self.answered.refused)),
            400.. => drop(one(&self.answered.failed)),
            _ => drop(one(&self.answered.buckets[bucket(took)])),
        }
    }

    /// Takes samples for as long as it is awaited.
    pub(super) async fn sample(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.take();
        }
    }

    fn take(&self) {
        let now = Totals::now(&self.metrics, &self.answered, Instant::now());
        let workers = self.metrics.workers_alive.get();
        let mut ring = lock(&self.ring);
        let before = std::mem::replace(&mut ring.before, now.clone());
        keep(&mut ring.latencies, SMOOTHED, std::array::from_fn(|at| now.buckets[at] - before.buckets[at]));
        let recent: [u64; BUCKETS] = std::array::from_fn(|at| ring.latencies.iter().map(|one| one[at]).sum());
        let seconds = (now.at - before.at).as_secs_f64();
        let busy = (now.busy_microseconds - before.busy_microseconds) as f64 / 1e6;
        let (tokens, padding) = (now.tokens - before.tokens, now.padding - before.padding);
        let row = Row(
            unix_millis(),
            seconds,
            now.requests - before.requests,
            now.failed - before.failed,
            now.refused - before.refused,
            now.pairs - before.pairs,
            now.cached - before.cached,
            now.scored - before.scored,
            quantile(&recent, 0.5),
            quantile(&recent, 0.99),
            self.metrics.queue_tokens.get(),
            self.metrics.requests_in_flight.get(),
            workers,
            share(busy, seconds * workers as f64).min(1.0),
            share(padding as f64, (tokens + padding) as f64),
        );
        keep(&mut ring.rows, KEPT, row);
        ring.next += 1;
    }

    /// The samples after one that the caller has, and the last one's number. A caller from before a restart gets all.
    pub(super) fn after(&self, known: u64) -> (Vec<Row>, u64) {
        let ring = lock(&self.ring);
        let last = ring.next - 1;
        let wanted = if known > last { KEPT } else { usize::try_from(last - known).unwrap_or(KEPT) };
        let skipped = ring.rows.len().saturating_sub(wanted);
        (ring.rows.iter().skip(skipped).copied().collect(), last)
    }
}

impl Totals {
    fn now(metrics: &Metrics, answered: &Answered, at: Instant) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let workers =
            (0..).map_while(|worker| metrics.worker_busy_microseconds.get(&Worker { worker }).map(|w| w.get()));
        Self {
            at,
            requests: read(&answered.all),
            failed: read(&answered.failed),
            refused: read(&answered.refused),
            pairs: metrics.pairs.get(),
            cached: metrics.cache_hits.get(),
            scored: metrics.pairs_scored.get(),
            tokens: metrics.tokens.get(),
            padding: metrics.padding_tokens.get(),
            busy_microseconds: workers.sum(),
            buckets: std::array::from_fn(|at| read(&answered.buckets[at])),
        }
    }
}

/// Appends, and drops the oldest beyond `limit`.
fn keep<T>(ring: &mut VecDeque<T>, limit: usize, one: T) {
    if ring.len() >= limit {
        ring.pop_front();
    }
    ring.push_back(one);
}

/// Position of the first bound that a latency does not pass; the last bucket has none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets before")]
fn bucket(took: Duration) -> usize {
    let position = ((took.as_secs_f64() / FIRST_BOUND).log2() * BOUNDS_IN_A_DOUBLING).ceil();
    position.clamp(0.0, (BUCKETS - 1) as f64) as usize
}

/// The latency, in milliseconds, that a share of the requests did not pass; `None` when there was none. It lies in the
/// middle of its bucket, as bounds grow.
fn quantile(buckets: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    let wanted = all as f64 * share;
    let mut seen = 0;
    buckets.iter().zip(0_u32..).find_map(|(count, position)| {
        seen += count;
        let middle = || FIRST_BOUND * ((f64::from(position) - 0.5) / BOUNDS_IN_A_DOUBLING).exp2() * 1000.0;
        (*count > 0 && seen as f64 >= wanted).then(middle)
    })
}

/// A part of a whole; 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn live() -> Live {
        Live::new(Arc::new(Metrics::new()))
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_a_tenth_at_most(micros in prop::collection::vec(50_u64..200_000_000, 1..60), share in 0.01f64..1.0) {
            let mut buckets = [0; BUCKETS];
            for one in &micros {
                buckets[bucket(Duration::from_micros(*one))] += 1;
            }
            let mut sorted = micros;
            sorted.sort_unstable();
            let rank = (sorted.len() as f64 * share).ceil().max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank of the list")]
            let exact = sorted[rank as usize - 1] as f64 / 1000.0;
            let found = quantile(&buckets, share).unwrap();
            prop_assert!((found / exact - 1.0).abs() < 0.1, "{found} ms for {exact} ms");
        }
    }

    #[test]
    fn a_sample_holds_what_happened_since_the_one_before() {
        let live = live();
        live.count(StatusCode::OK, Duration::from_millis(8));
        live.count(StatusCode::BAD_REQUEST, Duration::ZERO);
        live.count(StatusCode::TOO_MANY_REQUESTS, Duration::ZERO);
        live.metrics.pairs.inc_by(30);
        live.metrics.cache_hits.inc_by(10);
        live.metrics.tokens.inc_by(300);
        live.metrics.padding_tokens.inc_by(100);
        live.take();
        live.take();
        let (rows, last) = live.after(0);
        assert_eq!((rows.len(), last), (2, 2));
        let Row(_, _, requests, failed, refused, pairs, cached, _, p50, p99, .., padding) = rows[0];
        assert_eq!((requests, failed, refused, pairs, cached), (3, 1, 1, 30, 10));
        assert!(p50.is_some_and(|p50| (7.2..8.8).contains(&p50)) && p50 == p99, "{p50:?}");
        assert!((padding - 0.25).abs() < 1e-9);
        let Row(_, _, requests, .., pairs, _, _, p50, _, _, _, _, _, _) = rows[1];
        assert_eq!((requests, pairs), (0, 0), "each answer counts in one sample");
        assert!(p50.is_some(), "a quantile looks back over a few samples");
    }

    #[test]
    fn only_what_the_caller_lacks_is_reported_and_only_so_much_is_kept() {
        let live = live();
        (0..KEPT + 7).for_each(|_| live.take());
        let reported = |known| live.after(known).0.len();
        let last = (KEPT + 7) as u64;
        let cases = [
            (0, KEPT, "everything that is kept"),
            (last - 3, 3, "what came since"),
            (last, 0, "nothing new"),
            (last + 9, KEPT, "a number of another process"),
        ];
        for (known, rows, sentence) in cases {
            assert_eq!(reported(known), rows, "{sentence}");
        }
    }

    #[test]
    fn columns_and_rows_are_of_one_length() {
        let live = live();
        live.take();
        let row = serde_json::to_value(live.after(0).0[0]).unwrap();
        assert_eq!(row.as_array().unwrap().len(), COLUMNS.len());
    }

    #[test]
    fn no_requests_have_no_quantile() {
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }
}
