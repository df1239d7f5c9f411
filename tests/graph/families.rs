//! Families beyond BERT's near kin, as transformers keeps them: small models with random weights that `tests/families.py` wrote,
//! and the logits that transformers computed of them.
//!
//! Cases D4 and D7 of tests/CASES.md: `ModernBERT`, `DeBERTa-v2`, weights in several files.

use std::path::{Path, PathBuf};

use rescored_graph::compile::{Sample, packed};
use rescored_graph::safetensors::{Checkpoint, Module, Verdict};
use rescored_graph::{Activations, Bytes, Layout, Origin, Precision, Ranges, Target, Unread, Weights};

use super::{compile, logits, provenance, runner};

const FAMILIES: [&str; 10] = [
    "modernbert-cls",
    "modernbert-mean-biased",
    "modernbert-modules",
    "deberta-v2",
    "deberta-v2-own-keys",
    "xlm-roberta",
    "xlm-roberta-flash",
    "gte",
    "gte-mixed",
    "jina",
];

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

fn weights(folder: &Path) -> Vec<Bytes> {
    std::fs::read(folder.join("model.safetensors")).ok().map(Bytes::from).into_iter().collect()
}

fn checkpoint(name: &str) -> Checkpoint {
    checkpoint_in(&folder(name))
}

/// The files of a family, as `tests/families.py` writes them.
pub(crate) fn checkpoint_in(folder: &Path) -> Checkpoint {
    let listed = folder.join("modules.json");
    let listed: Vec<serde_json::Value> =
        if listed.is_file() { serde_json::from_str(&text(&listed)).unwrap() } else { Vec::new() };
    let module = |listed: &serde_json::Value| {
        let path = listed["path"].as_str().unwrap();
        let own = folder.join(path);
        Module {
            kind: listed["type"].as_str().unwrap().into(),
            folder: path.into(),
            config: text(&own.join("config.json")),
            weights: if path.is_empty() { Vec::new() } else { weights(&own) },
        }
    };
    Checkpoint {
        weights: weights(folder),
        config: text(&folder.join("config.json")),
        modules: listed.iter().map(module).collect(),
        verdict: verdict(folder),
    }
}

/// The words of a decoder's answer, where it has no classifier.
fn verdict(folder: &Path) -> Option<Verdict> {
    let path = folder.join("verdict.json");
    let given: serde_json::Value = path.is_file().then(|| serde_json::from_str(&text(&path)).unwrap())?;
    let id = |word: &str| given[word].as_u64().map(|id| u32::try_from(id).unwrap());
    Some(Verdict { yes: id("yes").unwrap(), no: id("no") })
}

fn golden(name: &str) -> (Vec<Sample>, Vec<f32>) {
    golden_in(&folder(name))
}

