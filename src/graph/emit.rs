//! Writes a cross-encoder as an ONNX graph for one target.
//!
//! Owns the order of the computation: embeddings, layers, the last one for the rows that stand for pairs only, head. Rows are flat,
//! `[tokens, hidden]`, so that every product is one `Gemm` with its bias inside; attention alone sees pairs. Operators are
//! ONNX's own except the 8-bit product, whose scaling ONNX Runtime keeps in an operator of its own.

use std::borrow::Cow;

use prost::Message;

use self::{
    attention::{Pairs, Place},
    products::Site,
    writer::{Attribute, Op, Writer},
};
use super::{
    cross_encoder::{Activation, CrossEncoder, Layer, Norm, NormKind, NormPlacement, Pooling, Table, Transform},
    own, proto,
    proto::kind,
    summary::PROVIDER,
    target::{Activations, LayerRanges, Layout, Precision, Provenance, Range, Target},
    written::{Values, Written},
};

mod absorbed;
mod attention;
pub(super) mod coreml;
mod embeddings;
mod fused;
mod padded;
mod paged;
mod products;
mod ragged;
mod writer;

/// The provider of the ragged layout, as its word stands in a graph's metadata.
const CUDA: &str = "cuda";

/// Operator set with `Attention` and `Gelu`, and the first IR version that carries it.
const OPSET: i64 = 23;
const IR_VERSION: i64 = 11;

/// What every runtime library reads that can be loaded.
const OPSET_OF_OLD: i64 = 14;
const IR_VERSION_OF_OLD: i64 = 8;

/// The target does not suit the model or itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// More than one pair would share a range.
    #[error("slots: {slots} pairs would share one dynamic range, so a score would depend on its neighbours; use 1")]
    SharedRange {
        /// Slots asked for.
        slots: usize,
    },
    /// Ranges were observed on another model.
    #[error("ranges: observed for {ranges} layers, the model keeps {layers}; observe them on this model")]
    Ranges {
        /// Layers with ranges.
        ranges: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// The packed operators of GPUs take floats.
    #[error("precision: the graph for GPUs computes in fp16 or fp32; use one of them")]
    Integers,
    /// What writes for this kind of device does not write this part of a model.
    #[error("{part}: not written for {device}; use the cpu")]
    Part {
        /// The part.
        part: &'static str,
        /// The kind of device.
        device: &'static str,
    },
    /// There is nothing to compute.
    #[error("{what}: must be at least 1, and layers at most those of the model")]
    Count {
        /// Which count.
        what: &'static str,
    },
}

/// What every part of a graph needs while it is written.
struct Emitter<'a> {
    writer: Writer<'a>,
    model: &'a CrossEncoder,
    target: Target,
    /// Values that hold observed extremes, when ranges are asked for instead of logits alone.
    observed: Option<Vec<String>>,
}

/// Writes the model for a target.
pub(super) fn emit<'m>(
    model: &'m CrossEncoder,
    target: &Target,
    provenance: &Provenance,
) -> Result<Written<'m>, Unfit> {
    write(model, target, provenance, None)
}

/// Writes the model in fp32 with the extremes of everything that enters a product as outputs beside the logits:
/// `ranges`, a row a product's input, `[4 · layers, 2]`.
pub(super) fn emit_observer<'m>(
    model: &'m CrossEncoder,
    target: &Target,
    provenance: &Provenance,
) -> Result<Written<'m>, Unfit> {
    write(model, &Target { precision: Precision::Fp32, ..target.clone() }, provenance, Some(Vec::new()))
}

/// See [`fused::beyond`].
pub(super) fn beyond_fused(model: &CrossEncoder) -> Option<&'static str> {
    fused::beyond(model)
}

