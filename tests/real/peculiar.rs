//! Models as exporters write them, small ones of a kind for each test, through the real runtime and the program.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rescored_graph::proto::kind;
use rescored_runtime::Model;
use rescored_runtime::options::Graphs;
use serde_json::json;

use crate::program::{Server, program};
use crate::shallow;
use crate::support::{Connection, config, float, models};
use crate::tiny::{Peculiar, folder, put};

/// A weight whose products with sums of ids are exact in 32-bit floats.
const WEIGHT: f32 = 1.0 / 1024.0;

const QUERY: &str = "how many people live in berlin";
const DOCUMENTS: [&str; 2] = ["Berlin had a population of 3,520,031.", "Bread is baked from flour."];

fn vars<'v>(dir: &'v str, more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let fixed = [("RESCORED_MODEL_DIR", dir), ("RESCORED_MODELS", "tiny"), ("RESCORED_WORKERS", "1")];
    fixed.iter().chain(more).copied().collect()
}

/// A server over the model `tiny` of this folder.
fn serve(dir: &Path, more: &[(&str, &str)]) -> Server {
    Server::with(&vars(&dir.display().to_string(), more))
}

/// What the program says that does not start over the model `tiny` of this folder.
fn refused(dir: &Path, more: &[(&str, &str)]) -> String {
    let dir = dir.display().to_string();
    let fixed = [("RESCORED_LISTEN", "127.0.0.1:0"), ("RESCORED_LOG_FORMAT", "json")];
    let mut child = program(&[fixed.as_slice(), &vars(&dir, more)].concat()).spawn().expect("the program starts");
    let until = Instant::now() + Duration::from_mins(2);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        if Instant::now() > until {
            child.kill().expect("killed");
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut log = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("a log");
    assert_eq!(status.code(), Some(1), "{log}");
    log
}

fn logits(server: &Server) -> Vec<f32> {
    crate::support::logits(&mut Connection::open(server.address), QUERY, &DOCUMENTS)
}

fn load(server: &Server) -> bool {
    let mut connection = Connection::open(server.address);
    connection.post("/v2/repository/models/tiny/load", "", "").ok()["changed"] == true
}

// Case B9.
#[test]
fn weights_beside_the_graph_are_a_part_of_the_model() {
    let dir = folder();
    let file = put(dir.path(), "tiny", WEIGHT, Peculiar::External("model.onnx_data")).join("model.onnx_data");
    let snapshot = dir.path().join("scores").display().to_string();
    let more = [("RESCORED_MODEL_CONTROL", "on"), ("RESCORED_CACHE_SNAPSHOT", snapshot.as_str())];
    let server = serve(dir.path(), &more);
    let first = logits(&server);
    assert!(!load(&server), "nothing has changed");
    // Other bytes in the same file, of the same size and with the same time, as `cp -p` leaves them.
    let replace = |weight: f32| {
        let time = file.metadata().and_then(|facts| facts.modified()).expect("a time");
        std::fs::write(&file, weight.to_le_bytes()).expect("weights");
        std::fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("a time");
    };
    replace(2.0 * WEIGHT);
    assert!(load(&server), "other weights are another model");
    let doubled: Vec<f32> = first.iter().map(|logit| 2.0 * logit).collect();
    assert_eq!(logits(&server), doubled, "and no score of the former one is found");
    stop(server);
    replace(4.0 * WEIGHT);
    let server = serve(dir.path(), &more);
    let again: Vec<f32> = first.iter().map(|logit| 4.0 * logit).collect();
    assert_eq!(logits(&server), again, "after a restart with the snapshot of the former one");
    stop(server);
}

fn stop(mut server: Server) {
    server.terminate();
    assert_eq!(server.child.wait().expect("the program ends").code(), Some(0));
}

// Case B9.
#[test]
fn weights_that_are_missing_or_lie_elsewhere_stop_the_start() {
    let dir = folder();
    for (location, missing, reported) in [
        ("model.onnx_data", true, "holds weights of"),
        ("../elsewhere", false, "leads out of the model's folder"),
        ("/etc/hostname", false, "leads out of the model's folder"),
    ] {
        let folder = put(dir.path(), "tiny", WEIGHT, Peculiar::External(location));
        if missing {
            std::fs::remove_file(folder.join(location)).expect("it was there");
        }
        let log = refused(dir.path(), &[]);
        assert!(log.contains(reported) && log.contains("model `tiny`"), "{location}: {log}");
    }
}

// Cases A7, A10 and B9: files of a model that are pipes or have no end are refused by name, and nothing waits for them.
#[test]
fn files_of_a_model_that_are_no_files_stop_the_start_at_once() {
    let dir = folder();
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    };
    for name in
        ["config.json", "tokenizer_config.json", "config_sentence_transformers.json", "manifest.json", "golden.jsonl"]
    {
        let folder = put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
        pipe(&folder.join(name));
        let log = refused(dir.path(), &[]);
        assert!(log.contains(name) && log.contains("is no regular file"), "{name}: {log}");
        std::fs::remove_dir_all(&folder).expect("gone");
    }
    let folder = put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    std::os::unix::fs::symlink("/dev/zero", folder.join("config.json")).expect("a link");
    assert!(refused(dir.path(), &[]).contains("is no regular file"));
    std::fs::remove_file(folder.join("config.json")).expect("gone");
    pipe(&dir.path().join("catalogue.toml"));
    assert!(refused(dir.path(), &[]).contains("is no regular file"));
}

