//! The graph for NVIDIA GPUs: pairs of any lengths and any number, one after the other without padding.
//!
//! Owns ONNX Runtime's own packed operators, which run on CUDA alone, ours for biases and GELU, which take half the time of
//! ONNX Runtime's, and what makes few of them enough: biases of keys
//! are gone (they add the same to all scores of a query), those of values enter the output's bias (a row of attention
//! sums to one), and the last layer's products with the key and value weights are `absorbed`. The mask of that layer is made
//! on the device; all inputs are 32-bit integers.

use std::borrow::Cow;

use super::{Emitter, Layout, Precision, Target};
use crate::{
    array::{Array, Data},
    cross_encoder::{Activation, Dense, Layer, Norm, PositionTable, Table},
    emit::writer::{Attribute, Op},
    half, own,
    proto::kind,
};

/// What a score of a token that is not there is made of: its exponential is zero, in half floats too.
const NEVER: f32 = -1e4;

impl<'a> Emitter<'a> {
    /// Declares the inputs and writes the layers; answers with the `[CLS]` rows after the last one.
    pub(super) fn ragged(&mut self, layers: usize) -> String {
        let mut rows = self.ragged_embeddings();
        let offset = self.writer.input_of(kind::INT32, "token_offset", &["pairs", "longest"]);
        if layers > 1 {
            self.writer.input_of(kind::INT32, "cumulative_lengths", &["bounds"]);
        }
        for at in 0..layers - 1 {
            let layer = &self.model.layers[at];
            let name = format!("layer.{at}");
            let context = self.packed_attention(&format!("{name}.attention"), layer, [&rows, &offset]);
            rows = self.after_attention(&name, layer, [&context, &rows]);
        }
        let at = layers - 1;
        let layer = &self.model.layers[at];
        let name = format!("layer.{at}");
        let (context, first) = self.first_attention(&format!("{name}.attention"), layer, [&rows, &offset]);
        self.after_attention(&name, layer, [&context, &first])
    }

    /// All tables' rows summed and normalised in one operator.
    fn ragged_embeddings(&mut self) -> String {
        let embeddings = &self.model.embeddings;
        let zero = self.writer.ints(&[0]);
        let row = |emitter: &mut Self, given: &str| {
            emitter.writer.op(&format!("{given}.row"), &Op::plain("Unsqueeze"), &[given, &zero])
        };
        let input = |emitter: &mut Self, name: &str| emitter.writer.input_of(kind::INT32, name, &["tokens"]);
        let tokens = input(self, "input_ids");
        let ids = row(self, &tokens);
        let types = embeddings.types.as_ref().map(|table| {
            let types = input(self, "token_type_ids");
            (row(self, &types), table)
        });
        let places = input(self, "position_ids");
        let places = self.ragged_positions(&places, &tokens);
        let positions = row(self, &places);
        let words = self.table("embeddings.words.weight", &embeddings.words);
        let places = match &embeddings.positions {
            PositionTable::Learnt(table) => self.table("embeddings.positions.weight", table),
            PositionTable::Absent { .. } => String::new(),
        };
        let (types, segments) = match types {
            Some((types, table)) => (types, self.table("embeddings.types.weight", table)),
            None => (String::new(), String::new()),
        };
        // Only models with this norm come here; see `check`.
        let Some(norm) = &embeddings.norm else { return String::new() };
        let [scale, bias] = self.norm_weights("embeddings.norm", norm);
        let epsilon = [("epsilon", Attribute::Float(norm.epsilon))];
        let op = Op::microsoft("EmbedLayerNormalization").with(&epsilon).outputs(2);
        let inputs = [&ids, &types, &words, &places, &segments, &scale, &bias, "", &positions].map(AsRef::as_ref);
        let outputs = self.writer.many("embeddings.norm", &op, &inputs);
        let flat = self.writer.ints(&[-1, as_int(embeddings.words.columns)]);
        let rows = self.writer.op("embeddings.rows", &Op::plain("Reshape"), &[&outputs[0], &flat]);
        match &embeddings.projection {
            Some(projection) => self.float_dense("embeddings.projection", projection, &rows),
            None => rows,
        }
    }

