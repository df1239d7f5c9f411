//! Scores outlive the process: the program with a snapshot, stopped, killed while it writes, and started again; and what
//! many clients of a fresh process cost.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rescored_cache::snapshot::Snapshot;
use rescored_cache::{Options, QueryKey, Scope, ScoreCache};
use rescored_core::domain::{Logit, Scored, Truncation};
use serde_json::json;

use crate::program::Server;
use crate::support::{Connection, float};

/// Entries that make a snapshot of a size worth killing.
const FILLER: u32 = 50_000;
/// Kills of a plain `cargo test`; `RESTART_KILLS` asks for others.
const KILLS: u32 = 6;
/// How long a start, a stop or a write may take.
const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const QUERY: &str = "how many people live in berlin";

/// Documents that no other call names.
pub(crate) fn documents(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}: Berlin had 3,520,031 registered inhabitants.")).collect()
}

/// One life of the server, from its start to its end or its death.
pub(crate) struct Life {
    server: Server,
    log: JoinHandle<String>,
}

impl Life {
    /// Starts it with a snapshot at this path, and waits until `/readyz` is 200.
    pub(crate) fn begin(snapshot: &Path) -> Self {
        Self::with(snapshot, &[])
    }

    fn with(snapshot: &Path, more: &[(&str, &str)]) -> Self {
        let path = snapshot.display().to_string();
        let began = Instant::now();
        let vars = [
            ("RESCORED_CACHE_SNAPSHOT", path.as_str()),
            ("RESCORED_CACHE_SNAPSHOT_EVERY", "1s"),
            ("RESCORED_GRAPH", "source"),
            ("RESCORED_WORKERS", "2"),
        ];
        let mut server = Server::listening(&[&vars, more].concat());
        // The log is read while it is written: a full pipe would stop the program.
        let mut log = server.log.take().expect("the log");
        let read = move || {
            let mut all = String::new();
            log.read_to_string(&mut all).expect("the log ends");
            all
        };
        let log = std::thread::Builder::new().name("log".into()).spawn(read).expect("a thread");
        let mut life = Self { server, log };
        let mut probe = life.connect();
        while probe.send("GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").status != 200 {
            assert!(life.server.child.try_wait().expect("asked").is_none(), "the start was refused");
            assert!(began.elapsed() < PATIENCE, "not ready within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        life
    }

    fn connect(&self) -> Connection {
        Connection::open(self.server.address)
    }

    /// How many of these pairs were hits, and all their logits, bit for bit.
    pub(crate) fn score(&self, documents: &[String]) -> (usize, Vec<u32>) {
        let body = json!({"query": QUERY, "documents": documents, "raw_scores": true}).to_string();
        let answer = self.connect().post("/v1/rerank", body, "");
        let mut bits = vec![0; documents.len()];
        for item in answer.ok()["results"].as_array().expect("results") {
            let index = usize::try_from(item["index"].as_u64().expect("an index")).expect("an index");
            bits[index] = float(&item["relevance_score"]).to_bits();
        }
        (answer.header("x-rescored-cache-hits").map_or(0, |hits| hits.parse().expect("a number")), bits)
    }

    /// A figure of `/metrics`; 0 while it has never been counted.
    fn figure(&self, name: &str) -> u64 {
        let page = self.connect().send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Stops it by SIGTERM; what it said.
    pub(crate) fn end(mut self) -> String {
        self.server.terminate();
        let status = self.server.child.wait().expect("the program ends");
        let log = self.log.join().expect("the log");
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// Kills it by SIGKILL.
    fn kill(mut self) {
        drop(self.server.child.kill());
        self.server.child.wait().expect("gone");
        self.log.join().expect("the log");
    }
}

/// Adds scores of other pairs to a snapshot of the program's, so that it takes a while to write.
fn fill(path: &Path) {
    fill_with(path, FILLER);
}

fn fill_with(path: &Path, count: u32) {
    let snapshot = Snapshot::open(path).expect("whole");
    let identity = snapshot.identities()[0].clone();
    let scopes = vec![Scope { model: "any".into(), identity }];
    let cache = ScoreCache::new(&Options { bytes: 1 << 30, weights: Vec::new(), ttl: None }, scopes, Arc::default());
    cache.restore(snapshot).expect("read");
    let keys = QueryKey::new("filler", &Truncation::MODEL, "filler");
    for number in 0..count {
        let scored = Scored { logit: Logit::new(1.0).expect("finite"), tokens: 1, cut: false };
        cache.insert(0, keys.document(&number.to_string()), scored);
    }
    assert!(cache.write_snapshot(path).expect("written") > u64::from(count));
}

/// Resident bytes of the program, and what its cache accounts for.
#[cfg(target_os = "linux")]
fn memory(life: &Life) -> (u64, u64) {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", life.server.child.id())).expect("it runs");
    let pages: u64 = pages.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    let reported = life.connect().send("GET /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    (pages * 4096, reported["bytes"].as_u64().expect("bytes"))
}

// Case B2: its neighbour across a restart.
#[test]
fn a_snapshot_serves_no_score_of_a_document_without_a_token_under_another_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let documents = ["\u{301}".to_owned()];
    let life = |setting| Life::with(&path, &[("RESCORED_EMPTY_DOCUMENTS", setting)]);
    let scored = life("score");
    let (_, of_the_model) = scored.score(&documents);
    scored.end();
    let last = life("last");
    let (hits, bits) = last.score(&documents);
    assert_eq!((hits, bits), (0, vec![(-500f32).to_bits()]), "the model's own score was {of_the_model:?}");
    last.end();
    let scored = life("score");
    assert_eq!(scored.score(&documents), (1, of_the_model), "it is kept under its own setting");
    scored.end();
}

// Case A8.
#[cfg(target_os = "linux")]
#[test]
fn scores_given_up_while_memory_is_short_are_given_back_to_the_system() {
    const SCORES: u32 = 400_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let seed = Life::begin(&path);
    seed.score(&documents("kept", 2));
    seed.end();
    fill_with(&path, SCORES);
    let until = Instant::now() + PATIENCE;
    // Without a limit: what all of them take.
    let free = Life::with(&path, &[("RESCORED_MEMORY_LIMIT", "1TiB")]);
    while memory(&free).1 < u64::from(SCORES) * 288 {
        assert!(Instant::now() < until, "the snapshot is not taken over");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (resident, accounted) = memory(&free);
    free.end();
    // With one that all of them nearly reach.
    let limit = format!("{}MiB", (resident * 100 / 94) >> 20);
    let short = Life::with(&path, &[("RESCORED_MEMORY_LIMIT", &limit)]);
    let until = Instant::now() + PATIENCE;
    let (now, left) = loop {
        let (now, left) = memory(&short);
        if left < accounted * 3 / 4
            && now < resident - (accounted - left) / 2
            && short.figure("rescored_memory_pressure") == 0
        {
            break (now, left);
        }
        assert!(Instant::now() < until, "{now} of {resident} bytes resident, {left} of {accounted} accounted");
        std::thread::sleep(Duration::from_millis(50));
    };
    println!("limit {limit}: resident {resident} to {now}, accounted {accounted} to {left}");
    assert_eq!(short.score(&documents("new", 2)).0, 0, "it scores");
    short.end();
}

#[test]
fn the_first_request_after_a_restart_is_a_full_hit_bit_for_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let documents = documents("kept", 20);
    let before = Life::begin(&path);
    let (hits, fresh) = before.score(&documents);
    assert_eq!((hits, before.figure("rescored_cache_misses_total")), (0, 20), "all of it is new");
    before.end();
    fill(&path);
    let after = Life::begin(&path);
    assert_eq!(after.score(&documents), (20, fresh));
    assert_eq!(after.figure("rescored_cache_hits_total"), 20);
    assert_eq!(after.figure("rescored_cache_misses_total"), 0);
    let reported = after.connect().send("GET /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    let snapshot = reported["tiers"].as_array().expect("tiers").iter().find(|tier| tier["tier"] == "snapshot").cloned();
    assert_eq!(snapshot.expect("a snapshot")["restored"], FILLER + 20);
    after.end();
}

// Case A10.
#[test]
fn a_snapshot_path_that_is_no_file_keeps_the_service_neither_from_starting_nor_from_ending() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    // A pipe that nobody writes into: whoever opens it plainly waits for ever.
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs").success());
    std::fs::create_dir(at("folder")).expect("a folder");
    let cases = [at("pipe"), at("folder"), "/dev/zero".into(), at("not/there")];
    for path in cases {
        let mut life = Life::begin(&path);
        assert_eq!(life.score(&documents("meanwhile", 2)).0, 0, "it scores");
        let asked = Instant::now();
        life.server.terminate();
        let status = life.server.child.wait().expect("the program ends");
        let took = asked.elapsed();
        let log = life.log.join().expect("the log");
        let name = path.display();
        assert!(took < Duration::from_secs(20), "{name}: {took:.1?}");
        assert_eq!(status.code(), Some(1), "{name}: two scores are lost, and that is said: {log}");
        let reported = format!("the last snapshot of the score cache was not written: `{name}`: ");
        assert!(log.contains(&reported), "{name}: {log}");
    }
}

/// Files in a folder that are snapshots half written.
fn drafts(folder: &Path) -> Vec<OsString> {
    let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".partial")).collect()
}

/// Waits until the program writes: a temporary file appears. It may have ended instead.
fn wait_until_it_writes(life: &mut Life, folder: &Path) -> Option<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    while drafts(folder).is_empty() {
        if let Some(status) = life.server.child.try_wait().expect("asked") {
            return Some(status);
        }
        assert!(Instant::now() < until, "nothing was written");
        std::thread::sleep(Duration::from_micros(200));
    }
    None
}

/// How long the last snapshot took to write, by the log.
fn took(log: &str) -> Duration {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let written = lines.rfind(|line| line["message"] == "snapshot written").expect("a snapshot was written");
    let figure = written["took_ms"].to_string();
    Duration::from_millis(figure.trim_matches('"').parse().expect("milliseconds"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how a person asks a test for more")]
fn a_server_killed_while_it_writes_starts_again_and_scores_right() {
    let kills = std::env::var("RESTART_KILLS").map_or(KILLS, |number| number.parse().expect("RESTART_KILLS: a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let kept = documents("kept", 8);
    let first = Life::begin(&path);
    let (_, fresh) = first.score(&kept);
    first.end();
    fill(&path);
    let measured = Life::begin(&path);
    measured.score(&documents("measured", 1));
    let length = took(&measured.end()).max(Duration::from_millis(5));
    // Scores that were given, whether or not a snapshot holds them.
    let mut given: Vec<(Vec<String>, Vec<u32>)> = Vec::new();
    let (mut cut_short, mut survived) = (0, 0);
    // On a machine whose pace changes, kills may come too late: then there are more of them.
    let wanted = kills.div_ceil(5);
    let mut round = 0;
    while round < kills || (cut_short < wanted && round < 4 * kills) {
        let mut life = Life::begin(&path);
        assert_eq!(life.score(&kept), (kept.len(), fresh.clone()), "round {round}: the first request");
        let refused = life.figure("rescored_cache_snapshots_total{reason=\"refused\"}");
        assert_eq!(refused, 0, "round {round}: the snapshot is whole");
        for (documents, bits) in given.iter().rev().take(3) {
            let (hits, again) = life.score(documents);
            assert_eq!(again, *bits, "round {round}: a score that was given before");
            survived += hits;
        }
        let news = documents(&format!("round {round}"), 1);
        let (hits, bits) = life.score(&news);
        assert_eq!(hits, 0, "round {round}");
        given.push((news, bits));
        // In turn: the snapshot that a stop writes, and the one that is due after a second.
        if round.is_multiple_of(2) {
            life.server.terminate();
        }
        wait_until_it_writes(&mut life, folder.path());
        // A walk by the golden section through the time that writing takes, and a little beyond it: few steps are spread
        // over it as evenly as many.
        std::thread::sleep(length * (round * 618 % 1000) / 800);
        life.kill();
        cut_short += u32::from(!drafts(folder.path()).is_empty());
        Snapshot::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        round += 1;
    }
    let last = Life::begin(&path);
    assert_eq!(last.score(&kept), (kept.len(), fresh), "after the last kill");
    last.end();
    println!(
        "{round} kills while a snapshot of {length:?} was written, {cut_short} of them before its end; every start was taken, \
         every first request was a full hit, every score the same ({survived} later ones from snapshots)"
    );
    assert!(cut_short >= wanted, "only {cut_short} of {round} kills met a snapshot half written");
}

#[test]
fn sixty_four_clients_of_a_fresh_process_cost_each_distinct_pair_one_forward_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::begin(&folder.path().join("scores"));
    let body = json!({"query": QUERY, "documents": documents("cold", 10), "raw_scores": true}).to_string();
    let figures = || ["rescored_pairs_scored_total", "rescored_forwards_total"].map(|name| life.figure(name));
    let before = figures();
    let gate = Barrier::new(64);
    let client = || {
        let mut connection = life.connect();
        gate.wait();
        connection.post("/v1/rerank", &body, "").ok()["results"].clone()
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("answered")).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all got the same");
    let after = figures();
    // The graph as it is shipped takes one pair a pass.
    assert_eq!([after[0] - before[0], after[1] - before[1]], [10, 10]);
    life.end();
}
