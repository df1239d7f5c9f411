//! Attention over a padded batch, in ONNX's own operators alone.
//!
//! Owns how windows, rotary positions, slopes and relative terms are written for `Attention` of the standard: as turned
//! queries and keys, and as masks. It is the plainest form of a model, which others are proved against and other runtimes
//! read; memory grows with the square of the length.

use super::{
    Emitter,
    attention::{Arrangement, Place},
};
use crate::{
    array::{Array, Data},
    cross_encoder::{Attention, Dense, HeadNorms, Layer, Norm, Positions, Relative, Table},
    emit::writer::{Attribute, Op},
    proto::kind,
};

/// What a score of a token that is not seen is made of; its exponential is zero.
const NEVER: f32 = -1e30;

impl<'a> Emitter<'a> {
    /// Context of the wanted queries, `[batch, queries, hidden]`.
    pub(super) fn padded(&mut self, place: &Place<'a, '_>, [queries, keys, values]: [&str; 3]) -> String {
        let Place { name, layer, pairs, .. } = place;
        let Arrangement::Padded { mask, first_mask, shape, ids } = pairs.arrangement() else { return String::new() };
        let mut deep = |part: &str, rows: &str, dense: &Dense| {
            let shape = self.deep_shape([shape, ids], dense.weight.columns);
            self.writer.op(&format!("{name}.{part}.deep"), &Op::plain("Reshape"), &[rows, &shape])
        };
        let (mut keys, values) = (deep("key", keys, &layer.key), deep("value", values, &layer.value));
        // Of last rows nothing is asked in a padded batch; see `rows_of`.
        let is_first = pairs.is_pooled();
        let mut queries = if is_first {
            let one = self.writer.ints(&[1]);
            self.writer.op(&format!("{name}.query.deep"), &Op::plain("Unsqueeze"), &[queries, &one])
        } else {
            deep("query", queries, &layer.query)
        };
        if let Some(HeadNorms { query, key }) = &layer.attention.head_norms {
            queries = self.normed_heads(&format!("{name}.query"), &queries, query);
            keys = self.normed_heads(&format!("{name}.key"), &keys, key);
        }
        if let Positions::Rotary(frequencies) = &layer.attention.positions {
            let key_heads = self.model.key_heads();
            keys = self.turned(&format!("{name}.key"), [&keys, ids], frequencies, key_heads);
            // The first place turns nothing.
            if !is_first {
                queries = self.turned(&format!("{name}.query"), [&queries, ids], frequencies, self.model.heads);
            }
        }
        let mask = if is_first { first_mask } else { mask };
        let mask = self.seen(layer, [mask, ids], is_first);
        let mask = match &layer.attention.positions {
            Positions::Absolute | Positions::Rotary(_) => mask,
            Positions::Slopes(slopes) => {
                let distances = self.distances(ids, is_first);
                let distances = self.writer.op("distances.size", &Op::plain("Abs"), &[&distances]);
                let distances = self.float("distances.float", &distances);
                let falls: Vec<f32> = slopes.iter().map(|slope| -slope).collect();
                let falls = self.writer.constant(&Array::floats(&[falls.len(), 1, 1], falls));
                let falls = self.writer.op(&format!("{name}.slopes"), &Op::plain("Mul"), &[&falls, &distances]);
                self.masked(name, &mask, &falls)
            }
            Positions::Relative(relative) => {
                let terms = self.relative_terms(place, relative, [&queries, &keys, ids]);
                self.masked(name, &mask, &terms)
            }
        };
        self.attend(name, (layer, &[&queries, &keys, &values, &mask]))
    }

    /// The standard's attention, `[batch, queries, hidden]`.
    pub(super) fn attend(&mut self, name: &str, (layer, inputs): (&Layer, &[&str])) -> String {
        let [heads, key_heads] =
            [self.model.heads, self.model.key_heads()].map(|heads| i64::try_from(heads).unwrap_or(i64::MAX));
        let heads = [("q_num_heads", Attribute::Int(heads)), ("kv_num_heads", Attribute::Int(key_heads))];
        let scale = [("scale", Attribute::Float(self.scale(layer)))];
        // The usual scale is left unsaid, as in all graphs before.
        let is_usual = layer.attention.scale.is_none() && !matches!(layer.attention.positions, Positions::Relative(_));
        let attributes: Vec<_> = heads.into_iter().chain(scale.into_iter().filter(|_| !is_usual)).collect();
        self.writer.op(name, &Op::plain("Attention").with(&attributes), inputs)
    }

