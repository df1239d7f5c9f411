//! The second tier: a score made by one sidecar is a hit at the next, and nothing that happens to it fails a request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rescored::app::Core;

use crate::redis::Redis;
use crate::support::{CACHE, core_with, documents, eventually, score};

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
    let Some(redis) = Redis::start(&[]) else { return };
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
    let Some(redis) = Redis::start(&[]) else { return };
    let off = rescored::cache::Options { bytes: 0, ttl: Some(Duration::from_secs(100)) };
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

#[test]
fn forgetting_reaches_the_tier() {
    let Some(redis) = Redis::start(&[]) else { return };
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
    let Some(mut redis) = Redis::start(&[]) else { return };
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
    let Some(redis) = Redis::start(&[]) else { return };
    let core = sidecar(&redis);
    let (over, number) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let documents = documents(&format!("stalled {}", number.fetch_add(1, Ordering::Relaxed)), 10);
            let started = Instant::now();
            score(&core, "q", &documents).expect("no request fails");
            times.push(started.elapsed());
            std::thread::sleep(Duration::from_millis(2));
        }
        times.sort();
        times[times.len() * 99 / 100]
    };
    let phase = |length: Duration| {
        over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
            std::thread::sleep(length);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().expect("no panic")).max().expect("four clients")
        })
    };
    let before = phase(Duration::from_secs(2));
    redis.signal("STOP");
    let stalled = phase(Duration::from_secs(10));
    redis.signal("CONT");
    println!("p99 of a request of 10 cold pairs: {before:?} before, {stalled:?} while the tier was stalled");
    // 20 ms on an idle machine; test machines are not.
    assert!(stalled < before + Duration::from_millis(60), "{before:?} before, {stalled:?} while stalled");
    assert!(failures(&core).contains("late"), "{}", failures(&core));
    eventually("the tier is asked again", || is_up(&core));
}

#[test]
fn a_full_tier_refuses_writes_and_is_read_all_the_same() {
    let Some(redis) = Redis::start(&["--maxmemory", "1100kb", "--maxmemory-policy", "noeviction"]) else { return };
    let core = sidecar(&redis);
    for round in 0..100 {
        score(&core, "q", &documents(&format!("filling {round}"), 200)).expect("no request fails");
    }
    eventually("writes are refused", || failures(&core).contains("write_refused"));
    assert!(core.metrics.cache_shared_dropped.get() > 0);
    assert!(is_up(&core), "reading goes on");
}

#[test]
fn a_tier_emptied_under_load_is_filled_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (one, two) = (sidecar(&redis), sidecar(&redis));
    for round in 0..30 {
        let documents = documents(&format!("flushed {round}"), 20);
        let fresh = score(&one, "q", &documents).expect("no request fails");
        if round % 3 == 0 {
            redis.say("FLUSHALL");
        }
        let other = score(&two, "q", &documents).expect("no request fails");
        assert_eq!(fresh.scored, other.scored, "round {round}");
    }
    let last = documents("last", 5);
    score(&one, "q", &last).expect("scored");
    eventually("the last scores are there", || redis.keys() >= 5);
    assert!(is_up(&one) && is_up(&two));
}

#[test]
fn a_cluster_and_a_master_behind_sentinels_are_spoken_to() {
    let Some(node) = Redis::start(&["--cluster-enabled", "yes"]) else { return };
    assert!(node.say("CLUSTER ADDSLOTSRANGE 0 16383").starts_with("+OK"));
    eventually("the cluster is up", || node.say("CLUSTER INFO").contains("cluster_state:ok"));
    let Some(master) = Redis::start(&[]) else { return };
    let monitor = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(monitor.path(), format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port)).expect("written");
    let settings = monitor.path().to_str().expect("UTF-8").to_owned();
    // A settings file comes first of all arguments.
    let Some(sentinel) = Redis::sentinel(&settings) else { return };
    for (url, behind) in [
        (format!("redis+cluster://127.0.0.1:{}", node.port), &node),
        (format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port), &master),
    ] {
        let (one, two) = (core_with(&CACHE, Some(url.clone())), core_with(&CACHE, Some(url.clone())));
        eventually(&url, || is_up(&one) && is_up(&two));
        let documents = documents("shared", 50);
        score(&one, "q", &documents).expect("scored");
        holds(behind, 50);
        assert_eq!(score(&two, "q", &documents).expect("scored").stats.cached, 50, "{url}");
    }
}
