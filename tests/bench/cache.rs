//! What the score cache costs and what it saves: bytes of an entry, time of a hit, a hot request over HTTP, a replay of
//! searches through one, two and three tiers, and what a warm-up job does to searches. Run it by `make bench-cache`.
//!
//! The model is the tests' own, whose forward pass costs next to nothing unless said: what is measured is everything else.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures and dies when it cannot measure, as tests do"
)]

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "the tests of the server send more kinds of requests")]
mod client;
#[path = "../api/support/fake.rs"]
#[expect(dead_code, reason = "only the tests of the server swap versions of the model")]
mod fake;
#[path = "../cache/redis.rs"]
#[expect(dead_code, reason = "the tests of the shared tier do more to it")]
mod redis;
#[path = "../cache/support.rs"]
#[expect(dead_code, reason = "the tests of the cache need more")]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use rescored::app::Core;
use rescored::cache::keeper::Keeper;
use rescored::cache::snapshot::Snapshot;
use rescored::cache::{Options, QueryKey, Scope, ScoreCache, SharedOptions, SnapshotOptions};
use rescored::domain::{Cut, Logit, Priority, Scored};
use rescored::engine;
use rescored::model::{Batch, Company, Scorer, ScorerError, ScorerFactory};
use serde_json::json;

use client::Connection;
use redis::Redis;
use support::{Server, core, core_with, score, score_as};

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const MILLION: u32 = 1_000_000;
/// Documents of the hot request, and bytes of each.
const DOCUMENTS: usize = 100;
const DOCUMENT_BYTES: usize = 300;
/// Connections that repeat the hot request, and for how long.
const CONNECTIONS: usize = 4;
const HOT: Duration = Duration::from_secs(5);

/// The replay: distinct queries, documents of each, searches, and the exponent of their popularity.
const QUERIES: usize = 5_000;
const HITS: usize = 20;
const SEARCHES: usize = 20_000;
const EXPONENT: f64 = 1.0;

fn main() {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    entries();
    hot();
    replay();
    beside();
}

fn scored(number: u32) -> Scored {
    Scored { logit: Logit::new(number as f32).expect("finite"), tokens: number, cut: false }
}

fn scopes() -> Vec<Scope> {
    vec![Scope { model: "m".into(), identity: "the model".into() }]
}

/// Resident bytes of the process, where the system tells.
fn resident() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Bytes of an entry, with and without an age limit; writing and reading a snapshot.
fn entries() {
    let keys = QueryKey::new("m", &Cut::MODEL, "q");
    // Kept to the end: what one gave back would be taken for what the next one did not need.
    let mut caches = Vec::new();
    for ttl in [None, Some(Duration::from_hours(1))] {
        let before = resident();
        let cache = ScoreCache::new(&Options { bytes: 1 << 40, weights: Vec::new(), ttl }, scopes(), Arc::default());
        let started = Instant::now();
        (0..MILLION).for_each(|number| cache.insert(0, keys.document(&number.to_string()), scored(number)));
        let took = started.elapsed();
        // What moka has put off is done by now and then looking.
        std::thread::sleep(Duration::from_millis(500));
        let report = cache.report();
        let each = resident().zip(before).map_or(0, |(now, before)| now.saturating_sub(before) / u64::from(MILLION));
        println!(
            "a million entries, ttl {ttl:?}: {each} resident bytes each, {} estimated; {:.0} ns to insert one",
            report.models[0].bytes / report.models[0].entries.max(1),
            took.as_nanos() as f64 / f64::from(MILLION)
        );
        caches.push(cache);
    }
    if let Some(cache) = caches.first() {
        snapshot(cache);
    }
}

fn snapshot(cache: &ScoreCache) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let started = Instant::now();
    let entries = cache.write_snapshot(&path).expect("written");
    let wrote = started.elapsed();
    let fresh = ScoreCache::new(&Options { bytes: 1 << 40, weights: Vec::new(), ttl: None }, scopes(), Arc::default());
    let started = Instant::now();
    let snapshot = Snapshot::open(&path).expect("whole");
    let checked = started.elapsed();
    fresh.restore(snapshot).expect("read");
    println!(
        "a snapshot of {entries} entries: {} bytes, written in {wrote:.2?}, checked in {checked:.2?}, in use after {:.2?}",
        std::fs::metadata(&path).map_or(0, |file| file.len()),
        started.elapsed()
    );
}

