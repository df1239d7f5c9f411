//! The embeddings below the first layer: word, position and type tables.
//!
//! Owns which table is which: the graph's inputs that index them tell it.

use super::{Unrecognised, fault, parts};
use crate::graph::{
    bert::{Bert, Embeddings, Table},
    source::{Source, input},
};

/// Reads the embeddings whose normalised sum is `value`.
pub(super) fn read(source: &Source, value: &str) -> Result<Embeddings, Unrecognised> {
    let (projection, value) = match parts::dense(source, value) {
        Some((dense, x)) => (Some(dense), x),
        None => (None, value),
    };
    let (norm, sum) = parts::norm(source, value).ok_or_else(|| fault(value, "the embeddings' layer norm"))?;
    let (mut words, mut types, mut positions) = (None, None, None);
    for leaf in leaves(source, sum) {
        let (table, index) = table(source, leaf).ok_or_else(|| fault(leaf, "rows gathered from a table of weights"))?;
        let slot = match index {
            Index::Input(name) if name.contains("type") || name.contains("segment") => &mut types,
            Index::Input(name) if name.contains("position") => &mut positions,
            Index::Input(_) => &mut words,
            Index::Computed => &mut positions,
        };
        if slot.replace(table).is_some() {
            return Err(fault(leaf, "one table each for words, positions and types"));
        }
    }
    let words = words.ok_or_else(|| fault(sum, "a table indexed by the token ids"))?;
    let positions = positions.ok_or_else(|| fault(sum, "a table indexed by positions"))?;
    Ok(Embeddings { words, positions, types, norm, projection })
}

/// Whether the tables fit each other and the first layer.
pub(super) fn check(bert: &Bert) -> Result<(), Unrecognised> {
    let embeddings = &bert.embeddings;
    let width = embeddings.words.columns;
    let tables = [Some(&embeddings.positions), embeddings.types.as_ref()];
    if tables.into_iter().flatten().any(|table| table.columns != width) || embeddings.norm.scale.len() != width {
        return Err(fault("embeddings", format!("tables and a norm of {width} columns")));
    }
    let out = embeddings.projection.as_ref().map_or(width, |dense| dense.weight.columns);
    if out != bert.hidden {
        return Err(fault("embeddings", format!("rows of {} columns, not {out}", bert.hidden)));
    }
    Ok(())
}

enum Index {
    /// A graph's input indexes the table.
    Input(String),
    /// Arithmetic does: positions.
    Computed,
}

/// The terms of a sum.
fn leaves<'a>(source: &'a Source, sum: &'a str) -> Vec<&'a str> {
    match parts::sides(source, sum).next() {
        Some((a, b)) => [leaves(source, a), leaves(source, b)].concat(),
        None => vec![sum],
    }
}

fn table(source: &Source, leaf: &str) -> Option<(Table, Index)> {
    let node = source.maker(leaf)?;
    if node.op_type == "DequantizeLinear" {
        let gather = source.maker(input(node, 0)?).filter(|node| node.op_type == "Gather")?;
        let scale = source.constant(input(node, 1)?)?.to_floats()?;
        let zero = input(node, 2).map_or_else(|| Some(vec![0]), |name| source.constant(name)?.as_ints())?;
        let table = parts::integers(source, input(gather, 0)?, scale, &zero)?;
        return Some((table, index(source, input(gather, 1)?)));
    }
    let gather = Some(node).filter(|node| node.op_type == "Gather")?;
    let weights = source.constant(input(gather, 0)?)?;
    let &[rows, columns] = weights.dims.as_slice() else { return None };
    Some((Table::floats(rows, columns, weights.to_floats()?), index(source, input(gather, 1)?)))
}

fn index(source: &Source, name: &str) -> Index {
    let mut name = source.origin(name);
    while let Some(node) = source.maker(name) {
        match (node.op_type.as_str(), input(node, 0)) {
            ("Cast", Some(x)) => name = source.origin(x),
            _ => return Index::Computed,
        }
    }
    if source.constant(name).is_some() { Index::Computed } else { Index::Input(name.to_owned()) }
}
