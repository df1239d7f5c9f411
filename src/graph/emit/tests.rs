//! What written graphs hold, by their operators and weights; what they compute is tested with a runtime (`tests/graph.rs`).

use super::*;
use crate::sample::{tiny, tiny_quantised};
use crate::target::Weights;

fn written(model: &CrossEncoder, layout: Layout, precision: Precision) -> proto::Model {
    let target = Target { layout, precision, layers: None };
    let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
    proto::Model::decode(emit(model, &target, &provenance).unwrap().to_bytes().as_slice()).unwrap()
}

fn count(graph: &proto::Graph, op: &str) -> usize {
    graph.node.iter().filter(|node| node.op_type == op).count()
}

fn int8(activations: Activations) -> Precision {
    Precision::Int8 { weights: Weights::Unsigned, activations }
}

#[test]
fn every_value_is_made_before_it_is_read_and_nothing_is_left_over() {
    let precisions = [Precision::Fp32, Precision::Fp16, int8(Activations::PerToken), int8(Activations::PerPair)];
    for layout in [Layout::Padded, Layout::Packed { slots: 1 }, Layout::Packed { slots: 3 }, Layout::Ragged] {
        for precision in precisions.clone() {
            let integers = matches!(precision, Precision::Int8 { .. });
            if (layout, &precision) == (Layout::Packed { slots: 3 }, &precisions[3])
                || (layout == Layout::Ragged && integers)
            {
                continue;
            }
            let case = format!("{layout:?} {precision:?}");
            let graph = written(&tiny_quantised(2), layout, precision).graph.unwrap();
            let mut known: Vec<&String> = graph.input.iter().map(|input| &input.name).collect();
            known.extend(graph.initializer.iter().map(|tensor| &tensor.name));
            let mut read: Vec<&String> = graph.output.iter().map(|output| &output.name).collect();
            for node in &graph.node {
                for input in node.input.iter().filter(|name| !name.is_empty()) {
                    assert!(known.contains(&input), "{case}: {} reads {input}", node.name);
                    read.push(input);
                }
                known.extend(&node.output);
            }
            let unread = graph.initializer.iter().map(|tensor| &tensor.name).find(|name| !read.contains(name));
            assert_eq!(unread, None, "{case}: a weight that nothing reads");
        }
    }
}

#[test]
fn the_last_layer_asks_for_the_first_rows_only() {
    let graph = written(&tiny(2), Layout::Packed { slots: 3 }, Precision::Fp16).graph.unwrap();
    let reads = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap().input[0].clone();
    assert_eq!(reads("layer.1.attention.query"), "layer.1.attention.first");
    assert_eq!(reads("layer.1.attention.key"), "layer.0.norm", "keys are those of all tokens");
    assert_eq!(reads("layer.0.attention.query"), "embeddings.norm");
    assert_eq!(count(&graph, "Attention"), 2 * 3, "one a layer and slot");
}

#[test]
fn in_fp32_the_last_layer_computes_keys_and_values_of_no_token() {
    for slots in [1, 3] {
        let graph = written(&tiny(2), Layout::Packed { slots }, Precision::Fp32).graph.unwrap();
        let products = |part: &str| {
            let stem = format!("layer.1.attention.{part}");
            graph.node.iter().filter(|node| node.op_type == "Gemm" && node.name.starts_with(&stem)).count()
        };
        assert_eq!((products("query"), products("key"), products("value")), (1, 0, 0));
        let readers = graph.node.iter().filter(|node| node.input.iter().any(|input| input == "layer.0.norm"));
        let readers: Vec<&str> = readers.map(|node| node.op_type.as_str()).collect();
        let wanted: &[&str] = if slots == 1 { &["Gather", "FusedMatMul", "MatMul"] } else { &["Gather", "Split"] };
        assert_eq!(readers, wanted, "rows of all tokens are met as they are");
        assert_eq!(count(&graph, "Attention"), slots, "one a slot in the first layer alone");
    }
}

