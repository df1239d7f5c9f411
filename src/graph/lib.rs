//! Cross-encoder graphs: a model is read from its source's bytes and written anew for one target.
//!
//! Owns the recognition of a model's structure and the ONNX graphs that are emitted from it. Pure: bytes in, bytes out.
//! It must not know ONNX Runtime, files, threads or HTTP.

use std::collections::HashSet;

use prost::Message;

pub mod array;
pub mod beginnings;
pub mod beside;
pub mod bytes;
pub mod compile;
pub mod coreml;
pub mod cross_encoder;
mod dequantise;
mod emit;
mod external;
mod feeds;
mod half;
pub mod origin;
pub mod own;
pub mod paging;
pub mod proto;
mod read;
pub mod safetensors;
#[cfg(test)]
mod sample;
mod source;
mod summary;
pub mod target;
pub mod written;

pub use beside::{Beside, Exported};
pub use bytes::Bytes;
pub use compile::compile;
pub use cross_encoder::CrossEncoder;
pub use emit::Unfit;
pub use external::External;
pub use half::widen;
pub use origin::{Origin, Runnable, Unread};
pub use read::Unrecognised;
pub use summary::{MARKS, PROVIDER, SHAPE_ONLY, Summary, summary};
pub use target::{Activations, Layout, Precision, Provenance, Ranges, Target, Weights};
pub use written::Written;

/// An operator that a graph uses: its domain (empty for ONNX's own) and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// The operator set it belongs to; empty for ONNX's own.
    pub domain: String,
    /// Its type, as `MatMulInteger`.
    pub name: String,
}

/// The bytes are not an ONNX model.
#[derive(Debug, thiserror::Error)]
#[error("not an onnx model: {reason}")]
pub struct NotOnnx {
    reason: String,
    #[source]
    source: Option<prost::DecodeError>,
}

impl NotOnnx {
    fn without_graph() -> Self {
        Self { reason: "it holds no graph with nodes".into(), source: None }
    }
}

/// The operators that a model's graph uses, those of nested graphs included.
///
/// # Errors
/// [`NotOnnx`] when the bytes do not decode or hold no graph.
pub fn operators(onnx: &[u8]) -> Result<HashSet<Operator>, NotOnnx> {
    let model = decode(onnx)?;
    Ok(operators_of(&model))
}

/// Reads the cross-encoder that an ONNX graph computes.
///
/// # Errors
/// [`Unrecognised`], which names the part that is not as expected.
pub fn read(exported: &Exported) -> Result<CrossEncoder, Unrecognised> {
    let model = decode(&exported.onnx)?;
    read::read(model.graph.unwrap_or_default(), &exported.beside)
}

/// Writes a cross-encoder as an ONNX graph for one target, the last layer for the `[CLS]` rows only.
///
/// # Errors
/// [`Unfit`] when the target does not suit the model.
pub fn emit<'m>(model: &'m CrossEncoder, target: &Target, provenance: &Provenance) -> Result<Written<'m>, Unfit> {
    emit::emit(model, target, provenance)
}

/// Writes the fp32 graph of a target with a second output, `ranges`: the least and the largest value that enters each
/// product, in the order that [`Ranges::widen`] reads.
///
/// # Errors
/// [`Unfit`] when the target does not suit the model.
pub fn emit_observer<'m>(
    model: &'m CrossEncoder,
    target: &Target,
    provenance: &Provenance,
) -> Result<Written<'m>, Unfit> {
    emit::emit_observer(model, target, provenance)
}

/// The first part of a model that keeps its layers from being integer operators of our own, in the field's words; `None` where
/// [`Activations::Fused`] can be written.
pub fn beyond_fused_layers(model: &CrossEncoder) -> Option<&'static str> {
    emit::beyond_fused(model)
}

/// A graph that doubles two floats, `x` to `y`: the least that shows whether a provider runs.
pub fn doubling() -> Vec<u8> {
    emit::doubling()
}

/// The constants of a graph that hold at least `least` values, by name: its weights, those in the files beside it included.
///
/// # Errors
/// [`NotOnnx`] when the bytes do not decode; constants of kinds that are not read here are left out.
pub fn weights(onnx: &[u8], beside: &Beside, least: usize) -> Result<Vec<(String, array::Array)>, NotOnnx> {
    let graph = decode(onnx)?.graph.unwrap_or_default();
    let is_large = |tensor: &&proto::Tensor| {
        let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).unwrap_or(0));
        sizes.fold(1_usize, usize::saturating_mul) >= least
    };
    let read = |tensor: &proto::Tensor| Some((tensor.name.clone(), array::Array::read(tensor, beside).ok()?));
    Ok(graph.initializer.iter().filter(is_large).filter_map(read).collect())
}

fn decode(onnx: &[u8]) -> Result<proto::Model, NotOnnx> {
    let model = proto::Model::decode(onnx)
        .map_err(|source| NotOnnx { reason: "the protobuf does not decode".into(), source: Some(source) })?;
    if model.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
        return Err(NotOnnx::without_graph());
    }
    Ok(model)
}

fn operators_of(model: &proto::Model) -> HashSet<Operator> {
    let mut found = HashSet::new();
    model.graph.iter().for_each(|graph| collect_operators(&graph.node, &mut found));
    model.functions.iter().for_each(|function| collect_operators(&function.node, &mut found));
    found
}

fn collect_operators(nodes: &[proto::Node], found: &mut HashSet<Operator>) {
    for node in nodes {
        let domain = if node.domain == "ai.onnx" { String::new() } else { node.domain.clone() };
        found.insert(Operator { domain, name: node.op_type.clone() });
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|graph| collect_operators(&graph.node, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op_type: &str, domain: &str) -> proto::Node {
        proto::Node { op_type: op_type.into(), domain: domain.into(), ..Default::default() }
    }

    #[test]
    fn operators_are_listed_once_with_their_domains_and_those_of_branches() {
        let mut branch = node("If", "ai.onnx");
        branch.attribute.push(proto::Attribute {
            g: Some(proto::Graph { node: vec![node("DynamicQuantizeLinear", "")], ..Default::default() }),
            ..Default::default()
        });
        let graph = proto::Graph {
            node: vec![node("MatMul", ""), node("MatMul", ""), node("BiasGelu", "com.microsoft"), branch],
            ..Default::default()
        };
        let model = proto::Model { graph: Some(graph), ..Default::default() };
        let found = operators(&model.encode_to_vec()).unwrap();
        let mut names: Vec<_> = found.iter().map(|op| (op.domain.as_str(), op.name.as_str())).collect();
        names.sort_unstable();
        assert_eq!(names, [("", "DynamicQuantizeLinear"), ("", "If"), ("", "MatMul"), ("com.microsoft", "BiasGelu")]);
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        assert!(operators(b"").is_err(), "an empty file holds no graph");
        assert!(operators(b"<html>not found</html>").is_err(), "an error page is no protobuf");
    }
}