    /// As [`Emitter::passing_over_padding`], which counts in 64 bits, in 32.
    fn ragged_positions(&mut self, places: &str, ids: &str) -> String {
        if self.model.embeddings.padding.is_none() {
            return places.to_owned();
        }
        let wide = [("to", Attribute::Int(i64::from(kind::INT64)))];
        let [ids, places] = [ids, places]
            .map(|given| self.writer.op(&format!("{given}.wide"), &Op::plain("Cast").with(&wide), &[given]));
        let rows = self.passing_over_padding(&places, &ids, true);
        let narrow = [("to", Attribute::Int(i64::from(kind::INT32)))];
        self.writer.op("positions.narrow", &Op::plain("Cast").with(&narrow), &[&rows])
    }

    /// Attention of every token to those of its pair.
    fn packed_attention(&mut self, name: &str, layer: &'a Layer, [rows, offset]: [&str; 2]) -> String {
        // `FusedMatMul` rather than `MatMul`: with that, optimisers put the bias into a `Gemm`, which writes it into every
        // row beforehand and takes three times as long as adding it.
        let queries = self.product(&format!("{name}.query"), &Op::microsoft("FusedMatMul"), (&layer.query, rows));
        let bias = self.floats(&format!("{name}.query.bias"), &[layer.query.bias.len()], &layer.query.bias);
        let add = if self.takes(layer.query.bias.len()) { Op::own(own::BIAS) } else { Op::plain("Add") };
        let queries = self.writer.op(&format!("{name}.query.sum"), &add, &[&queries, &bias]);
        let keys = self.product(&format!("{name}.key"), &Op::plain("MatMul"), (&layer.key, rows));
        let values = self.product(&format!("{name}.value"), &Op::plain("MatMul"), (&layer.value, rows));
        let heads = [("num_heads", Attribute::Int(as_int(self.model.heads)))];
        let op = Op::microsoft("PackedMultiHeadAttention").with(&heads);
        self.writer.op(name, &op, &[&queries, &keys, &values, "", offset, "cumulative_lengths"])
    }

    /// Attention of the `[CLS]` tokens alone, `[pairs, hidden]`, and their rows.
    fn first_attention(&mut self, name: &str, layer: &'a Layer, [rows, offset]: [&str; 2]) -> (String, String) {
        let starts = self.writer.input_of(kind::INT32, "starts", &["pairs"]);
        let first = self.writer.op(&format!("{name}.first"), &Op::plain("Gather"), &[rows, &starts]);
        let met = self.met_by_keys(name, layer, &first);
        let deep = self.writer.op(&format!("{name}.rows"), &Op::microsoft("RestorePadding"), &[rows, offset]);
        let turned = [("transB", Attribute::Int(1))];
        let scores = Op::microsoft("FusedMatMul").with(&turned);
        let scores = self.writer.op(&format!("{name}.scores"), &scores, &[&met, &deep]);
        let mask = self.mask();
        let scores = self.writer.op(&format!("{name}.masked"), &Op::plain("Add"), &[&scores, &mask]);
        let last = [("axis", Attribute::Int(-1))];
        let shares = self.writer.op(&format!("{name}.shares"), &Op::plain("Softmax").with(&last), &[&scores]);
        let mixed = self.writer.op(&format!("{name}.mixed"), &Op::plain("MatMul"), &[&shares, &deep]);
        (self.met_by_values(name, layer, &mixed), first)
    }

    /// The rest of a layer, from attention's context and the rows that it is added to.
    fn after_attention(&mut self, name: &str, layer: &'a Layer, [context, residual]: [&str; 2]) -> String {
        let plain = Op::plain("MatMul");
        let x = self.product(&format!("{name}.attention.output"), &plain, (&layer.output, context));
        let bias = output_bias(layer);
        // Only models with this norm come here; see `check`.
        let attention_norm = layer.attention_norm.as_ref().unwrap_or(&layer.norm);
        let middle = self.skip_norm(&format!("{name}.attention.norm"), [&x, residual], (attention_norm, bias.into()));
        let x = self.up(name, layer, &middle);
        let x = self.product(&format!("{name}.down"), &plain, (&layer.down, &x));
        self.skip_norm(&format!("{name}.norm"), [&x, &middle], (&layer.norm, (&layer.down.bias).into()))
    }

