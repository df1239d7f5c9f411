//! The pool over a device that is slow, wrong, failing, hanging or panicking, as configured.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use rescored_graph::coreml::Arithmetic;

use super::super::compute_units::{ComputeUnits, tiers};
use super::super::device::{Device, Program as Loaded};
use super::super::grid;
use super::*;
use crate::options::Precision;

const ANE: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::Ane, Arithmetic::Fp16);
const GPU: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::Gpu, Arithmetic::Fp16);
const ALL: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::All, Arithmetic::Fp16);

/// What a way does, from a run on (counted over all its programs).
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    NoLoad,
    Wrong,
    Nan,
    Fails,
    Panics,
    Hangs,
}

/// Ways by name; a run takes the milliseconds first, and the fate begins with the run of that number.
#[derive(Debug, Default)]
struct Fake {
    /// Everything has to be compiled when it is loaded.
    cold: bool,
    ways: HashMap<ExecutionTarget, (u64, Fate, usize)>,
    runs: Arc<Mutex<HashMap<ExecutionTarget, usize>>>,
    loads: Arc<AtomicUsize>,
}

struct FakeProgram {
    behaviour: (u64, Fate, usize),
    way: ExecutionTarget,
    runs: Arc<Mutex<HashMap<ExecutionTarget, usize>>>,
}

/// A token's embedding is its id; a pair's logit its first token's id and a thousandth of its length.
#[derive(Debug)]
struct Ids;

impl Embed for Ids {
    fn width(&self) -> usize {
        1
    }

    fn embed(&self, [word, ..]: [usize; 3], row: &mut [f32]) {
        row[0] = word as f32;
    }
}

impl Device for Fake {
    fn is_compiled(&self, _: Shape, _: ExecutionTarget) -> bool {
        !self.cold
    }

    fn load(&self, _: Shape, way: ExecutionTarget) -> Result<Box<dyn Loaded>, ScorerError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let behaviour = self.ways.get(&way).copied().unwrap_or((0, Fate::NoLoad, 0));
        if let (_, Fate::NoLoad, _) = behaviour {
            return Err(ScorerError::Runtime { message: "not registered".into() });
        }
        Ok(Box::new(FakeProgram { behaviour, way, runs: Arc::clone(&self.runs) }))
    }
}

impl Loaded for FakeProgram {
    fn run(&mut self, feed: &Feed) -> Result<Vec<f32>, ScorerError> {
        let (milliseconds, fate, from) = self.behaviour;
        let number = {
            let mut runs = lock(&self.runs);
            let count = runs.entry(self.way).or_default();
            *count += 1;
            *count
        };
        std::thread::sleep(Duration::from_millis(milliseconds));
        let mut logits = right(feed);
        let fate = if number < from { Fate::Fine } else { fate };
        match fate {
            Fate::Fine | Fate::NoLoad => {}
            Fate::Wrong => logits.iter_mut().for_each(|logit| *logit += 1.0),
            Fate::Nan => logits.iter_mut().for_each(|logit| *logit = f32::NAN),
            Fate::Fails => return Err(ScorerError::Runtime { message: "out of memory".into() }),
            Fate::Panics => panic!("as configured"),
            Fate::Hangs => std::thread::sleep(Duration::from_mins(10)),
        }
        Ok(logits)
    }
}

/// Computed from the inputs as a graph would: a wrong mask or choice gives a wrong logit.
fn right(feed: &Feed) -> Vec<f32> {
    let Shape { batch, length, slots } = feed.shape;
    (0..batch * slots)
        .map(|line| {
            let row = line / slots;
            let at = |place: usize| line * length + place;
            let first: f32 = (0..length).map(|place| feed.first[at(place)] * feed.rows[row * length + place]).sum();
            let seen = (0..length).filter(|&place| feed.first_mask[at(place)] >= 0.0).count();
            first + seen as f32 / 1000.0
        })
        .collect()
}

fn sample(id: u32, length: usize) -> Sample {
    let logit = id as f32 + length as f32 / 1000.0;
    Sample {
        ids: std::iter::once(id).chain(vec![7; length - 1]).collect(),
        document_starts: 2,
        document_type: 1,
        logit,
    }
}

const SHORT: Patience = Patience {
    load: Duration::from_millis(400),
    serving_load: Duration::from_millis(400),
    run: Duration::from_millis(150),
    least: Duration::from_millis(150),
    factor: 2.0,
};

