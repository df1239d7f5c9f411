//! The program itself: start, bad settings, missing and damaged files, drain.

use std::io::Read;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::program::{Server, program};
use crate::support::{Connection, models};

#[test]
fn no_worker_goes_on_profiling_once_it_is_warm() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let server = Server::with(&[("TMPDIR", &place), ("RESCORED_WORKERS", "4")]);
    let names = std::fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    // A profile that goes on holds its file, gigabytes of memory and half the worker's pace. The runtime has files too.
    let profiles: Vec<String> = names.filter(|name| name.starts_with("rescored-placement")).collect();
    assert!(profiles.is_empty(), "{profiles:?}");
    drop(server);
}

#[test]
fn a_stop_finishes_what_was_accepted_and_exits_with_zero() {
    let mut server = Server::start();
    let documents: Vec<String> =
        (0..60).map(|n| format!("passage number {n} about draining a server in order")).collect();
    let body = serde_json::json!({"query": "how does a server drain", "documents": documents}).to_string();
    let address = server.address;
    let working = std::thread::Builder::new()
        .spawn(move || Connection::open(address).post("/v1/rerank", body, "").ok())
        .expect("a thread");
    std::thread::sleep(Duration::from_millis(60));
    server.terminate();
    let answer = working.join().expect("the answer comes although a stop was asked for");
    assert_eq!(answer["results"].as_array().expect("results").len(), 60);
    let asked = Instant::now();
    let status = server.child.wait().expect("the program ends");
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(25), "within the grace period");
    let mut rest = String::new();
    server.log().read_to_string(&mut rest).expect("the log ends");
    assert!(rest.contains("stop asked for") && rest.contains("draining"), "{rest}");
    assert!(!rest.contains("passage number"), "texts stay out of the log");
}

