//! Repositories that no catalogue knows, from a hub and its store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rescored_cli::fetch::{FetchError, Options, Outcome, Progress, Silent, Token, Wish, fetch};
use rescored_runtime::Manifest;
use rescored_runtime::catalogue::PrecisionName;
use rescored_runtime::checksum::Sha256;
use serde_json::Value;

use crate::World;
use crate::hub::{COMMIT, Fault, Mock};

const CONFIG: &[u8] = br#"{"model_type":"bert","max_position_embeddings":256,"id2label":{"0":"LABEL_0"}}"#;
const IDENTITY: &[u8] = br#"{"activation_fn":"torch.nn.modules.linear.Identity"}"#;
const TOKENIZER: &[u8] = b"{}";

/// Bytes of a large file.
const WEIGHTS: usize = 400_000;

fn weights() -> Vec<u8> {
    (0..WEIGHTS).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// A repository as transformers writes them, with what nobody needs beside it.
fn usual(weights: &[u8]) -> Vec<(&'static str, &[u8])> {
    vec![
        ("README.md", b"read me"),
        ("config.json", CONFIG),
        ("config_sentence_transformers.json", IDENTITY),
        ("model.safetensors", weights),
        ("pytorch_model.bin", weights),
        ("tokenizer.json", TOKENIZER),
    ]
}

fn options(world: &World, hub: &Mock, name: &str) -> Options {
    Options { hub: hub.url.clone(), ..world.options(&[name]) }
}

fn files(world: &World, folder: &str) -> Vec<String> {
    let own = format!("{folder}/");
    world.files().into_iter().filter_map(|file| file.strip_prefix(&own).map(str::to_owned)).collect()
}

fn manifest(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.dir().join("m/manifest.json")).unwrap()).unwrap()
}

// Case D8.
#[test]
fn any_repository_is_fetched_at_one_commit_and_opens_as_a_model() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    let report = fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    assert_eq!((report.models[0].outcome, &report.models[0].path), (Outcome::Fetched, &world.dir().join("m")));
    assert_eq!(report.models[0].name, "m (us/m, Apache-2.0)");
    let wanted =
        ["config.json", "config_sentence_transformers.json", "manifest.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(files(&world, "m"), wanted, "and nothing that nobody needs");
    let written = manifest(&world);
    assert_eq!(
        (&written["source"], &written["revision"], &written["licence"]),
        (&"us/m".into(), &COMMIT.into(), &"Apache-2.0".into())
    );
    assert_eq!(
        (&written["graph"], &written["max_length"], &written["activation"]),
        (&"model.safetensors".into(), &256.into(), &"identity".into())
    );
    let opened = Manifest::open(&world.dir(), "m").unwrap();
    assert_eq!((opened.source.as_str(), opened.verify().unwrap()), ("us/m", 4));
    // Whole as it is: no host is asked.
    hub.seen();
    for name in ["us/m".to_owned(), format!("us/m@{COMMIT}")] {
        let again = fetch(&options(&world, &hub, &name), &mut Silent).unwrap();
        assert_eq!((again.models[0].outcome, hub.seen()), (Outcome::Present, vec![]), "{name}");
    }
    // A branch may have moved; its files have not.
    let branch = fetch(&options(&world, &hub, "us/m@main"), &mut Silent).unwrap();
    assert_eq!(branch.models[0].outcome, Outcome::Present);
    assert!(hub.seen().iter().all(|seen| seen.path.starts_with("/api/")));
    // What was damaged comes again, of the same commit.
    fs::write(world.dir().join("m/config.json"), "{}").unwrap();
    assert_eq!(fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap().models[0].outcome, Outcome::Fetched);
    assert_eq!(fs::read(world.dir().join("m/config.json")).unwrap(), CONFIG);
    let asked: Vec<String> =
        hub.seen().into_iter().map(|seen| seen.path).filter(|path| !path.starts_with("/api/")).collect();
    assert_eq!(asked, [format!("/us/m/resolve/{COMMIT}/config.json")]);
}

// Case D8.
#[test]
fn the_token_is_shown_to_the_hub_and_to_no_host_that_it_redirects_to() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    let token = Some(Token::new("hf_secret").unwrap());
    fetch(&Options { token, ..options(&world, &hub, "us/m") }, &mut Silent).unwrap();
    let seen = hub.seen();
    assert!(seen.iter().any(|seen| seen.store) && seen.iter().any(|seen| !seen.store), "{seen:?}");
    for one in seen {
        let expected = (!one.store).then(|| "Bearer hf_secret".to_owned());
        assert_eq!(one.authorization, expected, "{one:?}");
    }
}

