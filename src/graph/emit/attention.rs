//! Attention over the tokens of each pair.
//!
//! Owns the way from flat rows to pairs and back. The last layer asks for the context of one row a pair only, so only their
//! queries are computed; keys and values are those of all tokens, or are `absorbed`.

use super::{Emitter, Range};
use crate::{
    array::Array,
    cross_encoder::{CrossEncoder, Dense, HeadNorms, Layer, Pooling, Positions},
    emit::{
        products::{Rows, Site},
        writer::{Attribute, Op},
    },
    own::{self, attribute},
    proto::kind,
    target::{Activations, Layout, Precision, Target},
};

/// Where pairs lie in the flat rows.
pub(super) enum Arrangement {
    /// One after the other: their lengths, in causal models their beginnings, and the row that stands for each, its first or
    /// its last.
    Packed { slots: usize, lengths: String, beginnings: Option<String>, pooled: String },
    /// Padded to one length: which tokens are real, for all queries `[batch, 1, sequence, sequence]` and for the first
    /// ones `[batch, 1, 1, sequence]`, the shape of unflattened rows, and the ids.
    Padded { mask: String, first_mask: String, shape: String, ids: String },
}

/// Whether a target's graph of a model has operators of our own for CPUs.
pub(super) fn has_own(model: &CrossEncoder, target: &Target) -> bool {
    let is_fused = matches!(target.precision, Precision::Int8 { activations: Activations::Fused, .. });
    matches!(target.layout, Layout::Packed { .. }) && (is_fused || model.beyond_bert().is_some())
}

/// Which rows of the pairs a layer computes.
pub(super) struct Pairs<'a> {
    arrangement: &'a Arrangement,
    rows: Wanted,
}

/// One layer's attention at its place in the graph.
pub(super) struct Place<'m, 'p> {
    pub(super) name: String,
    pub(super) layer: &'m Layer,
    pub(super) pairs: &'p Pairs<'p>,
    pub(super) range: Range,
}

impl Pairs<'_> {
    pub(super) fn arrangement(&self) -> &Arrangement {
        self.arrangement
    }

    /// Whether the rows that stand for pairs are wanted alone.
    pub(super) fn is_pooled(&self) -> bool {
        self.rows == Wanted::Pooled
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    Pooled,
}

impl Arrangement {
    /// The rows that a layer computes: all, or in the last layer those that stand for pairs.
    pub(super) fn rows(&self, last: bool) -> Pairs<'_> {
        Pairs { arrangement: self, rows: if last { Wanted::Pooled } else { Wanted::All } }
    }
}

