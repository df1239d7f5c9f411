//! The first tier survives its process, and a snapshot survives its writer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rescored_cache::snapshot::{Snapshot, SnapshotError};
use rescored_cache::snapshot_writer::SnapshotWriter;
use rescored_cache::{QueryKey, Scope, ScoreCache, SnapshotOptions};
use rescored_core::domain::{Logit, Scored, Truncation};

use crate::support::{CACHE, core, documents, score};

/// Names to the child where to write.
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

/// How many files in a folder are snapshots half written.
fn drafts(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".partial")).count()
}

/// The other process of the test below: writes the same snapshot again and again.
#[test]
#[ignore = "run by a_writer_killed_at_any_moment_leaves_a_whole_snapshot"]
#[expect(clippy::disallowed_methods, reason = "how a test gives its child its work")]
fn writes_until_it_is_killed() {
    let path = std::env::var_os(TARGET).expect("run by the test that this names");
    let keys = QueryKey::new("the model", &Truncation::MODEL, "q");
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
    let keys = QueryKey::new("the model", &Truncation::MODEL, "q");
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
        cut_short += u32::from(drafts(folder.path()) > 0);
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
    let snapshot_writer = SnapshotWriter::start(before.cache.clone(), &options(&path)).expect("a thread");
    let fresh = score(&before, "q", &documents).expect("scored");
    assert_eq!(fresh.stats.cached, 0);
    drop(snapshot_writer);
    let after = core();
    let snapshot_writer =
        SnapshotWriter::start(after.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(snapshot_writer.wait_until_loaded(Duration::from_secs(20)));
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
    let snapshot_writer =
        SnapshotWriter::start(core.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(snapshot_writer.wait_until_loaded(Duration::from_secs(20)));
    assert!(core.metrics.render().contains("rescored_cache_snapshots_total{reason=\"refused\"} 1"));
    score(&core, "q", &documents("new", 3)).expect("the service goes on");
    drop(snapshot_writer);
    assert_eq!(Snapshot::open(&path).expect("whole").entries(), 3);
}

#[test]
fn what_was_forgotten_is_not_in_the_next_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let core = core();
    let snapshot_writer =
        SnapshotWriter::start(core.cache.clone(), &options(&path)).expect("a thread").expect("a file is named");
    assert!(snapshot_writer.wait_until_loaded(Duration::from_secs(20)));
    score(&core, "q", &documents("forgotten", 10)).expect("scored");
    assert_eq!(core.reranker.forget(None).expect("forgotten").entries, 10);
    crate::support::eventually("a snapshot without them, before its time", || {
        Snapshot::open(&path).is_ok_and(|snapshot| snapshot.entries() == 0)
    });
}

/// Keeps a snapshot for a while as a server does; what its report says then.
fn keep_for_a_while(path: &Path, documents: &[String]) -> rescored_cache::report::SnapshotReport {
    let core = core();
    let snapshot_writer =
        SnapshotWriter::start(core.cache.clone(), &options(path)).expect("a thread").expect("a file is named");
    assert!(snapshot_writer.wait_until_loaded(Duration::from_secs(20)));
    score(&core, "q", documents).expect("the service goes on");
    drop(snapshot_writer);
    core.reranker.cache().snapshot.expect("a snapshot is kept")
}

// Case C6.
#[test]
fn no_link_is_followed_and_no_special_file_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("victim"), "precious").expect("a file");
    for link in ["linked", "scores.partial", "other.lock"] {
        std::os::unix::fs::symlink(at("victim"), at(link)).expect("a link");
    }
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs").success());
    std::fs::create_dir(at("folder")).expect("a folder");
    // The name that drafts once had is a link: it is not used.
    let report = keep_for_a_while(&at("scores"), &documents("d", 3));
    assert_eq!((report.failed, report.entries), (false, 3));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(at("scores")).expect("written").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The snapshot itself is a link, a pipe, a folder; its lock file is a link.
    for name in ["linked", "pipe", "folder", "other"] {
        let report = keep_for_a_while(&at(name), &documents("d", 3));
        assert_eq!((report.failed, report.entries), (true, 0), "{name}");
    }
    let hard = at("hard");
    std::fs::hard_link(at("scores"), &hard).expect("a second name");
    let before = std::fs::read(&hard).expect("read");
    keep_for_a_while(&at("scores"), &documents("more", 3));
    assert_eq!(std::fs::read(&hard).expect("read"), before, "the file of another name is not written to");
    assert_eq!(std::fs::read_to_string(at("victim")).expect("read"), "precious");
    assert_eq!(drafts(folder.path()), 1, "the link alone");
}

// Case C6.
#[test]
fn of_two_processes_one_writes_a_snapshot_until_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scores");
    let every = SnapshotOptions { every: Duration::from_millis(50), ..options(&path) };
    let (one, two) = (core(), core());
    let keep = |core: &rescored_server::app::Core| {
        let snapshot_writer =
            SnapshotWriter::start(core.cache.clone(), &every).expect("a thread").expect("a file is named");
        assert!(snapshot_writer.wait_until_loaded(Duration::from_secs(20)));
        snapshot_writer
    };
    let report = |core: &rescored_server::app::Core| core.reranker.cache().snapshot.expect("a snapshot is kept");
    let first = keep(&one);
    let second = keep(&two);
    score(&one, "q", &documents("one", 5)).expect("scored");
    crate::support::eventually("the first writes", || Snapshot::open(&path).is_ok_and(|it| it.entries() == 5));
    score(&two, "q", &documents("two", 7)).expect("scored");
    crate::support::eventually("the second says so", || report(&two).locked);
    let server = crate::support::Server::start(&two);
    let reported = |path: &str| server.connect().send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).ok();
    assert_eq!(reported("/info")["snapshot"]["locked"], true);
    let tiers = reported("/v1/cache")["tiers"].clone();
    assert!(tiers.as_array().expect("tiers").iter().any(|tier| tier["locked"] == true), "{tiers}");
    drop(server);
    assert_eq!((report(&one).locked, report(&two).entries), (false, 0));
    assert!(two.metrics.render().contains("rescored_cache_snapshots_total{reason=\"locked\"}"));
    assert_eq!(Snapshot::open(&path).expect("whole").entries(), 5);
    let command = |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_rescored")).args(arguments).stdin(Stdio::null()).output();
        let run = run.expect("the program ends");
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let name = path.display().to_string();
    for arguments in [&["cache", "import", &name][..], &["warm", "--offline", "--snapshot", &name]] {
        let (code, said) = command(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("kept by another process"), "{arguments:?}: {said}");
    }
    drop(first);
    crate::support::eventually("the second takes over", || Snapshot::open(&path).is_ok_and(|it| it.entries() == 7));
    assert!(!report(&two).locked);
    drop(second);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|it| it.expect("one").file_name()).collect();
    assert_eq!(left, ["scores"]);
}