#[test]
fn a_graph_for_gpus_has_one_packed_attention_a_layer_but_the_last_and_reads_32_bit_integers() {
    let graph = written(&tiny(3), Layout::Ragged, Precision::Fp16).graph.unwrap();
    for (op, wanted) in [
        ("PackedMultiHeadAttention", 2),
        ("RestorePadding", 1),
        ("SkipLayerNormalization", 6),
        ("BiasGelu", 3),
        ("EmbedLayerNormalization", 1),
        ("Softmax", 1),
        ("Split", 0),
        ("Shape", 0),
    ] {
        assert_eq!(count(&graph, op), wanted, "{op}");
    }
    let kind_of = |input: &proto::ValueInfo| input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type;
    assert!(graph.input.iter().all(|input| kind_of(input) == kind::INT32));
    let halves = graph.initializer.iter().filter(|tensor| tensor.data_type == kind::FLOAT16).count();
    let floats = graph.initializer.iter().filter(|tensor| tensor.data_type == kind::FLOAT).count();
    assert!(halves > 40 && floats == 0, "{halves} half tensors, {floats} float ones");
    let keys = graph.initializer.iter().find(|tensor| tensor.name == "layer.2.attention.key.weight").unwrap();
    assert_eq!(keys.dims.len(), 3, "a matrix a head: the last layer's queries meet the tokens themselves");
    assert!(graph.initializer.iter().all(|tensor| !tensor.name.ends_with("key.bias")), "it changes no share");
}

#[test]
fn unsigned_weights_are_the_same_integers_moved_by_128() {
    let model = tiny_quantised(1);
    let graph = written(&model, Layout::Packed { slots: 1 }, int8(Activations::PerPair)).graph.unwrap();
    let weight = graph.initializer.iter().find(|tensor| tensor.name == "layer.0.up.weight").unwrap();
    let source = model.layers[0].up.weight.integers.as_ref().unwrap();
    assert_eq!(weight.data_type, kind::UINT8);
    let back: Vec<i16> = weight.raw_data.iter().map(|&byte| i16::from(byte) - 128).collect();
    let wanted: Vec<i16> = source.values.iter().map(|&value| i16::from(value)).collect();
    assert_eq!(back, wanted);
}

#[test]
fn targets_that_would_break_a_promise_are_refused() {
    let write = |precision, slots, layers| {
        let target = Target { layout: Layout::Packed { slots }, precision, layers };
        let provenance = Provenance { source_sha256: String::new(), tool: String::new() };
        emit(&tiny(2), &target, &provenance).map(|written| written.is_large())
    };
    assert_eq!(write(int8(Activations::PerPair), 2, None), Err(Unfit::SharedRange { slots: 2 }));
    assert!(write(int8(Activations::PerPair), 1, None).is_ok());
    assert_eq!(write(Precision::Fp32, 0, None), Err(Unfit::Count { what: "slots" }));
    assert_eq!(write(Precision::Fp32, 1, Some(3)), Err(Unfit::Count { what: "layers" }));
    let unobserved = int8(Activations::Static(crate::target::Ranges::default()));
    assert_eq!(write(unobserved, 1, None), Err(Unfit::Ranges { ranges: 0, layers: 2 }));
}

#[test]
fn a_graph_says_where_it_comes_from_and_a_shape_that_it_is_one() {
    let target = Target { layout: Layout::Padded, precision: Precision::Fp32, layers: Some(1) };
    let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
    let source = tiny(2);
    let model = emit(&source, &target, &provenance).unwrap().to_bytes();
    let model = proto::Model::decode(model.as_slice()).unwrap();
    let entries: Vec<_> = model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    assert_eq!(
        entries,
        [
            ("rescored.source_sha256", "abc"),
            ("rescored.tool", "test"),
            ("rescored.target", "fp32.padded.layers1"),
            ("rescored.shape_only", "true"),
        ]
    );
}
