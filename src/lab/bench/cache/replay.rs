//! A replay of searches through one, two and three tiers, with the process replaced in the middle, as a deployment does.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rescored_process::sync::lock;
use serde_json::Value;

use super::super::Setup;
use super::super::report::{Better, Fact, Measure, Section, Table, Tone, figure};
use super::super::served::{Served, Setting};
use super::super::texts::Request;
use super::redis::Redis;
use super::wire::{Prepared, Wire};
use super::{Options, nonce, serve, zipf};

/// Clients that search.
const CLIENTS: usize = 2;

/// Bytes of a document: the tiers are measured, not the model.
const DOCUMENT: usize = 80;

/// Bytes that an entry is weighed with.
const ENTRY: usize = 288;

/// The first tier holds one in so many of all pairs.
const SHARE: usize = 10;

/// How long a tier may take to be there, or a snapshot to be written.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of one way.
struct TierResult {
    name: &'static str,
    tiers: usize,
    hits: f64,
    pairs_per_second: f64,
    p99_ms: f64,
}

pub(super) fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, String> {
    let searches = zipf::searches(options.searches, options.queries, options.exponent);
    let folder = tempfolder()?;
    let (mut ways, mut notes) = (Vec::new(), Vec::new());
    for (name, shared, snapshot) in [
        ("memory", false, false),
        ("memory, snapshot", false, true),
        ("memory, shared", true, false),
        ("memory, shared, snapshot", true, true),
    ] {
        setup.watch.say(&format!("  {name}"));
        let redis = match shared.then(|| Redis::find(options.redis.as_deref())).transpose() {
            Ok(redis) => redis,
            Err(why) => {
                notes.push(format!("not run: {name} ({why})"));
                continue;
            }
        };
        let path = snapshot.then(|| folder.0.join(name.replace(", ", "-")));
        let settings = settings(options, redis.as_ref(), path.as_deref());
        ways.push(way(setup, name, &settings, &searches, options)?);
    }
    Ok(section(&ways, notes, options))
}

fn settings(options: &Options, redis: Option<&Redis>, snapshot: Option<&Path>) -> Vec<Setting> {
    let bytes = options.queries * options.hits / SHARE * ENTRY;
    let mut settings = vec![("RESCORED_CACHE_BYTES", format!("{}KiB", bytes.div_ceil(1024)))];
    if let Some(redis) = redis {
        settings.push(("RESCORED_CACHE_REDIS", redis.url.clone()));
        // What a run leaves in a tier that is not ours is gone soon.
        settings.push(("RESCORED_CACHE_TTL", "1h".to_owned()));
    }
    if let Some(path) = snapshot {
        settings.push(("RESCORED_CACHE_SNAPSHOT", path.display().to_string()));
        settings.push(("RESCORED_CACHE_SNAPSHOT_EVERY", "1s".to_owned()));
    }
    settings
}

fn way(
    setup: &Setup<'_>,
    name: &'static str,
    settings: &[Setting],
    searches: &[usize],
    options: &Options,
) -> Result<TierResult, String> {
    let requests = requests(setup, options)?;
    let (mut hits, mut took, mut latencies) = (0, Duration::ZERO, super::super::load::Latencies::new());
    for half in searches.chunks(searches.len().div_ceil(2).max(1)) {
        let served = serve(setup, settings)?;
        reached(&served)?;
        let started = Instant::now();
        let (next, all) = (AtomicUsize::new(0), Mutex::new(&mut latencies));
        let client = || -> Result<usize, String> {
            let mut wire = Wire::open(served.url())?;
            let mut hits = 0;
            while let Some(request) =
                half.get(next.fetch_add(1, Ordering::Relaxed)).and_then(|rank| requests.get(*rank))
            {
                let sent = Instant::now();
                hits += wire.send(request)?;
                lock(&all).record(sent.elapsed());
            }
            Ok(hits)
        };
        hits += std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            clients
                .into_iter()
                .map(|client| client.join().map_err(|_| "a client panicked".to_owned())?)
                .sum::<Result<usize, String>>()
        })?;
        took += started.elapsed();
        // Killed when it is dropped: what survives is what was written by then.
        written(&served)?;
    }
    let pairs = (searches.len() * options.hits) as f64;
    Ok(TierResult {
        name,
        tiers: name.split(", ").count(),
        hits: hits as f64 / pairs,
        pairs_per_second: pairs / took.as_secs_f64(),
        p99_ms: latencies.quantile_ms(0.99),
    })
}

