//! The graph of decoders for NVIDIA GPUs: prompts of any lengths and any number, one after the other, with the beginnings that
//! they share once.
//!
//! Owns ONNX Runtime's operator for attention over a cache in blocks, which runs on CUDA alone. The cache lives for one pass
//! and all layers write to the same one, each after the one before: a beginning is a sequence of its own whose blocks others
//! name as their past. Norms of queries and keys and rotary positions are done by that operator; the residual sum and the
//! norm behind it are one operator, too. The last layer's feed-forward part computes the last tokens alone.

use super::{Emitter, Precision};
use crate::{
    array::{Array, Data},
    cross_encoder::{CrossEncoder, Dense, HeadNorms, Layer, Norm, NormKind, NormPlacement, Pooling, Positions, Table},
    emit::writer::{Attribute, Op},
    half,
    paging::BLOCK,
    proto::kind,
};

/// The first part of a model that is not written here; `None` where all is.
pub(super) fn beyond(model: &CrossEncoder, precision: &Precision) -> Option<&'static str> {
    if *precision != Precision::Fp16 {
        return Some("causal attention in other precisions than fp16");
    }
    let odd = |layer: &Layer| match &layer.attention {
        attention if !attention.is_causal => Some("attention to both sides in a decoder"),
        attention if attention.window.is_some() => Some("local attention"),
        attention if !matches!(attention.positions, Positions::Rotary(_)) => Some("positions that are not rotary"),
        _ if layer.norms().any(|norm| norm.kind != NormKind::Rms || !norm.bias.is_empty()) => Some("norms with a mean"),
        _ if layer.gate.is_none() || layer.attention_norm.is_none() => Some("a feed-forward part without a gate"),
        _ => None,
    };
    let in_layer = model.layers.iter().find_map(odd);
    in_layer.or_else(|| match (model.norms, model.pooling, &model.final_norm) {
        (NormPlacement::After, ..) => Some("norms after each part"),
        (_, Pooling::First | Pooling::Mean, _) => Some("other pooling than the last token's"),
        (.., None) => Some("a decoder without a last norm"),
        _ if model.embeddings.norm.is_some() || model.embeddings.projection.is_some() => Some("embeddings with a norm"),
        _ => None,
    })
}

/// Values that all layers read.
struct Shared {
    keys: String,
    values: String,
    cosines: String,
    sines: String,
}

impl<'a> Emitter<'a> {
    /// Declares the inputs and writes the layers; answers with the last tokens' rows after the last norm.
    pub(super) fn paged(&mut self, layers: usize) -> String {
        let ids = self.writer.input_of(kind::INT32, "input_ids", &["tokens"]);
        for (name, dims) in [
            ("cumulative_lengths", &["bounds"][..]),
            ("past_lengths", &["slots"]),
            ("block_table", &["slots", "columns"]),
        ] {
            self.writer.input_of(kind::INT32, name, dims);
        }
        let lasts = self.writer.input_of(kind::INT32, "lasts", &["pairs"]);
        let words = self.words();
        let mut rows = self.writer.op("embeddings.rows", &Op::plain("Gather"), &[&words, &ids]);
        // What is added to the rows before the next norm.
        let mut term: Option<String> = None;
        let caches = self.caches();
        for at in 0..layers {
            let layer = &self.model.layers[at];
            let name = format!("layer.{at}");
            let Some(norm) = &layer.attention_norm else { continue };
            let (input, sum) = self.summed_norm(&format!("{name}.attention.norm"), (&rows, term.as_deref()), norm);
            rows = sum;
            let shared = self.shared(layer, &caches);
            let mut context = self.paged_attention(&format!("{name}.attention"), layer, (&input, &shared));
            if at + 1 == layers {
                context = self.writer.op(&format!("{name}.last"), &Op::plain("Gather"), &[&context, &lasts]);
                rows = self.writer.op("last.rows", &Op::plain("Gather"), &[&rows, &lasts]);
            }
            let x = self.float_dense(&format!("{name}.attention.output"), &layer.output, &context);
            let (input, sum) = self.summed_norm(&format!("{name}.norm"), (&rows, Some(&x)), &layer.norm);
            rows = sum;
            term = Some(self.gated(&name, layer, &input));
        }
        // `beyond` has seen that there is one.
        let Some(norm) = &self.model.final_norm else { return rows };
        self.summed_norm("final.norm", (&rows, term.as_deref()), norm).0
    }

    fn words(&mut self) -> String {
        let words = &self.model.embeddings.words;
        self.floats("embeddings.words.weight", &[words.rows, words.columns], &words.values)
    }

    /// Keys and values of a pass, `[blocks, BLOCK, heads, width]`, before any is written. What is not written is not read.
    fn caches(&mut self) -> [String; 2] {
        let blocks = self.writer.input("cache_blocks", &["1"]);
        let width = self.model.head_width();
        let rest = self.writer.ints(&[as_int(BLOCK), as_int(self.model.key_heads()), as_int(width)]);
        let axis = [("axis", Attribute::Int(0))];
        let shape = self.writer.op("cache.shape", &Op::plain("Concat").with(&axis), &[&blocks, &rest]);
        // Of two that are alike the runtime would keep one, for keys and values.
        [("keys", 0.0), ("values", 1.0)].map(|(name, filling)| {
            let filling = self.writer.constant(&Array { dims: vec![1], data: Data::F16(vec![half::narrow(filling)]) });
            self.writer.op(&format!("cache.{name}"), &Op::plain("Expand"), &[&filling, &shape])
        })
    }

