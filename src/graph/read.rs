//! Reads a cross-encoder out of an ONNX graph by the shape of its arithmetic, not by its names.
//!
//! Owns the walk from the logit back to the embeddings. Exporters differ in names, shape plumbing and in how they write
//! norms, activations and masks; what they agree on is which products feed which. The scale of attention and the mask are
//! taken to be the usual ones: whoever writes a graph from this description compares its logits with the source's.

use super::{
    array::BadTensor,
    beside::Beside,
    cross_encoder::{
        Activation, Attention, CrossEncoder, Dense, Head, Layer, NormPlacement, Pooling, Table, Transform,
    },
    proto,
    source::{Source, input},
};

mod attention;
mod embeddings;
mod parts;

/// The graph is not a cross-encoder that can be read here.
#[derive(Debug, thiserror::Error)]
pub enum Unrecognised {
    /// A part of the graph is not what the walk expects there.
    #[error("`{at}`: expected {expected}")]
    Part {
        /// The value or node, by its name in the graph.
        at: String,
        /// What a model of the family has there.
        expected: String,
    },
    /// A weight cannot be read.
    #[error("a weight cannot be read")]
    Weight(#[from] BadTensor),
    /// The bytes are no ONNX model.
    #[error(transparent)]
    NotOnnx(#[from] super::NotOnnx),
}

/// The weights and the rows of a product in integers that makes `value`.
pub(super) fn integer_product<'a>(source: &'a Source, value: &str) -> Option<(Table, &'a str)> {
    parts::matmul_integer(source, value)
}

/// Reads the model that a graph computes, with the files beside it that hold weights.
pub(super) fn read(graph: proto::Graph, beside: &Beside) -> Result<CrossEncoder, Unrecognised> {
    let source = Source::new(graph, beside)?;
    if let Some(node) = source.first_foreign() {
        let expected =
            format!("operators of onnx only, not {}.{}; compile from a plain export", node.domain, node.op_type);
        return Err(fault(&node.name, expected));
    }
    let [logits] = source.outputs() else {
        return Err(fault(&source.outputs().join(", "), "one output, the logit"));
    };
    let (head, mut hidden) = head(&source, logits)?;
    let mut layers = Vec::new();
    let mut heads = None;
    while let Some((layer, below)) = layer(&source, &hidden, &mut heads)? {
        layers.push(layer);
        hidden = below;
    }
    layers.reverse();
    let Some(heads) = heads else { return Err(fault(&hidden, "an encoder layer: norm(feed-forward + attention)")) };
    let embeddings = embeddings::read(&source, &hidden)?;
    let model = CrossEncoder {
        hidden: head.transform.as_ref().map_or(head.classifier.weight.rows, |transform| transform.dense.weight.rows),
        heads,
        embeddings,
        layers,
        norms: NormPlacement::After,
        final_norm: None,
        pooling: Pooling::First,
        head,
    };
    check_sizes(&model)?;
    Ok(model)
}

fn fault(at: &str, expected: impl Into<String>) -> Unrecognised {
    Unrecognised::Part { at: at.into(), expected: expected.into() }
}

/// From the logit to the last layer's rows.
fn head(source: &Source, logits: &str) -> Result<(Head, String), Unrecognised> {
    let part = |at: &str, what: &str| fault(at, what);
    let (classifier, x) =
        parts::dense(source, logits).ok_or_else(|| part(logits, "a product with a bias, the classifier"))?;
    if classifier.weight.columns != 1 {
        return Err(part(logits, &format!("one logit a pair, not {}", classifier.weight.columns)));
    }
    let (activation, x) = parts::activation(source, x)
        .ok_or_else(|| part(x, "tanh, gelu or relu between two products on the [CLS] row"))?;
    let (dense, x) = parts::dense(source, x).ok_or_else(|| part(x, "a product with a bias, the pooler"))?;
    let rows = parts::first_row(source, x).ok_or_else(|| part(x, "the first token's row taken from the last layer"))?;
    let transform = Some(Transform { dense, activation, norm: None });
    Ok((Head { transform, classifier }, source.origin(rows).to_owned()))
}

/// One encoder layer whose output is `value`, and the value that it reads; `None` where the embeddings are reached.
fn layer(source: &Source, value: &str, heads: &mut Option<usize>) -> Result<Option<(Layer, String)>, Unrecognised> {
    let Some((norm, sum)) = parts::norm(source, value) else {
        // ELECTRA's embeddings end in a product.
        return if parts::dense(source, value).is_some() { Ok(None) } else { Err(fault(value, "a layer norm")) };
    };
    let Some((activation, up, down, middle)) = feed_forward(source, sum) else { return Ok(None) };
    let (attention_norm, sum) =
        parts::norm(source, &middle).ok_or_else(|| fault(&middle, "the layer norm after attention"))?;
    let found = parts::sides(source, sum).find_map(|(side, other)| Some((parts::dense(source, side)?, other)));
    let ((output, context), below) = found.ok_or_else(|| fault(sum, "attention's output product plus its input"))?;
    let below = source.origin(below).to_owned();
    let parts = attention::read(source, context, &below)?;
    if heads.replace(parts.heads).is_some_and(|before| before != parts.heads) {
        return Err(fault(context, "as many attention heads as in the other layers"));
    }
    let attention::Parts { query, key, value, .. } = parts;
    let layer = Layer {
        query,
        key,
        value,
        attention: Attention::default(),
        output,
        attention_norm: Some(attention_norm),
        up,
        activation,
        gate: None,
        down,
        norm,
    };
    Ok(Some((layer, below)))
}

/// `middle + down(activation(up(middle)))`.
fn feed_forward(source: &Source, sum: &str) -> Option<(Activation, Dense, Dense, String)> {
    parts::sides(source, sum).find_map(|(side, middle)| {
        let (down, x) = parts::dense(source, side)?;
        let (activation, x) = parts::activation(source, x)?;
        let (up, x) = parts::dense(source, x)?;
        let middle = source.origin(middle);
        (source.origin(x) == middle).then(|| (activation, up, down, middle.to_owned()))
    })
}

/// Whether every weight fits its neighbours: what is wrong is named before a runtime meets it.
fn check_sizes(model: &CrossEncoder) -> Result<(), Unrecognised> {
    let hidden = model.hidden;
    let fit = |name: String, dense: &Dense, rows: usize, columns: usize| {
        let (r, c) = (dense.weight.rows, dense.weight.columns);
        if (r, c, dense.bias.len()) == (rows, columns, columns) {
            return Ok(());
        }
        Err(fault(&name, format!("a weight of {rows} by {columns} with its bias, not {r} by {c}")))
    };
    if model.heads == 0 || !hidden.is_multiple_of(model.heads) {
        return Err(fault("attention", format!("{hidden} columns in equal heads, not {}", model.heads)));
    }
    for (at, layer) in model.layers.iter().enumerate() {
        let wide = layer.up.weight.columns;
        for (name, dense) in
            [("query", &layer.query), ("key", &layer.key), ("value", &layer.value), ("output", &layer.output)]
        {
            fit(format!("layer {at}, {name}"), dense, hidden, hidden)?;
        }
        fit(format!("layer {at}, up"), &layer.up, hidden, wide)?;
        fit(format!("layer {at}, down"), &layer.down, wide, hidden)?;
        let attention_norm = layer.attention_norm.as_ref().map(|norm| ("attention norm", norm));
        for (name, norm) in attention_norm.into_iter().chain([("norm", &layer.norm)]) {
            if norm.scale.len() != hidden || norm.bias.len() != hidden {
                return Err(fault(&format!("layer {at}, {name}"), format!("{hidden} scales and biases")));
            }
        }
    }
    if let Some(transform) = &model.head.transform {
        fit("head".into(), &transform.dense, hidden, model.head.classifier.weight.rows)?;
    }
    embeddings::check(model)
}

/// The inputs of a node that values flow through, as against shapes, indices and axes.
fn data_inputs(node: &proto::Node) -> impl Iterator<Item = &str> {
    let count = match node.op_type.as_str() {
        "Reshape" | "Squeeze" | "Unsqueeze" | "Slice" | "Gather" | "Split" | "Expand" | "ReduceMean" | "Clip" => 1,
        "Shape" => 0,
        _ => node.input.len(),
    };
    (0..count).filter_map(|at| input(node, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{
        Indices, Style, export, export_with, tiny, tiny_after_padding, tiny_distilled, tiny_projected, tiny_quantised,
        tiny_untyped,
    };

    fn read(graph: proto::Graph) -> Result<CrossEncoder, Unrecognised> {
        super::read(graph, &Beside::new())
    }

    const STYLES: [Style; 2] = [Style::SpelledOut, Style::Operators];

    fn exported(model: &CrossEncoder, style: Style) -> proto::Graph {
        export(model, style).graph.unwrap()
    }

    #[test]
    fn a_model_is_read_back_whatever_the_exporters_spelling() {
        for style in STYLES {
            for layers in [1, 3] {
                let model = tiny(layers);
                assert_eq!(read(exported(&model, style)).unwrap(), model, "{style:?}, {layers} layers");
            }
        }
    }

    #[test]
    fn the_kin_of_bert_are_read_whatever_indexes_their_tables() {
        let table = [
            (tiny_untyped(2), Indices::Counted, "no types at all"),
            (tiny_after_padding(2), Indices::AfterPadding, "RoBERTa: positions behind the padding, one type"),
            (tiny_untyped(2), Indices::Filled, "BERT exported without its types"),
            (tiny_distilled(2), Indices::Counted, "DistilBERT: no types, Relu in the head"),
            (tiny_projected(2), Indices::Counted, "ELECTRA: projected tables, Gelu in the head"),
        ];
        for (model, indices, case) in table {
            for style in STYLES {
                let graph = export_with(&model, style, indices).graph.unwrap();
                assert_eq!(read(graph).unwrap(), model, "{case}, {style:?}");
            }
        }
    }

    #[test]
    fn integers_and_scales_of_a_quantised_model_are_kept() {
        for style in STYLES {
            let model = tiny_quantised(2);
            let found = read(exported(&model, style)).unwrap();
            assert!(found.is_quantised());
            assert_eq!(found, model, "{style:?}");
        }
    }

    #[test]
    fn what_is_not_recognised_is_named() {
        fn swap(graph: &mut proto::Graph, from: &str, to: &str) {
            graph.node.iter_mut().filter(|node| node.op_type == from).for_each(|node| node.op_type = to.into());
        }
        type Change = fn(&mut proto::Graph);
        let table: [(Change, &str, &str); 5] = [
            (|graph| swap(graph, "Tanh", "Sigmoid"), "tanh, gelu or relu", "a head of another kind"),
            (|graph| swap(graph, "Softmax", "Sigmoid"), "a softmax over scores", "attention of another kind"),
            (|graph| swap(graph, "Sqrt", "Exp"), "a layer norm", "a norm of another kind"),
            (|graph| graph.output.clear(), "one output", "a graph without an output"),
            (|graph| graph.node[0].domain = "com.microsoft".into(), "operators of onnx only", "an optimiser's graph"),
        ];
        for (change, expected, case) in table {
            let mut graph = exported(&tiny(1), Style::SpelledOut);
            change(&mut graph);
            let error = read(graph).unwrap_err().to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[test]
    fn weights_that_do_not_fit_their_neighbours_are_named() {
        let mut model = tiny(2);
        model.layers[1].down.weight = Table::floats(12, 8, vec![0.0; 96]);
        let error = read(exported(&model, Style::SpelledOut)).unwrap_err().to_string();
        assert!(error.contains("layer 1, down") && error.contains("16 by 8"), "{error}");
    }
}