    /// The shape of unflattened rows of so many columns.
    fn deep_shape(&mut self, [hidden, ids]: [&str; 2], columns: usize) -> String {
        if columns == self.model.hidden {
            return hidden.to_owned();
        }
        let input = self.writer.op("input.shape", &Op::plain("Shape"), &[ids]);
        let columns = self.writer.ints(&[i64::try_from(columns).unwrap_or(i64::MAX)]);
        let first = [("axis", Attribute::Int(0))];
        self.writer.op("deep.shape", &Op::plain("Concat").with(&first), &[&input, &columns])
    }

    /// Each head's values of unflattened rows normalised.
    fn normed_heads(&mut self, name: &str, rows: &str, norm: &'a Norm) -> String {
        let width = i64::try_from(norm.scale.len()).unwrap_or(i64::MAX);
        let by_head = self.writer.ints(&[0, 0, -1, width]);
        let heads = self.writer.op(&format!("{name}.by_head"), &Op::plain("Reshape"), &[rows, &by_head]);
        let heads = self.norm(&format!("{name}.norm"), &heads, norm);
        let flat = self.writer.ints(&[0, 0, -1]);
        self.writer.op(&format!("{name}.normed"), &Op::plain("Reshape"), &[&heads, &flat])
    }

    /// Rows of so many heads turned by their places.
    fn turned(&mut self, name: &str, [rows, ids]: [&str; 2], frequencies: &[f32], heads: usize) -> String {
        let places = self.model.max_length();
        let table = |turn: fn(f64) -> f64| -> Vec<f32> {
            let place = |place: usize| {
                // Rounded to 32 bits before the cosine, as the reference implementations do.
                #[expect(clippy::cast_possible_truncation, reason = "a table of floats")]
                frequencies.iter().map(move |frequency| turn(f64::from(place as f32 * frequency)) as f32)
            };
            (0..places).flat_map(place).collect()
        };
        let dims = [places, frequencies.len()];
        let stem = format!("rotary.{:08x}", frequencies.last().copied().unwrap_or(0.0).to_bits());
        let cosines = self.floats(&format!("{stem}.cosines"), &dims, table(f64::cos));
        let sines = self.floats(&format!("{stem}.sines"), &dims, table(f64::sin));
        let row = self.positions(ids);
        let shape = self.writer.op("rotary.shape", &Op::plain("Shape"), &[ids]);
        let row = self.writer.op("rotary.places", &Op::plain("Expand"), &[&row, &shape]);
        let heads = i64::try_from(heads).unwrap_or(i64::MAX);
        let part = i64::try_from(2 * frequencies.len()).unwrap_or(i64::MAX);
        let attributes = [("num_heads", Attribute::Int(heads)), ("rotary_embedding_dim", Attribute::Int(part))];
        let op = Op::plain("RotaryEmbedding").with(&attributes);
        self.writer.op(&format!("{name}.turned"), &op, &[rows, &cosines, &sines, &row])
    }

    /// Which keys each query sees: real ones, within its window, and none behind it where attention is causal.
    fn seen(&mut self, layer: &Layer, [mask, ids]: [&str; 2], is_first: bool) -> String {
        let Attention { window, is_causal, .. } = layer.attention;
        if window.is_none() && !is_causal {
            return mask.to_owned();
        }
        let mut mask = mask.to_owned();
        let distances = self.distances(ids, is_first);
        if is_causal {
            let zero = self.writer.constant(&Array::int(0));
            let before = self.writer.op("causal.before", &Op::plain("GreaterOrEqual"), &[&distances, &zero]);
            mask = self.writer.op("causal.mask", &Op::plain("And"), &[&mask, &before]);
        }
        let Some(window) = window else { return mask };
        let distances = self.writer.op("window.distances", &Op::plain("Abs"), &[&distances]);
        let window = self.writer.constant(&Array::int(i64::try_from(window).unwrap_or(i64::MAX)));
        let near = self.writer.op("window.near", &Op::plain("LessOrEqual"), &[&distances, &window]);
        self.writer.op("window.mask", &Op::plain("And"), &[&mask, &near])
    }

    /// Place of the query less that of the key, `[queries, keys]`.
    fn distances(&mut self, ids: &str, is_first: bool) -> String {
        let keys = self.positions(ids);
        let queries = if is_first { self.writer.ints(&[0]) } else { keys.clone() };
        let one = self.writer.ints(&[1]);
        let queries = self.writer.op("distances.queries", &Op::plain("Unsqueeze"), &[&queries, &one]);
        self.writer.op("distances", &Op::plain("Sub"), &[&queries, &keys])
    }

    /// What is added to scores, and [`NEVER`] where no token is seen.
    fn masked(&mut self, name: &str, seen: &str, terms: &str) -> String {
        let never = self.writer.constant(&Array::float(NEVER));
        self.writer.op(&format!("{name}.terms.masked"), &Op::plain("Where"), &[seen, terms, &never])
    }

