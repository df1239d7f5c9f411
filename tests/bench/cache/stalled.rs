//! Searches while the shared tier stands still, over HTTP, with and without a tier at the same moments.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rescored_lab::bench::report::{Fact, Section, Table, Tone};
use rescored_server::config::{Config, Host};
use serde_json::json;

use crate::client::Connection;
use crate::page::Finding;
use crate::redis::Redis;
use crate::support::{CACHE, Server, core_sharing, core_with, documents, eventually};
use crate::{Sizes, verdict};

/// How long the tier stands still each time, and how often. In between it answers for as long.
const STALL: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

/// Connections that search.
const CLIENTS: usize = 4;

/// Pairs of a search, all cold.
const PAIRS: usize = 10;

/// The rise of p99 that is allowed.
const ALLOWED: Duration = Duration::from_millis(20);

/// Searches that a p99 needs.
const ENOUGH: usize = 500;

/// What one kind of searches came to.
#[derive(Default)]
struct Searches {
    times: Vec<Duration>,
    failed: usize,
}

impl Searches {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.failed += other.failed;
    }

    fn p99(&self) -> Duration {
        self.times[self.times.len() * 99 / 100]
    }
}

/// Searches by whether the tier stands still, and their bounds.
pub(crate) fn run(sizes: Sizes) -> (Section, Vec<Finding>) {
    let redis = Redis::start(&[]);
    let patience = Config::from_vars(Vec::<(String, String)>::new(), &Host { cores: 2 }).expect("defaults");
    let patience = patience.shared.timeout;
    let core = core_sharing(&CACHE, Some(redis.url()), patience);
    let is_up = || core.reranker.cache().shared.is_some_and(|shared| shared.up);
    let alone = core_with(&CACHE, None);
    let servers = [Server::start(&core), Server::start(&alone)];
    let number = AtomicUsize::new(0);
    // By whether the tier stands still, then by server.
    let mut all: [[Searches; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for stalled in [false, true] {
            eventually("the tier is asked", is_up);
            if stalled {
                redis.signal("STOP");
            }
            let found = search(&servers, &number, sizes.time(STALL));
            if stalled {
                redis.signal("CONT");
            }
            for (all, found) in all[usize::from(stalled)].iter_mut().zip(found) {
                all.add(found);
            }
        }
    }
    let table = table(&mut all);
    let section = Section {
        id: "stalled".to_owned(),
        title: "stalled".to_owned(),
        question: "What do searches wait while a shared tier stands still?".to_owned(),
        setup: vec![
            Fact::new("clients", CLIENTS.to_string()),
            Fact::new("pairs of a search, all cold", PAIRS.to_string()),
            Fact::new("the tier stood still for", format!("{:?}, {ROUNDS} times", sizes.time(STALL))),
            Fact::new("a request waits for it at most", format!("{patience:?}")),
        ],
        tables: vec![table],
        ..Section::default()
    };
    let rise = |server: usize| all[1][server].p99().as_secs_f64() - all[0][server].p99().as_secs_f64();
    let failed: usize = all.iter().flatten().map(|searches| searches.failed).sum();
    let enough = all.iter().flatten().all(|searches| searches.times.len() >= ENOUGH);
    let what = format!(
        "p99 with a tier rises by {:.1} ms while it stands still ({:.1} ms without a tier, at the same moments); allowed is less than {ALLOWED:?}",
        rise(0) * 1000.0,
        rise(1) * 1000.0
    );
    let bounds = vec![
        verdict(sizes, rise(0) < ALLOWED.as_secs_f64(), &what),
        verdict(sizes, failed == 0, &format!("{failed} requests failed; none may")),
        verdict(sizes, enough, &format!("at least {ENOUGH} searches of each kind")),
    ];
    (section, bounds)
}

/// Times of each kind of searches, which are sorted on the way.
fn table(all: &mut [[Searches; 2]; 2]) -> Table {
    let mut table = Table::new("", &["tier", "sidecar", "searches", "failed", "median", "p99", "longest"]);
    for (state, kinds) in ["answers", "stands still"].into_iter().zip(all) {
        for (name, searches) in ["with a tier", "without"].into_iter().zip(kinds) {
            searches.times.sort();
            let (p99, Searches { times, failed }) = (searches.p99(), searches);
            let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
            let counts = [times.len().to_string(), failed.to_string()];
            let spans = [median, p99, longest].map(|time| format!("{time:.1?}"));
            table.push(Tone::Plain, [state, name].map(str::to_owned).into_iter().chain(counts).chain(spans).collect());
        }
    }
    table
}

/// The same searches to all servers in turn, for so long.
fn search(servers: &[Server; 2], number: &AtomicUsize, length: Duration) -> [Searches; 2] {
    let over = AtomicBool::new(false);
    let client = || {
        let mut connections = [0, 1].map(|server| Connection::open(servers[server].address));
        let mut found: [Searches; 2] = Default::default();
        while !over.load(Ordering::Relaxed) {
            let documents = documents(&format!("stalled {}", number.fetch_add(1, Ordering::Relaxed)), PAIRS);
            let body = json!({"query": "q", "documents": documents}).to_string();
            for (connection, found) in connections.iter_mut().zip(&mut found) {
                let started = Instant::now();
                let answer = connection.post("/v1/rerank", &body, "");
                found.times.push(started.elapsed());
                found.failed += usize::from(answer.status != 200);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        found
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(length);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().fold(Default::default(), |mut all: [Searches; 2], client| {
            let found = client.join().expect("no panic");
            all.iter_mut().zip(found).for_each(|(all, found)| all.add(found));
            all
        })
    })
}