/// The pairs of a family, and transformers' logits.
pub(crate) fn golden_in(folder: &Path) -> (Vec<Sample>, Vec<f32>) {
    let pairs: Vec<serde_json::Value> = serde_json::from_str(&text(&folder.join("golden.json"))).unwrap();
    let ints = |pair: &serde_json::Value, key: &str| -> Vec<i64> {
        pair[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    };
    let sample = |pair: &serde_json::Value| Sample { ids: ints(pair, "ids"), types: ints(pair, "types") };
    let logit = |pair: &serde_json::Value| pair["logit"].as_f64().unwrap() as f32;
    (pairs.iter().map(sample).collect(), pairs.iter().map(logit).collect())
}

pub(crate) fn target(precision: Precision) -> Target {
    Target { layout: Layout::Packed { slots: 4 }, precision, layers: None }
}

#[test]
fn every_family_gives_the_logits_of_transformers_and_the_same_bits_in_company() {
    for name in FAMILIES {
        let (samples, wanted) = golden(name);
        let origin = Origin::Safetensors(checkpoint(name));
        // Holds the packed graph against the padded one in ONNX's own operators, and pairs alone against pairs in company.
        let done = compile(&origin, &target(Precision::Fp32), &samples, &mut runner());
        let done = done.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        let runs: Vec<_> = samples.iter().map(|sample| packed(&[sample], 4)).collect();
        let ours = logits(&mut runner(), &done.onnx, &runs);
        for (at, (ours, wanted)) in ours.iter().zip(&wanted).enumerate() {
            let gap = (ours[0] - wanted).abs();
            assert!(gap <= 1e-4, "{name}, {} tokens: {} for {wanted}", samples[at].ids.len(), ours[0]);
        }
        println!("{name}: proof {:?}", done.proof);
    }
}

#[test]
fn every_family_is_written_in_integers_too() {
    for name in FAMILIES {
        let (samples, _) = golden(name);
        let origin = Origin::Safetensors(checkpoint(name));
        for activations in [Activations::PerToken, Activations::Static(Ranges::default()), Activations::Fused] {
            let precision = Precision::Int8 { weights: Weights::Unsigned, activations };
            let done = compile(&origin, &target(precision), &samples, &mut runner());
            let done = done.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
            assert!(done.loss.mean > 0.0, "{name}: integers are no floats");
            println!("{name}, {}: {:?}", done.target, done.loss);
        }
    }
}

// Case D7: a large model's weights lie in several files.
#[test]
fn weights_in_several_files_are_those_of_one() {
    let whole = checkpoint("modernbert-cls");
    let tensors = safetensors::SafeTensors::deserialize(whole.weights[0].as_slice()).unwrap();
    let all: Vec<_> = tensors.iter().collect();
    let (first, second) = all.split_at(all.len() / 2);
    let part = |tensors: &[(&str, safetensors::tensor::TensorView<'_>)]| {
        Bytes::from(safetensors::serialize(tensors.iter().map(|(name, view)| (*name, view)), None).unwrap())
    };
    let sharded = Checkpoint { weights: vec![part(first), part(second)], ..whole.clone() };
    let read = |checkpoint| Origin::Safetensors(checkpoint).cross_encoder().unwrap();
    assert!(read(sharded) == read(whole));
}

#[test]
fn writers_name_the_part_that_they_do_not_write() {
    let model = Origin::Safetensors(checkpoint("modernbert-cls")).cross_encoder().unwrap();
    let ragged = Target { layout: Layout::Ragged, precision: Precision::Fp16, layers: None };
    let refused = rescored_graph::emit(&model, &ragged, &provenance()).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "rotary positions: not written for cuda; use the cpu");
    let arithmetic = rescored_graph::coreml::Arithmetic::Fp16;
    let refused = rescored_graph::coreml::write(&model, arithmetic, &provenance()).unwrap_err();
    assert_eq!(refused.to_string(), "rotary positions: not written for coreml; use the cpu");
}

/// A family's tensors, changed, with its configuration, changed.
fn broken(name: &str, tensors: &dyn Fn(&mut Vec<Tensor>), config: (&str, &str)) -> String {
    let whole = checkpoint(name);
    let read = safetensors::SafeTensors::deserialize(whole.weights[0].as_slice()).unwrap();
    let owned = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| Tensor {
        name: name.to_owned(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let mut all: Vec<Tensor> = read.iter().map(owned).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    tensors(&mut all);
    let views = all.iter().map(|tensor| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F16, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let text = whole.config.replace(config.0, config.1);
    assert!(config.0.is_empty() || text != whole.config, "{} is there", config.0);
    let origin = Origin::Safetensors(Checkpoint { weights: vec![bytes.into()], config: text, ..whole });
    match origin.cross_encoder() {
        Err(Unread::Weights(why)) => why.to_string(),
        other => panic!("not refused: {:?}", other.map(|model| model.layers.len())),
    }
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The row of a change of tensors.
type Change = fn(&mut Vec<Tensor>);

fn find(all: &[Tensor], name: &str) -> usize {
    all.iter().position(|tensor| tensor.name == name).unwrap()
}

const NORM: &str = "model.layers.1.attn_norm.weight";
const FIRST_NORM: &str = "model.layers.0.attn_norm.weight";

#[test]
fn tensors_that_are_not_as_promised_are_refused_by_name() {
    let missing: Change = |all| {
        all.remove(find(all, NORM));
    };
    let misshapen: Change = |all| {
        let at = find(all, NORM);
        all[at].shape = vec![4, 8];
    };
    let not_finite: Change = |all| {
        let at = find(all, NORM);
        all[at].bytes[2..4].copy_from_slice(&0x7e00_u16.to_le_bytes());
    };
    let extra: Change = |all| all.push(Tensor { name: FIRST_NORM.into(), shape: vec![32], bytes: vec![0; 64] });
    for (change, wanted) in [
        (missing, "tensor `model.layers.1.attn_norm.weight`: expected floats of shape [32], found none of this name"),
        (misshapen, "tensor `model.layers.1.attn_norm.weight`: expected floats of shape [32], found shape [4, 8]"),
        (not_finite, "found NaN at value 1"),
        (extra, "tensor `model.layers.0.attn_norm.weight`: nothing in a model as config.json describes it reads this"),
    ] {
        let refused = broken("modernbert-cls", &change, ("", ""));
        assert!(refused.contains(wanted), "{refused}");
    }
}

#[test]
fn a_configuration_that_contradicts_the_weights_is_refused_by_field() {
    for (sentence, from, to, wanted) in [
        ("fewer layers", r#""num_hidden_layers": 4"#, r#""num_hidden_layers": 3"#, "nothing in a model"),
        ("more layers", r#""num_hidden_layers": 4"#, r#""num_hidden_layers": 5"#, "fewer than num_hidden_layers"),
        ("more words", r#""vocab_size": 300"#, r#""vocab_size": 301"#, "shape [301, 32], found shape [300, 32]"),
        ("uneven heads", r#""num_attention_heads": 2"#, r#""num_attention_heads": 3"#, "num_attention_heads: `3`"),
        ("an activation", r#""hidden_activation": "gelu""#, r#""hidden_activation": "mish""#, "`mish` is not read"),
        ("a pooling", r#""classifier_pooling": "cls""#, r#""classifier_pooling": "max""#, "classifier_pooling: `max`"),
        ("a scaling", r#""rope_type": "default""#, r#""rope_type": "yarn""#, "rope_type: `yarn`"),
        (
            "a family",
            r#""model_type": "modernbert""#,
            r#""model_type": "t5""#,
            "model_type: `t5` is not read here; known",
        ),
    ] {
        let refused = broken("modernbert-cls", &|_| {}, (from, to));
        assert!(refused.contains(wanted), "{sentence}: {refused}");
    }
}

/// A modular head whose module has another configuration.
fn module(folder: &str, from: &str, to: &str) -> Result<usize, String> {
    let mut whole = checkpoint("modernbert-modules");
    let module = whole.modules.iter_mut().find(|module| module.folder == folder).unwrap();
    let text = module.config.replace(from, to);
    assert_ne!(text, module.config, "{from} is there");
    module.config = text;
    match Origin::Safetensors(whole).cross_encoder() {
        Ok(model) => Ok(model.layers.len()),
        Err(Unread::Weights(why)) => Err(why.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn modules_that_compute_something_else_are_refused() {
    for (sentence, folder, from, to, wanted) in [
        ("its input is added", "2_Dense", "\"bias\"", "\"use_residual\": true, \"bias\"", "use_residual: `true`"),
        (
            "somebody's function",
            "2_Dense",
            "torch.nn.modules.activation.GELU",
            "mine.GELU",
            "activation_function: `mine.GELU`",
        ),
        (
            "another input",
            "2_Dense",
            "\"bias\"",
            "\"module_input_name\": \"tokens\", \"bias\"",
            "module_input_name: `tokens`",
        ),
        ("two poolings", "1_Pooling", "\"cls\"", "[\"cls\", \"mean\"]", "pooling_mode: `[\"cls\",\"mean\"]`"),
        ("more outputs", "4_Dense", "\"out_features\": 1", "\"out_features\": 2", "expected floats of shape [2, 32]"),
    ] {
        let refused = module(folder, from, to).unwrap_err();
        assert!(refused.contains(wanted), "{sentence}: {refused}");
    }
    assert_eq!(module("1_Pooling", "\"pooling_mode\": \"cls\"", "\"pooling_mode_cls_token\": true"), Ok(4));
}

// As transformers does: an absent base of local layers is 10,000, and `null` that of the global ones.
#[test]
fn bases_that_are_left_out_are_the_library_s() {
    let base = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut whole = checkpoint("modernbert-cls");
        let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&whole.config).unwrap();
        config.remove("rope_parameters");
        config.remove("layer_types");
        change(&mut config);
        whole.config = serde_json::to_string(&config).unwrap();
        let model = Origin::Safetensors(whole).cross_encoder().unwrap();
        let rescored_graph::cross_encoder::Positions::Rotary(turns) = &model.layers[1].attention.positions else {
            panic!("rotary positions")
        };
        turns[1]
    };
    let given = |value: serde_json::Value| {
        base(&move |config| {
            config.insert("local_rope_theta".into(), value.clone());
        })
    };
    let near = |a: f32, b: f32| (a / b - 1.0).abs() < 1e-6;
    assert!(near(base(&|_| {}), given(10_000.into())), "absent");
    assert!(near(given(serde_json::Value::Null), given(160_000.into())), "null");
    assert!(!near(given(10_000.into()), given(160_000.into())));
}