/// A graph that doubles two floats, `x` to `y`: the least that shows whether something runs.
pub(super) fn doubling() -> Vec<u8> {
    let mut writer = Writer::default();
    let x = writer.input_of(kind::FLOAT, "x", &["2"]);
    writer.op("y", &Op::plain("Add"), &[&x, &x]);
    writer.output("y", &["2"]);
    let opset_import = vec![proto::OperatorSet { domain: String::new(), version: OPSET_OF_OLD }];
    let (graph, _) = writer.finish("doubling");
    let graph = Some(graph);
    proto::Model { ir_version: IR_VERSION_OF_OLD, graph, opset_import, ..Default::default() }.encode_to_vec()
}

fn write<'m>(
    model: &'m CrossEncoder,
    target: &Target,
    provenance: &Provenance,
    observed: Option<Vec<String>>,
) -> Result<Written<'m>, Unfit> {
    let layers = check(model, target)?;
    let mut emitter = Emitter { writer: Writer::default(), model, target: target.clone(), observed };
    emitter.graph(layers);
    let (graph, large) = emitter.writer.finish("cross-encoder");
    let shape_only = layers < model.layers.len();
    let mut entries = vec![
        ("rescored.source_sha256", provenance.source_sha256.clone()),
        ("rescored.tool", provenance.tool.clone()),
        ("rescored.target", target.to_string()),
    ];
    if target.layout == Layout::Ragged {
        entries.push((PROVIDER, CUDA.into()));
    }
    if shape_only {
        entries.push(("rescored.shape_only", "true".into()));
    }
    let entry = |(key, value): (&str, String)| proto::StringEntry { key: key.into(), value };
    let mut sets = vec![("", OPSET), (writer::MICROSOFT, 1)];
    if ragged::has_own(target) || attention::has_own(model, target) {
        sets.push((own::DOMAIN, 1));
    }
    let set = |(domain, version): (&str, i64)| proto::OperatorSet { domain: domain.into(), version };
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "rescored".into(),
        producer_version: provenance.tool.clone(),
        graph: Some(graph),
        opset_import: sets.into_iter().map(set).collect(),
        metadata_props: entries.into_iter().map(entry).collect(),
        functions: Vec::new(),
    };
    Ok(Written::new(model, large))
}

/// The layers that are kept, when the target suits the model.
fn check(model: &CrossEncoder, target: &Target) -> Result<usize, Unfit> {
    let layers = target.layers.unwrap_or(model.layers.len());
    if layers == 0 || layers > model.layers.len() {
        return Err(Unfit::Count { what: "layers" });
    }
    let beyond = if model.is_causal() { paged::beyond(model, &target.precision) } else { model.beyond_bert() };
    if let (Layout::Ragged, Some(part)) = (target.layout, beyond) {
        return Err(Unfit::Part { part, device: CUDA });
    }
    match (&target.precision, target.layout) {
        (Precision::Fp16, Layout::Packed { .. }) if model.beyond_bert().is_some() => {
            Err(Unfit::Part { part: "16-bit floats", device: "cpu" })
        }
        (_, Layout::Packed { slots: 0 }) => Err(Unfit::Count { what: "slots" }),
        (Precision::Int8 { activations: Activations::PerPair, .. }, Layout::Packed { slots }) if slots > 1 => {
            Err(Unfit::SharedRange { slots })
        }
        (Precision::Int8 { .. }, Layout::Ragged) => Err(Unfit::Integers),
        (Precision::Int8 { activations: Activations::Fused, .. }, Layout::Padded) => {
            Err(Unfit::Part { part: "layers of packed rows", device: "padded batches" })
        }
        (Precision::Int8 { activations: Activations::Fused, .. }, Layout::Packed { .. })
            if let Some(part) = fused::beyond(model) =>
        {
            Err(Unfit::Part { part, device: "integer layers" })
        }
        (Precision::Int8 { activations: Activations::Static(ranges), .. }, _) if ranges.layers.len() < layers => {
            Err(Unfit::Ranges { ranges: ranges.layers.len(), layers })
        }
        _ => Ok(layers),
    }
}

