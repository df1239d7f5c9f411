//! The float twin of a dynamically quantised graph: its integer products become float products of the same weights.
//!
//! A twin is what an fp32 graph written from such a source is compared with: integer rounding set aside, the two compute
//! the same. It must not be served; nothing else about the graph is changed.

use std::collections::HashSet;

use prost::Message;

use super::{NotOnnx, Unrecognised, array::Array, decode, proto, read, source::Source};

/// The twin's bytes, or `None` when no product of the graph is in integers.
///
/// # Errors
/// [`Unrecognised`] when the bytes are no ONNX model or hold weights that cannot be read.
pub(super) fn float_twin(onnx: &[u8]) -> Result<Option<Vec<u8>>, Unrecognised> {
    let mut model = decode(onnx)?;
    let graph = model.graph.as_mut().ok_or_else(NotOnnx::without_graph)?;
    let source = Source::new(graph.clone())?;
    let mut weights = Vec::new();
    for node in &mut graph.node {
        let Some(output) = node.output.first() else { continue };
        let Some((table, rows)) = read::integer_product(&source, output) else { continue };
        let name = format!("{output}.float_weight");
        weights.push(Array::floats(&[table.rows, table.columns], table.values).to_tensor(&name));
        node.op_type = "MatMul".into();
        node.input = vec![rows.to_owned(), name];
        node.attribute.clear();
    }
    if weights.is_empty() {
        return Ok(None);
    }
    graph.initializer.append(&mut weights);
    keep_live(graph);
    Ok(Some(model.encode_to_vec()))
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
    use super::*;
    use crate::{array::Data, operators};

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
        let twin = float_twin(&quantised().encode_to_vec()).unwrap().unwrap();
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
        assert_eq!(float_twin(&model.encode_to_vec()).unwrap(), None);
    }
}
