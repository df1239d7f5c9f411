//! Small models of a kind for each test: the score is the sum of a pair's token ids, times a weight.
//!
//! Written as exporters write graphs, peculiarities included; they run on the real runtime with the real tokenizer.

use std::path::{Path, PathBuf};

use prost::Message as _;
use rescored_graph::proto::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, StringEntry, Tensor, TensorType, Type, ValueInfo,
    kind,
};

use crate::support::models;

/// What is peculiar about a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peculiar {
    /// Nothing.
    Not,
    /// Its weight lies in `model.onnx_data`, or where this says.
    External(&'static str),
    /// It has so many labels, which ONNX Runtime cannot infer.
    Labels(i64),
    /// Its logits are of this type.
    Logits(i32),
    /// Its inputs are of this type.
    Inputs(i32),
    /// It has another input, of this name.
    Input(&'static str),
    /// It has positions for so many tokens.
    Positions(i64),
    /// Its pass never ends.
    Endless,
    /// Its output has one value for all pairs.
    OneForAll,
    /// It looks token ids up in a table of so many rows.
    Vocabulary(u16),
}

/// Puts a model into a folder of this name.
pub(crate) fn put(dir: &Path, id: &str, weight: f32, peculiar: Peculiar) -> PathBuf {
    let folder = dir.join(id);
    std::fs::create_dir_all(&folder).expect("a folder");
    let tokenizer = models().join("ms-marco-MiniLM-L-12-v2/tokenizer.json");
    std::fs::copy(tokenizer, folder.join("tokenizer.json")).expect("the real tokenizer");
    std::fs::write(folder.join("model.onnx"), graph(weight, peculiar)).expect("a graph");
    if let Peculiar::External(location) = peculiar {
        let path = folder.join(location);
        if path.starts_with(&folder) && !location.contains("..") {
            std::fs::write(path, weight.to_le_bytes()).expect("weights");
        }
    }
    folder
}

/// A folder whose runtime is the real one.
pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(models().join(".runtime"), dir.path().join(".runtime")).expect("a link");
    dir
}

fn graph(weight: f32, peculiar: Peculiar) -> Vec<u8> {
    let width = if let Peculiar::Inputs(kind) = peculiar { kind } else { kind::INT64 };
    let mut input =
        vec![value("input_ids", width, &["pairs", "tokens"]), value("attention_mask", width, &["pairs", "tokens"])];
    if let Peculiar::Input(name) = peculiar {
        input.push(value(name, width, &["pairs", "tokens"]));
    }
    let mut node = vec![
        node("Cast", &["input_ids"], "ids", vec![int("to", kind::FLOAT.into())]),
        node("Cast", &["attention_mask"], "mask", vec![int("to", kind::FLOAT.into())]),
        node("Mul", &["ids", "mask"], "seen", vec![]),
        node("ReduceSum", &["seen", "axis"], "sum", vec![int("keepdims", 1)]),
        node("Mul", &["sum", "weight"], "score", vec![]),
        node("Shape", &["input_ids"], "shape", vec![]),
    ];
    if let Peculiar::Vocabulary(_) = peculiar {
        node[0] = self::node("Gather", &["vocabulary", "input_ids"], "ids", vec![int("axis", 0)]);
    }
    node.extend(tail(peculiar));
    let logits = if let Peculiar::Logits(kind) = peculiar { kind } else { kind::FLOAT };
    let initializer = vec![
        ints("axis", &[1]),
        ints("zero", &[0]),
        ints("one", &[1]),
        ints("two", &[2]),
        ints("labels", &[if let Peculiar::Labels(count) = peculiar { count } else { 1 }]),
        scalar("start", 0),
        scalar("step", 1),
        weights(weight, peculiar),
        vocabulary(if let Peculiar::Vocabulary(count) = peculiar { count } else { 1 }),
        positions(if let Peculiar::Positions(count) = peculiar { count } else { 1 }),
        Tensor { data_type: kind::BOOL, int32_data: vec![1], name: "true".into(), ..Tensor::default() },
        Tensor { data_type: kind::FLOAT, float_data: vec![0.0], name: "nothing".into(), ..Tensor::default() },
    ];
    let graph = Graph {
        name: "tiny".into(),
        node,
        initializer,
        input,
        output: vec![value("logits", logits, &["pairs", "labels"])],
        ..Graph::default()
    };
    let opset = OperatorSet { domain: String::new(), version: 17 };
    Model { ir_version: 8, graph: Some(graph), opset_import: vec![opset], ..Model::default() }.encode_to_vec()
}

