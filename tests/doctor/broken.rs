//! Broken set-ups: each names exactly its fault, says what to do, and ends with the code that a script wants.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Examined, MODEL, copied_models, models};

/// What is expected of one broken set-up.
struct Expected<'e> {
    check: &'e str,
    state: &'e str,
    seen: &'e str,
    remedy: &'e str,
}

/// Runs the doctor and holds its only trouble against what is expected.
fn diagnosed(sentence: &str, arguments: &[&str], vars: &[(&str, &str)], expected: &Expected<'_>) {
    let examined = Examined::of(arguments, vars);
    let troubles = examined.troubles();
    let [trouble] = troubles.as_slice() else { panic!("{sentence}: one trouble, not {troubles:?}") };
    let [check, state, seen, remedy] = *trouble;
    assert_eq!((check, state), (expected.check, expected.state), "{sentence}: {trouble:?}");
    assert!(seen.contains(expected.seen), "{sentence}: `{}` is not in {seen}", expected.seen);
    assert!(remedy.contains(expected.remedy), "{sentence}: `{}` is not in {remedy}", expected.remedy);
    assert_eq!(examined.code, Some(i32::from(state == "fault")), "{sentence}");
}

const FAST: &[&str] = &["--no-scores"];

#[test]
fn a_set_up_that_works_has_no_trouble_and_scores_known_pairs() {
    let examined = Examined::of(&[], &[]);
    assert_eq!(examined.troubles(), Vec::<[&str; 4]>::new());
    assert_eq!(examined.code, Some(0));
    let scores = examined.findings.iter().find(|finding| finding["check"] == "scores").expect("scores");
    assert_eq!(scores["state"], "ok", "{scores}");
}

#[test]
fn settings_that_are_wrong_are_each_named() {
    let vars = [("RESCORED_LISTN", "127.0.0.1:1"), ("RESCORED_DEADLINE", "30"), ("RESCORED_WORKERS", "many")];
    let examined = Examined::of(FAST, &vars);
    let troubles = examined.troubles();
    assert_eq!((troubles.len(), examined.code), (3, Some(1)), "{troubles:?}");
    for (name, _) in vars {
        assert!(troubles.iter().any(|[check, _, seen, _]| *check == "settings" && seen.contains(name)), "{name}");
    }
    assert!(
        troubles.iter().any(|[_, _, seen, _]| seen.contains("RESCORED_LISTEN")),
        "the name that was meant: {troubles:?}"
    );
}

#[test]
fn a_setting_that_was_retired_is_a_warning() {
    let examined = Examined::of(FAST, &[("RESCORED_MAX_TEXT", "8MiB")]);
    let troubles = examined.troubles();
    assert!(
        matches!(troubles.as_slice(), [[check, _, seen, _]] if *check == "settings" && seen.contains("RESCORED_MAX_TEXT")),
        "{troubles:?}"
    );
    assert_eq!(examined.code, Some(0), "{troubles:?}");
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let empty = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(models().join(".runtime"), empty.path().join(".runtime")).unwrap();
    let halved = copied_models();
    let graph = halved.path().join(MODEL).join("model.onnx");
    let bytes = std::fs::read(&graph).unwrap();
    std::fs::write(&graph, &bytes[..bytes.len() / 2]).unwrap();
    let no_tokenizer = copied_models();
    std::fs::remove_file(no_tokenizer.path().join(MODEL).join("tokenizer.json")).unwrap();
    let no_library = empty.path().join("libonnxruntime.so").display().to_string();
    let path = |folder: &tempfile::TempDir| folder.path().display().to_string();
    let (empty, halved, no_tokenizer) = (path(&empty), path(&halved), path(&no_tokenizer));
    let missing = Expected { check: "model", state: "fault", seen: "does not exist", remedy: "rescored fetch" };
    diagnosed("no model was fetched", FAST, &[("RESCORED_MODEL_DIR", &empty)], &missing);
    let damaged = Expected { check: "model", state: "fault", seen: "is damaged", remedy: "rescored fetch" };
    diagnosed("half a graph", FAST, &[("RESCORED_MODEL_DIR", &halved)], &damaged);
    let gone = Expected { check: "model", state: "fault", seen: "tokenizer.json", remedy: "rescored fetch" };
    diagnosed("no tokenizer", FAST, &[("RESCORED_MODEL_DIR", &no_tokenizer)], &gone);
    let unknown = Expected { check: "model", state: "fault", seen: "no-such-model", remedy: "models/README.md" };
    diagnosed("a model that nobody knows", FAST, &[("RESCORED_MODELS", "no-such-model")], &unknown);
    let library = Expected { check: "runtime", state: "fault", seen: "libonnxruntime.so", remedy: "--runtime-only" };
    diagnosed("a library that is not there", FAST, &[("RESCORED_RUNTIME", &no_library)], &library);
}

#[test]
fn a_runtime_that_was_not_fetched_is_named() {
    let folder = copied_models();
    std::fs::remove_file(folder.path().join(".runtime")).unwrap();
    let path = folder.path().display().to_string();
    let expected =
        Expected { check: "runtime", state: "fault", seen: "is missing", remedy: "rescored fetch --runtime-only" };
    diagnosed("no runtime", FAST, &[("RESCORED_MODEL_DIR", &path)], &expected);
}