/// A hot request, over HTTP and in its parts.
fn hot() {
    let core = core();
    let server = Server::start(&core);
    let documents: Vec<String> =
        (0..DOCUMENTS).map(|n| format!("{n} {}", "word ".repeat(DOCUMENT_BYTES / 5))).collect();
    let body = json!({"query": "how many people live in berlin", "documents": documents}).to_string();
    Connection::open(server.address).post("/v1/rerank", &body, "").ok();
    let over = AtomicBool::new(false);
    let client = || {
        let mut connection = Connection::open(server.address);
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let started = Instant::now();
            let answer = connection.post("/v1/rerank", &body, "");
            times.push(started.elapsed());
            assert_eq!(answer.header("x-rescored-cache-hits"), Some("100"));
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(HOT);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    times.sort();
    println!(
        "\na hot request of {DOCUMENTS} documents ({} bytes), {CONNECTIONS} connections: {:.0} pairs/s, median {:.2?}, p99 {:.2?}",
        body.len(),
        (times.len() * DOCUMENTS) as f64 / HOT.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    parts(&core, (&body, &documents), HOT.as_secs_f64() * 2.0 / times.len() as f64);
}

/// The body, read as plainly as JSON can be.
#[derive(serde::Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    query: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    documents: Vec<std::borrow::Cow<'a, str>>,
}

/// What a hot request is made of. `whole` is the time of both cores that one took, load generator included.
fn parts(core: &Core, (body, documents): (&str, &[String]), whole: f64) {
    let micros = |work: &dyn Fn()| {
        let rounds = 2000;
        let started = Instant::now();
        (0..rounds).for_each(|_| work());
        started.elapsed().as_secs_f64() / f64::from(rounds) * 1e6
    };
    let query = || QueryKey::new("m", &Cut::MODEL, "how many people live in berlin");
    let hash = micros(&|| {
        let keys = query();
        for document in documents {
            black_box(keys.document(document));
        }
    });
    let keys: Vec<_> = documents.iter().map(|document| query().document(document)).collect();
    for key in &keys {
        core.cache.insert(0, *key, scored(1));
    }
    let look_up = micros(&|| {
        for key in &keys {
            black_box(core.cache.get(0, *key));
        }
    });
    let read = micros(&|| {
        let request: Request<'_> = serde_json::from_str(body).expect("JSON");
        black_box((request.query, request.documents.len()));
    });
    let whole = whole * 1e6;
    println!(
        "of {whole:.0} µs of both cores: reading JSON {read:.0} µs ({:.0} %), hashing {hash:.0} µs ({:.0} %), look-ups {look_up:.0} µs ({:.0} %); \
         the rest is HTTP, the system, printing, and the load generator",
        100.0 * read / whole,
        100.0 * hash / whole,
        100.0 * look_up / whole
    );
}

/// Numbers from a seed (`SplitMix64`), so that every run replays the same searches.
struct Seeded(u64);

impl Seeded {
    /// Evenly from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Searches whose query of rank `r` comes with a frequency of `1 / r^EXPONENT` (Zipf's law, by inversion of the summed
/// frequencies).
fn searches() -> Vec<usize> {
    let mut sums: Vec<f64> = Vec::with_capacity(QUERIES);
    for rank in 1..=QUERIES {
        sums.push(sums.last().copied().unwrap_or(0.0) + (rank as f64).powf(-EXPONENT));
    }
    let all = sums.last().copied().unwrap_or(1.0);
    let mut random = Seeded(42);
    (0..SEARCHES).map(|_| sums.partition_point(|sum| *sum < random.next() * all).min(QUERIES - 1)).collect()
}

/// The same searches through one, two and three tiers. The first tier holds a tenth of all pairs; in the middle the
/// process is replaced, as a deployment does.
fn replay() {
    let searches = searches();
    let small = Options { bytes: (QUERIES * HITS / 10) as u64 * 272, weights: Vec::new(), ttl: None };
    let folder = tempfile::tempdir().expect("a folder");
    println!(
        "\n{SEARCHES} searches over {QUERIES} queries of {HITS} hits, Zipf with exponent {EXPONENT}; a restart in the middle"
    );
    println!("| tiers | hit share | pairs/s |\n|---|---|---|");
    for (name, redis, snapshot) in [
        ("memory", false, false),
        ("memory, shared", true, false),
        ("memory, shared, snapshot", true, true),
        ("memory, snapshot", false, true),
    ] {
        let redis = if redis { Some(Redis::start(&[])) } else { None };
        if matches!(redis, Some(None)) {
            continue;
        }
        let url = redis.as_ref().and_then(Option::as_ref).map(Redis::url);
        let path = snapshot.then(|| folder.path().join(name));
        let (mut hits, mut took) = (0, Duration::ZERO);
        for half in searches.chunks(SEARCHES / 2) {
            let core = core_with(&small, url.clone());
            if url.is_some() {
                support::eventually("the tier is reached", || core.reranker.cache().shared.is_some_and(|tier| tier.up));
            }
            let options = SnapshotOptions { path: path.clone(), every: Duration::from_hours(1) };
            let keeper = Keeper::start(core.cache.clone(), &options).expect("a thread");
            let _loaded = keeper.as_ref().is_none_or(|keeper| keeper.wait_until_loaded(Duration::from_secs(10)));
            let started = Instant::now();
            for search in half {
                let documents: Vec<String> = (0..HITS).map(|hit| format!("hit {hit} of {search}")).collect();
                hits += score(&core, &format!("query {search}"), &documents).expect("scored").stats.cached;
            }
            took += started.elapsed();
        }
        let pairs = SEARCHES * HITS;
        println!("| {name} | {:.3} | {:.0} |", hits as f64 / pairs as f64, pairs as f64 / took.as_secs_f64());
    }
}

/// A scorer whose forward pass takes five milliseconds.
#[derive(Debug)]
struct Slow;

const FORWARD: Duration = Duration::from_millis(5);

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

/// Cold searches alone, and beside a warm-up job at full speed.
fn beside() {
    let mut model = fake::model("fake", fake::Pace::default());
    (model.scorers, model.company) = (Box::new(Slow), Company::Alone);
    let engine = engine::Options {
        workers: Some(2),
        tokenisers: 2,
        batch_tokens: Some(512),
        batch_wait: None,
        queue_tokens: 50_000_000,
        weights: Vec::new(),
        stuck_after: Duration::from_secs(5),
    };
    let shared = SharedOptions { url: None, timeout: Duration::ZERO };
    let core = Core::sharing(vec![model], &engine, (&support::CACHE, &shared)).expect("threads");
    core.reranker.wait_until_warm().expect("warm");
    let p99 = |name: &str| {
        let mut times: Vec<Duration> = (0..300)
            .map(|n| {
                let started = Instant::now();
                score(&core, name, &support::documents(&n.to_string(), 4)).expect("scored");
                started.elapsed()
            })
            .collect();
        times.sort();
        (times[150], times[297])
    };
    let alone = p99("alone");
    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for job in 0..8 {
            let (core, over) = (&core, &over);
            scope.spawn(move || {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let documents = support::documents(&format!("{job} {n}"), 20);
                    score_as(core, ("warm-up", &documents), Priority::WarmUp).expect("scored");
                }
            });
        }
        let beside = p99("beside");
        over.store(true, Ordering::Relaxed);
        beside
    });
    println!(
        "\na search of 4 cold pairs, {FORWARD:?} a forward pass: median {:.1?}, p99 {:.1?} alone; median {:.1?}, p99 {:.1?} beside a warm-up",
        alone.0, alone.1, beside.0, beside.1
    );
}
