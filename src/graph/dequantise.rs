//! The float twin of a dynamically quantised graph: its integer products become float products of the same weights.
//!
//! A twin is what an fp32 graph written from such a source is compared with: integer rounding set aside, the two compute
//! the same. It must not be served; nothing else about the graph is changed.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::array::{Array, Data};
use super::proto::{self, kind};
use super::source::Source;
use super::written::{Large, Values, Written};
use super::{Exported, NotOnnx, Unrecognised, decode, read};

/// The twin, or `None` when no product of the graph is in integers.
///
/// # Errors
/// [`Unrecognised`] when the bytes are no ONNX model or hold weights that cannot be read.
pub(super) fn float_twin(exported: &Exported) -> Result<Option<Written<'static>>, Unrecognised> {
    let mut model = decode(&exported.onnx)?;
    let graph = model.graph.as_mut().ok_or_else(NotOnnx::without_graph)?;
    let source = Source::new(graph.clone(), &exported.beside)?;
    let mut weights = Vec::new();
    for node in &mut graph.node {
        let Some(output) = node.output.first() else { continue };
        let Some((table, rows)) = read::integer_product(&source, output) else { continue };
        let name = format!("{output}.float_weight");
        weights.push((name.clone(), Array::floats(&[table.rows, table.columns], table.values)));
        node.op_type = "MatMul".into();
        node.input = vec![rows.to_owned(), name];
        node.attribute.clear();
    }
    if weights.is_empty() {
        return Ok(None);
    }
    // The twin's only file beside it is its own.
    for tensor in graph.initializer.iter().filter(|tensor| tensor.data_location == kind::EXTERNAL) {
        weights.push((tensor.name.clone(), Array::read(tensor, &exported.beside)?));
    }
    graph.initializer.retain(|tensor| tensor.data_location != kind::EXTERNAL);
    let mut values = HashMap::new();
    for (name, Array { dims, data }) in weights {
        let (tensor, large) = match owned(data) {
            Ok(values) => values.into_tensor(&name, &dims),
            Err(data) => (Array { dims, data }.to_tensor(&name), None),
        };
        graph.initializer.push(tensor);
        values.extend(large.map(|large| (name, large)));
    }
    keep_live(graph);
    let large = |(at, tensor): (usize, &proto::Tensor)| Some(Large { at, values: values.remove(&tensor.name)? });
    let large = graph.initializer.iter().enumerate().filter_map(large).collect();
    Ok(Some(Written::new(model, large)))
}

/// Values that a written graph can keep beside it.
fn owned(data: Data) -> Result<Values<'static>, Data> {
    match data {
        Data::F32(values) => Ok(Values::F32(Cow::Owned(values))),
        Data::I8(values) => Ok(Values::I8(Cow::Owned(values))),
        Data::U8(values) => Ok(Values::U8(Cow::Owned(values))),
        other @ (Data::F16(_) | Data::I32(_) | Data::I64(_)) => Err(other),
    }
}

/// Drops nodes and initialisers that no output needs any more.
fn keep_live(graph: &mut proto::Graph) {
    let mut live: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept: Vec<proto::Node> = Vec::new();
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|name| live.contains(name)) {
            live.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|tensor| live.contains(&tensor.name));
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::operators;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> proto::Node {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        proto::Node { op_type: op.into(), input: names(inputs), output: names(outputs), ..Default::default() }
    }

    fn quantised() -> proto::Model {
        let weight = Array { dims: vec![2, 1], data: Data::I8(vec![2, -4]) };
        let zero = Array { dims: Vec::new(), data: Data::I8(vec![0]) };
        let nodes = vec![
            node("DynamicQuantizeLinear", &["x"], &["xq", "xs", "xz"]),
            node("Mul", &["xs", "ws"], &["s"]),
            node("MatMulInteger", &["xq", "w", "xz", "wz"], &["i"]),
            node("Cast", &["i"], &["f"]),
            node("Mul", &["f", "s"], &["y"]),
        ];
        let graph = proto::Graph {
            node: nodes,
            initializer: vec![weight.to_tensor("w"), zero.to_tensor("wz"), Array::float(0.5).to_tensor("ws")],
            output: vec![proto::ValueInfo { name: "y".into(), ..Default::default() }],
            ..Default::default()
        };
        proto::Model { graph: Some(graph), ..Default::default() }
    }

    #[test]
    fn integer_products_become_one_float_product_of_the_same_weights() {
        let twin = float_twin(&quantised().encode_to_vec().into()).unwrap().unwrap().to_bytes();
        let names: Vec<_> = operators(&twin).unwrap().into_iter().map(|op| op.name).collect();
        assert_eq!(names, ["MatMul"]);
        let graph = decode(&twin).unwrap().graph.unwrap();
        let [weight] = graph.initializer.as_slice() else { panic!("only the weight stays") };
        assert_eq!(Array::try_from(weight).unwrap(), Array::floats(&[2, 1], vec![1.0, -2.0]));
        assert_eq!(graph.node[0].input, ["x".to_owned(), weight.name.clone()]);
    }

    #[test]
    fn a_float_graph_has_no_twin() {
        let graph = proto::Graph { node: vec![node("Relu", &["x"], &["y"])], ..Default::default() };
        let model = proto::Model { graph: Some(graph), ..Default::default() };
        assert!(float_twin(&model.encode_to_vec().into()).unwrap().is_none());
    }
}