/// One a query: texts that no other run has, in documents of even length.
fn requests(setup: &Setup<'_>, options: &Options) -> Result<Vec<Prepared>, String> {
    let nonce = nonce();
    let drawn = setup.texts.requests(options.queries, options.hits).map_err(|error| error.to_string())?;
    let short = |text: &String| text.chars().take(DOCUMENT).collect::<String>();
    let request = |(rank, request): (usize, Request)| {
        let documents = request.documents.iter().map(short).collect();
        Prepared::new(&Request { query: format!("{rank} {nonce}"), documents })
    };
    Ok(drawn.into_iter().enumerate().map(request).collect())
}

fn tier(served: &Served, name: &str) -> Result<Option<Value>, String> {
    let reported = served.get("/v1/cache")?;
    let tiers = reported["tiers"].as_array().cloned().unwrap_or_default();
    Ok(tiers.into_iter().find(|tier| tier["tier"] == name))
}

/// Waits for the shared tier, where there is one.
fn reached(served: &Served) -> Result<(), String> {
    until("the shared tier is not reached", || Ok(tier(served, "shared")?.is_none_or(|shared| shared["up"] == true)))
}

/// Waits until what was scored is written down wherever it shall be.
fn written(served: &Served) -> Result<(), String> {
    let entries = served.get("/v1/cache")?["entries"].clone();
    until("the snapshot is not written", || {
        Ok(tier(served, "snapshot")?.is_none_or(|snapshot| snapshot["entries"] == entries))
    })?;
    let (mut before, mut now) = (Value::Null, served_writes(served)?);
    while before != now {
        std::thread::sleep(Duration::from_millis(100));
        before = std::mem::replace(&mut now, served_writes(served)?);
    }
    Ok(())
}

fn served_writes(served: &Served) -> Result<Value, String> {
    Ok(tier(served, "shared")?.map_or(Value::Null, |shared| shared["written"].clone()))
}

fn until(what: &str, happened: impl Fn() -> Result<bool, String>) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while !happened()? {
        if Instant::now() > until {
            return Err(format!("{what} after {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A folder that goes with the value.
struct Folder(std::path::PathBuf);

fn tempfolder() -> Result<Folder, String> {
    let path = std::env::temp_dir().join(format!("rescored-bench-{}", std::process::id()));
    std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Folder(path))
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be taken away is left to the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn section(ways: &[TierResult], mut notes: Vec<String>, options: &Options) -> Section {
    let mut table = Table::new("", &["tiers", "number", "hit share", "pairs/s", "p99 ms"]);
    let mut measures = Vec::new();
    for way in ways {
        let cells = [way.name.to_owned(), way.tiers.to_string(), figure(way.hits), figure(way.pairs_per_second)];
        table.push(Tone::Plain, cells.into_iter().chain([figure(way.p99_ms)]).collect());
        for (figure, unit, value) in [("hits", "share", way.hits), ("pairs", "pairs/s", way.pairs_per_second)] {
            let name = format!("cache replay {}/{figure}", way.name);
            measures.push(Measure { name, unit: unit.to_owned(), better: Better::Higher, rounds: vec![value] });
        }
    }
    notes.push(format!(
        "The query of rank r comes with a frequency of 1/r^{}, drawn by inversion from SplitMix64 with seed 42.",
        options.exponent
    ));
    notes.push(format!(
        "The first tier holds a {SHARE}th of all pairs; the process is killed and started anew in the middle."
    ));
    let best = ways.iter().max_by(|a, b| a.hits.total_cmp(&b.hits));
    let finding =
        best.map(|best| format!("{} answers {:.0} % of pairs without the model", best.name, best.hits * 100.0));
    Section {
        id: "cache-replay".to_owned(),
        title: "Searches through the tiers".to_owned(),
        question: "What does each tier save?".to_owned(),
        setup: vec![
            Fact::new("searches", options.searches.to_string()),
            Fact::new("distinct queries", options.queries.to_string()),
            Fact::new("documents of a search", options.hits.to_string()),
            Fact::new("clients", CLIENTS.to_string()),
        ],
        findings: finding.into_iter().collect(),
        tables: vec![table],
        notes,
        measures,
        ..Section::default()
    }
}
