//! `make bench-cache`: what the score cache costs and what it saves.
//!
//! Parts, all of them unless arguments name some: `entries` (bytes of an entry, writing and reading a snapshot), `hot` (a
//! request that is all hits, over HTTP), `replay` (searches through one, two and three tiers), `beside` (searches beside a
//! warm-up job), `stalled` (searches while a shared tier stands still). The model is the tests' own, whose forward pass costs
//! next to nothing unless said: what is measured is everything else. Figures are printed, and written to the file that
//! `BENCH_REPORT` names; a bound that is not kept is said and ends with exit code 1. `BENCH_SHORT` set to anything shortens
//! every part: enough to see that it runs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints its figures and dies when it cannot measure, as tests do"
)]

/// Prints a line and keeps it for the report.
macro_rules! report {
    ($($text:tt)*) => { $crate::Printed::line(&format!($($text)*)) };
}

#[path = "cache/beside.rs"]
mod beside;
#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "the tests of the server send more kinds of requests")]
mod client;
#[path = "../api/support/fake.rs"]
#[expect(dead_code, reason = "only the tests of the server swap versions of the model")]
mod fake;
#[path = "../cache/redis.rs"]
#[expect(dead_code, reason = "the tests of the shared tier do more to it")]
mod redis;
#[path = "cache/stalled.rs"]
mod stalled;
#[path = "../cache/support.rs"]
#[expect(dead_code, reason = "the tests of the cache need more")]
mod support;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use rescored_cache::snapshot::Snapshot;
use rescored_cache::snapshot_writer::SnapshotWriter;
use rescored_cache::{Options, QueryKey, Scope, ScoreCache, SnapshotOptions};
use rescored_core::domain::{Logit, Scored, Truncation};
use rescored_core::random::Seeded;
use rescored_lab::bench::host;
use rescored_server::app::Core;
use serde_json::json;

use client::Connection;
use redis::Redis;
use support::{Server, core, core_with, score};

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const MILLION: usize = 1_000_000;
/// What a hot request of 100 documents has to keep on two cores, the load generator included.
const PROMISED: (f64, Duration) = (300_000.0, Duration::from_millis(5));
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

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// One of so many of what the parts do in full.
    part: usize,
    /// Whether bounds are judged: a short run is too short for some.
    judged: bool,
}

impl Sizes {
    fn of(self, full: usize) -> usize {
        full / self.part
    }

    fn time(self, full: Duration) -> Duration {
        full / u32::try_from(self.part).expect("a small number")
    }
}

/// Measures and says whether its bounds were kept.
type Part = fn(Sizes) -> bool;

/// What was printed so far.
pub(crate) struct Printed;

static PRINTED: Mutex<String> = Mutex::new(String::new());