// Case B15.
#[test]
fn logits_and_inputs_of_other_widths_are_served() {
    let dir = folder();
    let plain = {
        put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
        logits(&serve(dir.path(), &[]))
    };
    for (peculiar, within) in [
        (Peculiar::Logits(kind::FLOAT16), 0.001),
        (Peculiar::Logits(kind::BFLOAT16), 0.01),
        (Peculiar::Logits(kind::DOUBLE), 0.0),
        (Peculiar::Inputs(kind::INT32), 0.0),
        (Peculiar::Input("token_type_ids"), 0.0),
        (Peculiar::Input("position_ids"), 0.0),
    ] {
        put(dir.path(), "tiny", WEIGHT, peculiar);
        for (found, wanted) in logits(&serve(dir.path(), &[])).into_iter().zip(&plain) {
            assert!((found - wanted).abs() <= wanted.abs() * within, "{peculiar:?}: {found}, not {wanted}");
        }
    }
}

// Cases B10, B13, B15, B21: what is wrong is reported at the start, with the model's name.
#[test]
fn a_model_that_cannot_be_served_rightly_does_not_become_ready() {
    let dir = folder();
    let long = [("RESCORED_MAX_LENGTH", "128")];
    for (weight, peculiar, more, reported) in [
        (f32::NAN, Peculiar::Not, &[][..], "not a finite number"),
        (f32::INFINITY, Peculiar::Not, &[], "not a finite number"),
        (0.0, Peculiar::Not, &[], "score the same"),
        (WEIGHT, Peculiar::Labels(3), &[], "3 labels a pair"),
        (WEIGHT, Peculiar::Labels(2), &[], "2 labels a pair"),
        (WEIGHT, Peculiar::Logits(kind::INT64), &[], "holds values of type"),
        (WEIGHT, Peculiar::Inputs(kind::FLOAT), &[], "takes values of type f32"),
        (WEIGHT, Peculiar::Input("pixel_values"), &[], "input `pixel_values` is not one of"),
        (WEIGHT, Peculiar::Positions(64), &[], "set RESCORED_MAX_LENGTH=64"),
        (WEIGHT, Peculiar::Positions(100), &long, "set RESCORED_MAX_LENGTH=100"),
    ] {
        put(dir.path(), "tiny", weight, peculiar);
        let output = refused(dir.path(), more);
        assert!(output.contains(reported) && output.contains("model `tiny`"), "{peculiar:?} {weight}: {output}");
        assert!(!output.contains(r#""message":"ready""#), "{peculiar:?} {weight}: {output}");
    }
    // Case B21: of a tokenizer with one token more than the graph has embeddings for, some text would fail.
    put(dir.path(), "tiny", WEIGHT, Peculiar::Vocabulary(30_521));
    let output = refused(dir.path(), &[]);
    assert!(output.contains("gives token ids up to 30521, and the graph has embeddings for 30521"), "{output}");
    put(dir.path(), "tiny", WEIGHT, Peculiar::Vocabulary(30_522));
    drop(serve(dir.path(), &[]));
    // The setting that is named helps.
    put(dir.path(), "tiny", WEIGHT, Peculiar::Positions(64));
    drop(serve(dir.path(), &[("RESCORED_MAX_LENGTH", "64")]));
}

// Case B13.
#[test]
fn an_output_of_another_batch_is_refused_where_passes_hold_several_pairs() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::OneForAll);
    let log = refused(dir.path(), &[]);
    assert!(log.contains("model `tiny`") && log.contains("the shape [1, 1] for 2 pairs"), "{log}");
}

// Case B16.
#[test]
fn of_several_models_the_one_that_cannot_start_is_named_with_its_file() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    put(dir.path(), "broken", WEIGHT, Peculiar::Labels(3));
    let log = refused(dir.path(), &[("RESCORED_MODELS", "tiny,broken")]);
    assert!(log.contains("model `broken`") && log.contains("broken/model.onnx"), "{log}");
    assert!(log.contains("rescored doctor"), "{log}");
}

