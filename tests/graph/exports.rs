//! Graphs as torch writes them today: small models with random weights that `tests/exports.py` exported with transformers 5 by
//! both of torch's exporters, and the logits that torch computed of them.
//!
//! Cases D1 and D2 of tests/CASES.md.

use std::path::{Path, PathBuf};

use rescored_graph::compile::{Runner as _, Sample, packed};
use rescored_graph::{Beside, Bytes, Exported, Layout, Origin, Precision, Runnable};
use rescored_runtime::runner::SessionRunner;
use serde_json::Value;

use super::external::with_weights_beside;
use super::{bench, compile, logits, provenance, runner, target};

/// The names of the exports in `tests/data/exports`.
fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exports");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".onnx.zst").map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exports").join(name)
}

fn pairs(name: &str) -> (Vec<Sample>, Vec<f32>) {
    let text = std::fs::read_to_string(file(&format!("{name}.json"))).unwrap();
    let pairs: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ints = |pair: &Value, key: &str| -> Vec<i64> {
        pair[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    };
    let sample = |pair: &Value| Sample { ids: ints(pair, "ids"), types: ints(pair, "types") };
    let logit = |pair: &Value| pair["logit"].as_f64().unwrap() as f32;
    (pairs.iter().map(sample).collect(), pairs.iter().map(logit).collect())
}

// Case D1.
#[test]
fn exports_of_transformers_5_are_compiled_and_give_torch_s_logits() {
    let names = names();
    let count = |exporter: &str| names.iter().filter(|name| name.ends_with(exporter)).count();
    assert!(count("-torchscript") >= 5 && count("-dynamo") >= 5, "{names:?}");
    for name in &names {
        let onnx = zstd::decode_all(std::fs::File::open(file(&format!("{name}.onnx.zst"))).unwrap()).unwrap();
        let (samples, wanted) = pairs(name);
        let done = compile(
            &Origin::Onnx(onnx.into()),
            &target(Layout::Packed { slots: 2 }, Precision::Fp32),
            &samples,
            &mut runner(),
        );
        let done = done.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        let runs: Vec<_> = samples.iter().map(|sample| packed(&[sample], 2)).collect();
        for (ours, wanted) in logits(&mut runner(), &done.onnx, &runs).iter().zip(&wanted) {
            assert!((ours[0] - wanted).abs() <= 1e-4, "{name}: {} for {wanted}", ours[0]);
        }
    }
}

// Case D2: what one file cannot hold. The real model, with its weights kept as a large one's are.
#[test]
fn a_graph_with_its_weights_beside_it_is_written_and_run() {
    let mut bench = bench(40);
    let model = rescored_graph::read(&bench.source).unwrap();
    let packed_graph = target(Layout::Packed { slots: 4 }, Precision::Fp32);
    let written = rescored_graph::emit(&model, &packed_graph, &provenance()).unwrap().beside_from(0);
    assert!(written.is_large());
    let runs: Vec<_> = bench.samples.iter().map(|sample| packed(&[sample], 4)).collect();
    let folder = tempfile::tempdir().unwrap();
    bench.runtime.scratch = folder.path().to_owned();
    let ours = bench.runtime.run(&Runnable::Written(written), &runs, "logits").unwrap();
    for (ours, wanted) in ours.iter().zip(&bench.golden) {
        assert!((ours[0] - wanted).abs() <= 1e-4, "{} for {wanted}", ours[0]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the weights are gone with their session");
}

// Case D2: a source whose weights lie beside it.
#[test]
fn a_source_with_its_weights_beside_it_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = SessionRunner { source: folder.path().to_owned(), ..runner() };
    for name in ["bert-torchscript", "xlm-roberta-dynamo"] {
        let onnx = zstd::decode_all(std::fs::File::open(file(&format!("{name}.onnx.zst"))).unwrap()).unwrap();
        let (small, weights) = with_weights_beside(&onnx, "model.onnx_data");
        assert!(small.len() + weights.len() / 2 < onnx.len(), "the weights have moved");
        std::fs::write(folder.path().join("model.onnx_data"), &weights).unwrap();
        let beside = Beside::from([("model.onnx_data".to_owned(), Bytes::from(weights))]);
        let (samples, wanted) = pairs(name);
        let origin = Origin::Onnx(Exported { onnx: small, beside });
        let done =
            compile(&origin, &target(Layout::Packed { slots: 2 }, Precision::Fp32), &samples, &mut runner).unwrap();
        let runs: Vec<_> = samples.iter().map(|sample| packed(&[sample], 2)).collect();
        for (ours, wanted) in logits(&mut runner, &done.onnx, &runs).iter().zip(&wanted) {
            assert!((ours[0] - wanted).abs() <= 1e-4, "{name}: {} for {wanted}", ours[0]);
        }
    }
}
