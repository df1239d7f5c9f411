//! Writes nodes and initialisers, one after the other, in the order in which they run.
//!
//! Owns names (every value is named once) and the encoding of attributes. It must not know what is computed.

use std::collections::{HashMap, HashSet};

use crate::{
    array::Array,
    own,
    proto::{self, kind},
    written::{Large, Values},
};

/// The domain of ONNX Runtime's own operators.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// An attribute's value.
#[derive(Clone, Copy)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Ints(&'static [i64]),
    Floats(&'a [f32]),
    Text(&'static str),
}

/// An operator that is about to be written.
pub(super) struct Op<'a> {
    kind: &'a str,
    domain: &'a str,
    attributes: &'a [(&'a str, Attribute<'a>)],
    outputs: usize,
}

/// A graph being written, whose large weights are borrowed from the model for as long as `'m`.
#[derive(Default)]
pub(super) struct Writer<'m> {
    graph: proto::Graph,
    names: HashMap<String, usize>,
    weights: HashSet<String>,
    large: Vec<Large<'m>>,
}

impl<'a> Op<'a> {
    /// One of ONNX's own operators, without attributes.
    pub(super) fn plain(kind: &'a str) -> Self {
        Self { kind, domain: "", attributes: &[], outputs: 1 }
    }

    /// One of ONNX Runtime's operators.
    pub(super) fn microsoft(kind: &'a str) -> Self {
        Self { domain: MICROSOFT, ..Self::plain(kind) }
    }

    /// One of our own operators.
    pub(super) fn own(kind: &'a str) -> Self {
        Self { domain: own::DOMAIN, ..Self::plain(kind) }
    }

    /// The operator with attributes.
    pub(super) fn with(self, attributes: &'a [(&'a str, Attribute<'a>)]) -> Self {
        Self { attributes, ..self }
    }

    /// The operator with several outputs.
    pub(super) fn outputs(self, outputs: usize) -> Self {
        Self { outputs, ..self }
    }
}

impl<'m> Writer<'m> {
    /// Declares an input of 64-bit integers whose dimensions are named or fixed.
    pub(super) fn input(&mut self, name: &str, dims: &[&str]) -> String {
        self.input_of(kind::INT64, name, dims)
    }

    /// Declares an input of any kind.
    pub(super) fn input_of(&mut self, kind: i32, name: &str, dims: &[&str]) -> String {
        self.graph.input.push(value(name, kind, dims));
        name.to_owned()
    }

    /// Declares a float output.
    pub(super) fn output(&mut self, name: &str, dims: &[&str]) {
        self.graph.output.push(value(name, kind::FLOAT, dims));
    }

    /// Adds a weight under a name of its own; a second array of that name is the first one.
    pub(super) fn weight(&mut self, name: &str, array: &Array) -> String {
        if self.weights.insert(name.to_owned()) {
            self.graph.initializer.push(array.to_tensor(name));
        }
        name.to_owned()
    }

    /// The same for values that may be many: those stay where they are until the graph is kept.
    pub(super) fn values(&mut self, name: &str, dims: &[usize], values: Values<'m>) -> String {
        if self.weights.insert(name.to_owned()) {
            let at = self.graph.initializer.len();
            let (tensor, large) = values.into_tensor(name, dims);
            self.graph.initializer.push(tensor);
            self.large.extend(large.map(|values| Large { at, values }));
        }
        name.to_owned()
    }

    /// Adds a small constant, named by its value, once.
    pub(super) fn constant(&mut self, array: &Array) -> String {
        let tensor = array.to_tensor("");
        let name = format!("constant.{}.{:?}.{:?}", tensor.data_type, tensor.dims, tensor.raw_data);
        self.weight(&name.replace(", ", "-"), array)
    }

