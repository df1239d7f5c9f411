//! The second tier: a score made by one sidecar is a hit at the next, and nothing that happens to it fails a request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rescored_server::app::Core;
use rescored_server::config::{Config, Host};

use crate::redis::{Redis, free_port, join};
use crate::support::{CACHE, core_sharing, core_with, documents, eventually, score};

fn sidecar(redis: &Redis) -> Core {
    let core = core_with(&CACHE, Some(redis.url()));
    eventually("the tier is reached", || is_up(&core));
    core
}

fn is_up(core: &Core) -> bool {
    core.reranker.cache().shared.is_some_and(|shared| shared.up)
}

fn failures(core: &Core) -> String {
    core.metrics.render().lines().filter(|line| line.starts_with("rescored_cache_shared_failures")).collect()
}

/// Waits until the tier holds this many scores.
fn holds(redis: &Redis, entries: u64) {
    eventually("the scores are written behind", || redis.keys() == entries);
}

#[test]
fn a_pair_scored_by_one_sidecar_is_a_hit_at_the_other() {
    let redis = Redis::start(&[]);
    let (one, two) = (sidecar(&redis), sidecar(&redis));
    let documents = documents("shared", 100);
    let fresh = score(&one, "q", &documents).expect("scored");
    holds(&redis, 100);
    let before = two.metrics.pairs_scored.get();
    let hit = score(&two, "q", &documents).expect("scored");
    assert_eq!((hit.stats.cached, &hit.scored), (100, &fresh.scored));
    assert_eq!(two.metrics.pairs_scored.get(), before, "no forward pass");
    assert_eq!(two.metrics.cache_shared_hits.get(), 100);
    score(&two, "q", &documents).expect("scored");
    assert_eq!(two.metrics.cache_shared_hits.get(), 100, "the second time it is in the first tier");
}

#[test]
fn a_tier_alone_serves_where_the_first_one_is_off() {
    let redis = Redis::start(&[]);
    let off = rescored_cache::Options { bytes: 0, weights: Vec::new(), ttl: Some(Duration::from_secs(100)) };
    let core = core_with(&off, Some(redis.url()));
    eventually("the tier is reached", || is_up(&core));
    score(&core, "q", &documents("d", 10)).expect("scored");
    holds(&redis, 10);
    assert_eq!(score(&core, "q", &documents("d", 10)).expect("scored").stats.cached, 10);
    let name = redis.say("RANDOMKEY").lines().nth(1).expect("a key").to_owned();
    assert!(name.starts_with("rescored:1:"), "{name}");
    let left: u64 = redis.say(&format!("TTL {name}")).trim_start_matches(':').trim().parse().expect("seconds");
    assert!((90..=100).contains(&left), "{left} s are left of 100");
}

// Case A9.
#[test]
fn questions_and_answers_are_paid_for_from_the_memory_budget_and_left_out_where_it_has_no_room() {
    let redis = Redis::start(&[]);
    let (one, two) = (sidecar(&redis), sidecar(&redis));
    let documents = documents("paid for", 100);
    score(&one, "q", &documents).expect("scored");
    holds(&redis, 100);
    two.budget.resize(20 << 10);
    assert_eq!(score(&two, "q", &documents[..90]).expect("no request fails").stats.cached, 0, "90 are too many");
    assert!(failures(&two).contains("reason=\"memory\"") && is_up(&two), "{}", failures(&two));
    let few = score(&two, "q", &documents[90..]).expect("scored");
    assert_eq!(few.stats.cached, 10, "ten are not");
    two.budget.resize(1 << 30);
    redis.signal("STOP");
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| score(&two, "another", &documents).expect("no request fails"));
        eventually("what is asked is paid for", || two.budget.report().used_bytes >= 100 * 64);
        redis.signal("CONT");
        asks.join().expect("no panic");
    });
    eventually("it is given back", || two.budget.report().used_bytes == 0);
}