// Case D8.
#[test]
fn a_download_that_broke_is_gone_on_with_by_the_next_run() {
    const SENT: usize = 60_000;
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    hub.set(Fault::Cut(SENT));
    let fault = fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap_err();
    assert!(matches!(fault, FetchError::HubUnreachable { .. }), "{fault}");
    assert!(!world.dir().join("m/model.safetensors").exists() && !world.dir().join("m/manifest.json").exists());
    let tried: Vec<usize> = hub.seen().iter().filter(|seen| seen.store).map(|seen| seen.from).collect();
    assert_eq!(tried, [0, SENT, 2 * SENT, 3 * SENT], "each goes on where the last one ended");
    hub.set(Fault::None);
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    let store: Vec<usize> = hub.seen().iter().filter(|seen| seen.store).map(|seen| seen.from).collect();
    assert_eq!(store, [4 * SENT], "nothing is downloaded twice");
    assert_eq!(fs::read(world.dir().join("m/model.safetensors")).unwrap(), weights);
    assert!(world.files().iter().all(|file| !file.starts_with(".downloads")), "{:?}", world.files());
}

// Case D8.
#[test]
fn bytes_that_are_not_those_of_the_commit_never_come_into_place() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    hub.set(Fault::Wrong);
    let fault = fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap_err();
    assert!(matches!(&fault, FetchError::WrongHash { expected, .. } if *expected == Sha256::of(&weights)), "{fault}");
    assert!(!world.dir().join("m/model.safetensors").exists() && !world.dir().join("m/manifest.json").exists());
    assert!(world.files().iter().all(|file| !file.starts_with(".downloads")), "they are not gone on with");
    hub.set(Fault::None);
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    // Also where the manifest was there before.
    let mut other = weights.clone();
    other[9] ^= 1;
    fs::write(world.dir().join("m/model.safetensors"), &other).unwrap();
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    assert_eq!(fs::read(world.dir().join("m/model.safetensors")).unwrap(), weights);
}

// Case D8.
#[test]
fn what_the_hubs_own_clients_brought_is_taken_where_it_is_right() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    let cache = world.root.path().join("hub");
    let repository = cache.join("models--us--m");
    let blobs = repository.join("blobs");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let blob = blobs.join(Sha256::of(&weights).to_string());
    fs::write(&blob, &weights).unwrap();
    fs::write(blobs.join("small"), CONFIG).unwrap();
    std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink(blobs.join("small"), snapshot.join("config.json")).unwrap();
    let with_cache = Options { hub_cache: Some(cache), ..options(&world, &hub, "us/m") };
    fetch(&with_cache, &mut Silent).unwrap();
    let asked: Vec<String> =
        hub.seen().into_iter().filter(|seen| !seen.path.starts_with("/api/")).map(|seen| seen.path).collect();
    let expected = ["config_sentence_transformers.json", "tokenizer.json"];
    assert_eq!(asked, expected.map(|path| format!("/us/m/resolve/{COMMIT}/{path}")));
    let brought = world.dir().join("m/model.safetensors");
    assert!(!fs::symlink_metadata(&brought).unwrap().is_symlink(), "a copy: the cache may be cleared");
    // A blob of the right length and other bytes is not taken.
    fs::remove_dir_all(world.dir().join("m")).unwrap();
    fs::write(&blob, vec![7; weights.len()]).unwrap();
    fetch(&with_cache, &mut Silent).unwrap();
    assert_eq!(fs::read(&brought).unwrap(), weights);
}

// Case D8.
#[test]
fn a_damaged_folder_says_what_brings_its_files_again() {
    let (world, weights) = (World::new(), weights());
    let catalogue = world.dir().join("catalogue.toml");
    let without = fs::read_to_string(&catalogue).unwrap().replace("id = \"m\"", "id = \"n\"");
    fs::write(&catalogue, without).unwrap();
    let hub = Mock::new(&usual(&weights));
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    fs::write(world.dir().join("m/model.safetensors"), "other").unwrap();
    let damaged = Manifest::open(&world.dir(), "m").unwrap().verify().unwrap_err().to_string();
    assert!(damaged.contains("run: rescored fetch m"), "{damaged}");
    assert_eq!(fetch(&options(&world, &hub, "m"), &mut Silent).unwrap().models[0].outcome, Outcome::Fetched);
    fs::remove_file(world.dir().join("m/tokenizer.json")).unwrap();
    let missing = Manifest::open(&world.dir(), "m").unwrap_err().to_string();
    assert!(missing.contains("tokenizer.json` is missing; run: rescored fetch m"), "{missing}");
    fetch(&options(&world, &hub, "m"), &mut Silent).unwrap();
    assert_eq!(Manifest::open(&world.dir(), "m").unwrap().verify().unwrap(), 4);
}

/// Notes what is said, and answers every question by no.
#[derive(Default)]
struct Doubter {
    said: Vec<String>,
    asked: Vec<String>,
}

