//! A model on its way through its files, and what families differ in; against transformers in `tests/graph/families.rs`.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::*;
use crate::sample::{tiny, tiny_projected, tiny_untyped};

fn checkpoint(weights: &[u8], config: &str) -> Checkpoint {
    Checkpoint { weights: vec![weights.to_vec().into()], config: config.into(), ..Checkpoint::default() }
}

#[test]
fn a_model_survives_the_way_through_its_files() {
    let bert = tiny(2);
    let (weights, config) = write(&bert).unwrap();
    assert_eq!(read(&checkpoint(&weights, &config)).unwrap(), bert);
}

#[test]
fn weights_lie_turned_under_the_names_of_the_hub() {
    let bert = tiny(1);
    let (weights, _) = write(&bert).unwrap();
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let up = tensors.tensor("bert.encoder.layer.0.intermediate.dense.weight").unwrap();
    assert_eq!(up.shape(), [bert.intermediate(), bert.hidden]);
    let second = f32::from_le_bytes(up.data()[bert.hidden * 4..][..4].try_into().unwrap());
    assert!((second - bert.layers[0].up.weight.values[1]).abs() < f32::EPSILON, "row 1 is output 1");
    assert_eq!(tensors.names().len(), 3 + 2 + 16 + 2 + 2);
}

#[test]
fn families_differ_in_names_and_in_their_first_positions() {
    let bert = tiny(1);
    let (weights, config) = write(&bert).unwrap();
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let rename = |name: &str| match name {
        "bert.pooler.dense.weight" => "classifier.dense.weight".to_owned(),
        "bert.pooler.dense.bias" => "classifier.dense.bias".to_owned(),
        "classifier.weight" => "classifier.out_proj.weight".to_owned(),
        "classifier.bias" => "classifier.out_proj.bias".to_owned(),
        other => other.replace("bert.", "roberta."),
    };
    let renamed = tensors.iter().map(|(name, view)| (rename(name), view));
    let weights = safetensors::serialize(renamed, None).unwrap();
    let config = config.replace("\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    let config = config.replace("\"pad_token_id\": 0", "\"pad_token_id\": 1");
    let roberta = read(&checkpoint(&weights, &config)).unwrap();
    assert_eq!(roberta.max_length(), bert.max_length() - 2);
    assert_eq!(
        (roberta.embeddings.padding, roberta.embeddings.positions.table().unwrap().rows),
        (Some(1), bert.max_length() - 1)
    );
    assert_eq!(roberta.layers, bert.layers);
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let (weights, config) = write(&tiny(1)).unwrap();
    let more = config.replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
    let error = read(&checkpoint(&weights, &more)).unwrap_err().to_string();
    assert!(error.contains("encoder.layer.1.attention.self.query.weight"), "{error}");
    let other = config.replace("\"bert\"", "\"t5\"");
    assert!(read(&checkpoint(&weights, &other)).unwrap_err().to_string().contains("`t5`"));
    assert!(write(&tiny_projected(1)).is_err(), "BERT has no projection");
}

#[test]
fn a_model_without_types_is_written_with_types_that_add_nothing() {
    let (weights, config) = write(&tiny_untyped(1)).unwrap();
    let back = read(&checkpoint(&weights, &config)).unwrap();
    assert!(back.embeddings.types.as_ref().unwrap().values.iter().all(|value| value.abs() < f32::MIN_POSITIVE));
    assert_eq!(back.layers, tiny_untyped(1).layers);
}

#[test]
fn one_type_is_added_to_every_position() {
    let bert = tiny(1);
    let (weights, config) = write(&bert).unwrap();
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let one = TensorView::new(Dtype::F32, vec![1, 8], &tensors.tensor(TYPES).unwrap().data()[..32]).unwrap();
    let others = tensors.iter().filter(|(name, _)| *name != TYPES);
    let weights = safetensors::serialize(others.chain([(TYPES, one)]), None).unwrap();
    let read =
        read(&checkpoint(&weights, &config.replace("\"type_vocab_size\": 2", "\"type_vocab_size\": 1"))).unwrap();
    assert_eq!(read.embeddings.types, None);
    let sum = bert.embeddings.positions.table().unwrap().values[8] + bert.embeddings.types.unwrap().values[0];
    assert!((read.embeddings.positions.table().unwrap().values[8] - sum).abs() < 1e-6);
}

const TYPES: &str = "bert.embeddings.token_type_embeddings.weight";