impl<'a> Emitter<'a> {
    fn graph(&mut self, layers: usize) {
        let rows = match self.target.layout {
            Layout::Ragged if self.model.is_causal() => self.paged(layers),
            Layout::Ragged => self.ragged(layers),
            Layout::Padded | Layout::Packed { .. } => self.rows_of(layers),
        };
        let head = &self.model.head;
        let mut x = rows;
        if let Some(Transform { dense, activation, norm }) = &head.transform {
            x = self.float_dense("head.dense", dense, &x);
            x = self.activation("head.activation", *activation, &x);
            if let Some(norm) = norm {
                x = self.norm("head.norm", &x, norm);
            }
        }
        let logits = self.float_dense("head.classifier", &head.classifier, &x);
        let to = [("to", Attribute::Int(i64::from(kind::FLOAT)))];
        self.writer.op("logits", &Op::plain("Cast").with(&to), &[&logits]);
        self.writer.output("logits", &["pairs", "1"]);
        if let Some(extremes) = self.observed.take() {
            let extremes: Vec<&str> = extremes.iter().map(String::as_str).collect();
            let axis = [("axis", Attribute::Int(0))];
            self.writer.op("ranges", &Op::plain("Concat").with(&axis), &extremes);
            self.writer.output("ranges", &["extremes"]);
        }
    }

    /// One row a pair after the last layer.
    fn rows_of(&mut self, layers: usize) -> String {
        let (mut rows, pairs) = self.embeddings();
        // The plain form picks last rows behind the last layer, so that it judges a last layer of theirs alone.
        let is_one = match self.model.pooling {
            Pooling::First => true,
            Pooling::Last => self.target.layout != Layout::Padded,
            Pooling::Mean => false,
        };
        for at in 0..layers {
            let wanted = pairs.rows(is_one && at + 1 == layers);
            rows = if self.is_fused() { self.fused_layer(at, &rows, &wanted) } else { self.layer(at, &rows, &wanted) };
        }
        if self.model.pooling == Pooling::Last && !is_one {
            rows = self.last_rows(&rows, &pairs);
        }
        if let Some(norm) = &self.model.final_norm {
            rows = self.norm("final.norm", &rows, norm);
        }
        match self.model.pooling {
            Pooling::First | Pooling::Last => rows,
            Pooling::Mean => self.mean(&rows, &pairs),
        }
    }

    /// Whether layers are operators of our own.
    fn is_fused(&self) -> bool {
        matches!(self.target.precision, Precision::Int8 { activations: Activations::Fused, .. })
    }

    /// One layer; the last one computes the rows that stand for pairs only, where those alone are wanted.
    fn layer(&mut self, at: usize, rows: &str, pairs: &Pairs<'_>) -> String {
        let layer = &self.model.layers[at];
        let name = |part: &str| format!("layer.{at}.{part}");
        let ranges = self.ranges(at);
        let input = match (self.model.norms, &layer.attention_norm) {
            (NormPlacement::Before, Some(norm)) => self.norm(&name("attention.norm"), rows, norm),
            (NormPlacement::Before | NormPlacement::After, _) => rows.to_owned(),
        };
        let place = Place { name: name("attention"), layer, pairs, range: ranges.attention };
        let (context, mut residual) = self.attention(&place, &input);
        if input != rows {
            residual = self.wanted(&place, rows);
        }
        let x = self.rows(&name("context"), &context, ranges.context);
        let x = self.dense(&Site::new(name("attention.output"), &layer.output), &x);
        match self.model.norms {
            NormPlacement::After => {
                let middle = match &layer.attention_norm {
                    Some(norm) => self.residual_norm(&name("attention.norm"), [&x, &residual], norm),
                    None => self.writer.op(&name("attention.sum"), &Op::plain("Add"), &[&x, &residual]),
                };
                let x = self.feed_forward(at, layer, &middle);
                self.residual_norm(&name("norm"), [&x, &middle], &layer.norm)
            }
            NormPlacement::Before => {
                let middle = self.writer.op(&name("attention.sum"), &Op::plain("Add"), &[&x, &residual]);
                let x = self.norm(&name("norm"), &middle, &layer.norm);
                let x = self.feed_forward(at, layer, &x);
                self.writer.op(&name("sum"), &Op::plain("Add"), &[&x, &middle])
            }
        }
    }

