//! The operators that run on CUDA alone, replaced by ones that compute the same for a single pair on the CPU.
//!
//! With one pair there is no padding: packed attention is attention, and restoring the padding adds a dimension.

use prost::Message;
use rescored_graph::proto;

/// The graph with stand-ins, and without the word that would send it to a device.
pub(crate) fn on_the_cpu(onnx: &[u8]) -> Vec<u8> {
    let mut model = proto::Model::decode(onnx).unwrap();
    model.metadata_props.clear();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(proto::Tensor {
        name: "stand-in.zero".into(),
        dims: vec![1],
        data_type: proto::kind::INT64,
        raw_data: 0_i64.to_le_bytes().to_vec(),
        ..Default::default()
    });
    graph.node = std::mem::take(&mut graph.node).into_iter().flat_map(stand_ins).collect();
    let read = |name: &str| graph.node.iter().any(|node| node.input.iter().any(|input| input == name));
    graph.input = graph.input.iter().filter(|input| read(&input.name)).cloned().collect();
    model.encode_to_vec()
}

fn stand_ins(node: proto::Node) -> Vec<proto::Node> {
    match node.op_type.as_str() {
        "RestorePadding" => vec![unsqueezed(&node.input[0], &node.output[0])],
        "PackedMultiHeadAttention" => {
            let deep = |at: usize| format!("{}.stand-in.{at}", node.name);
            let mut nodes: Vec<_> = (0..3).map(|at| unsqueezed(&node.input[at], &deep(at))).collect();
            let one = format!("{}.stand-in", node.name);
            let (input, output) = ((0..3).map(deep).collect(), vec![one.clone()]);
            let flat = operator("Squeeze", [one, "stand-in.zero".into()].into(), node.output.clone());
            nodes.push(proto::Node { op_type: "MultiHeadAttention".into(), input, output, ..node });
            nodes.push(flat);
            nodes
        }
        _ => vec![node],
    }
}

fn unsqueezed(from: &str, to: &str) -> proto::Node {
    operator("Unsqueeze", [from.into(), "stand-in.zero".into()].into(), vec![to.into()])
}

fn operator(kind: &str, input: Vec<String>, output: Vec<String>) -> proto::Node {
    proto::Node { op_type: kind.into(), name: format!("{}.{kind}", output[0]), input, output, ..Default::default() }
}
