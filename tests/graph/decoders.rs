//! Decoders that judge pairs, as transformers keeps them: small models with random weights that `tests/families.py` wrote, and
//! the logits that transformers computed of them.

use std::path::Path;

use prost::Message;
use rescored_graph::compile::packed;
use rescored_graph::safetensors::{Checkpoint, Verdict};
use rescored_graph::{Activations, Layout, Origin, Precision, Ranges, Target, Unread, Weights, proto};

use super::families::{checkpoint_in, folder, golden_in, target};
use super::{compile, folder as given, logits, provenance, runner};

const DECODERS: [&str; 9] = [
    "qwen3",
    "qwen3-classifier",
    "qwen2",
    "qwen2-classifier",
    "llama",
    "llama-both-sides",
    "mistral",
    "gemma",
    "gemma-classifier",
];

/// Compares the logits of a written fp32 graph with transformers', and answers with the largest difference. Writing it holds
/// the packed graph against the padded one, and pairs alone against pairs in company, bit for bit.
fn farthest(folder: &Path) -> f32 {
    let (samples, wanted) = golden_in(folder);
    let origin = Origin::Safetensors(checkpoint_in(folder));
    let done = compile(&origin, &target(Precision::Fp32), &samples, &mut runner());
    let done = done.unwrap_or_else(|refused| panic!("{}: {refused:?}", folder.display()));
    let runs: Vec<_> = samples.iter().map(|sample| packed(&[sample], 4)).collect();
    let ours = logits(&mut runner(), &done.onnx, &runs);
    assert_eq!(ours.len(), wanted.len());
    let gaps = ours.iter().zip(&wanted).map(|(ours, wanted)| (ours[0] - wanted).abs());
    gaps.fold(0.0, f32::max)
}

#[test]
fn every_decoder_gives_the_logits_of_transformers_and_the_same_bits_in_company() {
    for name in DECODERS {
        let most = farthest(&folder(name));
        assert!(most <= 1e-4, "{name}: {most}");
    }
}

#[test]
#[ignore = "needs a folder as tests/families.py writes them, in RESCORED_TEST_FAMILY: a trained decoder"]
fn a_trained_decoder_gives_the_logits_of_transformers() {
    let most = farthest(&given("RESCORED_TEST_FAMILY", "family"));
    assert!(most <= 1e-3, "{most}");
}

#[test]
fn every_decoder_is_written_in_integers_too_but_not_as_fused_layers() {
    let int8 = |activations| Precision::Int8 { weights: Weights::Unsigned, activations };
    for name in DECODERS {
        let (samples, _) = golden_in(&folder(name));
        let origin = Origin::Safetensors(checkpoint_in(&folder(name)));
        for activations in [Activations::PerToken, Activations::Static(Ranges::default())] {
            let done = compile(&origin, &target(int8(activations)), &samples, &mut runner());
            let done = done.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
            assert!(done.loss.mean > 0.0, "{name}: integers are no floats");
            println!("{name}, {}: {:?}", done.target, done.loss);
        }
        let model = origin.cross_encoder().unwrap();
        let fused = rescored_graph::emit(&model, &target(int8(Activations::Fused)), &provenance()).map(|_| ());
        let refused = fused.unwrap_err().to_string();
        assert!(refused.ends_with("not written for integer layers; use the cpu"), "{name}: {refused}");
    }
}

#[test]
fn writers_for_devices_name_the_part_that_they_do_not_write() {
    let written = |name: &str, precision: Precision| {
        let model = Origin::Safetensors(checkpoint_in(&folder(name))).cross_encoder().unwrap();
        let ragged = Target { layout: Layout::Ragged, precision, layers: None };
        rescored_graph::emit(&model, &ragged, &provenance()).map(|_| ()).map_err(|refused| refused.to_string())
    };
    let refused = |part: &str| Err(format!("{part}: not written for cuda; use the cpu"));
    assert_eq!(written("qwen3", Precision::Fp16), Ok(()));
    assert_eq!(written("qwen3", Precision::Fp32), refused("causal attention in other precisions than fp16"));
    assert_eq!(written("llama-both-sides", Precision::Fp16), refused("rotary positions"));
    assert_eq!(written("mistral", Precision::Fp16), refused("local attention"));
}

/// The logits of a decoder by the words of a verdict.
fn judged(name: &str, verdict: Verdict) -> Vec<f32> {
    let (samples, _) = golden_in(&folder(name));
    let origin = Origin::Safetensors(Checkpoint { verdict: Some(verdict), ..checkpoint_in(&folder(name)) });
    let model = origin.cross_encoder().unwrap();
    let graph = rescored_graph::emit(&model, &target(Precision::Fp32), &provenance()).unwrap().to_bytes();
    let runs: Vec<_> = samples.iter().map(|sample| packed(&[sample], 4)).collect();
    logits(&mut runner(), &graph, &runs).into_iter().map(|logits| logits[0]).collect()
}

#[test]
fn a_verdict_is_the_logit_of_yes_less_that_of_no() {
    for name in ["qwen3", "mistral"] {
        let [both, turned] = [(31, 17), (17, 31)].map(|(yes, no)| judged(name, Verdict { yes, no: Some(no) }));
        let [yes, no] = [31, 17].map(|yes| judged(name, Verdict { yes, no: None }));
        for at in 0..both.len() {
            assert!((both[at] + turned[at]).abs() < 1e-5, "{name}: {} and {}", both[at], turned[at]);
            assert!((both[at] - (yes[at] - no[at])).abs() < 1e-4, "{name}: {}", both[at]);
        }
    }
}

