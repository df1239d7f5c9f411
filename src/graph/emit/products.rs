//! Products of rows and weights, in the target's arithmetic.

use std::borrow::Cow;

use super::{Activations, Emitter, Precision, Range, Table};
use crate::{
    array::{Array, Data},
    cross_encoder::Dense,
    emit::writer::{Attribute, Op},
    proto::kind,
    target::Weights,
    written::Values,
};

/// A product at its place in the graph.
pub(super) struct Site<'a> {
    name: String,
    dense: &'a Dense,
}

/// Rows that are about to enter products, quantised once for all of them.
pub(super) enum Rows {
    /// Floats.
    Float(String),
    /// Unsigned bytes, with their scale and zero point.
    Bytes { bytes: String, scale: String, zero: String },
    /// Unsigned bytes about 128, with a scale a row.
    RowBytes { bytes: String, scales: String },
}

impl<'a> Site<'a> {
    pub(super) fn new(name: String, dense: &'a Dense) -> Self {
        Self { name, dense }
    }
}

impl<'a> Emitter<'a> {
    /// Makes rows ready for the products that read them.
    pub(super) fn rows(&mut self, name: &str, x: &str, range: Range) -> Rows {
        self.observe(name, x);
        self.quantised(name, x, range)
    }

    /// The same for rows that are among those observed already.
    pub(super) fn quantised(&mut self, name: &str, x: &str, range: Range) -> Rows {
        let Precision::Int8 { activations, .. } = &self.target.precision else { return Rows::Float(x.to_owned()) };
        let name = format!("{name}.quantised");
        match activations {
            Activations::PerPair => {
                let mut parts =
                    self.writer.many(&name, &Op::plain("DynamicQuantizeLinear").outputs(3), &[x]).into_iter();
                let mut next = || parts.next().unwrap_or_default();
                Rows::Bytes { bytes: next(), scale: next(), zero: next() }
            }
            Activations::Static(_) => {
                let (scale, zero) = range.quantisation();
                let scale = self.writer.constant(&Array::float(scale));
                let zero = self.byte(zero);
                let bytes = self.writer.op(&name, &Op::plain("QuantizeLinear"), &[x, &scale, &zero]);
                Rows::Bytes { bytes, scale, zero }
            }
            Activations::PerToken => self.row_bytes(&name, x),
            // Such layers quantise inside, and nothing else is in integers.
            Activations::Fused => Rows::Float(x.to_owned()),
        }
    }

    /// A scale a row from its largest magnitude, and the row divided by it, about 128.
    fn row_bytes(&mut self, name: &str, x: &str) -> Rows {
        let last = self.writer.ints(&[-1]);
        let high = self.writer.op(&format!("{name}.high"), &Op::plain("ReduceMax"), &[x, &last]);
        let low = self.writer.op(&format!("{name}.low"), &Op::plain("ReduceMin"), &[x, &last]);
        let low = self.writer.op(&format!("{name}.low.negated"), &Op::plain("Neg"), &[&low]);
        // A row of zeros has no scale of its own; any positive one gives zeros again.
        let tiny = self.writer.constant(&Array::float(1e-30));
        let largest = self.writer.op(&format!("{name}.largest"), &Op::plain("Max"), &[&high, &low, &tiny]);
        let step = self.writer.constant(&Array::float(1.0 / 127.0));
        let scales = self.writer.op(&format!("{name}.scales"), &Op::plain("Mul"), &[&largest, &step]);
        let inverse = self.writer.op(&format!("{name}.inverse"), &Op::plain("Reciprocal"), &[&scales]);
        let steps = self.writer.op(&format!("{name}.steps"), &Op::plain("Mul"), &[x, &inverse]);
        let (one, middle) = (self.writer.constant(&Array::float(1.0)), self.byte(128));
        let bytes = self.writer.op(name, &Op::plain("QuantizeLinear"), &[&steps, &one, &middle]);
        Rows::RowBytes { bytes, scales }
    }

    /// One product with its bias.
    pub(super) fn dense(&mut self, site: &Site<'a>, rows: &Rows) -> String {
        let Site { name, dense } = site;
        match rows {
            Rows::Float(x) => self.float_dense(name, dense, x),
            Rows::Bytes { bytes, scale, zero } => {
                let bias = self.bias(name, dense);
                self.byte_product(name, &dense.weight, &[bytes, scale, zero, &bias])
            }
            Rows::RowBytes { bytes, scales } => {
                let (one, middle) = (self.writer.constant(&Array::float(1.0)), self.byte(128));
                let steps = self.byte_product(&format!("{name}.steps"), &dense.weight, &[bytes, &one, &middle, ""]);
                let bias = self.bias(name, dense);
                if bias.is_empty() {
                    return self.writer.op(name, &Op::plain("Mul"), &[&steps, scales]);
                }
                let x = self.writer.op(&format!("{name}.scaled"), &Op::plain("Mul"), &[&steps, scales]);
                self.writer.op(name, &Op::plain("Add"), &[&x, &bias])
            }
        }
    }

