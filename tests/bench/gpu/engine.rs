//! Token ids in, logits out: what the workers of the engine do, without queue, texts and HTTP.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use rescored_core::random::Seeded;
use rescored_runtime::{Batch, Encoding, Model};

use super::{list, number, opened};

/// Passes before the clock starts.
const WARM_UP: usize = 3;

pub(crate) fn run() {
    let (config, model) = opened();
    let seconds = Duration::from_secs(number("BENCH_SECONDS", 3) as u64);
    let workers = number("BENCH_WORKERS", config.engine.workers.or(model.batching.workers).unwrap_or(1));
    let execution = &model.card.execution;
    println!(
        "model {} {} on {} {:?}, {workers} workers",
        model.card.id, model.card.precision, model.card.provider, execution.devices
    );
    for length in list("BENCH_LENGTH", "128,ragged") {
        for pairs in list("BENCH_PAIRS", "32,128,512") {
            measure(&model, workers, &length, pairs.parse().expect("pairs"), seconds);
        }
    }
    println!("nodes {:?}", execution.nodes.get());
}

fn measure(model: &Model, workers: usize, length: &str, pairs: usize, seconds: Duration) {
    let start = Barrier::new(workers + 1);
    let (tallies, elapsed) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|seed| {
                let start = &start;
                scope.spawn(move || work(model, seed, length, pairs, start, seconds))
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let tallies: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker")).collect();
        (tallies, began.elapsed())
    });
    let passes: usize = tallies.iter().map(|tally| tally.0).sum();
    let tokens: usize = tallies.iter().map(|tally| tally.1).sum();
    let mut times: Vec<Duration> = tallies.into_iter().flat_map(|tally| tally.2).collect();
    times.sort_unstable();
    let rate = (passes * pairs) as f64 / elapsed.as_secs_f64();
    println!(
        "engine: {length} tokens, {pairs} pairs a pass: {rate:.0} pairs/s, {:.2} M tokens/s, {:.2} ms a pass (median)",
        tokens as f64 / elapsed.as_secs_f64() / 1e6,
        times[times.len() / 2].as_secs_f64() * 1e3
    );
}

/// Passes, tokens and times of one worker.
fn work(
    model: &Model,
    seed: usize,
    length: &str,
    pairs: usize,
    start: &Barrier,
    seconds: Duration,
) -> (usize, usize, Vec<Duration>) {
    let mut scorer = model.scorers.build().expect("a session");
    let mut random = Seeded::new(seed as u64 + 1);
    let batches: Vec<Vec<Encoding>> =
        (0..4).map(|_| (0..pairs).map(|_| encoding(&mut random, length)).collect()).collect();
    let mut batch = Batch::default();
    let mut pass = |at: usize| {
        let encodings: Vec<&Encoding> = batches[at % batches.len()].iter().collect();
        model.batching_policy.arrange(&encodings, &mut batch);
        let logits = scorer.score(&batch).expect("a pass");
        assert!(logits.len() == pairs && logits.iter().all(|logit| logit.is_finite()));
        batch.tokens()
    };
    for at in 0..WARM_UP {
        pass(at);
    }
    start.wait();
    let began = Instant::now();
    let (mut tokens, mut times) = (0, Vec::new());
    while began.elapsed() < seconds {
        let started = Instant::now();
        tokens += pass(times.len());
        times.push(started.elapsed());
    }
    (times.len(), tokens, times)
}

/// A pair of random tokens; ragged ones are about 76 tokens long on average, 16 at least and 256 at most.
fn encoding(random: &mut Seeded, length: &str) -> Encoding {
    let length: u32 = if length == "ragged" {
        // The product of uniform numbers is near a lognormal one; its mean is 76 within a token.
        let spread: f64 = (0..4).map(|_| 0.5 + random.share()).product();
        ((76.0 * spread) as u32).clamp(16, 256)
    } else {
        length.parse().expect("a length")
    };
    let ids: Vec<u32> = (0..length).map(|_| 1000 + (random.share() * 28_000.0) as u32).collect();
    Encoding::new(ids, 12.min(length), 1)
}