impl<'a> Emitter<'a> {
    /// Context rows of the wanted tokens, and those tokens' own rows.
    pub(super) fn attention(&mut self, place: &Place<'a, '_>, rows: &str) -> (String, String) {
        let Place { name, layer, pairs, range } = place;
        let all = self.rows(name, rows, *range);
        if let (Wanted::Pooled, Arrangement::Packed { slots, lengths, .. }) = (pairs.rows, pairs.arrangement)
            && self.absorbs()
        {
            let first = self.pooled_rows(name, rows, pairs.arrangement);
            return (self.absorbed((name, layer), [rows, &first], (*slots, lengths)), first);
        }
        let product = |emitter: &mut Self, part: &str, dense: &'a Dense, rows: &Rows| {
            emitter.dense(&Site::new(format!("{name}.{part}"), dense), rows)
        };
        let keys = product(self, "key", &layer.key, &all);
        let values = product(self, "value", &layer.value, &all);
        let (queries, wanted) = match pairs.rows {
            Wanted::All => (product(self, "query", &layer.query, &all), rows.to_owned()),
            Wanted::Pooled => {
                let first = self.pooled_rows(name, rows, pairs.arrangement);
                let quantised = self.quantised(&format!("{name}.first"), &first, *range);
                (product(self, "query", &layer.query, &quantised), first)
            }
        };
        let context = match pairs.arrangement {
            Arrangement::Packed { lengths, beginnings, .. } if self.model.beyond_bert().is_some() => {
                let rows = [&queries, &keys, &values].map(String::as_str);
                return (self.own_attention(place, rows, (lengths, beginnings.as_deref())), wanted);
            }
            Arrangement::Packed { slots, lengths, .. } => {
                self.packed(place, [&queries, &keys, &values], (*slots, lengths))
            }
            Arrangement::Padded { .. } => self.padded(place, [&queries, &keys, &values]),
        };
        let shape = self.writer.ints(&[-1, as_int(layer.query.weight.columns)]);
        (self.writer.op(&format!("{name}.context"), &Op::plain("Reshape"), &[&context, &shape]), wanted)
    }

    fn packed(&mut self, place: &Place<'_, '_>, rows: [&str; 3], (slots, lengths): (usize, &str)) -> String {
        let Place { name, layer, pairs: Pairs { rows: wanted, .. }, .. } = place;
        let zero = self.writer.ints(&[0]);
        let mut parts: Vec<Vec<String>> = Vec::new();
        for (rows, part) in rows.into_iter().zip(["query", "key", "value"]) {
            let one = self.writer.op(&format!("{name}.{part}.batch"), &Op::plain("Unsqueeze"), &[rows, &zero]);
            if slots == 1 {
                parts.push(vec![one]);
                continue;
            }
            let ones = (part == "query" && *wanted == Wanted::Pooled).then(|| self.writer.ints(&vec![1; slots]));
            let sizes = ones.as_deref().unwrap_or(lengths);
            let axis = [("axis", Attribute::Int(1))];
            let split = Op::plain("Split").with(&axis).outputs(slots);
            parts.push(self.writer.many(&format!("{name}.{part}.pairs"), &split, &[&one, sizes]));
        }
        let contexts: Vec<String> = (0..slots)
            .map(|slot| self.attend(name, (layer, &[&parts[0][slot], &parts[1][slot], &parts[2][slot]])))
            .collect();
        if let [context] = contexts.as_slice() {
            return context.clone();
        }
        let contexts: Vec<&str> = contexts.iter().map(String::as_str).collect();
        let axis = [("axis", Attribute::Int(1))];
        self.writer.op(&format!("{name}.contexts"), &Op::plain("Concat").with(&axis), &contexts)
    }

    /// Attention by the operator of our own, which takes packed rows as they are.
    fn own_attention(
        &mut self,
        place: &Place<'a, '_>,
        [queries, keys, values]: [&str; 3],
        (lengths, beginnings): (&str, Option<&str>),
    ) -> String {
        let Place { name, layer, pairs, .. } = place;
        let (heads, key_heads) = (as_int(self.model.heads), as_int(self.model.key_heads()));
        let mut attributes =
            vec![(attribute::HEADS, Attribute::Int(heads)), (attribute::SCALE, Attribute::Float(self.scale(layer)))];
        if key_heads != heads {
            attributes.push((attribute::KEY_HEADS, Attribute::Int(key_heads)));
        }
        let is_last = self.model.pooling == Pooling::Last;
        for (name, is_set) in [
            (attribute::FIRST, pairs.is_pooled() && !is_last),
            (attribute::LAST, pairs.is_pooled() && is_last),
            (attribute::CAUSAL, layer.attention.is_causal),
        ] {
            attributes.extend(is_set.then_some((name, Attribute::Int(1))));
        }
        if let Some(window) = layer.attention.window {
            attributes.push((attribute::WINDOW, Attribute::Int(as_int(window))));
        }
        if let Some(HeadNorms { query, key }) = &layer.attention.head_norms {
            attributes.push((attribute::QUERY_NORM, Attribute::Floats(&query.scale)));
            attributes.push((attribute::KEY_NORM, Attribute::Floats(&key.scale)));
            attributes.push((attribute::EPSILON, Attribute::Float(query.epsilon)));
        }
        let mut inputs = vec![queries.to_owned(), keys.to_owned(), values.to_owned(), lengths.to_owned()];
        match &layer.attention.positions {
            Positions::Absolute => {}
            Positions::Rotary(frequencies) => attributes.push((attribute::ROTARY, Attribute::Floats(frequencies))),
            Positions::Slopes(slopes) => attributes.push((attribute::SLOPES, Attribute::Floats(slopes))),
            Positions::Relative(relative) => {
                inputs.push(self.writer.weight("relative.rows", &Array::ints(&relative.rows)));
                for (part, table) in [("keys", &relative.keys), ("queries", &relative.queries)] {
                    let (dims, values) = match table {
                        Some(table) => ([table.rows, table.columns], table.values.as_slice()),
                        None => ([0, 0], &[][..]),
                    };
                    inputs.push(self.floats(&format!("{name}.relative.{part}"), &dims, values));
                }
            }
        }
        if let Some(beginnings) = beginnings {
            // What stands between is of relative positions.
            inputs.resize(own::BEGINNINGS, String::new());
            inputs.push(beginnings.to_owned());
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.writer.op(&format!("{name}.context"), &Op::own(own::ATTENTION).with(&attributes), &inputs)
    }

    /// What scores are multiplied with: where the model does not say, one over the root of a head's width, times the terms of
    /// a score.
    pub(super) fn scale(&self, layer: &Layer) -> f32 {
        if let Some(scale) = layer.attention.scale {
            return scale;
        }
        let terms = match &layer.attention.positions {
            Positions::Relative(relative) => {
                1 + usize::from(relative.keys.is_some()) + usize::from(relative.queries.is_some())
            }
            Positions::Absolute | Positions::Rotary(_) | Positions::Slopes(_) => 1,
        };
        1.0 / ((self.model.head_width() * terms) as f32).sqrt()
    }

    /// The rows that a layer computes, of others than those that attention read.
    pub(super) fn wanted(&mut self, place: &Place<'_, '_>, rows: &str) -> String {
        match place.pairs.rows {
            Wanted::All => rows.to_owned(),
            Wanted::Pooled => self.pooled_rows(&format!("{}.residual", place.name), rows, place.pairs.arrangement),
        }
    }

    /// The mean of each pair's rows, `[pairs, hidden]`.
    pub(super) fn mean(&mut self, rows: &str, arrangement: &Arrangement) -> String {
        match arrangement {
            Arrangement::Packed { lengths, .. } => self.writer.op("pooled", &Op::own(own::MEAN), &[rows, lengths]),
            Arrangement::Padded { first_mask, shape, .. } => {
                let deep = self.writer.op("pooled.deep", &Op::plain("Reshape"), &[rows, shape]);
                let to = [("to", Attribute::Int(i64::from(kind::FLOAT)))];
                let weights = self.writer.op("pooled.mask", &Op::plain("Cast").with(&to), &[first_mask]);
                let one = self.writer.ints(&[1]);
                let weights = self.writer.op("pooled.rows", &Op::plain("Squeeze"), &[&weights, &one]);
                let sums = self.writer.op("pooled.sums", &Op::plain("MatMul"), &[&weights, &deep]);
                let last = self.writer.ints(&[-1]);
                let counts = self.writer.op("pooled.counts", &Op::plain("ReduceSum"), &[&weights, &last]);
                let mean = self.writer.op("pooled.mean", &Op::plain("Div"), &[&sums, &counts]);
                self.writer.op("pooled", &Op::plain("Squeeze"), &[&mean, &one])
            }
        }
    }

    /// The row of every pair's last token in a padded batch, `[pairs, hidden]`.
    pub(super) fn last_rows(&mut self, rows: &str, arrangement: &Arrangement) -> String {
        let Arrangement::Padded { first_mask, shape, .. } = arrangement else { return rows.to_owned() };
        let deep = self.writer.op("pooled.deep", &Op::plain("Reshape"), &[rows, shape]);
        let to = [("to", Attribute::Int(i64::from(kind::INT64)))];
        let real = self.writer.op("pooled.mask", &Op::plain("Cast").with(&to), &[first_mask]);
        let last = self.writer.ints(&[-1]);
        let counts = self.writer.op("pooled.counts", &Op::plain("ReduceSum"), &[&real, &last]);
        let inner = self.writer.ints(&[1, 2]);
        let counts = self.writer.op("pooled.lengths", &Op::plain("Squeeze"), &[&counts, &inner]);
        let one = self.writer.constant(&Array::int(1));
        let at = self.writer.op("pooled.last", &Op::plain("Sub"), &[&counts, &one]);
        let by_pair = [("batch_dims", Attribute::Int(1))];
        self.writer.op("pooled", &Op::plain("GatherND").with(&by_pair), &[&deep, &at])
    }

    /// The row that stands for every pair, `[pairs, hidden]`: its first, in packed rows also its last.
    fn pooled_rows(&mut self, name: &str, rows: &str, arrangement: &Arrangement) -> String {
        let which = if self.model.pooling == Pooling::Last { "last" } else { "first" };
        let name = format!("{name}.{which}");
        match arrangement {
            Arrangement::Packed { pooled, .. } => self.writer.op(&name, &Op::plain("Gather"), &[rows, pooled]),
            Arrangement::Padded { shape, .. } => {
                let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[rows, shape]);
                let zero = self.writer.constant(&Array::int(0));
                let axis = [("axis", Attribute::Int(1))];
                self.writer.op(&name, &Op::plain("Gather").with(&axis), &[&deep, &zero])
            }
        }
    }
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