#[test]
fn forgetting_reaches_the_tier() {
    let redis = Redis::start(&[]);
    let core = sidecar(&redis);
    score(&core, "q", &documents("forgotten", 50)).expect("scored");
    holds(&redis, 50);
    redis.say("SET somebody elses");
    core.reranker.forget(Some("fake")).expect("forgotten");
    eventually("only the stranger's key is left", || redis.keys() == 1);
    assert_eq!(score(&core, "q", &documents("forgotten", 50)).expect("scored").stats.cached, 0);
}

#[test]
fn a_killed_tier_costs_nothing_and_is_found_again() {
    let mut redis = Redis::start(&[]);
    let core = sidecar(&redis);
    score(&core, "q", &documents("before", 10)).expect("scored");
    holds(&redis, 10);
    redis.kill();
    for round in 0..20 {
        score(&core, "q", &documents(&format!("meanwhile {round}"), 10)).expect("no request fails");
    }
    assert!(!is_up(&core));
    assert!(failures(&core).contains("reason=\"down\""), "{}", failures(&core));
    redis.restart();
    eventually("the tier is found again", || is_up(&core));
    score(&core, "q", &documents("after", 10)).expect("scored");
    eventually("and written to", || {
        let fresh = format!("again {:?}", Instant::now());
        score(&core, "q", &documents(&fresh, 1)).expect("scored");
        redis.keys() >= 10
    });
}

#[test]
fn no_request_fails_or_waits_long_while_the_tier_is_stalled() {
    /// How much later than without a tier the slowest hundredth of requests may be.
    const BOUND: Duration = Duration::from_millis(20);
    let redis = Redis::start(&[]);
    let patience =
        Config::from_vars(Vec::<(String, String)>::new(), &Host { cores: 2 }).expect("defaults").shared.timeout;
    let core = core_sharing(&CACHE, Some(redis.url()), patience);
    eventually("the tier is reached", || is_up(&core));
    // The same requests at the same moments to a sidecar without a tier: what the machine does to them is not the tier's.
    let alone = core_with(&CACHE, None);
    let (over, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        let mut times: [Vec<Duration>; 2] = Default::default();
        while !over.load(Ordering::Relaxed) {
            let documents = documents(&format!("stalled {}", number.fetch_add(1, Ordering::Relaxed)), 10);
            for (core, times) in [&core, &alone].into_iter().zip(&mut times) {
                let started = Instant::now();
                score(core, "q", &documents).expect("no request fails");
                times.push(started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        times
    };
    let phase = |length: Duration| {
        over.store(false, Ordering::Relaxed);
        let both = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            std::thread::sleep(length);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().fold([Vec::new(), Vec::new()], |mut all: [Vec<Duration>; 2], client| {
                all.iter_mut().zip(client.join().expect("no panic")).for_each(|(all, times)| all.extend(times));
                all
            })
        });
        both.map(|mut times| {
            times.sort();
            (times[times.len() * 99 / 100], times[times.len() - 1], times.len())
        })
    };
    let before = phase(Duration::from_secs(2));
    redis.signal("STOP");
    let stalled = phase(Duration::from_secs(10));
    redis.signal("CONT");
    println!(
        "p99, longest, number of requests of 10 cold pairs, with and without a tier: {before:?} before, {stalled:?} while it was \
         stalled; a request waits {patience:?} for it at most"
    );
    assert!(stalled[0].2 >= 500, "{} requests are too few for a p99", stalled[0].2);
    assert!(stalled[0].0 < stalled[1].0 + BOUND, "{stalled:?} while stalled");
    assert!(failures(&core).contains("late"), "{}", failures(&core));
    eventually("the tier is asked again", || is_up(&core));
}

#[test]
fn a_tier_that_answers_too_late_is_left_alone_for_longer_each_time() {
    let redis = Redis::start(&[]);
    let core = core_sharing(&CACHE, Some(redis.url()), Duration::from_millis(5));
    eventually("the tier is reached", || is_up(&core));
    // It answers between its naps: each probe finds it well, and each request finds it asleep.
    let over = AtomicBool::new(false);
    let (mut left_alone, mut was_up) = (0, true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                redis.signal("STOP");
                std::thread::sleep(Duration::from_millis(45));
                redis.signal("CONT");
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            let fresh = documents(&format!("napping {:?}", Instant::now()), 1);
            score(&core, "q", &fresh).expect("no request fails");
            let up = is_up(&core);
            left_alone += u32::from(was_up && !up);
            was_up = up;
            std::thread::sleep(Duration::from_millis(1));
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("left alone {left_alone} times in 8 s");
    // Pauses of 250 ms, 500 ms, 1 s, 2 s and 4 s fill the time; of 250 ms each there would be thirty.
    assert!((1..=7).contains(&left_alone), "left alone {left_alone} times");
    eventually("the tier is asked again", || is_up(&core));
}

/// Three masters that share the slots.
fn cluster() -> Vec<Redis> {
    // A bus's port is the other one plus 10,000 where none is named, which may be none.
    let node = || {
        let bus = free_port();
        (Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()]), bus)
    };
    let nodes: Vec<(Redis, u16)> = (0..3).map(|_| node()).collect();
    join(&nodes.iter().map(|(node, bus)| (node, node.port, *bus)).collect::<Vec<_>>());
    nodes.into_iter().map(|(node, _)| node).collect()
}

