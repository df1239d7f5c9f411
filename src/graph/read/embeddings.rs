//! The embeddings below the first layer: word, position and type tables.
//!
//! Owns which table is which: what indexes them tells it. A graph's input does by its name. An index that is computed
//! counts positions, unless it is zero for every token: then its table holds types that the model was never told, and
//! that row is added to every position's. Where it sums a mask up, positions begin behind the padding's (`RoBERTa`), and if
//! the mask is of ids, a padding token within a text has the padding's position and counts for none.

use super::{Unrecognised, data_inputs, fault, parts};
use crate::{
    array::Array,
    cross_encoder::{CrossEncoder, Embeddings, Norm, PositionTable, Table},
    proto,
    source::{Source, input},
};

/// Reads the embeddings whose normalised sum is `value`.
pub(super) fn read(source: &Source, value: &str) -> Result<Embeddings, Unrecognised> {
    let (projection, value) = match parts::dense(source, value) {
        Some((dense, x)) => (Some(dense), x),
        None => (None, value),
    };
    let (norm, sum) = parts::norm(source, value).ok_or_else(|| fault(value, "the embeddings' layer norm"))?;
    let (mut words, mut types, mut positions, mut untold) = (None, None, None, None);
    let mut padding = None;
    for leaf in leaves(source, sum) {
        let (table, index) = table(source, leaf).ok_or_else(|| fault(leaf, "rows gathered from a table of weights"))?;
        let (slot, table) = match index {
            Index::Input(name) if name.contains("type") || name.contains("segment") => (&mut types, table),
            Index::Input(name) if name.contains("position") => (&mut positions, table),
            Index::Input(_) => (&mut words, table),
            Index::Counted { first, skips: None } => (&mut positions, table.without_first_rows(first)),
            Index::Counted { first, skips } => {
                padding = skips;
                (&mut positions, table.without_first_rows(first.saturating_sub(1)))
            }
            Index::Zero => (&mut untold, table),
        };
        if slot.replace(table).is_some() {
            return Err(fault(leaf, "one table each for words, positions and types"));
        }
    }
    let words = words.ok_or_else(|| fault(sum, "a table indexed by the token ids"))?;
    let mut positions = positions.ok_or_else(|| fault(sum, "a table indexed by positions"))?;
    if let Some(untold) = untold {
        if types.is_some() || untold.columns != positions.columns {
            return Err(fault(sum, "one table of types, as wide as that of positions"));
        }
        positions = positions.plus_first_row_of(&untold);
    }
    let (positions, norm) = (PositionTable::Learnt(positions), Some(norm));
    Ok(Embeddings { words, positions, padding, types, norm, projection })
}

/// Whether the tables fit each other and the first layer.
pub(super) fn check(model: &CrossEncoder) -> Result<(), Unrecognised> {
    let embeddings = &model.embeddings;
    let width = embeddings.words.columns;
    let tables = [embeddings.positions.table(), embeddings.types.as_ref()];
    let is_other = |norm: &Norm| norm.scale.len() != width;
    let tables = tables.into_iter().flatten();
    if tables.map(|table| table.columns).any(|columns| columns != width)
        || embeddings.norm.as_ref().is_some_and(is_other)
    {
        return Err(fault("embeddings", format!("tables and a norm of {width} columns")));
    }
    let out = embeddings.projection.as_ref().map_or(width, |dense| dense.weight.columns);
    if out != model.hidden {
        return Err(fault("embeddings", format!("rows of {} columns, not {out}", model.hidden)));
    }
    Ok(())
}

enum Index {
    /// A graph's input indexes the table.
    Input(String),
    /// Positions, of which the table's first ones belong to no token, and the id that has the last of those, if one has.
    Counted { first: usize, skips: Option<usize> },
    /// The first row for every token.
    Zero,
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
    while let Some(node) = source.maker(name).filter(|node| node.op_type == "Cast") {
        let Some(x) = input(node, 0) else { break };
        name = source.origin(x);
    }
    if source.maker(name).is_none() && source.constant(name).is_none() {
        return Index::Input(name.to_owned());
    }
    if is_zero(source, name) {
        return Index::Zero;
    }
    let first = first_position(source, name);
    Index::Counted { first, skips: if first > 0 { skipped_id(source, name) } else { None } }
}

/// Whether an index is 0 for every token: a buffer of zeros, or a shape filled with them, cut and spread on the way.
fn is_zero(source: &Source, name: &str) -> bool {
    if let Some(array) = source.constant(name) {
        return array.as_ints().is_some_and(|values| values.iter().all(|&value| value == 0));
    }
    let Some(node) = source.maker(name) else { return false };
    match node.op_type.as_str() {
        "ConstantOfShape" => fill(node).is_none_or(|value| value == 0),
        "Slice" | "Expand" | "Gather" | "GatherElements" | "Reshape" | "Unsqueeze" | "Squeeze" | "Cast" => {
            input(node, 0).is_some_and(|x| is_zero(source, x))
        }
        _ => false,
    }
}

fn fill(node: &proto::Node) -> Option<i64> {
    let tensor = node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()?;
    Array::try_from(tensor).ok()?.as_ints()?.first().copied()
}

/// The first token's position: 1 and the padding's index where positions are a running sum over a mask, 0 elsewhere.
fn first_position(source: &Source, name: &str) -> usize {
    let (mut waiting, mut sums, mut added) = (vec![source.origin(name)], false, 0);
    let mut steps = 0;
    while let Some(node) = waiting.pop().and_then(|name| source.maker(name)) {
        steps += 1;
        if steps > 32 {
            break;
        }
        sums |= node.op_type == "CumSum";
        if node.op_type == "Add" {
            let constants = data_inputs(node).filter_map(|name| source.constant(name)?.as_ints()?.first().copied());
            added += constants.filter_map(|value| usize::try_from(value).ok()).sum::<usize>();
        }
        if !matches!(node.op_type.as_str(), "CumSum" | "Not" | "Equal") {
            waiting.extend(data_inputs(node).filter(|name| source.maker(name).is_some()));
        }
    }
    if sums { added + 1 } else { 0 }
}

/// The id that a running sum of positions passes over: what the graph's input of ids is compared with on the way.
fn skipped_id(source: &Source, name: &str) -> Option<usize> {
    let mut waiting = vec![source.origin(name)];
    for _ in 0..64 {
        let Some(node) = source.maker(waiting.pop()?) else { continue };
        if node.op_type != "Equal" {
            waiting.extend(data_inputs(node));
            continue;
        }
        let id = data_inputs(node).find_map(|name| source.constant(name)?.as_ints()?.first().copied());
        let compared = data_inputs(node).find(|name| source.constant(name).is_none())?;
        return if is_input(source, compared) { usize::try_from(id?).ok() } else { None };
    }
    None
}

/// Whether a value is one of the graph's inputs, perhaps in another kind of integers.
fn is_input(source: &Source, name: &str) -> bool {
    match source.maker(name) {
        Some(node) if node.op_type == "Cast" => input(node, 0).is_some_and(|x| is_input(source, x)),
        Some(_) => false,
        None => source.constant(name).is_none(),
    }
}
