//! Written graphs against the real model and the golden logits, through ONNX Runtime.
//!
//! Needs what `make fetch` brings, and fails without it: `RESCORED_TEST_RUNTIME` names libonnxruntime (else `models/.runtime`
//! holds it), `RESCORED_TEST_MODELS` the folder of models (`models`). Golden pairs lie in `tests/golden`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken helper of a test is a failed test")]
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "logits of text files and means")]
#![expect(clippy::disallowed_methods, reason = "where files lie is the environment's matter")]

#[path = "graph/decoders.rs"]
mod decoders;
#[path = "graph/exports.rs"]
mod exports;
#[path = "graph/external.rs"]
mod external;
#[path = "graph/families.rs"]
mod families;
#[path = "graph/stand_in.rs"]
mod stand_in;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rescored_graph::compile::{Distance, Feed, Refused, Runner, Sample, padded, ragged};
use rescored_graph::cross_encoder::{
    Activation, Attention, Dense, Embeddings, Head, Layer, Norm, NormKind, NormPlacement, Pooling, PositionTable,
    Table, Transform,
};
use rescored_graph::safetensors::Checkpoint;
use rescored_graph::{
    Activations, CrossEncoder, Exported, Layout, Origin, Precision, Provenance, Ranges, Runnable, Target, Unread,
    Weights, operators,
};
use rescored_runtime::ScorerError;
use rescored_runtime::options::Kind;
use rescored_runtime::runner::SessionRunner;
use rescored_runtime::session::Runtime;

const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// What the tests of the real model need.
struct Bench {
    source: Exported,
    samples: Vec<Sample>,
    golden: Vec<f32>,
    golden_int8: Vec<f32>,
    /// The shipped int8 graph's logits where signed products saturate.
    golden_saturated: Vec<f32>,
    runtime: SessionRunner,
}

fn folder(variable: &str, default: &str) -> PathBuf {
    std::env::vars()
        .find(|(name, _)| name == variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), |(_, value)| value.into())
}

/// ONNX Runtime's library; a test without it fails.
fn library() -> PathBuf {
    let given = folder("RESCORED_TEST_RUNTIME", "models/.runtime");
    if given.is_file() {
        return given;
    }
    let mut waiting = vec![given.clone()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                waiting.push(path);
            } else if name.starts_with("libonnxruntime.") {
                return path;
            }
        }
    }
    panic!("no libonnxruntime in {}: run `make fetch`, or set RESCORED_TEST_RUNTIME", given.display());
}

