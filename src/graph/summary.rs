//! What a graph says of itself, without being understood.
//!
//! Owns the few facts that decide how a graph is fed and whether it may be served. It must not know how it computes.

use std::collections::{HashMap, HashSet};

use super::external::{External, externals};
use super::proto::{Graph, Model, Node, ValueInfo};
use super::{NotOnnx, Operator, decode, operators_of};

/// Key of a written graph's metadata that marks a shape for benchmarks.
pub const SHAPE_ONLY: &str = "rescored.shape_only";

/// Key of a written graph's metadata that names the provider it was written for, where that is not the portable one.
pub const PROVIDER: &str = "rescored.provider";

/// Inputs that graphs for GPUs have and no others: where tokens lie in padded rows, and in the blocks of a cache.
pub const MARKS: [&str; 2] = ["token_offset", "block_table"];

/// Facts of a graph.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The operators that it uses, those of nested graphs included.
    pub operators: HashSet<Operator>,
    /// Pairs of one forward pass when it takes them packed: the size of its input `lengths`.
    pub slots: Option<u32>,
    /// Whether it takes any number of packed pairs, as graphs for GPUs do: it reads where they lie in padded rows.
    pub is_ragged: bool,
    /// Whether it takes any number of packed pairs, and the beginnings that they share once, as causal ones do.
    pub shares_beginnings: bool,
    /// Entries that its writer left.
    pub metadata: HashMap<String, String>,
    /// Files beside it that hold its weights.
    pub externals: Vec<External>,
    /// How many token ids it has an embedding for, where it looks them up in a table of its own.
    pub vocabulary: Option<u64>,
}

impl Summary {
    /// Whether scores of this graph mean nothing.
    pub fn is_shape_only(&self) -> bool {
        self.metadata.get(SHAPE_ONLY).is_some_and(|value| value == "true")
    }

    /// The provider that it was written for, when that is not the portable one.
    pub fn provider(&self) -> Option<&str> {
        self.metadata.get(PROVIDER).map(String::as_str)
    }
}

/// Reads a graph's facts.
///
/// # Errors
/// [`NotOnnx`] when the bytes do not decode or hold no graph.
pub fn summary(onnx: &[u8]) -> Result<Summary, NotOnnx> {
    let model = decode(onnx)?;
    let (operators, externals) = (operators_of(&model), externals(&model));
    let vocabulary = model.graph.as_ref().and_then(vocabulary);
    let Model { graph, metadata_props, .. } = model;
    let slots = graph.iter().flat_map(|graph| &graph.input).find(|input| input.name == "lengths").and_then(slots);
    let is_ragged = graph.iter().flat_map(|graph| &graph.input).any(|input| MARKS.contains(&input.name.as_str()));
    let shares_beginnings = graph.iter().flat_map(|graph| &graph.input).any(|input| input.name == "beginnings");
    let metadata = metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect();
    Ok(Summary { operators, slots, is_ragged, shares_beginnings, metadata, externals, vocabulary })
}

fn slots(lengths: &ValueInfo) -> Option<u32> {
    let shape = lengths.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    u32::try_from(shape.dim.first()?.value?).ok()
}

/// Rows of the smallest table in which a graph looks token ids up: the ids themselves, or cast to another width.
fn vocabulary(graph: &Graph) -> Option<u64> {
    let mut ids = HashSet::from(["input_ids"]);
    // Nodes stand in the order in which they are computed.
    for node in graph.node.iter().filter(|node| matches!(node.op_type.as_str(), "Cast" | "Identity")) {
        if node.input.first().is_some_and(|input| ids.contains(input.as_str())) {
            ids.extend(node.output.iter().map(String::as_str));
        }
    }
    let rows = |name: &String| graph.initializer.iter().find(|table| table.name == *name)?.dims.first().copied();
    let is_first_axis =
        |node: &Node| node.attribute.iter().all(|attribute| attribute.name != "axis" || attribute.i == 0);
    let looks_up = |node: &Node| match node.input.as_slice() {
        [table, indices] if ids.contains(indices.as_str()) && is_first_axis(node) => rows(table),
        _ => None,
    };
    let tables = graph.node.iter().filter(|node| node.op_type == "Gather").filter_map(looks_up);
    tables.filter_map(|rows| u64::try_from(rows).ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Attribute, Tensor};

    fn node(op_type: &str, input: &[&str], output: &str) -> Node {
        let input = input.iter().map(|&name| name.into()).collect();
        Node { op_type: op_type.into(), input, output: vec![output.into()], ..Node::default() }
    }

    #[test]
    fn token_ids_are_those_of_the_table_that_they_are_looked_up_in() {
        let along = |axis: i64| {
            let axis = Attribute { name: "axis".into(), i: axis, ..Attribute::default() };
            Node { attribute: vec![axis], ..node("Gather", &["words", "input_ids"], "a") }
        };
        for (case, nodes, expected) in [
            ("looked up", vec![node("Gather", &["words", "input_ids"], "a")], Some(7)),
            ("along the first axis", vec![along(0)], Some(7)),
            ("along another axis", vec![along(1)], None),
            ("cast before", vec![node("Cast", &["input_ids"], "b"), node("Gather", &["words", "b"], "a")], Some(7)),
            (
                "in two tables",
                vec![node("Gather", &["words", "input_ids"], "a"), node("Gather", &["few", "input_ids"], "b")],
                Some(3),
            ),
            ("something else", vec![node("Gather", &["words", "token_type_ids"], "a")], None),
            (
                "computed from",
                vec![node("Add", &["input_ids", "one"], "b"), node("Gather", &["words", "b"], "a")],
                None,
            ),
            ("in a table that is computed", vec![node("Gather", &["made", "input_ids"], "a")], None),
            ("not at all", vec![], None),
        ] {
            let table = |name: &str, rows: i64| Tensor { name: name.into(), dims: vec![rows, 2], ..Tensor::default() };
            let graph =
                Graph { node: nodes, initializer: vec![table("words", 7), table("few", 3)], ..Graph::default() };
            assert_eq!(vocabulary(&graph), expected, "{case}");
        }
    }
}