struct Bench {
    pool: ProgramPool,
    runs: Arc<Mutex<HashMap<ExecutionTarget, usize>>>,
    loads: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

fn bench(ways: &[(ExecutionTarget, u64, Fate, usize)]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let device = Fake {
        ways: ways.iter().map(|&(way, time, fate, from)| (way, (time, fate, from))).collect(),
        ..Fake::default()
    };
    let (runs, loads) = (Arc::clone(&device.runs), Arc::clone(&device.loads));
    let pool = pool(device, folder.path());
    Bench { pool, runs, loads, _folder: folder }
}

fn pool(device: Fake, folder: &std::path::Path) -> ProgramPool {
    let shapes = vec![Shape::padded(1, 32), Shape::padded(8, 32), Shape { batch: 1, length: 64, slots: 4 }];
    assert!(shapes[..2].iter().all(|shape| grid::shapes(512).contains(shape)));
    ProgramPool::new(Parts {
        device: Arc::new(device),
        embed: Arc::new(Ids),
        samples: vec![sample(3, 20), sample(11, 30), sample(5, 9)],
        shapes,
        tiers: tiers(ComputeUnits::All, Precision::Auto),
        record: folder.join("calibration.json"),
        key: "test".into(),
        patience: SHORT,
    })
}

impl Bench {
    /// Scores pairs of these lengths; their first tokens are 100, 101 and so on.
    fn score(&self, lengths: &[usize]) -> Result<Vec<f32>, ScorerError> {
        let mut tokens = Tokens::default();
        for (pair, &length) in lengths.iter().enumerate() {
            tokens.push((0..length).map(|at| if at == 0 { 100 + pair } else { 7 }), (0..length).map(|_| 0));
        }
        self.pool.score(&tokens)
    }

    fn scores_rightly(&self, lengths: &[usize]) {
        let expected: Vec<f32> =
            lengths.iter().enumerate().map(|(pair, &length)| (100 + pair) as f32 + length as f32 / 1000.0).collect();
        assert_eq!(self.score(lengths).unwrap(), expected);
    }

    fn refused(&self) -> Vec<(String, String)> {
        self.pool.state().refused.into_iter().map(|refusal| (refusal.way, refusal.reason)).collect()
    }