// Case B17.
#[test]
fn a_model_that_is_not_compiled_is_warned_of() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    let mut server = Server::listening(&vars(&dir.path().display().to_string(), &[]));
    // The log's beginning was read while the address was looked for; `/info` says the same.
    server.wait_until("ready");
    let info = Connection::open(server.address).send("GET /info HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    let graph = &info["models"][0]["graph"];
    assert!(graph["file"].as_str().expect("a file").ends_with("tiny/model.onnx"), "{graph}");
    assert!(graph["warning"].as_str().expect("a warning").contains("run: rescored compile tiny"), "{graph}");
    drop(server);
    let asked = serve(dir.path(), &[("RESCORED_GRAPH", "source")]);
    let info = Connection::open(asked.address).send("GET /info HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    assert!(info["models"][0]["graph"]["warning"].is_null(), "asked for: {info}");
    drop(asked);
    let dir = dir.path().display().to_string();
    let mut doctor = program(&vars(&dir, &[]));
    let output = doctor.args(["doctor", "--json"]).output().expect("doctor runs");
    let reported = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(reported.contains("rescored compile tiny") && reported.contains("\"warning\""), "{reported}");
}

// Case A7: ONNX Runtime ends a loop that is asked to stop.
#[test]
fn a_model_whose_first_pass_never_ends_is_reported_at_the_start_and_given_up_later() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::Endless);
    let more = [("RESCORED_LOAD_TIMEOUT", "8s"), ("RESCORED_MODEL_CONTROL", "on")];
    let mut server = Server::listening(&vars(&dir.path().display().to_string(), &more));
    server.wait_until("not ready within RESCORED_LOAD_TIMEOUT; still waiting");
    let ready = Connection::open(server.address).send("GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(ready.status == 503 && ready.text().contains("model `tiny`: its first forward pass"), "{ready:?}");
    let index = Connection::open(server.address).post("/v2/repository/index", "", "").ok();
    assert_eq!(index[0]["state"], "LOADING", "{index}");
    // Files in the place of the hanging ones repair it.
    put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    let mut connection = Connection::open(server.address);
    assert_eq!(connection.post("/v2/repository/models/tiny/load", "", "").ok()["changed"], true);
    server.wait_until("ready");
    // And the other way round, the load is given up.
    put(dir.path(), "tiny", WEIGHT, Peculiar::Endless);
    let refused = connection.post("/v2/repository/models/tiny/load", "", "");
    assert!(refused.status == 409 && refused.text().contains("RESCORED_LOAD_TIMEOUT"), "{refused:?}");
    assert_eq!(logits(&server).len(), 2, "what served before serves on");
    stop(server);
}

// Case A7.
#[test]
fn a_stop_waits_neither_for_a_first_pass_that_never_ends_nor_for_a_load() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::Endless);
    let place = dir.path().display().to_string();
    let server = Server::listening(&vars(&place, &[("RESCORED_DRAIN", "20s")]));
    let begun = Instant::now();
    stop(server);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    let mut server = serve(dir.path(), &[("RESCORED_DRAIN", "20s"), ("RESCORED_MODEL_CONTROL", "on")]);
    put(dir.path(), "tiny", WEIGHT, Peculiar::Endless);
    server.signal("HUP");
    server.wait_until("models are loaded anew");
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    stop(server);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

// Case B12: identity is served where sentence-transformers 5.4 says so.
#[test]
fn the_activation_of_a_sentence_transformers_folder_is_served() {
    let dir = folder();
    let folder = put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    let own = json!({"activation_fn": "torch.nn.modules.linear.Identity", "prompts": {}, "default_prompt_name": null});
    std::fs::write(folder.join("config_sentence_transformers.json"), own.to_string()).expect("a file");
    let server = serve(dir.path(), &[]);
    let body = json!({"query": QUERY, "documents": DOCUMENTS});
    let answer = Connection::open(server.address).post("/v1/rerank", body.to_string(), "").ok();
    let best = float(&answer["results"][0]["relevance_score"]);
    assert!(best > 1.0, "a logit, not a probability: {answer}");
}

#[test]
fn a_model_opens_with_the_same_fingerprint_every_time() {
    let dir = folder();
    put(dir.path(), "tiny", WEIGHT, Peculiar::External("model.onnx_data"));
    let options = rescored_runtime::Options {
        dir: dir.path().to_owned(),
        ids: vec!["tiny".into()],
        graphs: Graphs::Best,
        ..config(&[]).model
    };
    let open = || Model::open_all(&options).expect("it opens").remove(0).card.fingerprint;
    assert_eq!(open(), open());
    assert!(models().is_dir());
}

// Case B17.
#[test]
fn serve_compiles_before_it_starts_when_it_is_asked_to() {
    let dir = shallow::folder("own");
    put(dir.path(), "tiny", WEIGHT, Peculiar::Not);
    let server = serve(dir.path(), &[("RESCORED_MODELS", "own,tiny"), ("RESCORED_COMPILE", "on")]);
    let info = Connection::open(server.address).send("GET /info HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    let graph = |model: usize| info["models"][model]["graph"].clone();
    assert!(
        graph(0)["file"].as_str().expect("a file").contains("/compiled/") && graph(0)["warning"].is_null(),
        "{info}"
    );
    assert!(graph(1)["warning"].as_str().is_some(), "what cannot be compiled is served as it is: {info}");
}