/// Lines of a file of `tests/golden`; a test without them fails.
fn golden(name: &str) -> Vec<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.jsonl.zst"));
    let file = std::fs::File::open(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let text = String::from_utf8(zstd::decode_all(file).unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs graphs on one thread of the CPU, with the operators of our own.
fn runner() -> SessionRunner {
    let folder = std::env::temp_dir();
    let runtime = Runtime::load(&library()).unwrap();
    SessionRunner { runtime, device: (Kind::Cpu, 0), source: folder.clone(), scratch: folder }
}

/// What `compile` made of a source.
struct Done {
    onnx: Vec<u8>,
    target: Target,
    proof: Distance,
    loss: Distance,
}

/// Reads a source, and writes and proves a graph of it.
fn compile<R: Runner>(origin: &Origin, target: &Target, samples: &[Sample], runner: &mut R) -> Result<Done, Refused> {
    let model = origin.cross_encoder()?;
    let done = rescored_graph::compile((origin, &model), (target, &provenance()), samples, runner)?;
    Ok(Done { onnx: done.graph.to_bytes(), target: done.target, proof: done.proof, loss: done.loss })
}

/// A graph's logits.
fn logits(runner: &mut SessionRunner, onnx: &[u8], runs: &[Vec<Feed>]) -> Vec<Vec<f32>> {
    runner.run(&Runnable::Source(&onnx.to_vec().into()), runs, "logits").unwrap()
}

/// The real model, its golden pairs and the runtime.
fn bench(every: usize) -> Bench {
    let model = folder("RESCORED_TEST_MODELS", "models").join(MODEL).join("model.onnx");
    let source = std::fs::read(&model).unwrap_or_else(|fault| panic!("{}: {fault}; run `make fetch`", model.display()));
    let ints = |line: &serde_json::Value, key: &str| -> Vec<i64> {
        line[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    };
    let sample =
        |line: &serde_json::Value| Sample { ids: ints(line, "input_ids"), types: ints(line, "token_type_ids") };
    // Long pairs cost most and prove no more.
    let short = |line: &serde_json::Value| line["tokens"].as_u64().is_some_and(|tokens| tokens <= 160);
    // An emulated processor has no time for many.
    let every = every
        * std::env::vars()
            .find(|(name, _)| name == "RESCORED_TEST_FEWER")
            .map_or(1, |(_, times)| times.parse().unwrap());
    let lines: Vec<serde_json::Value> = golden("tokens").into_iter().filter(short).step_by(every).collect();
    assert!(!lines.is_empty(), "tests/golden holds no short pair");
    let logits = |file: &str, field: &str| -> Vec<f32> {
        let all: HashMap<String, f32> = golden(file)
            .iter()
            .map(|line| (line["id"].as_str().unwrap().to_owned(), line[field].as_f64().unwrap() as f32))
            .collect();
        lines.iter().map(|line| all[line["id"].as_str().unwrap()]).collect()
    };
    Bench {
        source: source.into(),
        samples: lines.iter().map(sample).collect(),
        golden: logits("golden-fp32", "logit"),
        golden_int8: logits("golden-int8", "logit_exact"),
        golden_saturated: logits("golden-int8", "logit"),
        runtime: runner(),
    }
}

fn target(layout: Layout, precision: Precision) -> Target {
    Target { layout, precision, layers: None }
}

fn int8(weights: Weights, activations: Activations) -> Precision {
    Precision::Int8 { weights, activations }
}

fn provenance() -> Provenance {
    Provenance { source_sha256: "0".repeat(64), tool: "rescored test".into() }
}

impl Bench {
    fn compile(&mut self, target: &Target) -> Done {
        match compile(&Origin::Onnx(self.source.clone()), target, &self.samples, &mut self.runtime) {
            Ok(compiled) => compiled,
            Err(refused) => panic!("{target}: {refused:?}"),
        }
    }

    fn gaps(&mut self, compiled: &Done, wanted: &[f32]) -> (f32, f32) {
        let runs: Vec<_> = match compiled.target.layout {
            Layout::Padded => self.samples.iter().map(padded).collect(),
            Layout::Packed { slots } => {
                self.samples.iter().map(|sample| rescored_graph::compile::packed(&[sample], slots)).collect()
            }
            Layout::Ragged => self.samples.iter().map(|sample| ragged(&[sample])).collect(),
        };
        let logits = logits(&mut self.runtime, &compiled.onnx, &runs);
        gap(&logits, wanted)
    }
}

#[test]
fn fp32_graphs_give_the_golden_logits_in_every_layout() {
    let mut bench = bench(10);
    let model = rescored_graph::read(&bench.source).unwrap();
    assert_eq!((model.heads, model.layers.len()), (12, 12));
    for layout in [Layout::Padded, Layout::Packed { slots: 1 }, Layout::Packed { slots: 4 }] {
        let compiled = bench.compile(&target(layout, Precision::Fp32));
        let golden = bench.golden.clone();
        let (max, _) = bench.gaps(&compiled, &golden);
        assert!(max <= 1e-4, "{layout:?}: {max}");
        let names = operators(&compiled.onnx).unwrap();
        assert!(!names.iter().any(|op| op.name == "MatMulInteger" || op.name == "DynamicQuantizeLinear"));
    }
}

#[test]
fn the_graph_for_gpus_gives_the_golden_logits_with_stand_ins_for_what_runs_on_cuda_alone() {
    let mut bench = bench(10);
    let bert = rescored_graph::read(&bench.source).unwrap();
    let onnx = rescored_graph::emit(&bert, &target(Layout::Ragged, Precision::Fp32), &provenance()).unwrap();
    let onnx = stand_in::on_the_cpu(&onnx.to_bytes());
    let runs: Vec<_> = bench.samples.iter().map(|sample| ragged(&[sample])).collect();
    let logits = logits(&mut bench.runtime, &onnx, &runs);
    let gaps = logits.iter().zip(&bench.golden).map(|(logits, golden)| (logits[0] - golden).abs());
    let max = gaps.fold(0.0, f32::max);
    assert!(max <= 1e-4, "{max}: what is folded into other weights is not what it stood for");
}

#[test]
fn dynamic_int8_with_unsigned_weights_is_the_exact_integer_arithmetic() {
    let mut bench = bench(10);
    let precision = int8(Weights::Unsigned, Activations::PerPair);
    let compiled = bench.compile(&target(Layout::Packed { slots: 1 }, precision));
    let golden = bench.golden_int8.clone();
    let (max, mean) = bench.gaps(&compiled, &golden);
    eprintln!("{}: from exact (max, mean): {max}, {mean}", compiled.target);
    assert!(max <= 0.5 && mean <= 0.06, "max {max}, mean {mean}: beyond what rounding order explains");
}

/// Distances over a few pairs: the largest and the mean.
fn gap(logits: &[Vec<f32>], wanted: &[f32]) -> (f32, f32) {
    let gaps: Vec<f32> = logits.iter().zip(wanted).map(|(logits, wanted)| (logits[0] - wanted).abs()).collect();
    (gaps.iter().copied().fold(0.0, f32::max), gaps.iter().sum::<f32>() / gaps.len() as f32)
}

/// `tests/without-vnni.sh` runs this on an emulated processor of either kind.
#[test]
#[cfg(target_arch = "x86_64")]
fn shipped_weights_saturate_where_products_have_16_bits_and_nowhere_else() {
    let mut bench = bench(10);
    let runs: Vec<_> = bench.samples.iter().map(padded).collect();
    let logits = logits(&mut bench.runtime, &bench.source.onnx, &runs);
    let (exact, saturated) = (gap(&logits, &bench.golden_int8), gap(&logits, &bench.golden_saturated));
    let wide = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    eprintln!("vnni: {wide}; from exact (max, mean): {exact:?}; from saturated: {saturated:?}");
    let (near, far) = if wide { (exact, saturated) } else { (saturated, exact) };
    assert!(near.1 <= 0.06 && far.1 >= 0.1, "near {near:?}, far {far:?}");
}

#[test]
fn pairs_may_share_an_int8_forward_where_ranges_are_per_token_or_static() {
    let mut bench = bench(10);
    for activations in [Activations::PerToken, Activations::Static(Ranges::default()), Activations::Fused] {
        let precision = int8(Weights::Unsigned, activations);
        let compiled = bench.compile(&target(Layout::Packed { slots: 4 }, precision));
        eprintln!("{}: {:?} from fp32", compiled.target, compiled.loss);
        assert!(compiled.loss.max > 0.0, "integers are not floats");
    }
}

#[test]
fn a_shape_of_fewer_layers_is_marked_and_smaller() {
    let mut bench = bench(40);
    let six = Target { layers: Some(6), ..target(Layout::Packed { slots: 2 }, Precision::Fp32) };
    let compiled = bench.compile(&six);
    let whole = bench.compile(&Target { layers: None, ..six });
    let marked = |onnx: &[u8]| onnx.windows(19).any(|window| window == b"rescored.shape_only");
    assert!(marked(&compiled.onnx) && !marked(&whole.onnx));
    assert!(compiled.onnx.len() < whole.onnx.len() * 2 / 3);
}

#[test]
fn a_graph_that_differs_from_its_source_is_refused() {
    /// Answers the source's logits with a little more than the tolerance added.
    struct Shifted(SessionRunner);
    impl Runner for Shifted {
        type Error = ScorerError;
        fn run(
            &mut self,
            graph: &Runnable<'_>,
            runs: &[Vec<Feed>],
            output: &str,
        ) -> Result<Vec<Vec<f32>>, ScorerError> {
            let is_ours = |onnx: &[u8]| onnx.windows(8).any(|window| window == b"rescored");
            // The source's float twin is written, too.
            let written = matches!(graph, Runnable::Written(written) if is_ours(&written.to_bytes()));
            let mut answers = self.0.run(graph, runs, output)?;
            answers.iter_mut().flatten().for_each(|logit| *logit += if written { 0.0 } else { 2e-4 });
            Ok(answers)
        }
    }
    let bench = bench(40);
    let target = target(Layout::Packed { slots: 1 }, Precision::Fp32);
    let refused = compile(&Origin::Onnx(bench.source), &target, &bench.samples, &mut Shifted(bench.runtime))
        .map(|done| done.target);
    assert!(matches!(refused, Err(Refused::Differs { limit, .. }) if limit < 1e-3), "{refused:?}");
}

/// What `tests/exports.py` writes of a model.
struct Export {
    name: String,
    onnx: Vec<u8>,
    weights: Vec<u8>,
    config: String,
    samples: Vec<Sample>,
    logits: Vec<f32>,
}

fn exports() -> Vec<Export> {
    let (_, folder) = std::env::vars()
        .find(|(name, _)| name == "RESCORED_TEST_EXPORTS")
        .unwrap_or_else(|| panic!("RESCORED_TEST_EXPORTS names no folder; tests/exports.py fills one"));
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let export = |place: PathBuf| {
        // What torch could not export has no pairs.
        let pairs = std::fs::read_to_string(place.join("pairs.json")).ok()?;
        let pairs: Vec<serde_json::Value> = serde_json::from_str(&pairs).unwrap();
        let ints = |pair: &serde_json::Value, key: &str| -> Vec<i64> {
            pair[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
        };
        Some(Export {
            name: place.file_name().unwrap().to_string_lossy().into_owned(),
            onnx: std::fs::read(place.join("model.onnx")).unwrap(),
            weights: std::fs::read(place.join("model.safetensors")).unwrap(),
            config: std::fs::read_to_string(place.join("config.json")).unwrap(),
            samples: pairs.iter().map(|pair| Sample { ids: ints(pair, "ids"), types: ints(pair, "types") }).collect(),
            logits: pairs.iter().map(|pair| pair["logit"].as_f64().unwrap() as f32).collect(),
        })
    };
    let mut exports: Vec<Export> = folders.filter_map(export).collect();
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    exports
}

#[test]
#[ignore = "needs the folder that tests/exports.py fills with torch and transformers, in RESCORED_TEST_EXPORTS"]
fn exports_of_every_family_give_their_own_logits_from_onnx_and_from_safetensors() {
    let (exports, mut runtime) = (exports(), runner());
    let mut read = 0;
    for Export { name, onnx, weights, config, samples, logits: wanted } in exports {
        let target = target(Layout::Packed { slots: 2 }, Precision::Fp32);
        let from_onnx = compile(&Origin::Onnx(onnx.into()), &target, &samples, &mut runtime);
        let from_hub = compile(&checkpoint(weights, config), &target, &samples, &mut runtime);
        if name.starts_with("deberta") {
            // From safetensors it is read (tests/graph/families.rs), from a graph not.
            let refused = from_onnx.map(|_| ()).unwrap_err();
            assert!(matches!(refused, Refused::Unread(Unread::Unrecognised(_))), "{refused:?}");
            from_hub.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
            continue;
        }
        let compiled = from_onnx.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        let from_hub = from_hub.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        let runs: Vec<_> = samples.iter().map(|sample| rescored_graph::compile::packed(&[sample], 2)).collect();
        for (source, onnx) in [("onnx", &compiled.onnx), ("safetensors", &from_hub.onnx)] {
            let ours = logits(&mut runtime, onnx, &runs);
            for (ours, wanted) in ours.iter().zip(&wanted) {
                assert!((ours[0] - wanted).abs() <= 1e-4, "{name}, {source}: {} for {wanted}", ours[0]);
            }
        }
        eprintln!("{name}: read, proof {:?}", compiled.proof);
        read += 1;
    }
    assert!(read > 0, "the folder holds no export");
}

fn checkpoint(weights: Vec<u8>, config: String) -> Origin {
    Origin::Safetensors(Checkpoint { weights: vec![weights.into()], config, ..Checkpoint::default() })
}

/// A model of two layers with weights that repeat from run to run: 20 words, 14 positions, one type.
fn tiny() -> CrossEncoder {
    let mut state = 0x9e37_79b9_u32;
    let mut values = |count: usize| -> Vec<f32> {
        let draw = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((*state >> 16) as u16) / 65536.0 - 0.5
        };
        (0..count).map(|_| draw(&mut state)).collect()
    };
    let mut table = |rows, columns| Table::floats(rows, columns, values(rows * columns));
    let mut dense = |rows, columns| Dense { weight: table(rows, columns), bias: table(1, columns).values };
    let norm = || Norm { kind: NormKind::Layer, scale: vec![1.0; 8], bias: vec![0.1; 8], epsilon: 1e-5 };
    let mut layer = || Layer {
        query: dense(8, 8),
        key: dense(8, 8),
        value: dense(8, 8),
        output: dense(8, 8),
        attention: Attention::default(),
        attention_norm: Some(norm()),
        up: dense(8, 16),
        activation: Activation::Gelu,
        gate: None,
        down: dense(16, 8),
        norm: norm(),
    };
    let layers = vec![layer(), layer()];
    let transform = Some(Transform { dense: dense(8, 8), activation: Activation::Tanh, norm: None });
    let head = Head { transform, classifier: dense(8, 1) };
    let embeddings = Embeddings {
        words: dense(20, 8).weight,
        positions: PositionTable::Learnt(dense(14, 8).weight),
        padding: None,
        types: Some(dense(1, 8).weight),
        norm: Some(norm()),
        projection: None,
    };
    CrossEncoder {
        hidden: 8,
        heads: 2,
        embeddings,
        layers,
        norms: NormPlacement::After,
        final_norm: None,
        pooling: Pooling::First,
        head,
    }
}

/// The weights under BERT's names and under `RoBERTa`'s.
fn as_bert_and_roberta() -> [Origin; 2] {
    let (weights, config) = rescored_graph::safetensors::write(&tiny()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let rename = |name: &str| match name {
        "bert.pooler.dense.weight" => "classifier.dense.weight".to_owned(),
        "bert.pooler.dense.bias" => "classifier.dense.bias".to_owned(),
        "classifier.weight" => "classifier.out_proj.weight".to_owned(),
        "classifier.bias" => "classifier.out_proj.bias".to_owned(),
        other => other.replace("bert.", "roberta."),
    };
    let renamed = tensors.iter().map(|(name, view)| (rename(name), view));
    let roberta = safetensors::serialize(renamed, None).unwrap();
    let reported = config.replace("\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    let reported = reported.replace("\"pad_token_id\": 0", "\"pad_token_id\": 1");
    [checkpoint(weights, config), checkpoint(roberta, reported)]
}

/// Pairs in which padding (1) is spelled in a text, beside some in which it is not.
fn with_padding_inside() -> Vec<Sample> {
    let sample = |ids: &[i64]| Sample { ids: ids.to_vec(), types: vec![0; ids.len()] };
    [
        &[0, 5, 6, 2, 2, 7, 8, 9, 2][..],
        &[0, 5, 1, 2, 2, 7, 8, 9, 2],
        &[0, 1, 1, 2, 2, 7, 1, 9, 2],
        &[1, 1, 2],
        &[0, 5, 6, 2, 2, 1, 1, 1, 1, 1, 2, 1],
        &[0, 2, 2, 2],
    ]
    .map(sample)
    .into()
}

// Case B14. The reference is the same model with positions from the caller, numbered as transformers' RoBERTa numbers them:
// the padding's id for padding, wherever it stands, and for others one more than that for each other token up to them.
#[test]
fn padding_spelled_in_a_text_has_the_position_that_the_reference_gives_it() {
    let mut runtime = runner();
    let samples = with_padding_inside();
    let [bert, roberta] = as_bert_and_roberta();
    let one = target(Layout::Packed { slots: 1 }, Precision::Fp32);
    let given = compile(&bert, &one, &samples, &mut runtime).unwrap();
    let reference = |sample: &Sample| {
        let mut counted = 1;
        let positions = sample.ids.iter().map(|&id| {
            counted += i64::from(id != 1);
            if id == 1 { 1 } else { counted }
        });
        let mut feeds = rescored_graph::compile::packed(&[sample], 1);
        feeds.iter_mut().find(|feed| feed.name == "position_ids").unwrap().values = positions.collect();
        feeds
    };
    let wanted = logits(&mut runtime, &given.onnx, &samples.iter().map(reference).collect::<Vec<_>>());
    let wanted: Vec<f32> = wanted.into_iter().flatten().collect();
    assert!((wanted[0] - wanted[1]).abs() > 1e-3, "padding changes the logit");
    let close = |ours: &[f32], limit: f32, case: &str| {
        for (at, (ours, wanted)) in ours.iter().zip(&wanted).enumerate() {
            assert!((ours - wanted).abs() <= limit, "{case}, sample {at}: {ours} for {wanted}");
        }
    };
    let model = roberta.cross_encoder().unwrap();
    let ragged_graph = rescored_graph::emit(&model, &target(Layout::Ragged, Precision::Fp32), &provenance());
    let ragged_graph = stand_in::on_the_cpu(&ragged_graph.unwrap().to_bytes());
    let runs: Vec<_> = samples.iter().map(|sample| ragged(&[sample])).collect();
    let ours: Vec<f32> = logits(&mut runtime, &ragged_graph, &runs).into_iter().flatten().collect();
    close(&ours, 1e-5, "ragged");
    let all: Vec<&Sample> = samples.iter().collect();
    for (layout, precision, limit) in [
        (Layout::Padded, Precision::Fp32, 1e-5),
        (Layout::Packed { slots: 1 }, Precision::Fp32, 1e-5),
        (Layout::Packed { slots: 4 }, Precision::Fp32, 1e-5),
        (Layout::Packed { slots: 4 }, int8(Weights::Unsigned, Activations::PerToken), 0.05),
    ] {
        let target = target(layout, precision);
        let compiled = compile(&roberta, &target, &samples, &mut runtime).unwrap();
        let runs: Vec<Vec<Feed>> = match layout {
            Layout::Packed { slots } => {
                all.chunks(slots).map(|pairs| rescored_graph::compile::packed(pairs, slots)).collect()
            }
            Layout::Padded | Layout::Ragged => samples.iter().map(padded).collect(),
        };
        let ours: Vec<f32> = logits(&mut runtime, &compiled.onnx, &runs).into_iter().flatten().collect();
        let ours: Vec<f32> = match layout {
            // Free slots of the last pass have logits too.
            Layout::Packed { .. } => ours.into_iter().take(samples.len()).collect(),
            Layout::Padded | Layout::Ragged => ours,
        };
        close(&ours, limit, &target.to_string());
    }
}
