//! A typed view of an ONNX graph: who makes each value, and which values are constant.
//!
//! Owns constant folding as far as exporters leave it to their readers, and the ops that change nothing. It must not
//! know what a transformer is.

use std::collections::HashMap;

use super::{
    array::{Array, BadTensor, Data},
    beside::Beside,
    proto::{self, kind},
};

/// The graph, indexed by the names of its values.
#[derive(Debug)]
pub(super) struct Source {
    nodes: Vec<proto::Node>,
    made_by: HashMap<String, usize>,
    constants: HashMap<String, Array>,
    outputs: Vec<String>,
}

impl Source {
    /// Indexes a graph, some of whose weights may lie beside it, and folds its constants.
    pub(super) fn new(graph: proto::Graph, beside: &Beside) -> Result<Self, BadTensor> {
        let mut constants = HashMap::new();
        // Each one's bytes are let go of as soon as it was read.
        for tensor in graph.initializer {
            constants.insert(tensor.name.clone(), Array::read(&tensor, beside)?);
        }
        let mut made_by = HashMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                made_by.insert(output.clone(), at);
            }
        }
        let outputs = graph.output.into_iter().map(|output| output.name).collect();
        let mut source = Self { nodes: graph.node, made_by, constants, outputs };
        source.fold()?;
        Ok(source)
    }

    /// Names of the graph's outputs.
    pub(super) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The node that makes a value, past those that change nothing; `None` for inputs and constants.
    pub(super) fn maker(&self, value: &str) -> Option<&proto::Node> {
        let value = self.origin(value);
        if self.constants.contains_key(value) {
            return None;
        }
        self.made_by.get(value).map(|&at| &self.nodes[at])
    }

    /// The value that a value is a copy of: past `Identity` and `Dropout`.
    pub(super) fn origin<'a>(&'a self, value: &'a str) -> &'a str {
        let mut value = value;
        while let Some(node) = self.made_by.get(value).map(|&at| &self.nodes[at]) {
            match (node.op_type.as_str(), node.input.first()) {
                ("Identity" | "Dropout", Some(input)) if node.output.first().is_some_and(|name| name == value) => {
                    value = input;
                }
                _ => break,
            }
        }
        value
    }

    /// A constant's value.
    pub(super) fn constant(&self, value: &str) -> Option<&Array> {
        self.constants.get(self.origin(value))
    }

    /// Every operator of ONNX's own domain keeps its plain name; others carry their domain.
    pub(super) fn first_foreign(&self) -> Option<&proto::Node> {
        self.nodes.iter().find(|node| !node.domain.is_empty() && node.domain != "ai.onnx")
    }

    /// Nodes in the file's order, which is a topological one: each constant is folded before it is used.
    fn fold(&mut self) -> Result<(), BadTensor> {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let folded = match node.op_type.as_str() {
                "Constant" => constant(node)?,
                "Transpose" => input(node, 0).and_then(|name| self.constant(name)).and_then(Array::transposed),
                "Cast" => input(node, 0).and_then(|name| self.constant(name)).and_then(|array| cast(node, array)),
                "DequantizeLinear" => self.dequantised(node),
                _ => None,
            };
            if let (Some(array), Some(name)) = (folded, node.output.first()) {
                self.constants.insert(name.clone(), array);
            }
        }
        Ok(())
    }

    /// A constant in integers as floats; only for weights that are used as floats, with one scale.
    fn dequantised(&self, node: &proto::Node) -> Option<Array> {
        let integers = self.constant(input(node, 0)?)?;
        let scale = self.constant(input(node, 1)?)?.scalar()?;
        let zero = match input(node, 2).map(|name| self.constant(name)) {
            None => 0,
            Some(zero) => *zero?.as_ints()?.first()?,
        };
        #[expect(clippy::cast_precision_loss, reason = "differences of bytes are small")]
        let values = integers.as_ints()?.iter().map(|value| (value - zero) as f32 * scale).collect();
        Some(Array::floats(&integers.dims, values))
    }
}