    fn shared(&mut self, layer: &'a Layer, caches: &[String; 2]) -> Shared {
        let Positions::Rotary(frequencies) = &layer.attention.positions else {
            return Shared { keys: String::new(), values: String::new(), cosines: String::new(), sines: String::new() };
        };
        // Layers of one model turn alike, or in few ways.
        let way = frequencies.iter().fold(0_u64, |hash, value| hash.rotate_left(5) ^ u64::from(value.to_bits()));
        let places = self.model.max_length();
        let table = |function: fn(f64) -> f64| -> Vec<f32> {
            let angle = |place: usize| frequencies.iter().map(move |&frequency| f64::from(place as f32 * frequency));
            #[expect(clippy::cast_possible_truncation, reason = "a table of floats")]
            (0..places).flat_map(angle).map(|angle| function(angle) as f32).collect()
        };
        let dims = [places, frequencies.len()];
        let cosines = self.floats(&format!("rotary.{way:x}.cosines"), &dims, table(f64::cos));
        let sines = self.floats(&format!("rotary.{way:x}.sines"), &dims, table(f64::sin));
        let [keys, values] = caches.clone();
        Shared { keys, values, cosines, sines }
    }

    /// Context of every token, `[tokens, heads · width]`.
    fn paged_attention(&mut self, name: &str, layer: &'a Layer, (rows, shared): (&str, &Shared)) -> String {
        let parts = [&layer.query, &layer.key, &layer.value];
        let joined = beside(parts.map(|part| &part.weight));
        let weight = self.floats(&format!("{name}.qkv.weight"), &[joined.rows, joined.columns], joined.values);
        let mut qkv = self.writer.op(&format!("{name}.qkv"), &Op::plain("MatMul"), &[rows, &weight]);
        if parts.iter().any(|part| !part.bias.is_empty()) {
            let bias: Vec<f32> = parts.iter().flat_map(|part| bias_of(part)).collect();
            let bias = self.floats(&format!("{name}.qkv.bias"), &[bias.len()], bias);
            qkv = self.writer.op(&format!("{name}.qkv.sum"), &Op::plain("Add"), &[&qkv, &bias]);
        }
        let norms = layer.attention.head_norms.as_ref().map(|HeadNorms { query, key }| {
            [("query", query), ("key", key)]
                .map(|(part, norm)| self.floats(&format!("{name}.{part}.norm"), &[norm.scale.len()], &norm.scale))
        });
        let epsilon = layer.attention.head_norms.as_ref().map(|norms| norms.query.epsilon);
        let mut attributes = vec![
            ("num_heads", Attribute::Int(as_int(self.model.heads))),
            ("kv_num_heads", Attribute::Int(as_int(self.model.key_heads()))),
            ("scale", Attribute::Float(self.scale(layer))),
            ("do_rotary", Attribute::Int(1)),
        ];
        attributes.extend(epsilon.map(|epsilon| ("qk_norm_epsilon", Attribute::Float(epsilon))));
        let op = Op::microsoft("PagedAttention").with(&attributes);
        let Shared { keys, values, cosines, sines } = shared;
        let mut inputs =
            vec![&qkv, "", "", keys, values, "cumulative_lengths", "past_lengths", "block_table", cosines, sines];
        if let Some([query, key]) = &norms {
            inputs.extend(["", "", query, key]);
        }
        self.writer.op(name, &op, &inputs)
    }

    /// The gated feed-forward part.
    fn gated(&mut self, name: &str, layer: &'a Layer, rows: &str) -> String {
        let x = self.float_dense(&format!("{name}.up"), &layer.up, rows);
        let x = self.activation(&format!("{name}.activation"), layer.activation, &x);
        let Some(gate) = &layer.gate else { return x };
        let gate = self.float_dense(&format!("{name}.gate"), gate, rows);
        let x = self.writer.op(&format!("{name}.gated"), &Op::plain("Mul"), &[&x, &gate]);
        self.float_dense(&format!("{name}.down"), &layer.down, &x)
    }

    /// Rows and what is added to them, normalised, and the sum as it is.
    fn summed_norm(&mut self, name: &str, (rows, term): (&str, Option<&str>), norm: &'a Norm) -> (String, String) {
        let scale = self.floats(&format!("{name}.scale"), &[norm.scale.len()], &norm.scale);
        let epsilon = ("epsilon", Attribute::Float(norm.epsilon));
        let Some(term) = term else {
            let attributes = [("axis", Attribute::Int(-1)), epsilon];
            let op = Op::plain("SimplifiedLayerNormalization").with(&attributes);
            return (self.writer.op(name, &op, &[rows, &scale]), rows.to_owned());
        };
        let attributes = [epsilon];
        let op = Op::microsoft("SkipSimplifiedLayerNormalization").with(&attributes).outputs(4);
        let outputs = self.writer.many(name, &op, &[term, rows, &scale]);
        (outputs[0].clone(), outputs[3].clone())
    }
}

/// Tables of as many rows, side by side.
fn beside(tables: [&Table; 3]) -> Table {
    let rows = tables[0].rows;
    let mut values = Vec::with_capacity(rows * tables.iter().map(|table| table.columns).sum::<usize>());
    for row in 0..rows {
        for table in tables {
            values.extend_from_slice(&table.values[row * table.columns..(row + 1) * table.columns]);
        }
    }
    Table::floats(rows, tables.iter().map(|table| table.columns).sum(), values)
}

/// A product's bias; zeros where it has none.
fn bias_of(dense: &Dense) -> Vec<f32> {
    if dense.bias.is_empty() { vec![0.0; dense.weight.columns] } else { dense.bias.clone() }
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
