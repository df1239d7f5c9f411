//! `bench --tune`: which arithmetic, workers, threads and sizes of a forward pass score most on this host.
//!
//! Owns the experiment: every way is served by a process of its own, asked by as many clients as keep it busy, for the
//! same requests, until the minute is over. Which ways are tried is `search`'s. It must not know the server's insides.

pub mod search;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_runtime::catalogue::PrecisionName;
use rescored_runtime::options::Precision;
use rescored_runtime::tuned::Measured;

use super::host::cores;
use super::load::{Outcome, run_until};
use super::served::{Program, Served, Setting};
use super::texts::{Request, Texts, TextsError};
use search::{Search, TuningPoint, WORTH};

/// All of it, starts included.
const BUDGET: Duration = Duration::from_mins(1);

/// How long a way is measured, after a moment to warm up.
const MEASURED: Duration = Duration::from_millis(2500);
const WARMING: Duration = Duration::from_millis(500);

/// Documents of a request: few, so that a short measurement ends near its end.
const DOCUMENTS: usize = 8;

/// Requests that come again and again; the server keeps no scores.
const REQUESTS: usize = 64;

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// No way served.
    #[error("tune: the first way does not serve: {0}")]
    First(String),
    /// The texts.
    #[error(transparent)]
    Texts(#[from] TextsError),
}

/// What one way came to: pairs a second, or what it said instead.
pub type OnMeasured<'a> = &'a mut dyn FnMut(&TuningPoint, &Result<f64, String>);

/// Measures the model's own arithmetic and the others that there are graphs for. The best way, then all in their order.
///
/// # Errors
/// [`TuneError`].
pub fn tune(
    program: &Program,
    own: PrecisionName,
    others: &[PrecisionName],
    on_measured: OnMeasured<'_>,
) -> Result<(Measured, Vec<Measured>), TuneError> {
    let started = Instant::now();
    let requests = Texts::built_in()?.requests(REQUESTS, DOCUMENTS)?;
    let mut search = Search::new(own, others, cores());
    let mut measured = Vec::new();
    let mut point = Some(search.first());
    while let Some(one) = point {
        let rate = measure(program, &one, &requests);
        on_measured(&one, &rate);
        match rate {
            Ok(rate) => {
                search.found(&one, rate);
                measured.push(line(&one, rate));
            }
            Err(why) if measured.is_empty() => return Err(TuneError::First(why)),
            // A way that does not serve is no candidate; it was reported.
            Err(_) => {}
        }
        let each = started.elapsed() / u32::try_from(measured.len()).unwrap_or(1).max(1);
        // Room for the next, and for the first once more.
        point = if started.elapsed() + 2 * each > BUDGET { None } else { search.next_point() };
    }
    let (first, (best, rate)) = (search.first(), search.best());
    if best != first {
        // Load comes and goes: what seems better than the first must be so against its other measurement too.
        let again = measure(program, &first, &requests);
        on_measured(&first, &again);
        if let Ok(again) = again {
            measured.push(line(&first, again));
            if rate < again * WORTH {
                return Ok((line(&first, again), measured));
            }
        }
    }
    Ok((line(&best, rate), measured))
}

const fn line(point: &TuningPoint, rate: f64) -> Measured {
    let TuningPoint { precision, workers, threads, batch_tokens } = *point;
    Measured { precision, workers, threads, batch_tokens, pairs_per_second: rate }
}

/// Pairs a second of one way.
fn measure(program: &Program, point: &TuningPoint, requests: &[Request]) -> Result<f64, String> {
    let served = program.serve(&settings(point))?;
    load_for(&served, requests, WARMING);
    let before = served.metric("rescored_pairs_scored_total")?;
    let outcome = load_for(&served, requests, MEASURED);
    if let Some(why) = outcome.failures.first() {
        return Err(why.clone());
    }
    let scored = served.metric("rescored_pairs_scored_total")? - before;
    Ok(scored / outcome.took.as_secs_f64())
}

/// Enough clients to keep every core busy, for a while.
fn load_for(served: &Served, requests: &[Request], time: Duration) -> Outcome {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        });
        run_until(&stop, served, requests, 2 * cores())
    })
}

/// Every setting that is tuned, so that an older measurement decides none of them.
fn settings(point: &TuningPoint) -> [Setting; 5] {
    [
        ("RESCORED_PROVIDER", "cpu".to_owned()),
        ("RESCORED_PRECISION", Precision::from(point.precision).word().to_owned()),
        ("RESCORED_WORKERS", point.workers.to_string()),
        ("RESCORED_THREADS", point.threads.to_string()),
        ("RESCORED_BATCH_TOKENS", point.batch_tokens.to_string()),
    ]
}