impl Printed {
    /// Prints a line, and writes the file that `BENCH_REPORT` names anew.
    pub(crate) fn line(line: &str) {
        println!("{line}");
        let mut all = PRINTED.lock().expect("nobody panicked");
        all.push_str(line);
        all.push('\n');
        if let Some(path) = setting("BENCH_REPORT") {
            std::fs::write(&path, &*all).unwrap_or_else(|error| panic!("BENCH_REPORT: {path}: {error}"));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench gets its sizes from the environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let short = setting("BENCH_SHORT").is_some();
    let sizes = if short { Sizes { part: 10, judged: false } } else { Sizes { part: 1, judged: true } };
    heading(&words, short);
    let parts: [(&str, Part); 5] =
        [("entries", entries), ("hot", hot), ("replay", replay), ("beside", beside::run), ("stalled", stalled::run)];
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let unknown = words.iter().find(|word| parts.iter().all(|(name, _)| name != word));
    assert!(unknown.is_none(), "`{}` is no part", unknown.map_or("", String::as_str));
    let mut kept = true;
    for (name, part) in parts.into_iter().filter(|(name, _)| wanted(name)) {
        report!("\n## {name}\n");
        kept &= part(sizes);
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn heading(words: &[String], short: bool) {
    let part = if words.is_empty() { String::new() } else { format!(" PART='{}'", words.join(" ")) };
    let build = if cfg!(debug_assertions) { "; a debug build: its times say nothing" } else { "" };
    report!("# The score cache\n");
    report!("- command: `{}make bench-cache{part}`{build}", if short { "BENCH_SHORT=1 " } else { "" });
    for fact in host::facts() {
        report!("- {}: {}", fact.name, fact.value);
    }
}

/// Says whether a bound was kept; in a run too short to judge it counts as kept.
pub(crate) fn verdict(sizes: Sizes, kept: bool, what: &str) -> bool {
    let word = if kept { "kept:" } else { "NOT KEPT:" };
    report!("- {word} {what}{}", if sizes.judged { "" } else { " (a short run: not judged)" });
    kept || !sizes.judged
}

fn scored(number: u32) -> Scored {
    Scored { logit: Logit::new(number as f32).expect("finite"), tokens: number, cut: false }
}

fn scopes() -> Vec<Scope> {
    vec![Scope { model: "m".into(), identity: "the model".into() }]
}

/// Resident bytes of the process, where the system reports them.
fn resident() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Bytes of an entry, with and without an age limit; writing and reading a snapshot.
fn entries(sizes: Sizes) -> bool {
    let counts = [MILLION / 10, MILLION].map(|full| u32::try_from(sizes.of(full)).expect("a million at most"));
    let keys = QueryKey::new("m", &Truncation::MODEL, "q");
    // Kept to the end: what one gave back would be taken for what the next one did not need.
    let mut caches = Vec::new();
    for (count, ttl) in
        counts.into_iter().flat_map(|count| [None, Some(Duration::from_hours(1))].map(|ttl| (count, ttl)))
    {
        let before = resident();
        let cache = ScoreCache::new(&Options { bytes: 1 << 40, weights: Vec::new(), ttl }, scopes(), Arc::default());
        let started = Instant::now();
        (0..count).for_each(|number| cache.insert(0, keys.document(&number.to_string()), scored(number)));
        let took = started.elapsed();
        // What moka has put off is done by now and then looking.
        std::thread::sleep(Duration::from_millis(500));
        let report = cache.report();
        let each = resident().zip(before).map_or(0, |(now, before)| now.saturating_sub(before) / u64::from(count));
        report!(
            "- {count} entries, ttl {ttl:?}: {each} resident bytes each, {} estimated; {:.0} ns to insert one",
            report.models[0].bytes / report.models[0].entries.max(1),
            took.as_nanos() as f64 / f64::from(count)
        );
        caches.push(cache);
    }
    if let Some(cache) = caches.iter().rev().nth(1) {
        snapshot(cache);
        halve(cache);
    }
    true
}

/// What giving half of the scores up gives back.
fn halve(cache: &ScoreCache) {
    let figures = || (resident().unwrap_or(0), cache.report().models[0].bytes);
    let (before, started) = (figures(), Instant::now());
    let mut first = None;
    cache.halve(|| {
        rescored_server::app::give_back();
        first.get_or_insert_with(|| started.elapsed());
    });
    let (took, after) = (started.elapsed(), figures());
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report!(
        "- half of them given up: accounted {:.0} to {:.0} MiB, resident {:.0} to {:.0} MiB; memory was back after {:.2?}, the other half in new tables after {took:.2?}",
        megabytes(before.1),
        megabytes(after.1),
        megabytes(before.0),
        megabytes(after.0),
        first.unwrap_or_default()
    );
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
    fresh.announce(snapshot).expect("read");
    let found = started.elapsed();
    fresh.take_over();
    report!(
        "- a snapshot of {entries} entries: {} bytes, written in {wrote:.2?}, checked in {checked:.2?}, found after {found:.2?}, in the first tier after {:.2?}",
        std::fs::metadata(&path).map_or(0, |file| file.len()),
        started.elapsed()
    );
}

/// A hot request, over HTTP and in its parts.
fn hot(sizes: Sizes) -> bool {
    let length = sizes.time(HOT);
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
        std::thread::sleep(length);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    times.sort();
    let (rate, p99) = ((times.len() * DOCUMENTS) as f64 / length.as_secs_f64(), times[times.len() * 99 / 100]);
    report!(
        "- a hot request of {DOCUMENTS} documents ({} bytes), {CONNECTIONS} connections: {:.0} pairs/s, median {:.2?}, p99 {:.2?}",
        body.len(),
        rate,
        times[times.len() / 2],
        p99
    );
    parts(&core, &body, &documents, length.as_secs_f64() * 2.0 / times.len() as f64);
    let (wanted, longest) = PROMISED;
    let what = format!("at least {wanted:.0} pairs/s and a p99 under {longest:?}, load generator on the same machine");
    verdict(sizes, rate >= wanted && p99 < longest, &what)
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
fn parts(core: &Core, body: &str, documents: &[String], whole: f64) {
    let micros = |work: &dyn Fn()| {
        let rounds = 2000;
        let started = Instant::now();
        (0..rounds).for_each(|_| work());
        started.elapsed().as_secs_f64() / f64::from(rounds) * 1e6
    };
    let query = || QueryKey::new("m", &Truncation::MODEL, "how many people live in berlin");
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
    report!(
        "- of {whole:.0} µs of both cores: reading JSON {read:.0} µs ({:.0} %), hashing {hash:.0} µs ({:.0} %), look-ups {look_up:.0} µs ({:.0} %); \
         the rest is HTTP, the system, printing, and the load generator",
        100.0 * read / whole,
        100.0 * hash / whole,
        100.0 * look_up / whole
    );
}

/// Searches whose query of rank `r` comes with a frequency of `1 / r^EXPONENT` (Zipf's law, by inversion of the summed
/// frequencies).
fn searches(count: usize) -> Vec<usize> {
    let mut sums: Vec<f64> = Vec::with_capacity(QUERIES);
    for rank in 1..=QUERIES {
        sums.push(sums.last().copied().unwrap_or(0.0) + (rank as f64).powf(-EXPONENT));
    }
    let all = sums.last().copied().unwrap_or(1.0);
    let mut random = Seeded::new(42);
    (0..count).map(|_| sums.partition_point(|sum| *sum < random.share() * all).min(QUERIES - 1)).collect()
}

/// The same searches through one, two and three tiers. The first tier holds a tenth of all pairs; in the middle the
/// process is replaced, as a deployment does.
fn replay(sizes: Sizes) -> bool {
    let count = sizes.of(SEARCHES);
    let searches = searches(count);
    let small = Options { bytes: (QUERIES * HITS / 10) as u64 * 288, weights: Vec::new(), ttl: None };
    let folder = tempfile::tempdir().expect("a folder");
    report!(
        "{count} searches over {QUERIES} queries of {HITS} hits, Zipf with exponent {EXPONENT}; a restart in the middle\n"
    );
    report!("| tiers | hit share | pairs/s |\n|---|---|---|");
    for (name, redis, snapshot) in [
        ("memory", false, false),
        ("memory, shared", true, false),
        ("memory, shared, snapshot", true, true),
        ("memory, snapshot", false, true),
    ] {
        let redis = redis.then(|| Redis::start(&[]));
        let url = redis.as_ref().map(Redis::url);
        let path = snapshot.then(|| folder.path().join(name));
        let (mut hits, mut took) = (0, Duration::ZERO);
        for half in searches.chunks(count / 2) {
            let core = core_with(&small, url.clone());
            if url.is_some() {
                support::eventually("the tier is reached", || core.reranker.cache().shared.is_some_and(|tier| tier.up));
            }
            let options = SnapshotOptions { path: path.clone(), every: Duration::from_hours(1) };
            let snapshot_writer = SnapshotWriter::start(core.cache.clone(), &options).expect("a thread");
            let _loaded = snapshot_writer
                .as_ref()
                .is_none_or(|snapshot_writer| snapshot_writer.wait_until_loaded(Duration::from_secs(10)));
            let started = Instant::now();
            for search in half {
                let documents: Vec<String> = (0..HITS).map(|hit| format!("hit {hit} of {search}")).collect();
                hits += score(&core, &format!("query {search}"), &documents).expect("scored").stats.cached;
            }
            took += started.elapsed();
        }
        let pairs = count * HITS;
        report!("| {name} | {:.3} | {:.0} |", hits as f64 / pairs as f64, pairs as f64 / took.as_secs_f64());
    }
    true
}
