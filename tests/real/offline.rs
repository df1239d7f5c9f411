//! `rescored warm --offline`: in the environment of the sidecar that it warms for, with keys, certificates and addresses that
//! are not its own; and files that it does not write over.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::program;
use crate::restart::{Life, QUERY, documents};
use crate::support::models;

/// Runs the job over one request; its exit code, its summary and what it said.
fn offline(snapshot: &Path, more: &[(&str, &str)], documents: &[String]) -> (Option<i32>, Value, String) {
    let dir = models().display().to_string();
    let vars = [("RESCORED_MODEL_DIR", dir.as_str()), ("RESCORED_GRAPH", "source"), ("RESCORED_WORKERS", "2")];
    offline_by(program(&[&vars, more].concat()), snapshot, documents)
}

fn offline_by(mut program: Command, snapshot: &Path, documents: &[String]) -> (Option<i32>, Value, String) {
    let mut child = program
        .args(["warm", "--offline", "--snapshot"])
        .arg(snapshot)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let line = json!({"query": QUERY, "documents": documents}).to_string() + "\n";
    // One that refuses its file reads nothing.
    drop(child.stdin.take().expect("a pipe").write_all(line.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    let summary = String::from_utf8_lossy(&output.stdout).lines().last().map(serde_json::from_str);
    let summary = summary.map_or(Value::Null, |summary| summary.expect("JSON"));
    (output.status.code(), summary, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_job_in_a_sidecars_environment_writes_a_snapshot_that_the_sidecar_answers_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "opensesame\n").expect("a file");
    let documents = documents("shipped", 12);
    let fresh = Life::begin(&folder.path().join("another"));
    let (_, bits) = fresh.score(&documents);
    fresh.end();
    // The sidecar runs: its addresses are taken. Its certificate is for others to read.
    let sidecar = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = sidecar.local_addr().expect("an address").to_string();
    let (keys, nowhere) = (keys.display().to_string(), folder.path().join("none.pem").display().to_string());
    let snapshot = folder.path().join("scores");
    let (code, summary, said) = offline(
        &snapshot,
        &[
            ("RESCORED_API_KEYS_FILE", &keys),
            ("RESCORED_LISTEN", &taken),
            ("RESCORED_OPERATIONS_LISTEN", &taken),
            ("RESCORED_TLS_CERT", &nowhere),
            ("RESCORED_TLS_KEY", &nowhere),
            ("RESCORED_SOCKET_MODE", "0600"),
            ("RESCORED_CACHE_SNAPSHOT", &nowhere),
        ],
        &documents,
    );
    assert_eq!((code, &summary["pairs"], &summary["complete"]), (Some(0), &json!(12), &json!(true)), "{said}");
    let after = Life::begin(&snapshot);
    assert_eq!(after.score(&documents), (12, bits));
    after.end();
}

#[test]
fn a_file_that_is_no_snapshot_is_refused_in_one_line_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("notes"), "this is something else entirely").expect("a file");
    let newer = [&b"rescored"[..], &2_u32.to_le_bytes(), &[0; 100]].concat();
    std::fs::write(at("newer"), &newer).expect("a file");
    let torn = [&b"rescored"[..], &1_u32.to_le_bytes(), &[0; 100]].concat();
    std::fs::write(at("torn"), &torn).expect("a file");
    for (name, problem) in [
        ("notes", "no snapshot of scores"),
        ("newer", "format 2 is of another version"),
        ("torn", "torn, its checksum does not fit"),
        ("", "is a folder; name a file"),
        ("no/such/folder", "its folder is not there"),
    ] {
        let path = at(name);
        let before = std::fs::read(&path).ok();
        let (code, summary, said) = offline(&path, &[], &documents("d", 1));
        assert_eq!((code, summary), (Some(64), Value::Null), "{name}: {said}");
        let begins = format!("rescored: --snapshot: `{}`: {problem}", path.display());
        assert!(said.starts_with(&begins) && said.lines().count() == 1, "{name}: {said}");
        assert!(said.trim_end().ends_with("name another file, or take this one away"), "{name}: {said}");
        assert_eq!(std::fs::read(&path).ok(), before, "{name}");
    }
}

#[test]
fn scores_that_could_not_be_written_are_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = folder.path().join("scores");
    let dir = models().display().to_string();
    let reported = program(&[("RESCORED_MODEL_DIR", dir.as_str()), ("RESCORED_GRAPH", "source")]);
    // No file may hold a byte: as on a full disk, a write is an error.
    let mut limited = Command::new("/bin/sh");
    limited.env_clear();
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(reported.get_program());
    for (name, value) in reported.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, _, said) = offline_by(limited, &snapshot, &documents("lost", 1));
    assert_eq!(code, Some(1), "{said}");
    let reported = format!("--snapshot: `{}` could not be written: ", snapshot.display());
    let why = said.lines().find_map(|line| line.split_once(&reported)).map(|(_, why)| why.to_owned());
    assert!(why.is_some_and(|why| why.to_lowercase().starts_with("file too large")), "path and reason: {said}");
    assert!(!snapshot.exists());
}
