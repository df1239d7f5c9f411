//! The first tier survives its process, and a snapshot survives its writer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rescored::cache::keeper::Keeper;
use rescored::cache::snapshot::{Snapshot, SnapshotError};
use rescored::cache::{QueryKey, Scope, ScoreCache, SnapshotOptions};
use rescored::domain::{Cut, Logit, Scored};

use crate::support::{CACHE, core, documents, score};

/// Tells the child where to write.
const TARGET: &str = "SNAPSHOT_TO_WRITE";
const ENTRIES: u16 = 20_000;

fn cache() -> ScoreCache {
    ScoreCache::new(&CACHE, vec![Scope { model: "m".into(), identity: "the model".into() }], Arc::default())
}

fn scored(number: u16) -> Scored {
    Scored {
        logit: Logit::new(f32::from(number) / 3.0).expect("finite"),
        tokens: number.into(),
        cut: number.is_multiple_of(3),
    }
}

fn options(path: &Path) -> SnapshotOptions {
    SnapshotOptions { path: Some(path.to_owned()), every: Duration::from_hours(1) }
}

/// The other process of the test below: writes the same snapshot again and again.
#[test]
#[ignore = "run by a_writer_killed_at_any_moment_leaves_a_whole_snapshot"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its child what to do")]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(TARGET) else { return };
    let keys = QueryKey::new("the model", &Cut::MODEL, "q");
    let cache = cache();
    (0..ENTRIES).for_each(|number| cache.insert(0, keys.document(&number.to_string()), scored(number)));
    eprintln!("writing");
    loop {
        cache.write_snapshot(Path::new(&path)).expect("written");
    }
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_whole_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let keys = QueryKey::new("the model", &Cut::MODEL, "q");
    let mut cut_short = 0;
    for round in 0..200_u64 {
        let mut writer = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "--nocapture", "snapshot::writes_until_it_is_killed"])
            .env(TARGET, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut said = BufReader::new(writer.stderr.take().expect("piped")).lines();
        assert!(said.any(|line| line.is_ok_and(|line| line.contains("writing"))), "the writer writes");
        // A multiplicative walk through 0 to 12 ms: from before the first byte to well into the second file.
        std::thread::sleep(Duration::from_micros(round * 7919 % 12_000));
        writer.kill().expect("killed");
        writer.wait().expect("gone");
        cut_short += u32::from(folder.path().join("scores.partial").exists());
        let snapshot = match Snapshot::open(&path) {
            Ok(snapshot) => snapshot,
            Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("round {round}: {error}"),
        };
        assert_eq!(snapshot.entries(), u64::from(ENTRIES), "round {round}");
        let restored = cache();
        restored.restore(snapshot).expect("read");
        for number in (0..ENTRIES).step_by(97) {
            let held = restored.get(0, keys.document(&number.to_string()));
            assert_eq!(held, Some(scored(number)), "round {round}, entry {number}");
        }
    }
    assert!(cut_short > 20, "only {cut_short} of 200 kills met a snapshot half written");
}

#[test]
fn the_first_request_after_a_restart_is_a_full_hit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let documents = documents("kept", 100);
    let before = core();
    let keeper = Keeper::start(before.cache.clone(), &options(&path)).expect("a thread");
    let fresh = score(&before, "q", &documents).expect("scored");
    assert_eq!(fresh.stats.cached, 0);
    drop(keeper);
    let after = core();
    let keeper = Keeper::start(after.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(keeper.wait_until_loaded(Duration::from_secs(20)));
    let warm_ups = after.metrics.pairs_scored.get();
    let again = score(&after, "q", &documents).expect("scored");
    assert_eq!((again.stats.cached, again.scored), (100, fresh.scored));
    assert_eq!(after.metrics.pairs_scored.get(), warm_ups, "no forward pass");
    let report = after.reranker.cache().snapshot.expect("a snapshot is kept");
    assert_eq!(report.restored, 100);
}

#[test]
fn a_wrong_file_is_refused_and_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    std::fs::write(&path, "this is something else entirely").expect("a file");
    let core = core();
    let keeper = Keeper::start(core.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(keeper.wait_until_loaded(Duration::from_secs(20)));
    assert!(core.metrics.render().contains("rescored_cache_snapshots_total{reason=\"refused\"} 1"));
    score(&core, "q", &documents("new", 3)).expect("the service goes on");
    drop(keeper);
    assert_eq!(Snapshot::open(&path).expect("whole").entries(), 3);
}

#[test]
fn what_was_forgotten_is_not_in_the_next_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let core = core();
    let keeper = Keeper::start(core.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(keeper.wait_until_loaded(Duration::from_secs(20)));
    score(&core, "q", &documents("forgotten", 10)).expect("scored");
    assert_eq!(core.reranker.forget(None).expect("forgotten").entries, 10);
    crate::support::eventually("a snapshot without them, before its time", || {
        Snapshot::open(&path).is_ok_and(|snapshot| snapshot.entries() == 0)
    });
}
