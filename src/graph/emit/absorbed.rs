//! The last layer's products with the key and value weights, for the `[CLS]` rows alone.
//!
//! Owns a rearrangement of sums: a query times (rows times key weights) is (the query times the key weights, turned) times
//! the rows, so one row as wide as a token's meets the tokens as they are; what comes of them meets the value weights in
//! turn. Neither keys nor values of all tokens are computed. Keys'
//! biases add the same to all scores of a query and are left out; a row of attention sums to one, so values' biases may be
//! added to what comes of it. How tokens are met is the layout's.

use super::{Emitter, Precision};
use crate::{
    cross_encoder::{Dense, Layer},
    emit::writer::{Attribute, Op},
};

/// Which way a head's matrix stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Straight,
    Turned,
}

impl<'a> Emitter<'a> {
    /// Whether a packed graph absorbs: BERT's plain attention in 32-bit floats. In 8 bits the products are so cheap that
    /// nothing was gained.
    pub(super) fn absorbs(&self) -> bool {
        self.target.precision == Precision::Fp32 && self.model.beyond_bert().is_none()
    }

    /// Context of the `[CLS]` rows in a packed graph, `[slots, hidden]`: every slot's rows are met by its own query.
    pub(super) fn absorbed(
        &mut self,
        (name, layer): (&str, &'a Layer),
        [rows, first]: [&str; 2],
        (slots, lengths): (usize, &str),
    ) -> String {
        let met = self.met_by_keys(name, layer, first);
        let axis = [("axis", Attribute::Int(0))];
        let (mets, rows) = if slots == 1 {
            (vec![met], vec![rows.to_owned()])
        } else {
            let split = Op::plain("Split").with(&axis).outputs(slots);
            let ones = self.writer.ints(&vec![1; slots]);
            let mets = self.writer.many(&format!("{name}.query.slots"), &split, &[&met, &ones]);
            (mets, self.writer.many(&format!("{name}.rows.slots"), &split, &[rows, lengths]))
        };
        let turned = [("transB", Attribute::Int(1))];
        let last = [("axis", Attribute::Int(-1))];
        let mut mixed = Vec::with_capacity(slots);
        for (met, rows) in mets.iter().zip(&rows) {
            let scores = Op::microsoft("FusedMatMul").with(&turned);
            let scores = self.writer.op(&format!("{name}.scores"), &scores, &[met, rows]);
            let shares = self.writer.op(&format!("{name}.shares"), &Op::plain("Softmax").with(&last), &[&scores]);
            mixed.push(self.writer.op(&format!("{name}.mixed"), &Op::plain("MatMul"), &[&shares, rows]));
        }
        let mixed = if let [mixed] = mixed.as_slice() {
            mixed.clone()
        } else {
            let mixed: Vec<&str> = mixed.iter().map(String::as_str).collect();
            self.writer.op(&format!("{name}.mixed.slots"), &Op::plain("Concat").with(&axis), &mixed)
        };
        let context = self.met_by_values(name, layer, &mixed);
        let bias = self.floats(&format!("{name}.value.bias"), &[layer.value.bias.len()], &layer.value.bias);
        self.writer.op(&format!("{name}.context"), &Op::plain("Add"), &[&context, &bias])
    }

    /// The `[CLS]` rows' queries times the key weights, `[pairs, heads, hidden]`.
    pub(super) fn met_by_keys(&mut self, name: &str, layer: &Layer, first: &str) -> String {
        let queries = self.scaled_query(&format!("{name}.query"), &layer.query, first);
        let queries = self.heads_first(&format!("{name}.query"), &queries);
        let keys = self.by_head(&format!("{name}.key"), &layer.key, Turn::Turned);
        let met = self.writer.op(&format!("{name}.query.met"), &Op::plain("MatMul"), &[&queries, &keys]);
        self.transposed(&format!("{name}.query.met.pairs"), &met)
    }

    /// Mixtures of rows, `[pairs, heads, hidden]`, times the value weights: context without the values' bias,
    /// `[pairs, hidden]`.
    pub(super) fn met_by_values(&mut self, name: &str, layer: &Layer, mixed: &str) -> String {
        let mixed = self.transposed(&format!("{name}.mixed.heads"), mixed);
        let values = self.by_head(&format!("{name}.value"), &layer.value, Turn::Straight);
        let context = self.writer.op(&format!("{name}.met"), &Op::plain("MatMul"), &[&mixed, &values]);
        let context = self.transposed(&format!("{name}.pairs"), &context);
        let flat = self.writer.ints(&[-1, as_int(self.model.hidden)]);
        self.writer.op(&format!("{name}.context"), &Op::plain("Reshape"), &[&context, &flat])
    }

    /// `[pairs, hidden]` as `[heads, pairs, head]`.
    fn heads_first(&mut self, name: &str, x: &str) -> String {
        let shape = self.writer.ints(&[-1, as_int(self.model.heads), as_int(self.head())]);
        let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[x, &shape]);
        self.transposed(&format!("{name}.heads"), &deep)
    }

    /// The first two of three dimensions exchanged.
    fn transposed(&mut self, name: &str, x: &str) -> String {
        let order = [("perm", Attribute::Ints(&[1, 0, 2]))];
        self.writer.op(name, &Op::plain("Transpose").with(&order), &[x])
    }

    /// A product's weight with one matrix a head, `[heads, head, inputs]` when turned, else `[heads, inputs, head]`.
    fn by_head(&mut self, name: &str, dense: &Dense, turn: Turn) -> String {
        let (heads, head, inputs) = (self.model.heads, self.head(), dense.weight.rows);
        let at = |input: usize, output: usize| dense.weight.values[input * dense.weight.columns + output];
        let values: Vec<f32> = (0..heads)
            .flat_map(|number| {
                let outputs = number * head..(number + 1) * head;
                match turn {
                    Turn::Turned => {
                        outputs.flat_map(|output| (0..inputs).map(move |input| at(input, output))).collect()
                    }
                    Turn::Straight => (0..inputs)
                        .flat_map(|input| outputs.clone().map(move |output| at(input, output)))
                        .collect::<Vec<_>>(),
                }
            })
            .collect();
        let dims = match turn {
            Turn::Turned => [heads, head, inputs],
            Turn::Straight => [heads, inputs, head],
        };
        self.floats(&format!("{name}.weight"), &dims, values)
    }

    /// The query product with the scale of attention inside.
    fn scaled_query(&mut self, name: &str, query: &Dense, x: &str) -> String {
        let scale = 1.0 / (self.head() as f32).sqrt();
        let scaled = |values: &[f32]| -> Vec<f32> { values.iter().map(|value| value * scale).collect() };
        let (weight, bias) = (scaled(&query.weight.values), scaled(&query.bias));
        self.gemm(name, x, [query.weight.rows, query.weight.columns], (weight.into(), bias.into()))
    }

    fn head(&self) -> usize {
        self.model.hidden / self.model.heads.max(1)
    }
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
