//! Searches beside a warm-up job at full speed: what they may wait for, and what they may not be refused for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rescored_cache::SharedOptions;
use rescored_core::domain::Priority;
use rescored_engine as engine;
use rescored_runtime::{Batch, BatchingPolicy, Scorer, ScorerError, ScorerFactory};
use rescored_server::app::Core;
use rescored_server::rerank::RerankError;

use crate::fake;
use crate::support::{CACHE, documents, eventually, score, score_as};

const FORWARD: Duration = Duration::from_millis(5);

/// One pair a pass, five milliseconds each; counts those of queries that begin with a `w`, for warm-up.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl ScorerFactory for Counting {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        Ok(Box::new(self.clone()))
    }
}

impl Scorer for Counting {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        // A byte's token is its value and three; the first token is a special one.
        let warm_up = batch.ids()[1] == i64::from(b'w') + 3;
        self.0.fetch_add(usize::from(warm_up), Ordering::Relaxed);
        std::thread::sleep(FORWARD);
        Ok(vec![1.0; batch.pairs()])
    }
}

fn core(queue_tokens: u64) -> (Core, Counting) {
    let counting = Counting::default();
    let mut model = fake::version("fake", fake::Pace::default(), fake::Nature::Sound);
    (model.scorers, model.batching_policy) = (Box::new(counting.clone()), BatchingPolicy::Alone);
    let engine = engine::Options {
        workers: Some(2),
        pinning: engine::Pinning::Free,
        tokenisers: 2,
        batch_tokens: Some(512),
        batch_wait: None,
        queue_tokens,
        weights: Vec::new(),
        stuck_after: Duration::from_secs(5),
    };
    let shared = SharedOptions { url: None, timeout: Duration::ZERO };
    let core = Core::sharing(vec![model], &engine, &CACHE, &shared).expect("threads");
    core.reranker.wait_until_warm().expect("warm");
    (core, counting)
}

/// Runs `work` beside jobs that keep the engine as full as it lets them; says how often a job was refused.
fn beside_jobs(core: &Core, work: impl FnOnce()) -> usize {
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for job in 0..8 {
            let (over, refused) = (&over, &refused);
            scope.spawn(move || {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let padding = "x".repeat(150);
                    let documents: Vec<String> = (0..100).map(|one| format!("{job} {n} {one} {padding}")).collect();
                    match score_as(core, "warm-up", &documents, Priority::WarmUp) {
                        Ok(_) => {}
                        Err(RerankError::Overloaded { .. }) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        work();
        over.store(true, Ordering::Relaxed);
        // What the jobs have queued would take its time: nobody waits for it any more.
        core.reranker.forget(None).expect("forgotten");
    });
    refused.load(Ordering::Relaxed)
}

#[test]
fn a_search_waits_for_the_passes_under_way_and_for_no_others() {
    let (core, warm_ups) = core(50_000_000);
    let mut begun: Vec<usize> = Vec::new();
    beside_jobs(&core, || {
        // By now more is tokenised ahead than the planner asks for.
        eventually("the jobs run", || warm_ups.0.load(Ordering::Relaxed) > 100);
        for search in 0..40 {
            let before = warm_ups.0.load(Ordering::Relaxed);
            score(&core, "live", &documents(&search.to_string(), 4)).expect("scored");
            begun.push(warm_ups.0.load(Ordering::Relaxed) - before);
        }
    });
    begun.sort_unstable();
    println!("warm-up passes begun during a search of four pairs on two workers: {begun:?}");
    // Two that workers take while the search is read, two when one of them has nothing of it left; a machine that is busy
    // reads slowly, hence the median.
    assert!(begun[begun.len() / 2] <= 4, "{begun:?}");
}

#[test]
fn jobs_that_fill_the_queue_have_no_search_refused() {
    let (core, _) = core(30_000);
    let refused = beside_jobs(&core, || {
        eventually("jobs are refused", || core.metrics.render().contains("reason=\"queue_full\""));
        for search in 0..20 {
            score(&core, "live", &documents(&format!("not refused {search}"), 100)).expect("no search is refused");
        }
    });
    assert!(refused > 0);
}