    /// One product in floats, whatever the precision of the others.
    pub(super) fn float_dense(&mut self, name: &str, dense: &'a Dense, x: &str) -> String {
        let Table { rows, columns, values, .. } = &dense.weight;
        self.gemm(name, x, [*rows, *columns], (values.into(), (&dense.bias).into()))
    }

    /// A product in floats with a weight of `dims` and its bias, which may be empty.
    pub(super) fn gemm(
        &mut self,
        name: &str,
        x: &str,
        dims: [usize; 2],
        (weight, bias): (Cow<'a, [f32]>, Cow<'a, [f32]>),
    ) -> String {
        let weight = self.floats(&format!("{name}.weight"), &dims, weight);
        if bias.is_empty() {
            return self.writer.op(name, &Op::plain("Gemm"), &[x, &weight]);
        }
        let bias = self.floats(&format!("{name}.bias"), &[bias.len()], bias);
        self.writer.op(name, &Op::plain("Gemm"), &[x, &weight, &bias])
    }

    /// A product's bias; empty where it has none.
    fn bias(&mut self, name: &str, dense: &'a Dense) -> String {
        if dense.bias.is_empty() {
            return String::new();
        }
        self.floats(&format!("{name}.bias"), &[dense.bias.len()], &dense.bias)
    }

    /// Integers times integers, scaled to floats; `operands` are the rows, their scale and zero point, and the bias.
    fn byte_product(&mut self, name: &str, weight: &Table, operands: &[&str; 4]) -> String {
        let [bytes, scale, zero, bias] = operands;
        let integers = weight.to_integers();
        let (values, weight_zero) = if self.is_unsigned() {
            let moved: Vec<u8> = integers.values.iter().map(|&value| value.cast_unsigned() ^ 0x80).collect();
            (Values::U8(moved.into()), Data::U8(vec![128]))
        } else {
            (Values::I8(integers.values.into()), Data::I8(vec![0]))
        };
        let stem = name.trim_end_matches(".steps");
        let dims = [weight.rows, weight.columns];
        let values = self.writer.values(&format!("{stem}.weight"), &dims, values);
        let count = integers.scales.len();
        let dims = if count == 1 { Vec::new() } else { vec![count] };
        let scales = Array { dims, data: Data::F32(integers.scales) };
        let scales = self.writer.weight(&format!("{stem}.weight.scale"), &scales);
        let weight_zero = self.writer.constant(&Array { dims: Vec::new(), data: weight_zero });
        let op = Op::microsoft("MatMulIntegerToFloat");
        let inputs = [*bytes, &values, *scale, &scales, *zero, &weight_zero, *bias];
        let given = if bias.is_empty() { &inputs[..6] } else { &inputs[..] };
        self.writer.op(name, &op, given)
    }

    /// Rows of a table by their indices; a table of integers stays one, and its rows are scaled.
    pub(super) fn gather(&mut self, name: &str, table: &'a Table, indices: &str) -> String {
        let dims = [table.rows, table.columns];
        let kept = table.integers.as_ref().filter(|integers| integers.scales.len() == 1);
        let (Some(integers), false) = (kept, self.target.precision == Precision::Fp16) else {
            let weights = self.floats(&format!("{name}.weight"), &dims, &table.values);
            return self.writer.op(name, &Op::plain("Gather"), &[&weights, indices]);
        };
        let scale = self.writer.weight(&format!("{name}.weight.scale"), &Array::float(integers.scales[0]));
        let values = Values::I8((&integers.values).into());
        let weights = self.writer.values(&format!("{name}.weight"), &dims, values);
        let bytes = self.writer.op(&format!("{name}.integers"), &Op::plain("Gather"), &[&weights, indices]);
        // A cast and a product rather than `DequantizeLinear`: optimisers take that for a quantised graph and move it.
        let to = [("to", Attribute::Int(i64::from(kind::FLOAT)))];
        let cast = Op::plain("Cast").with(&to);
        let floats = self.writer.op(&format!("{name}.floats"), &cast, &[&bytes]);
        let zero = self.writer.constant(&Array::float(f32::from(integers.zero)));
        let steps = self.writer.op(&format!("{name}.steps"), &Op::plain("Sub"), &[&floats, &zero]);
        self.writer.op(name, &Op::plain("Mul"), &[&steps, &scale])
    }

    fn is_unsigned(&self) -> bool {
        matches!(self.target.precision, Precision::Int8 { weights: Weights::Unsigned, .. })
    }

    fn byte(&mut self, value: u8) -> String {
        self.writer.constant(&Array { dims: Vec::new(), data: Data::U8(vec![value]) })
    }
}
