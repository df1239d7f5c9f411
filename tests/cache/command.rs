//! `rescored warm` as a cron job runs it: the program itself, its flags, its exit codes, and who makes it wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Server, core, documents, thread};

/// What a run came to.
struct Ran {
    code: Option<i32>,
    /// The last line of standard output.
    summary: Value,
    said: String,
}

/// Runs `rescored warm` with this on standard input.
fn warm(arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rescored"))
        .env_clear()
        .arg("warm")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // One that refuses its flags reads nothing.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    let reported = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = reported.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).expect("JSON"));
    Ran { code: output.status.code(), summary, said: String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn requests(count: usize) -> String {
    let line = |number| json!({"query": format!("query {number}"), "documents": documents("d", 5)}).to_string() + "\n";
    (0..count).map(line).collect()
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

/// What a stand-in answers: a status, further headers, a body.
type Answer = (u16, &'static str, String);

/// A server of the test's own that answers one request after the other: by its head, and by how many came before.
fn stand_in(answer: impl Fn(&str, usize) -> Answer + Send + 'static) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(Mutex::new(0));
    let asked = Arc::clone(&count);
    thread("stand-in", move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let head = read(&stream);
            let number = {
                let mut asked = asked.lock().expect("nobody panicked");
                *asked += 1;
                *asked - 1
            };
            let (status, headers, body) = answer(&head, number);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
            // A client that hung up is the test's failure elsewhere.
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    (format!("http://{address}"), count)
}

/// Reads a request; its head in lower case.
fn read(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_ok_and(|read| read <= 2) {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    head
}

fn taken(lines: u64) -> String {
    json!({"lines": lines, "pairs": lines * 5, "hits": 0, "failed": 0, "done": true, "complete": true}).to_string()
        + "\n"
}

fn refusal(message: &str) -> String {
    json!({"error": message, "error_type": "x", "message": message, "detail": message}).to_string()
}

#[test]
fn a_sidecar_with_keys_takes_the_job_that_names_one() {
    let core = core();
    let folder = tempfile::tempdir().expect("a folder");
    let keys = file(folder.path(), "keys", "another\nopensesame\n");
    let server = Server::keyed(&core, Some(keys));
    let url = format!("http://{}", server.address);
    let run = |name: &str, text: &str| {
        let path = file(folder.path(), name, text).display().to_string();
        warm(&["--url", &url, "--key-file", &path], &requests(3))
    };
    let ran = run("right", "opensesame\nthe second line is a note\n");
    assert_eq!((ran.code, &ran.summary["pairs"]), (Some(0), &json!(15)), "{}", ran.said);
    let ran = run("wrong", "sesame-wrong\n");
    assert_eq!((ran.code, &ran.summary["complete"], &ran.summary["retries"]), (Some(1), &json!(false), &json!(0)));
    assert!(ran.said.contains("status 401") && !ran.said.contains("sesame-wrong"), "{}", ran.said);
    assert_eq!(warm(&["--url", &url], &requests(3)).code, Some(1), "without a key");
    for (name, text, hint) in [("empty", "\nopensesame\n", "its first line is empty"), ("gone", "x\n", "No such file")]
    {
        let path = file(folder.path(), name, text);
        if name == "gone" {
            std::fs::remove_file(&path).expect("removed");
        }
        let path = path.display().to_string();
        let ran = warm(&["--url", &url, "--key-file", &path], &requests(3));
        assert_eq!((ran.code, ran.summary), (Some(64), Value::Null), "{name}");
        assert!(ran.said.contains("--key-file: ") && ran.said.contains(hint), "{name}: {}", ran.said);
    }
    let key = file(folder.path(), "key", "opensesame\n").display().to_string();
    let snapshot = folder.path().join("snapshot").display().to_string();
    let ran = warm(&["--offline", "--snapshot", &snapshot, "--key-file", &key], "");
    assert_eq!(ran.code, Some(64), "a key is for a sidecar: {}", ran.said);
    assert!(ran.said.contains("--key-file") && ran.said.contains("--offline"), "{}", ran.said);
}

#[test]
fn a_search_engine_that_asks_for_credentials_gets_those_of_the_file() {
    let core = core();
    let server = Server::start(&core);
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, asked) = stand_in(|head, _| {
        let hits = json!({"hits": {"hits": [{"_id": "1", "_score": 1.0, "_source": {"title": "one"}}]}});
        let knows = head.lines().any(|line| line == "authorization: ApiKey c2VjcmV0");
        if knows { (200, "", hits.to_string()) } else { (401, "", String::new()) }
    });
    let log = file(folder.path(), "log", "first query\nsecond query\n").display().to_string();
    let url = format!("http://{}", server.address);
    let fixed = ["--url", &url, "--from-opensearch", &engine, "--index", "i", "--fields", "title", "--query-log", &log];
    let right = file(folder.path(), "right", "ApiKey c2VjcmV0\n").display().to_string();
    let ran = warm(&[&fixed[..], &["--search-auth-file", &right]].concat(), "");
    assert_eq!((ran.code, &ran.summary["pairs"]), (Some(0), &json!(2)), "{}", ran.said);
    let wrong = file(folder.path(), "wrong", "Basic d3Jvbmc=\n").display().to_string();
    for more in [&[][..], &["--search-auth-file", &wrong]] {
        let before = *asked.lock().expect("nobody panicked");
        let ran = warm(&[&fixed[..], more].concat(), "");
        assert_eq!(ran.code, Some(1), "{more:?}: {}", ran.said);
        assert!(ran.said.contains("first stage: status 401") && !ran.said.contains("d3Jvbmc"), "{}", ran.said);
        assert_eq!(*asked.lock().expect("nobody panicked") - before, 1, "no other query would fare better");
    }
    let ran = warm(&["--url", &url, "--search-auth-file", &right], &requests(1));
    assert_eq!(ran.code, Some(64), "there is no search engine to send it to: {}", ran.said);
}

#[test]
fn what_is_refused_for_now_is_sent_again_and_what_is_refused_for_good_is_not() {
    let (busy, asked) = stand_in(|_, number| match number {
        0 => (429, "retry-after: 0\r\n", refusal("warm-up streams: 4 are under way")),
        1 => (503, "retry-after: 0\r\n", refusal("not ready")),
        2 => (500, "retry-after: 0\r\n", "no body of ours".to_owned()),
        3 => (200, "", json!({"lines": 1, "pairs": 5, "hits": 0, "failed": 0}).to_string() + "\n"),
        _ => (200, "", taken(3)),
    });
    let ran = warm(&["--url", &busy, "--at-once", "1"], &requests(3));
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    // The fourth answer broke off.
    assert_eq!(json!([ran.summary["retries"], ran.summary["pairs"], ran.summary["lines"]]), json!([4, 15, 3]));
    assert_eq!(*asked.lock().expect("nobody panicked"), 5);
    for reason in ["status 429: warm-up streams: 4 are under way", "status 503: not ready", "status 500"] {
        assert!(ran.said.contains(&format!("waiting for {busy}: {reason}\n")), "{reason}: {}", ran.said);
    }

    let (strict, asked) = stand_in(|_, _| (400, "", refusal("query string: not understood")));
    let ran = warm(&["--url", &strict], &requests(3));
    assert_eq!((ran.code, *asked.lock().expect("nobody panicked")), (Some(1), 1));
    assert!(ran.said.contains("status 400: query string: not understood"), "{}", ran.said);

    let (gone, asked) = stand_in(|_, _| (502, "retry-after: 1\r\n", String::new()));
    let ran = warm(&["--url", &gone, "--patience", "2"], &requests(3));
    assert_eq!((ran.code, &ran.summary["complete"]), (Some(1), &json!(false)));
    assert!(ran.said.contains("took nothing for 2 s, last: status 502"), "{}", ran.said);
    assert!((3..=4).contains(&*asked.lock().expect("nobody panicked")), "it keeps to the pause that is asked for");
}

#[test]
fn a_search_engine_that_is_busy_is_asked_again() {
    let core = core();
    let server = Server::start(&core);
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, asked) = stand_in(|_, number| {
        let hits = json!({"root": {"id": "t", "relevance": 1.0, "children": [{"id": "a", "relevance": 1.0, "fields": {"title": "one"}}]}});
        match number {
            0 => (429, "", String::new()),
            1 => (503, "", String::new()),
            _ => (200, "", hits.to_string()),
        }
    });
    let log = file(folder.path(), "log", "a query\n").display().to_string();
    let url = format!("http://{}", server.address);
    let ran = warm(&["--url", &url, "--from-vespa", &engine, "--fields", "title", "--query-log", &log], "");
    assert_eq!((ran.code, &ran.summary["pairs"]), (Some(0), &json!(1)), "{}", ran.said);
    assert_eq!(*asked.lock().expect("nobody panicked"), 3);
}

// An empty input must not hide that nothing could have been sent.
#[test]
fn an_address_that_is_none_is_refused_before_anything_is_read() {
    let log = ["--query-log", "/dev/null", "--index", "i", "--fields", "text"];
    for address in ["ftp://127.0.0.1", "127.0.0.1:8787", "", "http://", "https:///"] {
        let other = [&["--url", "http://127.0.0.1:9", "--from-opensearch", address][..], &log].concat();
        for arguments in [&["--url", address][..], &other] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rescored"));
            let ended = command.arg("warm").args(arguments).stdin(Stdio::null()).output().expect("the program ends");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {said}");
            assert!(said.contains("write `http://host:port`"), "{arguments:?}: {said}");
        }
    }
}

// Case E13.
#[test]
fn whoever_has_read_enough_may_close_the_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = folder.path().join("scores");
    let scope = rescored_cache::Scope { model: "m".into(), identity: "the model".into() };
    let cache = rescored_cache::ScoreCache::new(&crate::support::CACHE, vec![scope], Arc::default());
    let keys = rescored_cache::QueryKey::new("m", &rescored_core::domain::Truncation::MODEL, "q");
    let logit = rescored_core::domain::Logit::new(1.0).expect("finite");
    // More lines than any pipe holds.
    for number in 0..5000 {
        let scored = rescored_core::domain::Scored { logit, tokens: 1, cut: false };
        cache.insert(0, keys.document(&number.to_string()), scored);
    }
    assert_eq!(cache.write_snapshot(&snapshot).expect("written"), 5000);
    let file = snapshot.display().to_string();
    let cases: [&[&str]; 11] = [
        &["cache", "export", &file],
        &["cache", "stat", &file],
        &["--help"],
        &["--version"],
        &["warm", "--help"],
        &["man"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["doctor", "--no-scores"],
        &["doctor", "--no-scores", "--json"],
        &["warm", "--url", "http://127.0.0.1:9", "--patience", "1"],
    ];
    for arguments in cases {
        // The reader is gone before the first byte, or after it.
        for taken in [0, 1] {
            let run = |out: Stdio| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_rescored"));
                command.env_clear().args(arguments).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
                command.spawn().expect("the program starts")
            };
            let (mut reader, writer) = std::io::pipe().expect("a pipe");
            let child = if taken == 0 {
                drop(reader);
                run(writer.into())
            } else {
                let child = run(writer.into());
                // Nothing comes of a sub-command that has nothing to say.
                drop(reader.read(&mut [0]));
                drop(reader);
                child
            };
            let ended = child.wait_with_output().expect("the program ends");
            let said = String::from_utf8_lossy(&ended.stderr).to_lowercase();
            assert!(!said.contains("pipe") && !said.contains("panicked"), "{arguments:?}: {said}");
            let whole = run(Stdio::null()).wait_with_output().expect("the program ends");
            assert_eq!(ended.status.code(), whole.status.code(), "{arguments:?}: {said}");
        }
    }
    // What cannot be printed for another reason is reported: a device that is always full.
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let run = Command::new(env!("CARGO_BIN_EXE_rescored")).args(["cache", "export", &file]).stdout(full).output();
        assert_eq!(run.expect("the program ends").status.code(), Some(1));
    }
}
