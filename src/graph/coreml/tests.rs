//! The written graph: what the provider demands, held for every shape.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::cross_encoder::PositionTable;
use crate::sample::tiny;

/// Operators of ONNX Runtime's list for `ML Program` that are also known to run in 16 bits.
const SUPPORTED: [&str; 10] =
    ["Add", "Cast", "Gelu", "Gemm", "LayerNormalization", "MatMul", "Reshape", "Softmax", "Tanh", "Transpose"];

fn written(arithmetic: Arithmetic, shape: Shape) -> proto::Model {
    let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
    let onnx = write(&tiny(2), arithmetic, &provenance).unwrap();
    proto::Model::decode(fixed(&onnx, shape, "key-1").unwrap().as_slice()).unwrap()
}

fn dims(value: &proto::ValueInfo) -> Vec<i64> {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    tensor.shape.as_ref().unwrap().dim.iter().map(|dim| dim.value.expect("a fixed size")).collect()
}

proptest! {
    #[test]
    fn every_dimension_of_a_fixed_graph_is_a_number_within_the_limit(
        batch in 1_usize..32, length in 1_usize..512, slots in 1_usize..16,
    ) {
        let shape = Shape { batch, length, slots };
        for arithmetic in [Arithmetic::Fp32, Arithmetic::Fp16] {
            let graph = written(arithmetic, shape).graph.unwrap();
            for input in &graph.input {
                let expected: Vec<i64> = shape.dims(&input.name, 8).into_iter().map(as_int).collect();
                prop_assert_eq!(dims(input), expected);
            }
            prop_assert_eq!(dims(&graph.output[0]), [as_int(batch * slots), 1]);
            for tensor in &graph.initializer {
                prop_assert!(tensor.dims.iter().all(|&dim| dim <= as_int(LARGEST_DIMENSION)));
                if [names::DEEP_SHAPE, names::FIRST_SHAPE, names::BATCH_SHAPE].contains(&tensor.name.as_str()) {
                    let shape = Array::try_from(tensor).unwrap().as_ints().unwrap();
                    prop_assert!(shape.iter().all(|&size| size > 0), "{}: {:?}", tensor.name, shape);
                }
            }
        }
    }

    #[test]
    fn a_sum_of_rows_is_that_of_the_tables(word in 0_usize..20, position in 0_usize..12, kind in 0_usize..2) {
        let model = tiny(1);
        let bytes = table(&model);
        let header = Header::read(&bytes).unwrap();
        let mut row = vec![0.0; header.width];
        header.sum(&bytes, [word, position, kind], &mut row);
        let of = |table: &Table, row: usize, at: usize| table.values[row * 8 + at];
        for (at, value) in row.iter().enumerate() {
            let embeddings = &model.embeddings;
            let sum = of(&embeddings.words, word, at) + of(embeddings.types.as_ref().unwrap(), kind, at);
            let sum = (sum + of(embeddings.positions.table().unwrap(), position, at)) * embedding_scale(&model);
            prop_assert_eq!(value.to_bits(), sum.to_bits());
        }
    }
}

#[test]
fn only_operators_of_the_providers_list_are_used_and_none_of_another_domain() {
    for arithmetic in [Arithmetic::Fp32, Arithmetic::Fp16] {
        let model = written(arithmetic, Shape::padded(2, 4));
        let graph = model.graph.unwrap();
        let used: HashSet<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert!(used.iter().all(|op| SUPPORTED.contains(op)), "{used:?}");
        assert!(graph.node.iter().all(|node| node.domain.is_empty()));
        assert_eq!(model.opset_import.len(), 1);
        assert!(model.opset_import[0].version <= 20, "builders of the provider know no newer operator set");
    }
}

#[test]
fn weights_of_products_lie_as_the_provider_keeps_them_in_its_weight_file() {
    let graph = written(Arithmetic::Fp32, Shape::padded(1, 4)).graph.unwrap();
    for node in graph.node.iter().filter(|node| node.op_type == "Gemm") {
        assert!(node.attribute.iter().any(|attribute| attribute.name == "transB" && attribute.i == 1), "{}", node.name);
    }
    let up = graph.initializer.iter().find(|tensor| tensor.name == "layer.0.up.weight").unwrap();
    assert_eq!(up.dims, [16, 8], "outputs first");
}

#[test]
fn no_norm_of_a_half_graph_has_an_epsilon_that_a_half_rounds_to_zero() {
    let graph = written(Arithmetic::Fp16, Shape::padded(1, 4)).graph.unwrap();
    let epsilons: Vec<f32> = graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .filter(|attribute| attribute.name == "epsilon")
        .map(|attribute| attribute.f)
        .collect();
    assert_eq!(epsilons.len(), 5);
    assert!(epsilons.iter().all(|&epsilon| epsilon >= 6.1e-5), "{epsilons:?}");
}

#[test]
fn embeddings_are_brought_near_one_by_a_power_of_two() {
    let mut model = tiny(1);
    for (factor, scale) in [(1.0, 2.0), (1.0 / 64.0, 128.0), (64.0, 1.0 / 32.0), (0.0, 1.0)] {
        let mut scaled = model.clone();
        let embeddings = &mut scaled.embeddings;
        let PositionTable::Learnt(positions) = &mut embeddings.positions else { panic!("learnt positions") };
        for table in [&mut embeddings.words, positions].into_iter().chain(&mut embeddings.types) {
            table.values.iter_mut().for_each(|value| *value *= factor);
        }
        assert_eq!(embedding_scale(&scaled).to_bits(), f32::to_bits(scale), "times {factor}");
    }
    model.embeddings.types = None;
    assert!(embedding_scale(&model) > 0.0);
}

#[test]
fn the_last_layer_computes_the_first_tokens_only() {
    let graph = written(Arithmetic::Fp32, Shape::padded(1, 4)).graph.unwrap();
    let reads = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap().input[0].clone();
    assert_eq!(reads("layer.1.attention.query"), "layer.1.first");
    assert_eq!(reads("layer.1.attention.key"), "layer.0.norm");
    assert_eq!(reads("layer.0.attention.query"), "embeddings.norm");
}

#[test]
fn a_fixed_graph_carries_one_cache_key_of_letters_and_digits() {
    let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
    let onnx = write(&tiny(1), Arithmetic::Fp32, &provenance).unwrap();
    let once = fixed(&onnx, Shape::padded(1, 4), "first").unwrap();
    let long = format!("a-b_{}", "c".repeat(80));
    let twice = proto::Model::decode(fixed(&once, Shape::padded(1, 4), &long).unwrap().as_slice()).unwrap();
    let keys: Vec<_> = twice.metadata_props.iter().filter(|entry| entry.key == "COREML_CACHE_KEY").collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].value, format!("ab{}", "c".repeat(61)));
}

#[test]
fn bytes_that_are_no_whole_table_are_refused() {
    let good = table(&tiny(1));
    assert!(Header::read(&good).is_ok());
    for (bytes, why) in [
        (&good[..good.len() - 4], "a row is cut off"),
        (&good[..12], "it ends in the header"),
        (&b"RTB2 and more bytes here"[..], "another version"),
        (&[], "it is empty"),
    ] {
        assert!(Header::read(bytes).is_err(), "{why}");
    }
}