    fn feed_forward(&mut self, at: usize, layer: &'a Layer, x: &str) -> String {
        let name = |part: &str| format!("layer.{at}.{part}");
        let ranges = self.ranges(at);
        let rows = self.rows(&name("up"), x, ranges.up);
        let x = self.dense(&Site::new(name("up"), &layer.up), &rows);
        let mut x = self.activation(&name("activation"), layer.activation, &x);
        if let Some(gate) = &layer.gate {
            let gate = self.dense(&Site::new(name("gate"), gate), &rows);
            x = self.writer.op(&name("gated"), &Op::plain("Mul"), &[&x, &gate]);
        }
        let x = self.rows(&name("down"), &x, ranges.down);
        self.dense(&Site::new(name("down"), &layer.down), &x)
    }

    fn residual_norm(&mut self, name: &str, terms: [&str; 2], norm: &'a Norm) -> String {
        let sum = self.writer.op(&format!("{name}.sum"), &Op::plain("Add"), &terms);
        self.norm(name, &sum, norm)
    }

    fn norm(&mut self, name: &str, x: &str, norm: &'a Norm) -> String {
        let scale = self.floats(&format!("{name}.scale"), &[norm.scale.len()], &norm.scale);
        let attributes = &[("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(norm.epsilon))];
        let kind = match norm.kind {
            NormKind::Layer => "LayerNormalization",
            NormKind::Rms => "RMSNormalization",
        };
        let op = Op::plain(kind).with(attributes);
        if norm.bias.is_empty() {
            return self.writer.op(name, &op, &[x, &scale]);
        }
        let bias = self.floats(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias);
        self.writer.op(name, &op, &[x, &scale, &bias])
    }

    fn activation(&mut self, name: &str, activation: Activation, x: &str) -> String {
        match activation {
            Activation::Gelu => self.writer.op(name, &Op::plain("Gelu"), &[x]),
            Activation::Relu => self.writer.op(name, &Op::plain("Relu"), &[x]),
            Activation::Tanh => self.writer.op(name, &Op::plain("Tanh"), &[x]),
            Activation::GeluTanh => {
                let op = Op::microsoft("FastGelu");
                self.writer.op(name, &op, &[x])
            }
            Activation::Silu => {
                // `x` times the logistic function of `alpha` times `x`.
                let alpha = [("alpha", Attribute::Float(1.0))];
                self.writer.op(name, &Op::microsoft("QuickGelu").with(&alpha), &[x])
            }
        }
    }

    /// A weight in the graph's float type.
    fn floats(&mut self, name: &str, dims: &[usize], values: impl Into<Cow<'a, [f32]>>) -> String {
        let values = match self.target.precision {
            Precision::Fp16 => Values::F16(values.into()),
            Precision::Fp32 | Precision::Int8 { .. } => Values::F32(values.into()),
        };
        self.writer.values(name, dims, values)
    }

    fn ranges(&self, layer: usize) -> LayerRanges {
        let Precision::Int8 { activations: Activations::Static(ranges), .. } = &self.target.precision else {
            return LayerRanges::default();
        };
        ranges.layers.get(layer).copied().unwrap_or_default()
    }

    /// Notes the extremes of rows, when ranges are observed.
    fn observe(&mut self, name: &str, rows: &str) {
        let Some(mut observed) = self.observed.take() else { return };
        let one = self.writer.ints(&[1]);
        for kind in ["ReduceMin", "ReduceMax"] {
            let op = Op::plain(kind).with(&[("keepdims", Attribute::Int(0))]);
            let extreme = self.writer.op(&format!("{name}.{kind}"), &op, &[rows]);
            observed.push(self.writer.op(&format!("{name}.extreme"), &Op::plain("Reshape"), &[&extreme, &one]));
        }
        self.observed = Some(observed);
    }
}

#[cfg(test)]
mod tests;
