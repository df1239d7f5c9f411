//! Values of a graph that lie in other files: which files it names, and how much of each it reads.
//!
//! Owns the walk over everything in a model that may hold a tensor: initialisers (dense and sparse), attributes, the
//! graphs in attributes, functions. Pure: it must not know folders, or whether such a file is there.

use std::collections::BTreeMap;

use super::proto::{Attribute, Graph, Model, Node, Tensor, kind};

/// A file that a graph reads values from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where it lies, as the graph says; meant relative to the graph's own folder.
    pub location: String,
    /// Bytes that it must have at least; 0 when the graph does not say.
    pub least_bytes: u64,
}

/// The files that a model names, each once, by their names.
pub(super) fn externals(model: &Model) -> Vec<External> {
    let mut found = BTreeMap::new();
    model.graph.iter().for_each(|graph| in_graph(graph, &mut found));
    for function in &model.functions {
        in_nodes(&function.node, &mut found);
        function.attribute_proto.iter().for_each(|attribute| in_attribute(attribute, &mut found));
    }
    found.into_iter().map(|(location, least_bytes)| External { location, least_bytes }).collect()
}

fn in_graph(graph: &Graph, found: &mut BTreeMap<String, u64>) {
    graph.initializer.iter().for_each(|tensor| in_tensor(tensor, found));
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).for_each(|tensor| in_tensor(tensor, found));
    }
    in_nodes(&graph.node, found);
}

fn in_nodes(nodes: &[Node], found: &mut BTreeMap<String, u64>) {
    nodes.iter().flat_map(|node| &node.attribute).for_each(|attribute| in_attribute(attribute, found));
}

fn in_attribute(attribute: &Attribute, found: &mut BTreeMap<String, u64>) {
    attribute.t.iter().chain(&attribute.tensors).for_each(|tensor| in_tensor(tensor, found));
    for sparse in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
        sparse.values.iter().chain(&sparse.indices).for_each(|tensor| in_tensor(tensor, found));
    }
    attribute.g.iter().chain(&attribute.graphs).for_each(|graph| in_graph(graph, found));
}

fn in_tensor(tensor: &Tensor, found: &mut BTreeMap<String, u64>) {
    if tensor.data_location != kind::EXTERNAL {
        return;
    }
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let number = |key: &str| entry(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let end = number("offset").saturating_add(number("length"));
    let least = found.entry(entry("location").cloned().unwrap_or_default()).or_default();
    *least = end.max(*least);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Function, SparseTensor, StringEntry};

    fn external(location: &str, offset: &str, length: &str) -> Tensor {
        let entry = |(key, value): (&str, &str)| StringEntry { key: key.into(), value: value.into() };
        let external_data = [("location", location), ("offset", offset), ("length", length)].map(entry).into();
        Tensor { data_location: kind::EXTERNAL, external_data, ..Tensor::default() }
    }

    fn node(attribute: Attribute) -> Node {
        Node { attribute: vec![attribute], ..Node::default() }
    }

    // Case B9.
    #[test]
    fn files_are_found_wherever_a_tensor_may_stand() {
        let tensor = |location: &str| external(location, "0", "4");
        let sparse = |location: &str| SparseTensor { values: Some(tensor(location)), ..SparseTensor::default() };
        let inner = Graph { initializer: vec![tensor("of a branch")], ..Graph::default() };
        let body = Graph { initializer: vec![tensor("of one of several branches")], ..Graph::default() };
        let attributes = [
            Attribute { t: Some(tensor("of a constant")), ..Attribute::default() },
            Attribute { tensors: vec![tensor("of a list")], ..Attribute::default() },
            Attribute { g: Some(inner), ..Attribute::default() },
            Attribute { graphs: vec![body], ..Attribute::default() },
            Attribute { sparse_tensor: Some(sparse("of a sparse constant")), ..Attribute::default() },
        ];
        let default = Attribute { t: Some(tensor("of a function's default")), ..Attribute::default() };
        let function = Function {
            node: vec![node(Attribute { t: Some(tensor("of a function")), ..Attribute::default() })],
            attribute_proto: vec![default],
            ..Function::default()
        };
        let graph = Graph {
            initializer: vec![external("weights", "8", "16"), external("weights", "0", "4"), Tensor::default()],
            sparse_initializer: vec![sparse("of a sparse initialiser")],
            node: attributes.into_iter().map(node).collect(),
            ..Graph::default()
        };
        let found = externals(&Model { graph: Some(graph), functions: vec![function], ..Model::default() });
        let named: Vec<_> = found.iter().map(|one| (one.location.as_str(), one.least_bytes)).collect();
        assert_eq!(
            named,
            [
                ("of a branch", 4),
                ("of a constant", 4),
                ("of a function", 4),
                ("of a function's default", 4),
                ("of a list", 4),
                ("of a sparse constant", 4),
                ("of a sparse initialiser", 4),
                ("of one of several branches", 4),
                ("weights", 24),
            ]
        );
    }

    #[test]
    fn a_graph_that_holds_its_weights_names_no_file_and_a_tensor_without_a_place_names_an_empty_one() {
        let model =
            |tensor| Model { graph: Some(Graph { initializer: vec![tensor], ..Graph::default() }), ..Model::default() };
        assert_eq!(externals(&model(Tensor::default())), []);
        let nowhere = Tensor { data_location: kind::EXTERNAL, ..Tensor::default() };
        assert_eq!(externals(&model(nowhere))[0].location, "");
    }
}
