//! Attention between a layer's input and its output product.
//!
//! Owns which of three products is the query's, the key's and the value's: the two products of two computed values tell
//! it, whatever lies between (scales, masks, reshapes, guards against rows without a token).

use super::{Unrecognised, data_inputs, fault, parts};
use crate::{
    cross_encoder::Dense,
    proto,
    source::{Source, input},
};

/// What attention is made of.
pub(super) struct Parts {
    pub(super) query: Dense,
    pub(super) key: Dense,
    pub(super) value: Dense,
    pub(super) heads: usize,
}

/// Reads attention from its context rows back to the layer's input, `below`.
pub(super) fn read(source: &Source, context: &str, below: &str) -> Result<Parts, Unrecognised> {
    let weighted = product_above(source, context, below)
        .ok_or_else(|| fault(context, "probabilities times values, two computed rows"))?;
    let (probabilities, values) = both(weighted);
    let softmax = walk(source, probabilities, below).find(|node| node.op_type == "Softmax");
    let softmax = softmax.and_then(|node| input(node, 0));
    let softmax = softmax.ok_or_else(|| fault(probabilities, "a softmax over scores"))?;
    let scores =
        product_above(source, softmax, below).ok_or_else(|| fault(softmax, "queries times keys, two computed rows"))?;
    let (queries, keys) = both(scores);
    let (value, heads) = projection(source, values, below)?;
    let (query, _) = projection(source, queries, below)?;
    let (key, _) = projection(source, keys, below)?;
    let heads = heads.or_else(|| heads_of(source, queries, (query.weight.columns, below)));
    let heads = heads.ok_or_else(|| fault(values, "a reshape into heads whose sizes are constant"))?;
    Ok(Parts { query, key, value, heads })
}

fn both(product: &proto::Node) -> (&str, &str) {
    (product.input.first().map_or("", String::as_str), product.input.get(1).map_or("", String::as_str))
}

/// The nearest `MatMul` of two computed values above a value.
fn product_above<'a>(source: &'a Source, value: &'a str, below: &str) -> Option<&'a proto::Node> {
    let is_product =
        |node: &&proto::Node| node.op_type == "MatMul" && data_inputs(node).all(|name| source.constant(name).is_none());
    walk(source, value, below).find(is_product)
}

/// The product that makes the rows of queries, keys or values, and the heads that they are cut into on the way.
fn projection(source: &Source, value: &str, below: &str) -> Result<(Dense, Option<usize>), Unrecognised> {
    let mut found = None;
    for name in values(source, value, below) {
        if let Some((dense, reads)) = parts::dense(source, name)
            && source.origin(reads) == below
        {
            found = Some(dense);
            break;
        }
    }
    let dense = found.ok_or_else(|| fault(value, "a product with a bias that reads the layer's input"))?;
    let heads = heads_of(source, value, (dense.weight.columns, below));
    Ok((dense, heads))
}

/// The heads that a reshape above a value cuts its rows of `columns` into; transformers 5 says how wide one is and leaves
/// their number open.
fn heads_of(source: &Source, value: &str, (columns, below): (usize, &str)) -> Option<usize> {
    walk(source, value, below).find_map(|node| {
        let shape = (node.op_type == "Reshape").then(|| shape(source, input(node, 1)?)).flatten()?;
        match shape.as_slice() {
            [_, _, Some(heads), Some(_)] if *heads > 0 => usize::try_from(*heads).ok(),
            [_, _, Some(-1), Some(width)] => {
                let width = usize::try_from(*width).ok().filter(|&width| width > 0)?;
                columns.is_multiple_of(width).then_some(columns / width)
            }
            _ => None,
        }
    })
}

/// The sizes of a shape; those that are computed are `None`.
fn shape(source: &Source, name: &str) -> Option<Vec<Option<i64>>> {
    if let Some(constant) = source.constant(name) {
        return Some(constant.as_ints()?.into_iter().map(Some).collect());
    }
    let concat = source.maker(name).filter(|node| node.op_type == "Concat")?;
    let part = |name: &String| source.constant(name).and_then(|array| array.as_ints()?.first().copied());
    Some(concat.input.iter().map(part).collect())
}

/// Nodes above a value, nearest first, not past the layer's input.
fn walk<'a>(source: &'a Source, value: &'a str, below: &str) -> impl Iterator<Item = &'a proto::Node> {
    values(source, value, below).into_iter().filter_map(|value| source.maker(value))
}

/// Values above a value, itself included, nearest first, not past the layer's input nor past a product with weights.
fn values<'a>(source: &'a Source, value: &'a str, below: &str) -> Vec<&'a str> {
    let mut seen = vec![source.origin(value)];
    let mut at = 0;
    while at < seen.len() && seen.len() < 200 {
        let value = seen[at];
        at += 1;
        if value == below || parts::dense(source, value).is_some() {
            continue;
        }
        let Some(node) = source.maker(value) else { continue };
        for name in data_inputs(node).map(|name| source.origin(name)) {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
    }
    seen
}
