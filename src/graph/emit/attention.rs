//! Attention over the tokens of each pair.
//!
//! Owns the way from flat rows to pairs and back. The last layer asks for the `[CLS]` rows' context only, so only their
//! queries are computed; keys and values are those of all tokens, or are `absorbed`.

use super::{Emitter, Range};
use crate::{
    array::Array,
    bert::{Dense, Layer},
    emit::{
        products::{Rows, Site},
        writer::{Attribute, Op},
    },
};

/// Where pairs lie in the flat rows.
pub(super) enum Arrangement {
    /// One after the other: their lengths and first rows.
    Packed { slots: usize, lengths: String, starts: String },
    /// Padded to one length: which tokens are real, for all queries `[batch, 1, sequence, sequence]` and for the first
    /// ones `[batch, 1, 1, sequence]`, and the shape of unflattened rows.
    Padded { mask: String, first_mask: String, shape: String },
}

/// Which rows of the pairs a layer computes.
pub(super) struct Pairs<'a> {
    arrangement: &'a Arrangement,
    rows: Wanted,
}

/// One layer's attention at its place in the graph.
pub(super) struct Place<'a> {
    pub(super) name: String,
    pub(super) layer: &'a Layer,
    pub(super) pairs: &'a Pairs<'a>,
    pub(super) range: Range,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    First,
}

impl Arrangement {
    /// The rows that a layer computes: all, or in the last layer the `[CLS]` rows.
    pub(super) fn rows(&self, last: bool) -> Pairs<'_> {
        Pairs { arrangement: self, rows: if last { Wanted::First } else { Wanted::All } }
    }
}

impl Emitter<'_> {
    /// Context rows of the wanted tokens, and those tokens' own rows.
    pub(super) fn attention(&mut self, place: &Place<'_>, rows: &str) -> (String, String) {
        let Place { name, layer, pairs, range } = place;
        let all = self.rows(name, rows, *range);
        if let (Wanted::First, Arrangement::Packed { slots, lengths, .. }) = (pairs.rows, pairs.arrangement)
            && self.absorbs()
        {
            let first = self.first_rows(name, rows, pairs.arrangement);
            return (self.absorbed((name, layer), [rows, &first], (*slots, lengths)), first);
        }
        let product = |emitter: &mut Self, part: &str, dense: &Dense, rows: &Rows| {
            emitter.dense(&Site::new(format!("{name}.{part}"), dense), rows)
        };
        let keys = product(self, "key", &layer.key, &all);
        let values = product(self, "value", &layer.value, &all);
        let (queries, wanted) = match pairs.rows {
            Wanted::All => (product(self, "query", &layer.query, &all), rows.to_owned()),
            Wanted::First => {
                let first = self.first_rows(name, rows, pairs.arrangement);
                let quantised = self.quantised(&format!("{name}.first"), &first, *range);
                (product(self, "query", &layer.query, &quantised), first)
            }
        };
        let context = match pairs.arrangement {
            Arrangement::Packed { slots, lengths, .. } => {
                self.packed(name, [&queries, &keys, &values], (*slots, lengths, pairs.rows))
            }
            Arrangement::Padded { mask, first_mask, shape } => {
                let mask = if pairs.rows == Wanted::First { first_mask } else { mask };
                self.padded(name, [&queries, &keys, &values], (mask, shape, pairs.rows))
            }
        };
        let hidden = self.hidden();
        let shape = self.writer.ints(&[-1, hidden]);
        (self.writer.op(&format!("{name}.context"), &Op::plain("Reshape"), &[&context, &shape]), wanted)
    }

    fn packed(&mut self, name: &str, rows: [&str; 3], (slots, lengths, wanted): (usize, &str, Wanted)) -> String {
        let zero = self.writer.ints(&[0]);
        let mut parts: Vec<Vec<String>> = Vec::new();
        for (rows, part) in rows.into_iter().zip(["query", "key", "value"]) {
            let one = self.writer.op(&format!("{name}.{part}.batch"), &Op::plain("Unsqueeze"), &[rows, &zero]);
            if slots == 1 {
                parts.push(vec![one]);
                continue;
            }
            let ones = (part == "query" && wanted == Wanted::First).then(|| self.writer.ints(&vec![1; slots]));
            let sizes = ones.as_deref().unwrap_or(lengths);
            let axis = [("axis", Attribute::Int(1))];
            let split = Op::plain("Split").with(&axis).outputs(slots);
            parts.push(self.writer.many(&format!("{name}.{part}.pairs"), &split, &[&one, sizes]));
        }
        let contexts: Vec<String> =
            (0..slots).map(|slot| self.attend(name, &[&parts[0][slot], &parts[1][slot], &parts[2][slot]])).collect();
        if let [context] = contexts.as_slice() {
            return context.clone();
        }
        let contexts: Vec<&str> = contexts.iter().map(String::as_str).collect();
        let axis = [("axis", Attribute::Int(1))];
        self.writer.op(&format!("{name}.contexts"), &Op::plain("Concat").with(&axis), &contexts)
    }

    fn padded(&mut self, name: &str, rows: [&str; 3], (mask, shape, wanted): (&str, &str, Wanted)) -> String {
        let [queries, keys, values] = rows;
        let mut deep = |part: &str, rows: &str| {
            self.writer.op(&format!("{name}.{part}.deep"), &Op::plain("Reshape"), &[rows, shape])
        };
        let (keys, values) = (deep("key", keys), deep("value", values));
        let queries = match wanted {
            Wanted::All => deep("query", queries),
            Wanted::First => {
                let one = self.writer.ints(&[1]);
                self.writer.op(&format!("{name}.query.deep"), &Op::plain("Unsqueeze"), &[queries, &one])
            }
        };
        self.attend(name, &[&queries, &keys, &values, mask])
    }

    fn attend(&mut self, name: &str, inputs: &[&str]) -> String {
        let heads = i64::try_from(self.bert.heads).unwrap_or(i64::MAX);
        let attributes = [("q_num_heads", Attribute::Int(heads)), ("kv_num_heads", Attribute::Int(heads))];
        self.writer.op(name, &Op::plain("Attention").with(&attributes), inputs)
    }

    /// The first row of every pair, `[pairs, hidden]`.
    fn first_rows(&mut self, name: &str, rows: &str, arrangement: &Arrangement) -> String {
        let name = format!("{name}.first");
        match arrangement {
            Arrangement::Packed { starts, .. } => self.writer.op(&name, &Op::plain("Gather"), &[rows, starts]),
            Arrangement::Padded { shape, .. } => {
                let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[rows, shape]);
                let zero = self.writer.constant(&Array::int(0));
                let axis = [("axis", Attribute::Int(1))];
                self.writer.op(&name, &Op::plain("Gather").with(&axis), &[&deep, &zero])
            }
        }
    }

    fn hidden(&self) -> i64 {
        i64::try_from(self.bert.hidden).unwrap_or(i64::MAX)
    }
}