impl Progress for Doubter {
    fn say(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }
    fn confirm(&mut self, question: &str) -> bool {
        self.asked.push(question.to_owned());
        false
    }
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn advance_to(&mut self, _: u64) {}
    fn end(&mut self) {}
}

// Case D8.
#[test]
fn licence_and_size_are_reported_and_much_is_asked_about() {
    let (world, weights) = (World::new(), weights());
    let mut doubter = Doubter::default();
    let hub = Mock::new(&usual(&weights));
    fetch(&options(&world, &hub, "us/m"), &mut doubter).unwrap();
    let expected = "us/m at 0123456789ab: licence Apache-2.0, 4 files, 401 kB, of which 401 kB are to be downloaded";
    assert!(doubter.said.iter().any(|line| line == expected), "{:?}", doubter.said);
    assert_eq!(doubter.asked, Vec::<String>::new(), "little is not asked about");
    fs::remove_dir_all(world.dir().join("m")).unwrap();
    let large = Mock::claiming(&usual(&weights), Some(2_271_078_180));
    let fault = fetch(&options(&world, &large, "us/m"), &mut doubter).unwrap_err().to_string();
    assert_eq!(doubter.asked, ["Download 2.2 GB?"]);
    assert!(fault.contains("us/m") && fault.contains("--yes"), "{fault}");
    assert!(large.seen().iter().all(|seen| !seen.store), "nothing large was downloaded");
}

// Case D8.
#[test]
fn a_graph_of_the_precision_asked_for_comes_with_its_weights() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&[
        ("config.json", CONFIG),
        ("onnx/model.onnx", b"fp32"),
        ("onnx/model.onnx_data", &weights),
        ("onnx/model_quantized.onnx", b"int8"),
        ("tokenizer.json", TOKENIZER),
    ]);
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    assert_eq!(
        files(&world, "m"),
        ["config.json", "manifest.json", "onnx/model.onnx", "onnx/model.onnx_data", "tokenizer.json"]
    );
    assert_eq!(Manifest::open(&world.dir(), "m").unwrap().graph, world.dir().join("m/onnx/model.onnx"));
    let wish = Wish { precision: Some(PrecisionName::Int8), ..Wish::default() };
    fetch(&Options { wish, ..options(&world, &hub, "us/m") }, &mut Silent).unwrap();
    let written = manifest(&world);
    assert_eq!((&written["graph"], &written["precision"]), (&"onnx/model_quantized.onnx".into(), &"int8".into()));
    assert_eq!(Manifest::open(&world.dir(), "m").unwrap().verify().unwrap(), 3);
}

// Case D8.
#[test]
fn weights_in_several_files_and_parts_in_folders_come_whole() {
    let (world, weights) = (World::new(), weights());
    let index = br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let modules = br#"[{"path":""},{"path":"1_Pooling"},{"path":"2_Dense"}]"#;
    let hub = Mock::new(&[
        ("1_Pooling/config.json", b"{}"),
        ("2_Dense/config.json", b"{}"),
        ("2_Dense/model.safetensors", b"dense"),
        ("config.json", CONFIG),
        ("model-00001-of-00002.safetensors", &weights),
        ("model-00002-of-00002.safetensors", b"second"),
        ("model.safetensors.index.json", index),
        ("modules.json", modules),
        ("tokenizer.json", TOKENIZER),
    ]);
    fetch(&options(&world, &hub, "us/m"), &mut Silent).unwrap();
    let opened = Manifest::open(&world.dir(), "m").unwrap();
    assert_eq!(opened.graph, world.dir().join("m/model.safetensors.index.json"));
    assert_eq!(opened.verify().unwrap(), 9);
    fs::write(world.dir().join("m/2_Dense/model.safetensors"), "other").unwrap();
    assert!(Manifest::open(&world.dir(), "m").unwrap().verify().unwrap_err().to_string().contains("2_Dense"));
}