/// An input's name, where it is given.
pub(super) fn input(node: &proto::Node, at: usize) -> Option<&str> {
    node.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
}

/// An attribute that is an integer.
pub(super) fn int(node: &proto::Node, name: &str) -> Option<i64> {
    attribute(node, name).map(|attribute| attribute.i)
}

/// An attribute that is a float.
pub(super) fn float(node: &proto::Node, name: &str) -> Option<f32> {
    attribute(node, name).map(|attribute| attribute.f)
}

fn attribute<'a>(node: &'a proto::Node, name: &str) -> Option<&'a proto::Attribute> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn constant(node: &proto::Node) -> Result<Option<Array>, BadTensor> {
    let Some(attribute) = node.attribute.first() else { return Ok(None) };
    Ok(match (attribute.name.as_str(), &attribute.t) {
        ("value", Some(tensor)) => Some(Array::try_from(tensor)?),
        ("value_float", _) => Some(Array::float(attribute.f)),
        ("value_int", _) => Some(Array::int(attribute.i)),
        ("value_ints", _) => Some(Array::ints(&attribute.ints)),
        ("value_floats", _) => Some(Array::floats(&[attribute.floats.len()], attribute.floats.clone())),
        _ => None,
    })
}

fn cast(node: &proto::Node, array: &Array) -> Option<Array> {
    let to = int(node, "to")?;
    if to == i64::from(kind::FLOAT) {
        let dims = array.dims.clone();
        #[expect(clippy::cast_precision_loss, reason = "the graph asks for it")]
        let values =
            array.to_floats().or_else(|| Some(array.as_ints()?.iter().map(|&value| value as f32).collect()))?;
        return Some(Array { dims, data: Data::F32(values) });
    }
    if to == i64::from(kind::INT64) {
        return Some(Array { dims: array.dims.clone(), data: Data::I64(array.as_ints()?) });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> proto::Node {
        proto::Node {
            op_type: op.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn source(nodes: Vec<proto::Node>, constants: &[(&str, Array)]) -> Source {
        let initializer = constants.iter().map(|(name, array)| array.to_tensor(name)).collect();
        Source::new(proto::Graph { node: nodes, initializer, ..Default::default() }, &Beside::new()).unwrap()
    }

    #[test]
    fn copies_are_seen_through_up_to_the_node_that_computes() {
        let nodes = vec![node("Relu", &["x"], "a"), node("Dropout", &["a"], "b"), node("Identity", &["b"], "c")];
        let source = source(nodes, &[]);
        assert_eq!(source.origin("c"), "a");
        assert_eq!(source.maker("c").unwrap().op_type, "Relu");
        assert!(source.maker("x").is_none(), "nothing makes an input");
    }

    #[test]
    fn a_dropout_mask_is_no_copy_of_its_input() {
        let mut dropout = node("Dropout", &["a"], "b");
        dropout.output.push("mask".into());
        let source = source(vec![dropout], &[]);
        assert_eq!(source.origin("mask"), "mask");
        assert_eq!(source.origin("b"), "a");
    }

    #[test]
    fn weights_that_are_transposed_or_dequantised_on_the_way_are_constants() {
        let weight = Array { dims: vec![2, 1], data: Data::I8(vec![3, 5]) };
        let zero = Array { dims: Vec::new(), data: Data::I8(vec![1]) };
        let nodes = vec![node("DequantizeLinear", &["q", "s", "z"], "w"), node("Transpose", &["w"], "t")];
        let source = source(nodes, &[("q", weight), ("s", Array::float(0.5)), ("z", zero)]);
        assert_eq!(source.constant("t").unwrap(), &Array::floats(&[1, 2], vec![1.0, 2.0]));
        assert!(source.maker("t").is_none(), "a constant has no maker");
    }
}