#[test]
fn a_precision_that_was_not_compiled_is_named() {
    let folder = copied_models();
    let path = folder.path().display().to_string();
    let expected = Expected { check: "model", state: "fault", seen: "RESCORED_PRECISION", remedy: "rescored compile" };
    let vars = [("RESCORED_MODEL_DIR", path.as_str()), ("RESCORED_PRECISION", "fp32")];
    diagnosed("fp32 of an int8 model", FAST, &vars, &expected);
}

#[test]
fn addresses_that_cannot_be_used_are_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    // A program that is no sidecar: it says something else, and hangs up.
    std::thread::Builder::new()
        .spawn(move || {
            for stream in other.incoming() {
                drop(stream.and_then(|mut stream| stream.write_all(b"SSH-2.0-other\r\n")));
            }
        })
        .unwrap();
    let expected = Expected { check: "address", state: "fault", seen: "another program", remedy: "RESCORED_LISTEN" };
    diagnosed("a taken port", FAST, &[("RESCORED_LISTEN", &taken)], &expected);
    let expected = Expected { check: "address", state: "fault", seen: "192.0.2.1:8787", remedy: "of this host" };
    diagnosed("an address of another host", FAST, &[("RESCORED_LISTEN", "192.0.2.1:8787")], &expected);
    let expected = Expected { check: "address", state: "fault", seen: "/no/such", remedy: "create /no/such" };
    diagnosed("a socket in no folder", FAST, &[("RESCORED_LISTEN", "unix:/no/such/socket")], &expected);
    let expected = Expected { check: "address", state: "warning", seen: "no key", remedy: "RESCORED_API_KEYS_FILE" };
    diagnosed("open to everybody", FAST, &[("RESCORED_LISTEN", "0.0.0.0:0")], &expected);
}

#[test]
fn keys_that_are_missing_empty_or_readable_by_all_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let path = file.display().to_string();
    let vars = [("RESCORED_API_KEYS_FILE", path.as_str())];
    let unusable = Expected { check: "keys", state: "fault", seen: "RESCORED_API_KEYS_FILE", remedy: "one key a line" };
    diagnosed("no file", FAST, &vars, &unusable);
    std::fs::write(&file, "# nobody yet\n\n").unwrap();
    diagnosed("a file without a key", FAST, &vars, &unusable);
    std::fs::write(&file, "secret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = Expected { check: "keys", state: "warning", seen: "everybody", remedy: "chmod o-rwx" };
    diagnosed("a file that everybody can read", FAST, &vars, &open);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Examined::of(FAST, &vars).troubles().len(), 0, "a good file");
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cert.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let path = file.display().to_string();
    let expected = Expected { check: "certificate", state: "fault", seen: "RESCORED_TLS_CERT", remedy: "PEM" };
    diagnosed("a file that is no certificate", FAST, &[("RESCORED_TLS_CERT", &path)], &expected);
}

#[test]
fn a_snapshot_that_is_torn_or_in_no_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let torn = folder.path().join("scores");
    std::fs::write(&torn, b"half a snap").unwrap();
    let (torn, nowhere) = (torn.display().to_string(), "/no/such/folder/scores");
    let expected = Expected { check: "snapshot", state: "warning", seen: "scores", remedy: "passed over" };
    diagnosed("a torn snapshot", FAST, &[("RESCORED_CACHE_SNAPSHOT", &torn)], &expected);
    let expected =
        Expected { check: "snapshot", state: "fault", seen: "cannot be written", remedy: "create /no/such/folder" };
    diagnosed("a snapshot in no folder", FAST, &[("RESCORED_CACHE_SNAPSHOT", nowhere)], &expected);
}

#[test]
fn memory_that_does_not_suffice_is_named() {
    let expected = Expected { check: "memory", state: "fault", seen: "MiB are needed", remedy: "RESCORED_CACHE_BYTES" };
    diagnosed("a cache larger than the host", FAST, &[("RESCORED_CACHE_BYTES", "1000GiB")], &expected);
}

#[test]
fn servers_that_do_not_answer_are_named_and_passwords_are_not() {
    let vars = [("RESCORED_CACHE_REDIS", "redis://user:hunter2@127.0.0.1:1/0")];
    let examined = Examined::of(FAST, &vars);
    let reported = format!("{:?}", examined.findings);
    assert!(!reported.contains("hunter2"), "{reported}");
    let expected =
        Expected { check: "shared cache", state: "warning", seen: "does not answer", remedy: "RESCORED_CACHE_REDIS" };
    diagnosed("no Redis", FAST, &vars, &expected);
    let expected = Expected { check: "engine", state: "fault", seen: "no answer", remedy: "engine runs" };
    diagnosed("no engine", &["--no-scores", "--engine", "http://127.0.0.1:1"], &[], &expected);
}

#[test]
fn several_faults_are_reported_at_once_in_text() {
    let output = crate::support::rescored(
        &["doctor", "--no-scores"],
        &[
            ("RESCORED_MODEL_DIR", "/no/such"),
            ("RESCORED_API_KEYS_FILE", "/no/keys"),
            ("RESCORED_LISTEN", "127.0.0.1:0"),
        ],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for check in ["keys", "runtime", "model"] {
        let named = text.lines().any(|line| line.starts_with("fault") && line.contains(check));
        assert!(named, "{check}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains(" -> ")).count(), 3, "{text}");
    assert!(text.contains("3 faults, 0 warnings"), "{text}");
}