/// The way from `score` to `logits`.
fn tail(peculiar: Peculiar) -> Vec<Node> {
    match peculiar {
        // The number of labels is computed from the ids, so that nothing can be inferred.
        Peculiar::Labels(_) => vec![
            node("ReduceMin", &["input_ids"], "least", vec![int("keepdims", 0)]),
            node("Mul", &["least", "zero"], "nought", vec![]),
            node("Add", &["nought", "labels"], "counted", vec![]),
            node("Slice", &["shape", "zero", "one"], "pairs", vec![]),
            node("Concat", &["pairs", "counted"], "wide", vec![int("axis", 0)]),
            node("Expand", &["score", "wide"], "logits", vec![]),
        ],
        Peculiar::Logits(kind) => vec![node("Cast", &["score"], "logits", vec![int("to", kind.into())])],
        Peculiar::Positions(_) => vec![
            node("Slice", &["shape", "one", "two"], "length", vec![]),
            node("Squeeze", &["length", "zero"], "end", vec![]),
            node("Range", &["start", "end", "step"], "places", vec![]),
            // ONNX Runtime makes a slice of a gather over a range, and a slice may end past its data.
            node("Abs", &["places"], "indices", vec![]),
            node("Gather", &["table", "indices"], "placed", vec![int("axis", 0)]),
            node("ReduceSum", &["placed"], "place", vec![int("keepdims", 0)]),
            node("Add", &["score", "place"], "logits", vec![]),
        ],
        Peculiar::Endless => {
            let body = Graph {
                name: "body".into(),
                node: vec![
                    node("Identity", &["goes_on"], "goes_on_still", vec![]),
                    node("Add", &["held", "nothing"], "held_still", vec![]),
                ],
                input: vec![
                    value("turn", kind::INT64, &[]),
                    value("goes_on", kind::BOOL, &[]),
                    value("held", kind::FLOAT, &["pairs", "labels"]),
                ],
                output: vec![
                    value("goes_on_still", kind::BOOL, &[]),
                    value("held_still", kind::FLOAT, &["pairs", "labels"]),
                ],
                ..Graph::default()
            };
            let body =
                Attribute { name: "body".into(), kind: kind::ATTRIBUTE_GRAPH, g: Some(body), ..Attribute::default() };
            vec![node("Loop", &["", "true", "score"], "logits", vec![body])]
        }
        Peculiar::OneForAll => vec![node("ReduceSum", &["score", "zero"], "logits", vec![int("keepdims", 1)])],
        Peculiar::Not | Peculiar::External(_) | Peculiar::Inputs(_) | Peculiar::Input(_) | Peculiar::Vocabulary(_) => {
            vec![node("Identity", &["score"], "logits", vec![])]
        }
    }
}

fn weights(weight: f32, peculiar: Peculiar) -> Tensor {
    let tensor = Tensor { dims: vec![1], data_type: kind::FLOAT, name: "weight".into(), ..Tensor::default() };
    let Peculiar::External(location) = peculiar else {
        return Tensor { raw_data: weight.to_le_bytes().into(), ..tensor };
    };
    let entry = |(key, value): (&str, &str)| StringEntry { key: key.into(), value: value.into() };
    let external_data = [("location", location), ("offset", "0"), ("length", "4")].map(entry).into();
    Tensor { data_location: kind::EXTERNAL, external_data, ..tensor }
}

/// Every id stands for itself.
fn vocabulary(count: u16) -> Tensor {
    let float_data = (0..count).map(f32::from).collect();
    Tensor {
        dims: vec![count.into()],
        data_type: kind::FLOAT,
        float_data,
        name: "vocabulary".into(),
        ..Tensor::default()
    }
}

fn positions(count: i64) -> Tensor {
    let float_data = (0..count).map(|_| 0.0).collect();
    Tensor { dims: vec![count], data_type: kind::FLOAT, float_data, name: "table".into(), ..Tensor::default() }
}

fn ints(name: &str, values: &[i64]) -> Tensor {
    let dims = vec![i64::try_from(values.len()).expect("few")];
    Tensor { dims, data_type: kind::INT64, int64_data: values.into(), name: name.into(), ..Tensor::default() }
}

fn scalar(name: &str, number: i64) -> Tensor {
    Tensor { data_type: kind::INT64, int64_data: vec![number], name: name.into(), ..Tensor::default() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: kind::ATTRIBUTE_INT, ..Attribute::default() }
}

fn node(op_type: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        op_type: op_type.into(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..Node::default()
    }
}

fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfo {
    let dim = dims.iter().map(|&name| Dimension { value: None, parameter: Some(name.into()) }).collect();
    let tensor_type = Some(TensorType { elem_type, shape: Some(Shape { dim }) });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
}