#[test]
fn the_vocabulary_is_never_multiplied_and_the_last_layer_computes_one_row_a_pair() {
    let model = Origin::Safetensors(checkpoint_in(&folder("qwen2"))).cross_encoder().unwrap();
    let graph = rescored_graph::emit(&model, &target(Precision::Fp32), &provenance()).unwrap().to_bytes();
    let graph = proto::Model::decode(graph.as_slice()).unwrap().graph.unwrap();
    let of_words = graph.initializer.iter().filter(|tensor| tensor.dims.contains(&300));
    let of_words: Vec<&str> = of_words.map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(of_words, ["embeddings.words.weight"], "rows of words are looked up");
    let read = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap().input[0].as_str();
    assert_eq!(read("layer.2.attention.query"), "layer.2.attention.last");
    assert_eq!(read("layer.2.attention.key"), "layer.2.attention.norm", "keys are those of all tokens");
    assert_eq!(read("layer.1.attention.query"), "layer.1.attention.norm");
    let inputs: Vec<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["input_ids", "lengths", "beginnings"]);
}

/// What the reader says of a decoder's files, changed.
fn refused(name: &str, change: &dyn Fn(&mut Checkpoint)) -> String {
    let mut whole = checkpoint_in(&folder(name));
    change(&mut whole);
    match Origin::Safetensors(whole).cross_encoder() {
        Err(Unread::Weights(why)) => why.to_string(),
        other => panic!("not refused: {:?}", other.map(|model| model.layers.len())),
    }
}

#[test]
fn a_verdict_that_cannot_be_read_is_refused_with_what_to_give() {
    let without = refused("qwen3", &|whole| whole.verdict = None);
    assert_eq!(
        without,
        "verdict: Qwen3ForCausalLM answers in words; give the id of the token for yes, and of that for no"
    );
    let beyond = refused("qwen3", &|whole| whole.verdict = Some(Verdict { yes: 5, no: Some(300) }));
    assert_eq!(beyond, "verdict: token 300 is none of the model's 300; take it from its tokenizer");
    let untied = refused("qwen3", &|whole| {
        whole.config = whole.config.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    });
    assert!(untied.starts_with("tensor `lm_head.weight`: expected floats of shape [300, 32], found none"), "{untied}");
}

#[test]
fn configurations_that_are_not_computed_are_refused_by_field() {
    for (sentence, name, from, to, wanted) in [
        (
            "shared keys",
            "qwen3",
            r#""num_key_value_heads": 2"#,
            r#""num_key_value_heads": 3"#,
            "num_key_value_heads: `3`",
        ),
        ("odd heads", "qwen3", r#""head_dim": 24"#, r#""head_dim": 23"#, "head_dim: `23`"),
        ("a scaling", "llama", r#""rope_type": "llama3""#, r#""rope_type": "longrope""#, "rope_scaling: `longrope`"),
        (
            "a number of it",
            "llama",
            r#""low_freq_factor": 1.0"#,
            r#""low_freq_factor": 0.0"#,
            "`llama3 without low_freq_factor`",
        ),
        ("half heads", "llama", r#""factor": 8.0"#, r#""partial_rotary_factor": 0.5"#, "partial_rotary_factor 0.5"),
        (
            "layers of two kinds",
            "gemma",
            r#""rope_theta": 10000.0"#,
            r#""sliding_attention": {}"#,
            "parameters of each kind of layer",
        ),
        ("an activation", "gemma", r#""gelu_pytorch_tanh""#, r#""mish""#, "hidden_act: `mish`"),
        (
            "both sides",
            "gemma",
            r#""use_bidirectional_attention": null"#,
            r#""use_bidirectional_attention": true"#,
            "use_bidirectional_attention: `true`",
        ),
        ("a family", "gemma", r#""model_type": "gemma""#, r#""model_type": "gemma2""#, "model_type: `gemma2`"),
        ("no window", "mistral", r#""sliding_window": 33"#, r#""sliding_window": 0"#, "sliding_window: `0`"),
        (
            "norms that nothing reads",
            "qwen3",
            r#""model_type": "qwen3""#,
            r#""model_type": "llama""#,
            "nothing in a model",
        ),
    ] {
        let refused = refused(name, &|whole| {
            let text = whole.config.replace(from, to);
            assert_ne!(text, whole.config, "{from} is there");
            whole.config = text;
        });
        assert!(refused.contains(wanted), "{sentence}: {refused}");
    }
}

// A window that is not named is the library's, and null is none.
#[test]
fn windows_that_are_left_out_are_the_library_s() {
    let window = |name: &str, from: &str, to: &str| {
        let mut whole = checkpoint_in(&folder(name));
        whole.config = whole.config.replace(from, to);
        let model = Origin::Safetensors(whole).cross_encoder().unwrap();
        model.layers.iter().map(|layer| layer.attention.window).collect::<Vec<_>>()
    };
    assert_eq!(window("mistral", "", ""), [Some(32); 3], "the token itself is not counted");
    assert_eq!(window("mistral", r#""sliding_window": 33"#, r#""sliding_window": null"#), [None; 3]);
    assert_eq!(window("mistral", r#""sliding_window": 33"#, r#""other": 33"#), [Some(4095); 3]);
    assert_eq!(window("qwen3-classifier", "", ""), [None, Some(8), Some(8)]);
    let (on, off) = (r#""use_sliding_window": true"#, r#""use_sliding_window": false"#);
    assert_eq!(window("qwen3-classifier", on, off), [None; 3]);
    let (types, none) = (r#""layer_types""#, r#""others""#);
    assert_eq!(window("qwen3-classifier", types, none), [None, Some(8), Some(8)], "by max_window_layers");
}