// Case D8.
#[test]
fn what_a_hub_refuses_is_reported_with_what_to_do() {
    let (world, weights) = (World::new(), weights());
    let token = Some(Token::new("hf_secret").unwrap());
    for (why, fault, token, name, expected) in [
        (
            "nothing there",
            Fault::Refused(404, "RepoNotFound"),
            None,
            "us/m",
            vec!["`us/m` is no repository", "HF_TOKEN"],
        ),
        ("not there, said to strangers", Fault::Refused(401, "RepoNotFound"), None, "us/m", vec!["is no repository"]),
        ("gated", Fault::Refused(401, "GatedRepo"), None, "us/m", vec!["is gated", "HF_TOKEN is not set", "/us/m"]),
        ("gated files", Fault::GatedFiles, None, "us/m", vec!["is gated", "accept its terms"]),
        ("not for this account", Fault::Refused(403, "GatedRepo"), token, "us/m", vec!["account of HF_TOKEN may not"]),
        ("another revision", Fault::None, None, "us/m@v9", vec!["no revision `v9`", "tree/main"]),
        ("a hub that fails", Fault::Refused(503, ""), None, "us/m", vec!["answers 503", "later"]),
        ("a page for people", Fault::Html, None, "us/m", vec!["something else than a list of files", "--hub"]),
    ] {
        let hub = Mock::new(&usual(&weights));
        hub.set(fault);
        let options = Options { token, ..options(&world, &hub, name) };
        let said = fetch(&options, &mut Silent).unwrap_err().to_string();
        for part in expected {
            assert!(said.contains(part) && !said.contains("hf_secret"), "{why}: {said}");
        }
        assert!(!world.dir().join("m/manifest.json").exists(), "{why}");
    }
    let nobody = fetch(&world.options(&["us/m"]), &mut Silent).unwrap_err().to_string();
    assert!(nobody.contains("does not answer") && nobody.contains("HTTPS_PROXY"), "{nobody}");
    let pickles = Mock::new(&[("config.json", CONFIG), ("pytorch_model.bin", &weights)]);
    let said = fetch(&options(&world, &pickles, "us/m"), &mut Silent).unwrap_err().to_string();
    assert!(said.contains("it has pytorch_model.bin") && said.contains("save_pretrained"), "{said}");
    assert!(pickles.seen().iter().all(|seen| !seen.store), "nothing was downloaded for it");
    let vocabulary = Mock::new(&[("config.json", CONFIG), ("model.safetensors", b"w"), ("vocab.txt", b"[PAD]\n")]);
    let said = fetch(&options(&world, &vocabulary, "us/m"), &mut Silent).unwrap_err().to_string();
    assert!(said.contains("holds vocab.txt and no tokenizer.json") && said.contains("AutoTokenizer"), "{said}");
    // The library wrote it; the rest is there.
    fs::write(world.dir().join("m/tokenizer.json"), TOKENIZER).unwrap();
    fetch(&options(&world, &vocabulary, "us/m"), &mut Silent).unwrap();
    assert_eq!(Manifest::open(&world.dir(), "m").unwrap().verify().unwrap(), 4);
}

// Case D8.
#[test]
fn a_folder_of_another_model_is_left_alone() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    fetch(&world.options(&["m"]), &mut Silent).unwrap();
    let before = fs::read(world.dir().join("m/manifest.json")).unwrap();
    let said = fetch(&options(&world, &hub, "them/m"), &mut Silent).unwrap_err().to_string();
    assert!(said.contains("holds `us/m`, not `them/m`") && said.contains("--model-dir"), "{said}");
    assert_eq!(fs::read(world.dir().join("m/manifest.json")).unwrap(), before);
}

fn program(world: &World, environment: &[(&str, &Path)], more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rescored"));
    command.args(["fetch", "--model-dir"]).arg(world.dir());
    command.arg("--python").arg(world.root.path().join("python3")).args(more);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE"] {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

// Case D8.
#[test]
fn the_program_honours_the_hubs_own_variables_and_reports_no_token() {
    let (world, weights) = (World::new(), weights());
    let hub = Mock::new(&usual(&weights));
    let home = world.root.path().join("huggingface");
    let snapshot = home.join("hub/models--us--m/snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("model.safetensors"), &weights).unwrap();
    let endpoint = PathBuf::from(&hub.url);
    let environment = [("HF_ENDPOINT", endpoint.as_path()), ("HF_TOKEN", Path::new("hf_secret")), ("HF_HOME", &home)];
    let (code, said) = program(&world, &environment, &["us/m"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("licence Apache-2.0") && said.contains("m (us/m, Apache-2.0): fetched: "), "{said}");
    assert!(said.contains("model.safetensors taken from ") && !said.contains("hf_secret"), "{said}");
    let seen = hub.seen();
    assert!(
        seen.iter().all(|seen| seen.authorization.as_deref() == Some("Bearer hf_secret") && !seen.store),
        "{seen:?}"
    );
    for (why, environment, more, sentence) in [
        (
            "an address that is none",
            vec![("HF_ENDPOINT", Path::new("huggingface.co"))],
            vec!["us/m"],
            "HF_ENDPOINT: `huggingface.co`",
        ),
        ("a flag that is none", vec![], vec!["us/m", "--hub", "https://"], "--hub: `https://` is no address"),
        (
            "a token of two words",
            vec![("HF_TOKEN", Path::new("hf_a b"))],
            vec!["us/m"],
            "HF_TOKEN: the value (redacted)",
        ),
        ("no repository's name", vec![], vec!["us/m/x"], "`us/m/x` is not in the catalogue"),
    ] {
        let (code, said) = program(&world, &environment, &more);
        assert_eq!(code, Some(64), "{why}: {said}");
        assert!(said.contains(sentence) && !said.contains("hf_a"), "{why}: {said}");
    }
}