#[test]
fn a_cluster_is_spoken_to_and_forgets_on_all_its_nodes() {
    let nodes = cluster();
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    let (one, two) = (core_with(&CACHE, Some(url.clone())), core_with(&CACHE, Some(url)));
    eventually("the cluster is reached", || is_up(&one) && is_up(&two));
    let (documents, keys) = (documents("shared", 300), || nodes.iter().map(Redis::keys).sum::<u64>());
    let fresh = score(&one, "q", &documents).expect("scored");
    eventually("the scores are written behind", || keys() == 300);
    assert!(nodes.iter().all(|node| node.keys() > 50), "every node has its part");
    let asked = || nodes.iter().map(Redis::commands).sum::<u64>();
    let before = asked();
    let hit = score(&two, "q", &documents).expect("scored");
    assert_eq!((hit.stats.cached, &hit.scored), (300, &fresh.scored));
    assert!(asked() - before >= 300, "one GET a pair, sent to each node at once");
    let forgotten = one.reranker.forget(None).expect("forgotten");
    assert_eq!((forgotten.entries, forgotten.shared), (300, Some(true)));
    eventually("all nodes have forgotten", || keys() == 0);
}

#[test]
fn a_master_behind_sentinels_is_spoken_to_and_so_is_its_successor() {
    let mut master = Redis::start(&[]);
    let of_master = ["--replicaof", "127.0.0.1", &master.port.to_string()].map(str::to_owned);
    let replica = Redis::start(&[&of_master[0], &format!("{} {}", of_master[1], of_master[2])]);
    eventually("the replica follows", || replica.say("INFO replication").contains("master_link_status:up"));
    let monitor = tempfile::NamedTempFile::new().expect("a file");
    let rules = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n",
        master.port
    );
    std::fs::write(monitor.path(), rules).expect("written");
    // A settings file comes first of all arguments.
    let sentinel = Redis::sentinel(monitor.path().to_str().expect("UTF-8"));
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let (one, two) = (core_with(&CACHE, Some(url.clone())), core_with(&CACHE, Some(url)));
    eventually("the master is reached", || is_up(&one) && is_up(&two));
    let before = documents("before", 50);
    score(&one, "q", &before).expect("scored");
    holds(&replica, 50);
    assert_eq!(score(&two, "q", &before).expect("scored").stats.cached, 50);
    eventually("the sentinel knows the replica", || sentinel.say("SENTINEL replicas main").contains("slave"));
    master.kill();
    eventually("the replica takes over", || {
        score(&one, "q", &documents(&format!("meanwhile {:?}", Instant::now()), 1)).expect("no request fails");
        replica.say("INFO replication").contains("role:master")
    });
    eventually("the new master is asked", || {
        score(&one, "q", &documents(&format!("meanwhile {:?}", Instant::now()), 1)).expect("no request fails");
        is_up(&one)
    });
    let held = replica.keys();
    eventually("and written to", || {
        score(&one, "q", &documents(&format!("after {:?}", Instant::now()), 1)).expect("no request fails");
        replica.keys() > held
    });
}