// Case A10.
#[test]
fn an_answer_that_its_client_does_not_read_is_cut_within_the_drain_and_reported() {
    let mut server = Server::with(&[("RESCORED_DRAIN", "3s")]);
    // More than the system keeps of an answer for a client that does not read.
    let text = "words of a long passage ".repeat(150_000);
    let documents: Vec<String> = (0..6).map(|n| format!("{n} {text}")).collect();
    let body = serde_json::json!({"query": "q", "documents": documents, "return_documents": true}).to_string();
    let mut connection = Connection::open(server.address);
    connection.write(format!(
        "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    server.wait_until("answered");
    server.terminate();
    let begun = Instant::now();
    let status = server.child.wait().expect("the program ends");
    assert!(begun.elapsed() < Duration::from_secs(3), "within the grace period: {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(1));
    let mut rest = String::new();
    server.log().read_to_string(&mut rest).expect("the log ends");
    assert!(rest.contains("0 requests in work and 1 answers that clients had not read"), "{rest}");
}

// Case C5.
#[test]
fn the_library_that_is_checked_is_the_one_that_is_loaded() {
    let here = tempfile::tempdir().expect("a folder");
    let there = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    std::os::unix::fs::symlink(models(), here.path().join("models")).expect("a link");
    let elsewhere = there.path().join("rescored");
    // Linked: a copy that is being written while another test starts a process is busy.
    std::fs::hard_link(env!("CARGO_BIN_EXE_rescored"), &elsewhere).expect("a link to the program");
    // What lies beside the program under the same relative path is something else.
    let mut decoys = 0;
    for library in libraries(&models()) {
        let decoy = there.path().join("models").join(library.strip_prefix(models()).expect("below the models"));
        std::fs::create_dir_all(decoy.parent().expect("a folder")).expect("folders");
        std::fs::write(&decoy, "no library").expect("a file");
        decoys += 1;
    }
    assert!(decoys > 0, "the runtime library is found");
    let vars = [("RESCORED_MODEL_DIR", "models"), ("RESCORED_LISTEN", "127.0.0.1:0")];
    let mut program = std::process::Command::new(&elsewhere);
    program.env_clear().envs(vars).current_dir(here.path()).arg("doctor");
    let Output { stdout, stderr, .. } = program.output().expect("the program runs");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(said.contains("ok       runtime"), "{said}");
}

/// Shared libraries below a folder.
fn libraries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => libraries(&path),
            path if entry.file_name().to_string_lossy().starts_with("libonnxruntime") => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn at_the_most_talkative_level_the_log_holds_neither_texts_nor_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "sesame-4711\n").expect("a file");
    let keys = keys.display().to_string();
    let mut server = Server::with(&[("RESCORED_LOG", "trace"), ("RESCORED_API_KEYS_FILE", &keys)]);
    // The log is read while it is written: a full pipe would stop the program.
    let mut log = server.log.take().expect("the log");
    let reading = std::thread::Builder::new()
        .spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).expect("the log ends");
            rest
        })
        .expect("a thread");
    let mut connection = Connection::open(server.address);
    let key = "authorization: Bearer sesame-4711\r\n";
    let hit = serde_json::json!({"_id": "1", "_score": 1.0, "_source": {"text": "zebrafinch document"}});
    let engine = serde_json::json!({
        "query": "quokka query", "fields": ["text"], "rescore": {"window_size": 1},
        "response": {"hits": {"max_score": 1.0, "hits": [hit]}},
    });
    for (path, body, status) in [
        ("/v1/rerank", r#"{"query":"quokka query","documents":["zebrafinch document"]}"#.to_owned(), 200),
        (
            "/v1/rerank",
            r#"{"query":"quokka query","documents":["zebrafinch document"],"truncate":"none","top_n":"x"}"#.to_owned(),
            400,
        ),
        ("/v1/rerank", r#"{"query":"quokka query","documents":["zebrafinch document""#.to_owned(), 400),
        ("/rescore/opensearch", engine.to_string(), 200),
    ] {
        assert_eq!(connection.post(path, body, key).status, status, "{path}");
    }
    let wrong = "authorization: Bearer sesame-wrong\r\n";
    assert_eq!(connection.post("/v1/rerank", r#"{"query":"quokka"}"#, wrong).status, 401);
    server.terminate();
    assert_eq!(server.child.wait().expect("the program ends").code(), Some(0));
    let log = reading.join().expect("the log");
    assert!(log.contains("answered") && log.contains("\"level\":\"TRACE\""), "it is talkative");
    for secret in ["quokka", "zebrafinch", "sesame"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "`{secret}` is in the log: {line:?}");
    }
}

fn fails(vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = program(vars).output().expect("the program runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn bad_settings_are_reported_together_and_exit_with_64() {
    let vars = [("RESCORED_DEADLINE", "30"), ("RESCORED_WORKERS", "many"), ("RESCORED_LISTN", "127.0.0.1:1")];
    let (code, said) = fails(&vars);
    assert_eq!(code, Some(64), "{said}");
    for name in ["RESCORED_DEADLINE", "RESCORED_WORKERS", "RESCORED_LISTN", "RESCORED_LISTEN"] {
        assert!(said.contains(name), "{name} is missing in: {said}");
    }
}

#[test]
fn missing_and_damaged_files_say_what_to_run() {
    let empty = tempfile::tempdir().expect("a folder");
    let damaged = tempfile::tempdir().expect("a folder");
    copy(&models(), damaged.path());
    let graph = damaged.path().join("ms-marco-MiniLM-L-12-v2/model.onnx");
    let bytes = std::fs::read(&graph).expect("the graph");
    std::fs::write(&graph, &bytes[..bytes.len() / 2]).expect("half of it");
    let no_library = damaged.path().join("no-such-library.so").display().to_string();
    let (here, empty, damaged) =
        (models().display().to_string(), empty.path().display().to_string(), damaged.path().display().to_string());
    let cases = [
        ("an empty model folder", &empty, None, "rescored fetch"),
        ("half a graph", &damaged, None, "damaged"),
        ("no such model", &here, Some(("RESCORED_MODELS", "no-such-model")), "no-such-model"),
        ("no such library", &here, Some(("RESCORED_RUNTIME", no_library.as_str())), "RESCORED_RUNTIME"),
    ];
    for (case, folder, more, hint) in cases {
        let vars: Vec<_> = more.into_iter().chain([("RESCORED_MODEL_DIR", folder.as_str())]).collect();
        let (code, said) = fails(&vars);
        assert_eq!(code, Some(1), "{case}: {said}");
        assert!(said.contains(hint), "{case} does not say `{hint}`: {said}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (path, target) = {
            let entry = entry.expect("an entry");
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            std::fs::create_dir_all(&target).expect("a folder");
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn pinned_workers_keep_to_cores_of_their_own_and_score_the_same_bits() {
    // Where each worker of a server may run, as the system reports it.
    let cores = |server: &Server| {
        let threads = format!("/proc/{}/task", server.child.id());
        let mut cores = Vec::new();
        for thread in std::fs::read_dir(threads).expect("a process").map(|entry| entry.expect("an entry").path()) {
            let name = std::fs::read_to_string(thread.join("comm")).expect("a name");
            let status = std::fs::read_to_string(thread.join("status")).expect("its status");
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
            if name.starts_with("worker-") {
                cores.push(list.trim().to_owned());
            }
        }
        cores.sort();
        cores
    };
    let logit = |server: &Server| {
        let body = r#"{"query":"what is rust","documents":["Rust is a systems language."],"raw_scores":true}"#;
        Connection::open(server.address).post("/v1/rerank", body, "").ok()["results"][0]["relevance_score"].to_string()
    };
    let free = Server::with(&[("RESCORED_WORKERS", "2")]);
    let anywhere = cores(&free);
    assert!(anywhere.len() == 2 && anywhere[0] == anywhere[1], "{anywhere:?}");
    let wanted = logit(&free);
    drop(free);
    if std::thread::available_parallelism().expect("cores").get() < 2 {
        println!("skipped: one core cannot be shared out");
        return;
    }
    let pinned = Server::with(&[("RESCORED_WORKERS", "2"), ("RESCORED_PIN_WORKERS", "on")]);
    let own = cores(&pinned);
    assert!(own.len() == 2 && own[0] != own[1], "{own:?}");
    assert_eq!(logit(&pinned), wanted);
    drop(pinned);
    // More workers than cores: all run, none is kept anywhere.
    let many = std::thread::available_parallelism().expect("cores").get() + 1;
    let crowd = Server::with(&[("RESCORED_WORKERS", &many.to_string()), ("RESCORED_PIN_WORKERS", "on")]);
    assert_eq!(cores(&crowd), vec![anywhere[0].clone(); many]);
}