    /// A vector of integers as a constant.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&Array::ints(values))
    }

    /// Writes an operator of one output, under a name, and answers with that output.
    pub(super) fn op(&mut self, name: &str, op: &Op<'_>, inputs: &[&str]) -> String {
        let name = self.unique(name);
        self.push(op, node(&name, inputs, vec![name.clone()]));
        name
    }

    /// Writes an operator of several outputs.
    pub(super) fn many(&mut self, name: &str, op: &Op<'_>, inputs: &[&str]) -> Vec<String> {
        let name = self.unique(name);
        let outputs: Vec<String> = (0..op.outputs).map(|at| format!("{name}:{at}")).collect();
        self.push(op, node(&name, inputs, outputs.clone()));
        outputs
    }

    /// The finished graph, and the values of its large weights.
    pub(super) fn finish(mut self, name: &str) -> (proto::Graph, Vec<Large<'m>>) {
        name.clone_into(&mut self.graph.name);
        (self.graph, self.large)
    }

    fn unique(&mut self, name: &str) -> String {
        let uses = self.names.entry(name.to_owned()).and_modify(|uses| *uses += 1).or_insert(1);
        if *uses == 1 { name.to_owned() } else { format!("{name}.{uses}") }
    }

    fn push(&mut self, op: &Op<'_>, node: proto::Node) {
        let attribute = op.attributes.iter().map(|(name, value)| attribute(name, *value)).collect();
        let (op_type, domain) = (op.kind.to_owned(), op.domain.to_owned());
        self.graph.node.push(proto::Node { op_type, attribute, domain, ..node });
    }
}

fn node(name: &str, inputs: &[&str], output: Vec<String>) -> proto::Node {
    let input = inputs.iter().map(|&input| input.to_owned()).collect();
    proto::Node { input, output, name: name.to_owned(), ..Default::default() }
}

fn attribute(name: &str, value: Attribute<'_>) -> proto::Attribute {
    let empty = proto::Attribute { name: name.to_owned(), ..Default::default() };
    match value {
        Attribute::Int(i) => proto::Attribute { i, kind: kind::ATTRIBUTE_INT, ..empty },
        Attribute::Float(f) => proto::Attribute { f, kind: kind::ATTRIBUTE_FLOAT, ..empty },
        Attribute::Ints(ints) => proto::Attribute { ints: ints.to_vec(), kind: kind::ATTRIBUTE_INTS, ..empty },
        Attribute::Floats(floats) => {
            proto::Attribute { floats: floats.to_vec(), kind: kind::ATTRIBUTE_FLOATS, ..empty }
        }
        Attribute::Text(text) => {
            proto::Attribute { s: text.as_bytes().to_vec(), kind: kind::ATTRIBUTE_STRING, ..empty }
        }
    }
}

fn value(name: &str, elem_type: i32, dims: &[&str]) -> proto::ValueInfo {
    let dim = |dim: &&str| match dim.parse() {
        Ok(size) => proto::Dimension { value: Some(size), parameter: None },
        Err(_) => proto::Dimension { value: None, parameter: Some((*dim).to_owned()) },
    };
    let shape = proto::Shape { dim: dims.iter().map(dim).collect() };
    let tensor_type = Some(proto::TensorType { elem_type, shape: Some(shape) });
    proto::ValueInfo { name: name.to_owned(), r#type: Some(proto::Type { tensor_type }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_one_value_are_written_once_and_shapes_tell_them_apart() {
        let mut writer = Writer::default();
        let names = [writer.ints(&[0]), writer.ints(&[0]), writer.constant(&Array::int(0))];
        assert_eq!(names[0], names[1]);
        assert_ne!(names[0], names[2], "a scalar is no vector of one");
        assert_eq!(writer.finish("g").0.initializer.len(), 2);
    }

    #[test]
    fn values_of_one_name_are_told_apart() {
        let mut writer = Writer::default();
        let first = writer.op("a", &Op::plain("Relu"), &["x"]);
        let second = writer.op("a", &Op::plain("Relu"), &[&first]);
        assert_ne!(first, second);
        assert_eq!(writer.finish("g").0.node[1].input, [first]);
    }
}