    fn float(&mut self, name: &str, x: &str) -> String {
        let to = [("to", Attribute::Int(i64::from(kind::FLOAT)))];
        self.writer.op(name, &Op::plain("Cast").with(&to), &[x])
    }

    /// Terms of the distance, `[batch, heads, queries, keys]`, scaled as scores are.
    fn relative_terms(
        &mut self,
        place: &Place<'a, '_>,
        relative: &Relative,
        [queries, keys, ids]: [&str; 3],
    ) -> String {
        let Place { name, layer, pairs, .. } = place;
        let distances = self.distances(ids, pairs.is_pooled());
        let middle = self.writer.constant(&Array::int(i64::try_from(relative.rows.len() / 2).unwrap_or(0)));
        let at = self.writer.op(&format!("{name}.distances.at"), &Op::plain("Add"), &[&distances, &middle]);
        let rows = self.writer.weight("relative.rows", &Array::ints(&relative.rows));
        let rows = self.writer.op(&format!("{name}.distances.rows"), &Op::plain("Gather"), &[&rows, &at]);
        let mut sum: Option<String> = None;
        for (part, table, x) in [("keys", &relative.keys, queries), ("queries", &relative.queries, keys)] {
            let Some(table) = table else { continue };
            let name = format!("{name}.relative.{part}");
            let met = self.met(&name, table, x);
            // What keys meet is by key, then by query: the same rows, turned.
            let turned = [("perm", Attribute::Ints(&[1, 0]))];
            let back = [("perm", Attribute::Ints(&[0, 1, 3, 2]))];
            let is_of_keys = part == "queries";
            let own = if is_of_keys {
                self.writer.op(&format!("{name}.rows"), &Op::plain("Transpose").with(&turned), &[&rows])
            } else {
                rows.clone()
            };
            let shape = self.writer.op(&format!("{name}.shape"), &Op::plain("Shape"), &[&met]);
            let (zero, three) = (self.writer.ints(&[0]), self.writer.ints(&[3]));
            let outer = self.writer.op(&format!("{name}.outer"), &Op::plain("Slice"), &[&shape, &zero, &three]);
            let inner = [("start", Attribute::Int(1))];
            let inner = self.writer.op(&format!("{name}.inner"), &Op::plain("Shape").with(&inner), &[&own]);
            let axis = [("axis", Attribute::Int(0))];
            let shape = self.writer.op(&format!("{name}.wanted"), &Op::plain("Concat").with(&axis), &[&outer, &inner]);
            let own = self.writer.op(&format!("{name}.spread"), &Op::plain("Expand"), &[&own, &shape]);
            let last = [("axis", Attribute::Int(-1))];
            let op = Op::plain("GatherElements").with(&last);
            let mut terms = self.writer.op(&format!("{name}.terms"), &op, &[&met, &own]);
            if is_of_keys {
                terms = self.writer.op(&format!("{name}.back"), &Op::plain("Transpose").with(&back), &[&terms]);
            }
            sum = Some(match sum {
                Some(sum) => self.writer.op(&format!("{name}.sum"), &Op::plain("Add"), &[&sum, &terms]),
                None => terms,
            });
        }
        let scale = self.writer.constant(&Array::float(self.scale(layer)));
        let sum = sum.unwrap_or_else(|| self.writer.constant(&Array { dims: vec![1], data: Data::F32(vec![0.0]) }));
        self.writer.op(&format!("{name}.relative"), &Op::plain("Mul"), &[&sum, &scale])
    }

    /// Rows by head times a table by head, `[batch, heads, rows, table]`.
    fn met(&mut self, name: &str, table: &Table, rows: &str) -> String {
        let heads = self.model.heads;
        let width = self.model.hidden / heads.max(1);
        let as_int = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let shape = self.writer.ints(&[0, -1, as_int(heads), as_int(width)]);
        let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[rows, &shape]);
        let order = [("perm", Attribute::Ints(&[0, 2, 1, 3]))];
        let deep = self.writer.op(&format!("{name}.heads"), &Op::plain("Transpose").with(&order), &[&deep]);
        // [heads, width, rows of the table].
        let value = |head: usize, at: usize, row: usize| table.values[row * table.columns + head * width + at];
        let values: Vec<f32> = (0..heads)
            .flat_map(|head| (0..width).flat_map(move |at| (0..table.rows).map(move |row| value(head, at, row))))
            .collect();
        let weights = self.floats(&format!("{name}.table"), &[heads, width, table.rows], values);
        self.writer.op(&format!("{name}.met"), &Op::plain("MatMul"), &[&deep, &weights])
    }
}