    fn way_of(&self, shape: &str) -> String {
        let status = self.pool.state();
        let program = status.programs.iter().find(|program| program.shape == shape).unwrap();
        program.way.clone()
    }
}

#[test]
fn the_fastest_way_serves_and_the_slow_one_is_left() {
    let bench = bench(&[
        (ALL, 30, Fate::Fine, 0),
        (GPU, 1, Fate::Fine, 0),
        (ANE, 12, Fate::Fine, 0),
        (ExecutionTarget::HOST, 20, Fate::Fine, 0),
    ]);
    bench.pool.prepare();
    assert_eq!(bench.way_of("1x32"), "gpu.fp16");
    let before = lock(&bench.runs)[&ALL];
    bench.scores_rightly(&[5, 32, 17, 1, 9, 40]);
    assert_eq!(lock(&bench.runs)[&ALL], before, "the slow way runs nothing after its trial");
    assert_eq!(bench.pool.state().detours, 0);
}

#[test]
fn wrong_scores_refuse_the_units_and_say_so() {
    let bench = bench(&[
        (ALL, 1, Fate::Wrong, 0),
        (GPU, 1, Fate::Nan, 0),
        (ANE, 8, Fate::Fine, 0),
        (ExecutionTarget::HOST, 20, Fate::Fine, 0),
    ]);
    bench.pool.prepare();
    assert_eq!(bench.way_of("1x32"), "ane.fp16");
    let refused = bench.refused();
    assert!(refused.iter().any(|(way, reason)| way == "all.fp16" && reason.contains("off by 1")), "{refused:?}");
    assert!(refused.iter().any(|(way, reason)| way == "gpu.fp16" && reason.contains("no number")), "{refused:?}");
    bench.scores_rightly(&[20, 30]);
}

#[test]
fn where_nothing_of_coreml_registers_the_cpu_serves() {
    let bench = bench(&[(ExecutionTarget::HOST, 1, Fate::Fine, 0)]);
    bench.pool.prepare();
    bench.scores_rightly(&[5, 32]);
    assert_eq!(bench.way_of("8x32"), "host.fp32");
    assert!(bench.refused().iter().all(|(_, reason)| reason.contains("not registered")));
}

#[test]
fn a_way_that_hangs_in_its_trial_costs_its_patience_once() {
    let bench = bench(&[(GPU, 0, Fate::Hangs, 0), (ANE, 2, Fate::Fine, 0), (ExecutionTarget::HOST, 5, Fate::Fine, 0)]);
    let started = Instant::now();
    bench.pool.prepare();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(bench.refused().iter().any(|(way, reason)| way == "gpu.fp16" && reason.contains("no answer within")));
    bench.scores_rightly(&[5]);
}

#[test]
fn a_way_that_hangs_while_it_serves_is_left_and_the_batch_is_scored_rightly() {
    // Its trials take 30 runs at most; later it hangs.
    let bench = bench(&[(GPU, 0, Fate::Hangs, 60), (ExecutionTarget::HOST, 5, Fate::Fine, 0)]);
    bench.pool.prepare();
    assert_eq!(bench.way_of("1x32"), "gpu.fp16");
    bench.scores_rightly(&[5, 30]);
    lock(&bench.runs).insert(GPU, 100);
    let started = Instant::now();
    bench.scores_rightly(&[5, 30]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(bench.way_of("8x32"), "host.fp32", "a stall speaks against the way for every shape");
    assert!(bench.pool.state().detours > 0);
}

#[test]
fn a_way_that_fails_again_and_again_is_left_and_no_batch_fails_by_it() {
    for fate in [Fate::Fails, Fate::Panics] {
        let bench = bench(&[(GPU, 0, fate, 60), (ExecutionTarget::HOST, 5, Fate::Fine, 0)]);
        bench.pool.prepare();
        bench.scores_rightly(&[5]);
        lock(&bench.runs).insert(GPU, 100);
        for _ in 0..4 {
            // The check before serving fails as well, so the way is out at once or after three strikes.
            bench.scores_rightly(&[5]);
        }
        let refused = bench.refused();
        assert!(refused.iter().any(|(way, _)| way == "gpu.fp16"), "{fate:?}: {refused:?}");
        assert!(bench.pool.state().detours > 0, "{fate:?}");
    }
}

#[test]
fn numbers_that_are_none_are_the_devices_doing_unless_the_cpu_gives_them_too() {
    let bench = bench(&[(GPU, 0, Fate::Nan, 60), (ExecutionTarget::HOST, 5, Fate::Fine, 0)]);
    bench.pool.prepare();
    bench.scores_rightly(&[5]);
    lock(&bench.runs).insert(GPU, 100);
    bench.scores_rightly(&[5, 6, 7]);
    let bench = self::bench(&[(ExecutionTarget::HOST, 0, Fate::Nan, 0)]);
    bench.pool.prepare();
    assert!(bench.score(&[5]).unwrap()[0].is_nan(), "the engine refuses it for its document");
}

#[test]
fn a_cpu_that_fails_is_an_error_and_not_a_score() {
    let bench = bench(&[(ExecutionTarget::HOST, 0, Fate::Fails, 30)]);
    bench.pool.prepare();
    lock(&bench.runs).insert(ExecutionTarget::HOST, 100);
    let error = bench.score(&[5]).unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
}

#[test]
fn programs_load_when_they_are_needed_and_once() {
    let bench = bench(&[(GPU, 0, Fate::Fine, 0), (ExecutionTarget::HOST, 5, Fate::Fine, 0)]);
    bench.pool.prepare();
    assert!(bench.pool.state().programs.iter().all(|program| !program.loaded));
    let before = bench.loads.load(Ordering::Relaxed);
    for _ in 0..3 {
        bench.scores_rightly(&[5]);
    }
    assert_eq!(bench.loads.load(Ordering::Relaxed), before + 1);
    let loaded = bench.pool.state().programs.into_iter().filter(|program| program.loaded);
    assert_eq!(loaded.count(), 1, "the one shape that holds the pair at the least price");
}

#[test]
fn a_second_start_measures_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let device = || Fake {
        ways: [(GPU, (0, Fate::Fine, 0)), (ExecutionTarget::HOST, (3, Fate::Fine, 0))].into(),
        ..Fake::default()
    };
    pool(device(), folder.path()).prepare();
    let second = device();
    let loads = Arc::clone(&second.loads);
    pool(second, folder.path()).prepare();
    assert_eq!(loads.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_not_compiled_any_more_is_loaded_before_anybody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let device = |cold| Fake {
        cold,
        ways: [(GPU, (0, Fate::Fine, 0)), (ExecutionTarget::HOST, (3, Fate::Fine, 0))].into(),
        ..Fake::default()
    };
    pool(device(false), folder.path()).prepare();
    let second = pool(device(true), folder.path());
    second.prepare();
    assert!(second.state().programs.iter().all(|program| program.loaded));
}
