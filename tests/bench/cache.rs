//! `make bench-cache`: what `rescored bench cache`, which asks over HTTP, cannot see of the score cache.
//!
//! Parts, both unless arguments name one: `entries` (bytes of an entry, writing and reading a snapshot) and `stalled`
//! (searches while a shared tier stands still). The model is the tests' own, whose forward pass costs next to nothing.
//! Figures are printed, and written to the file that `BENCH_REPORT` names; a bound that is not kept is reported and ends
//! with exit code 1. `BENCH_SHORT` set to anything shortens every part: enough to see that it runs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints its figures and dies when it cannot measure, as tests do"
)]

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "the tests of the server send more kinds of requests")]
mod client;
#[path = "../api/support/fake.rs"]
#[expect(dead_code, reason = "only the tests of the server swap versions of the model")]
mod fake;
mod page;
#[expect(dead_code, reason = "the server runs in this process")]
mod program;
#[path = "../cache/redis.rs"]
#[expect(dead_code, reason = "the tests of the shared tier do more to it")]
mod redis;
#[path = "cache/stalled.rs"]
mod stalled;
#[path = "../cache/support.rs"]
#[expect(dead_code, reason = "the tests of the cache need more")]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use rescored_cache::snapshot::Snapshot;
use rescored_cache::{Options, QueryKey, Scope, ScoreCache};
use rescored_core::domain::{Logit, Scored, Truncation};
use rescored_lab::bench::report::Section;

use page::{Finding, Page};
use program::setting;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const MILLION: usize = 1_000_000;

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

/// Measures, and judges its bounds.
type Part = fn(Sizes) -> (Section, Vec<Finding>);

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let short = setting("BENCH_SHORT").is_some();
    let sizes = if short { Sizes { part: 10, judged: false } } else { Sizes { part: 1, judged: true } };
    let parts: [(&str, Part); 2] = [("entries", entries), ("stalled", stalled::run)];
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let unknown = words.iter().find(|word| parts.iter().all(|(name, _)| name != word));
    assert!(
        unknown.is_none(),
        "`{}` is no part; `rescored bench cache` has others",
        unknown.map_or("", String::as_str)
    );
    let chosen = if words.is_empty() { String::new() } else { format!(" PART='{}'", words.join(" ")) };
    let command = format!("{}make bench-cache{chosen}", if short { "BENCH_SHORT=1 " } else { "" });
    let mut page = Page::begin("The score cache", &command);
    for (_, part) in parts.into_iter().filter(|(name, _)| wanted(name)) {
        page.judge(|| part(sizes));
    }
    page.end()
}

/// A bound; in a run too short to judge it counts as kept.
pub(crate) fn verdict(sizes: Sizes, kept: bool, what: &str) -> Finding {
    let note = if sizes.judged { "" } else { " (a short run: not judged)" };
    Finding::new(kept || !sizes.judged, format!("{what}{note}"))
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
fn entries(sizes: Sizes) -> (Section, Vec<Finding>) {
    let mut lines = Vec::new();
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
        lines.push(format!(
            "{count} entries, ttl {ttl:?}: {each} resident bytes each, {} estimated; {:.0} ns to insert one",
            report.models[0].bytes / report.models[0].entries.max(1),
            took.as_nanos() as f64 / f64::from(count)
        ));
        caches.push(cache);
    }
    if let Some(cache) = caches.iter().rev().nth(1) {
        lines.push(snapshot(cache));
        lines.push(halve(cache));
    }
    let section = Section {
        id: "entries".to_owned(),
        title: "entries".to_owned(),
        question: "What does an entry take, and how long do snapshots of many take?".to_owned(),
        findings: lines,
        ..Section::default()
    };
    (section, Vec::new())
}

/// What giving half of the scores up gives back.
fn halve(cache: &ScoreCache) -> String {
    let figures = || (resident().unwrap_or(0), cache.report().models[0].bytes);
    let (before, started) = (figures(), Instant::now());
    let mut first = None;
    cache.halve(|| {
        rescored_server::app::give_back();
        first.get_or_insert_with(|| started.elapsed());
    });
    let (took, after) = (started.elapsed(), figures());
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "half of them given up: accounted {:.0} to {:.0} MiB, resident {:.0} to {:.0} MiB; memory was back after {:.2?}, the other half in new tables after {took:.2?}",
        megabytes(before.1),
        megabytes(after.1),
        megabytes(before.0),
        megabytes(after.0),
        first.unwrap_or_default()
    )
}

fn snapshot(cache: &ScoreCache) -> String {
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
    format!(
        "a snapshot of {entries} entries: {} bytes, written in {wrote:.2?}, checked in {checked:.2?}, found after {found:.2?}, in the first tier after {:.2?}",
        std::fs::metadata(&path).map_or(0, |file| file.len()),
        started.elapsed()
    )
}
