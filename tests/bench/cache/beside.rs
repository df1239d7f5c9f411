//! Cold searches alone and beside a warm-up job at full speed, in turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_cache::SharedOptions;
use rescored_core::domain::Priority;
use rescored_engine as engine;
use rescored_runtime::{Batch, BatchingPolicy, Scorer, ScorerError, ScorerFactory};
use rescored_server::app::Core;

use crate::support::{self, documents, eventually, score, score_as};
use crate::{Sizes, fake, verdict};

/// Searches of each kind, and the slices that they come in. A tenth of them is still enough for a p99.
const SEARCHES: usize = 5000;
const SLICES: usize = 10;

/// Pairs of a search, all cold.
const PAIRS: usize = 4;

/// Threads of the job, and documents of one of its requests.
const JOBS: usize = 8;
const DOCUMENTS: usize = 20;

/// The rise of p99 that is allowed, in forward passes.
const ALLOWED: f64 = 1.2;

const FORWARD: Duration = Duration::from_millis(5);

/// A scorer whose forward pass takes five milliseconds.
#[derive(Debug)]
struct Slow;

impl ScorerFactory for Slow {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        Ok(Box::new(Self))
    }
}

impl Scorer for Slow {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        std::thread::sleep(FORWARD);
        Ok(vec![1.0; batch.pairs()])
    }
}

fn core() -> Core {
    let mut model = fake::version("fake", fake::Pace::default(), fake::Nature::Sound);
    (model.scorers, model.batching_policy) = (Box::new(Slow), BatchingPolicy::Alone);
    let engine = engine::Options {
        workers: Some(2),
        pinning: engine::Pinning::Free,
        tokenisers: 2,
        batch_tokens: Some(512),
        batch_wait: None,
        queue_tokens: 50_000_000,
        weights: Vec::new(),
        stuck_after: Duration::from_secs(5),
    };
    let shared = SharedOptions { url: None, timeout: Duration::ZERO };
    let core = Core::sharing(vec![model], &engine, &support::CACHE, &shared).expect("threads");
    core.reranker.wait_until_warm().expect("warm");
    core
}

/// Whether the bound was kept.
pub(crate) fn run(sizes: Sizes) -> bool {
    let core = core();
    let each = sizes.of(SEARCHES) / SLICES;
    let mut times: [Vec<Duration>; 2] = Default::default();
    let (mut passes, mut seconds) = (0.0, 0.0);
    for slice in 0..SLICES {
        times[0].extend(search(&core, &format!("alone {slice}"), each));
        let before = forwards(&core);
        times[1].extend(beside(&core, slice, || search(&core, &format!("beside {slice}"), each)));
        let after = forwards(&core);
        (passes, seconds) = (passes + after.0 - before.0, seconds + after.1 - before.1);
    }
    let [alone, beside] = times.map(|mut times| {
        times.sort();
        let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        (times.len(), median, p99, times[times.len() - 1])
    });
    report!(
        "searches of {PAIRS} cold pairs in {SLICES} slices without and {SLICES} with a warm-up job at full speed, in turn\n"
    );
    report!("| | searches | median | p99 | longest |\n|---|---|---|---|---|");
    for (name, (count, median, p99, longest)) in [("alone", alone), ("beside a job", beside)] {
        report!("| {name} | {count} | {median:.1?} | {p99:.1?} | {longest:.1?} |");
    }
    let pass = Duration::from_secs_f64(seconds / passes);
    let rise = beside.2.as_secs_f64() - alone.2.as_secs_f64();
    let allowed = pass.as_secs_f64() * ALLOWED;
    let what = format!(
        "p99 rises by {:.1} ms; allowed is less than {:.1} ms, {ALLOWED} of a micro-batch, which takes {pass:.1?} on average beside the job",
        rise * 1000.0,
        allowed * 1000.0
    );
    report!("");
    verdict(sizes, rise < allowed, &what)
}

fn search(core: &Core, name: &str, count: usize) -> Vec<Duration> {
    let one = |number: usize| {
        let started = Instant::now();
        score(core, name, &documents(&number.to_string(), PAIRS)).expect("no search fails");
        started.elapsed()
    };
    (0..count).map(one).collect()
}

/// Does something while jobs keep the engine as busy as it lets them.
fn beside<T>(core: &Core, slice: usize, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let before = forwards(core).0;
        for job in 0..JOBS {
            let over = &over;
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let documents = documents(&format!("{slice} {job} {number}"), DOCUMENTS);
                    score_as(core, "warm-up", &documents, Priority::WarmUp).expect("scored");
                }
            });
        }
        eventually("the job runs", || forwards(core).0 > before + 20.0);
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// Forward passes so far, and the seconds that they took.
fn forwards(core: &Core) -> (f64, f64) {
    let page = core.metrics.render();
    let figure = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is on the page"))
    };
    (figure("rescored_forward_seconds_count"), figure("rescored_forward_seconds_sum"))
}
