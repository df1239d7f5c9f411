//! What the score cache gives up comes back to the system: measured as resident memory of a process of its own, with the
//! program's allocator, whose scores were made by several threads that are idle afterwards.

use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rescored_cache::{Options, QueryKey, Scope, ScoreCache};
use rescored_core::domain::{Logit, Scored, Truncation};
use rescored_server::app::give_back;

use crate::support::eventually;

/// Names to the child its story.
const STORY: &str = "CACHE_MEMORY_STORY";
const ENTRIES: u32 = 600_000;
const THREADS: u32 = 4;
/// What does not grow with the number of scores: each thread that filled the table keeps some of its pages until it
/// allocates again (about 4 MiB where the system makes pages huge, 1 MiB where not), and tables begin with room.
const SLACK: u64 = 40 << 20;

/// Resident bytes of this process, where the system reports them.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()));
    pages.map_or(0, |pages| pages * 4096)
}

fn cache(ttl: Option<Duration>) -> ScoreCache {
    let scopes = vec![Scope { model: "m".into(), identity: "the model".into() }];
    ScoreCache::new(&Options { bytes: 1 << 40, weights: Vec::new(), ttl }, scopes, Arc::default())
}

/// Fills a cache from threads that live on, idle, until the barrier is met a second time.
fn fill(cache: &ScoreCache) -> Arc<Barrier> {
    let gate = Arc::new(Barrier::new(THREADS as usize + 1));
    for thread in 0..THREADS {
        let (cache, gate) = (cache.clone(), Arc::clone(&gate));
        crate::support::thread("filler", move || {
            let keys = QueryKey::new("m", &Truncation::MODEL, "q");
            let scored = Scored { logit: Logit::new(1.0).expect("finite"), tokens: 1, cut: false };
            for number in (thread..ENTRIES).step_by(THREADS as usize) {
                cache.insert(0, keys.document(&number.to_string()), scored);
            }
            gate.wait();
            gate.wait();
        });
    }
    gate.wait();
    gate
}

/// The other process of the tests below.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
#[expect(clippy::disallowed_methods, reason = "how a test gives its child its work")]
fn tells_what_is_resident() {
    let story = std::env::var(STORY).expect("run by the tests of this file");
    let cache = cache((story == "age").then(|| Duration::from_secs(6)));
    let empty = resident();
    let gate = fill(&cache);
    let report = &cache.report().models[0];
    let (full, accounted) = (resident(), report.bytes);
    match story.as_str() {
        "halve" => cache.halve(give_back),
        "forget" => assert_eq!(cache.forget(None).entries, u64::from(ENTRIES)),
        _ => {}
    }
    let due = if story == "halve" { accounted / 2 } else { accounted };
    let kept = accounted - due;
    eventually("all of it is freed", || cache.freed() >= due && cache.report().models[0].bytes <= kept);
    give_back();
    let left = cache.report().models[0].bytes;
    println!("figures {empty} {full} {accounted} {} {left}", resident());
    gate.wait();
}

/// Resident bytes before, resident and accounted bytes when full, and both after the story.
fn reported(story: &str) -> [u64; 5] {
    let run = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "--nocapture", "memory::tells_what_is_resident"])
        .env(STORY, story)
        .stderr(Stdio::inherit())
        .output()
        .expect("a process");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("figures ")).expect("figures").1.to_owned();
    let figures: Vec<u64> = line.split_whitespace().map(|figure| figure.parse().expect("a number")).collect();
    let figures: [u64; 5] = figures.try_into().expect("five");
    println!("{story}: resident before, when full, accounted, resident after, accounted after: {figures:?}");
    assert!(figures[0] > 0, "the system does not report resident memory");
    figures
}

// Case A8.
#[test]
fn half_of_the_scores_given_up_is_half_of_their_memory() {
    let [empty, full, accounted, after, left] = reported("halve");
    assert!(full - empty < accounted + SLACK, "the account is what is resident, at least");
    assert!(accounted < (full - empty) + (full - empty) / 4, "and it is not much more");
    assert_eq!(left, accounted / 2);
    let (freed, given_up) = (full.saturating_sub(after), accounted - left);
    assert!(
        freed + SLACK > given_up && freed > given_up / 2,
        "resident memory fell by {freed} of the {given_up} bytes that were given up"
    );
}

// Case A8.
#[test]
fn forgotten_scores_and_scores_past_their_age_leave_nothing_behind() {
    for story in ["forget", "age"] {
        let [empty, full, _, after, left] = reported(story);
        assert_eq!(left, 0, "{story}");
        assert!(after < empty + SLACK, "{story}: {after} of {full} bytes are still resident, {empty} were before");
    }
}
