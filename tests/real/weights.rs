//! A model that comes as the hub keeps it: weights, sizes and tokenizer, and no graph.

use std::path::Path;
use std::process::Output;

use crate::external::with_weights_beside;
use crate::program::{Server, program};
use crate::support::{Connection, float, golden, models, text};

const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// What a repository on the hub holds of a cross-encoder, and what is read of it.
const FILES: [&str; 3] = ["model.safetensors", "config.json", "tokenizer.json"];

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let dir = folder.display().to_string();
    program(&[("RESCORED_MODEL_DIR", &dir), ("RESCORED_LISTEN", "127.0.0.1:0"), ("RESCORED_MODELS", "weights")])
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn weights_without_a_graph_are_compiled_served_and_score_as_the_graph_they_came_from() {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(models().join(".runtime"), folder.path().join(".runtime")).expect("a link");
    let (exported, model) = (folder.path().join("exported"), folder.path().join("weights"));
    let from = models().display().to_string();
    // Two layers prove as much as twelve, which is that each is read back as it was written.
    let export = ["compile", MODEL, "--layers", "2", "--export", &exported.display().to_string()].map(str::to_owned);
    let export = program(&[("RESCORED_MODEL_DIR", &from)]).args(export).output().expect("the program runs");
    assert!(export.status.success(), "{}", said(&export));
    std::fs::create_dir(&model).expect("a folder");
    for file in FILES {
        std::fs::copy(exported.join(file), model.join(file)).expect("the export holds it");
    }
    std::fs::remove_file(exported.join("model.safetensors")).expect("the graph alone is left");

    for (sentence, arguments) in [("a server", &[][..]), ("a measurement", &["bench", "--tune"])] {
        let refused = run(folder.path(), arguments);
        assert!(!refused.status.success(), "{sentence} has nothing to run");
        let refused = said(&refused);
        let wanted = "model.safetensors` is no graph, and no fp32 one for `cpu` was written of it; run: rescored compile weights";
        assert!(refused.contains(wanted), "{sentence}: {refused}");
    }

    let compiled = run(folder.path(), &["compile"]);
    assert!(compiled.status.success(), "{}", said(&compiled));
    assert!(said(&compiled).starts_with("fp32.packed4-absorbed: "), "{}", said(&compiled));
    assert!(said(&run(folder.path(), &["compile"])).contains("is there"), "a second run finds what the first wrote");

    let dir = folder.path().display().to_string();
    let server = Server::with(&[("RESCORED_MODEL_DIR", &dir), ("RESCORED_MODELS", "weights,exported")]);
    let mut connection = Connection::open(server.address);
    let mut logit = |model: &str, pair: &serde_json::Value| {
        let (query, document) = (text(pair, "query"), text(pair, "document"));
        let body = serde_json::json!({"model": model, "query": query, "documents": [document], "raw_scores": true});
        float(&connection.post("/v1/rerank", body.to_string(), "").ok()["results"][0]["relevance_score"])
    };
    for pair in golden("pairs").iter().step_by(10) {
        let (weights, graph) = (logit("weights", pair), logit("exported", pair));
        assert!((weights - graph).abs() <= 1e-4, "{}: {weights} for {graph}", text(pair, "id"));
    }
    drop(server);

    // Sizes are part of the model: with others, what was compiled of it is another model's.
    let config = model.join("config.json");
    let text = std::fs::read_to_string(&config).expect("it is there");
    let other = text.replace("e-13,", "e-6,");
    assert_ne!(other, text, "the epsilon stands there");
    std::fs::write(&config, other).expect("a file to write");
    assert!(said(&run(folder.path(), &[])).contains("run: rescored compile weights"));
    std::fs::write(&config, text.replace("\"bert\"", "\"t5\"")).expect("a file to write");
    let refused = said(&run(folder.path(), &["compile"]));
    assert!(refused.contains("the model's weights are not read") && refused.contains("`t5`"), "{refused}");
}

/// Resident bytes of a server with so many workers, once each of them has scored.
fn resident(folder: &Path, workers: &str) -> u64 {
    let dir = folder.display().to_string();
    let vars = [
        ("RESCORED_MODEL_DIR", dir.as_str()),
        ("RESCORED_MODELS", "beside"),
        ("RESCORED_GRAPH", "source"),
        ("RESCORED_WORKERS", workers),
    ];
    let server = Server::with(&vars);
    let mut connection = Connection::open(server.address);
    let documents: Vec<String> = (0..24).map(|at| format!("A passage about rerankers, number {at}.")).collect();
    let body = serde_json::json!({"query": "rerankers", "documents": documents}).to_string();
    connection.post("/v1/rerank", body, "").ok();
    crate::support::resident(&mut connection)
}

// Case D5: 254, 435 and 786 MiB with one, two and four workers over 255 MiB of weights.
#[test]
fn weights_beside_a_graph_are_held_once_for_all_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(models().join(".runtime"), folder.path().join(".runtime")).expect("a link");
    let (exported, model) = (folder.path().join("exported"), folder.path().join("beside"));
    let from = models().display().to_string();
    let export = ["compile", MODEL, "--export", &exported.display().to_string()].map(str::to_owned);
    let export = program(&[("RESCORED_MODEL_DIR", &from)]).args(export).output().expect("the program runs");
    assert!(export.status.success(), "{}", said(&export));
    let onnx = std::fs::read(exported.join("onnx/model.onnx")).expect("the export holds it");
    let (graph, weights) = with_weights_beside(&onnx, "model.onnx_data");
    std::fs::create_dir(&model).expect("a folder");
    std::fs::copy(exported.join("tokenizer.json"), model.join("tokenizer.json")).expect("the export holds it");
    std::fs::write(model.join("model.onnx"), graph).expect("a file to write");
    std::fs::write(model.join("model.onnx_data"), &weights).expect("a file to write");
    let (one, four) = (resident(folder.path(), "1"), resident(folder.path(), "4"));
    let (weights, more) = (weights.len() as u64, four.saturating_sub(one));
    println!("weights {weights}, one worker {one}, four workers {four}");
    assert!(more < weights * 6 / 10, "three workers more take {more} bytes; the weights are {weights}");
}