    fn up(&mut self, name: &str, layer: &'a Layer, x: &str) -> String {
        let name = format!("{name}.up");
        let fused = match layer.activation {
            Activation::Gelu if self.takes(layer.up.bias.len()) => Op::own(own::BIAS_GELU),
            Activation::Gelu => Op::microsoft("BiasGelu"),
            Activation::GeluTanh => Op::microsoft("FastGelu"),
            Activation::Relu | Activation::Tanh | Activation::Silu => {
                let x = self.float_dense(&name, &layer.up, x);
                return self.activation(&format!("{name}.activation"), layer.activation, &x);
            }
        };
        let x = self.product(&name, &Op::plain("MatMul"), (&layer.up, x));
        let bias = self.floats(&format!("{name}.bias"), &[layer.up.bias.len()], &layer.up.bias);
        self.writer.op(&format!("{name}.activation"), &fused, &[&x, &bias])
    }

    /// Whether our own operators take rows of so many columns.
    fn takes(&self, columns: usize) -> bool {
        has_own(&self.target) && own::takes(columns)
    }

    /// The sum of two rows and a bias, normalised.
    fn skip_norm(&mut self, name: &str, [x, residual]: [&str; 2], (norm, bias): (&'a Norm, Cow<'a, [f32]>)) -> String {
        let [scale, shift] = self.norm_weights(name, norm);
        let bias = self.floats(&format!("{name}.sum.bias"), &[bias.len()], bias);
        let epsilon = [("epsilon", Attribute::Float(norm.epsilon))];
        let op = Op::microsoft("SkipLayerNormalization").with(&epsilon);
        self.writer.op(name, &op, &[x, residual, &scale, &shift, &bias])
    }

    fn norm_weights(&mut self, name: &str, norm: &'a Norm) -> [String; 2] {
        [("scale", &norm.scale), ("bias", &norm.bias)]
            .map(|(part, values)| self.floats(&format!("{name}.{part}"), &[values.len()], values))
    }

    /// A product without its bias.
    fn product(&mut self, name: &str, op: &Op<'_>, (dense, x): (&'a Dense, &str)) -> String {
        let weight = self.table(&format!("{name}.weight"), &dense.weight);
        self.writer.op(name, op, &[x, &weight])
    }

    fn table(&mut self, name: &str, table: &'a Table) -> String {
        self.floats(name, &[table.rows, table.columns], &table.values)
    }

    /// Zero where a pair has a token, [`NEVER`] where it has none, `[pairs, 1, longest]`.
    fn mask(&mut self) -> String {
        let lengths = self.writer.input_of(kind::INT32, "lengths", &["pairs", "1", "1"]);
        let columns = self.writer.input_of(kind::INT32, "columns", &["longest"]);
        let there = self.writer.op("mask.there", &Op::plain("Less"), &[&columns, &lengths]);
        let [zero, never] = [0.0, NEVER].map(|value| {
            let data = if self.target.precision == Precision::Fp16 {
                Data::F16(vec![half::narrow(value)])
            } else {
                Data::F32(vec![value])
            };
            self.writer.constant(&Array { dims: Vec::new(), data })
        });
        self.writer.op("mask", &Op::plain("Where"), &[&there, &zero, &never])
    }
}

/// Whether a target's graph may have operators of our own: they take half floats, on NVIDIA GPUs.
pub(super) fn has_own(target: &Target) -> bool {
    target.layout == Layout::Ragged && target.precision == Precision::Fp16
}

/// The bias of attention's output product, and that of the values after it: every row of attention sums to one.
fn output_bias(layer: &Layer) -> Vec<f32> {
    let weight = &layer.output.weight;
    let mut sums: Vec<f64> = layer.output.bias.iter().map(|&value| f64::from(value)).collect();
    for (row, &bias) in weight.values.chunks_exact(weight.columns).zip(&layer.value.bias) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value) * f64::from(bias);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded to the graph's floats")]
    sums.into_iter().map(|sum| sum as f32).collect()
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
