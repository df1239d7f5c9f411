//! Writes a cross-encoder for CoreML's execution provider.
//!
//! Owns what that provider takes into one partition (ONNX Runtime 1.31's builders of `ML Program`): operators of its list
//! up to opset 20, every shape a constant, weights of `Gemm` as `[outputs, inputs]` (others are spelled out as text in
//! Apple's format), nothing of rank over 5, float tensors only. So the lookup of embeddings and the arithmetic of masks are
//! the caller's, and what varies is an input: rows, masks, and which row of each place a pair begins with.

use prost::Message;

use super::writer::{Attribute, Op, Writer};
use crate::{
    array::{Array, Data},
    coreml::{Arithmetic, names},
    cross_encoder::{Activation, CrossEncoder, Dense, Layer, Norm},
    half, proto,
    proto::kind,
    summary::PROVIDER,
    target::Provenance,
};

/// The newest operator set that every builder of the provider takes, and the IR version that came with it.
const OPSET: i64 = 20;
const IR_VERSION: i64 = 9;

/// The least epsilon of a norm in 16 bits: the smallest normal half. BERT's 1e-12 would be zero there.
const HALF_EPSILON: f32 = 6.103_515_6e-5;

/// What one layer reads: all rows, the wanted ones, the mask of their queries, and the shape that these unfold to.
struct View<'a> {
    all: &'a str,
    wanted: &'a str,
    mask: &'a str,
    queries: &'a str,
}

struct Emitter<'a> {
    writer: Writer<'a>,
    model: &'a CrossEncoder,
    arithmetic: Arithmetic,
}

/// Writes the graph for embeddings multiplied with `scale`, for one row of places and any length; `coreml::fixed` gives it the shapes of a bucket.
pub(crate) fn emit(model: &CrossEncoder, (arithmetic, scale): (Arithmetic, f32), provenance: &Provenance) -> Vec<u8> {
    let mut emitter = Emitter { writer: Writer::default(), model, arithmetic };
    emitter.graph(scale);
    let (graph, _) = emitter.writer.finish("cross-encoder");
    let entries = [
        ("rescored.source_sha256", provenance.source_sha256.clone()),
        ("rescored.tool", provenance.tool.clone()),
        ("rescored.target", format!("coreml.{}", arithmetic.word())),
        (PROVIDER, "coreml".to_owned()),
    ];
    let entry = |(key, value): (&str, String)| proto::StringEntry { key: key.into(), value };
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "rescored".into(),
        producer_version: provenance.tool.clone(),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: entries.map(entry).into(),
        functions: Vec::new(),
    };
    model.encode_to_vec()
}

impl Emitter<'_> {
    fn graph(&mut self, scale: f32) {
        let width = self.model.embeddings.words.columns.to_string();
        let rows = self.input(names::ROWS, &["tokens", &width]);
        let mask = self.input(names::MASK, &["batch", "1", "queries", "length"]);
        let first = self.input(names::FIRST, &["batch", "slots", "length"]);
        let first_mask = self.input(names::FIRST_MASK, &["batch", "1", "slots", "length"]);
        self.shapes();

        let embeddings = &self.model.embeddings;
        let mut rows = rows;
        if let Some(norm) = &embeddings.norm {
            // What the rows are multiplied with leaves the norm by its square.
            let norm = Norm { epsilon: norm.epsilon * scale * scale, ..norm.clone() };
            rows = self.norm("embeddings.norm", &rows, &norm);
        }
        if let Some(projection) = &embeddings.projection {
            rows = self.dense("embeddings.projection", projection, &rows);
        }
        let layers = self.model.layers.len();
        for (at, layer) in self.model.layers.iter().enumerate() {
            let name = format!("layer.{at}");
            rows = if at + 1 == layers {
                let chosen = self.chosen(&format!("{name}.first"), &rows, &first);
                let view = View { all: &rows, wanted: &chosen, mask: &first_mask, queries: names::FIRST_SHAPE };
                self.layer(&name, layer, &view)
            } else {
                let view = View { all: &rows, wanted: &rows, mask: &mask, queries: names::DEEP_SHAPE };
                self.layer(&name, layer, &view)
            };
        }
        let head = &self.model.head;
        let mut x = rows;
        if let Some(transform) = &head.transform {
            x = self.dense("head.dense", &transform.dense, &x);
            x = self.activation("head.activation", transform.activation, &x);
        }
        self.logits(&head.classifier, &x);
    }

    /// The shapes that a bucket fixes, as they are for one row of places of any length.
    fn shapes(&mut self) {
        let model = self.model;
        let (heads, hidden) = (as_int(model.heads), as_int(model.hidden));
        let depth = hidden / heads.max(1);
        for (name, shape) in [
            (names::DEEP_SHAPE, vec![1, -1, heads, depth]),
            (names::FIRST_SHAPE, vec![1, -1, heads, depth]),
            (names::BATCH_SHAPE, vec![1, -1, hidden]),
            (names::ROWS_SHAPE, vec![-1, hidden]),
        ] {
            self.writer.weight(name, &Array::ints(&shape));
        }
    }

    /// Declares an input of 32-bit floats and answers with it in the graph's arithmetic.
    fn input(&mut self, name: &str, dims: &[&str]) -> String {
        let input = self.writer.input_of(kind::FLOAT, name, dims);
        match self.arithmetic {
            Arithmetic::Fp32 => input,
            Arithmetic::Fp16 => self.cast(&format!("{name}.half"), &input, kind::FLOAT16),
        }
    }

    fn logits(&mut self, classifier: &Dense, x: &str) {
        let name = match self.arithmetic {
            Arithmetic::Fp32 => names::LOGITS,
            Arithmetic::Fp16 => "head.classifier",
        };
        let logits = self.dense(name, classifier, x);
        if self.arithmetic == Arithmetic::Fp16 {
            self.cast(names::LOGITS, &logits, kind::FLOAT);
        }
        self.writer.output(names::LOGITS, &["pairs", "1"]);
    }

    /// The rows that pairs begin with, `[pairs, hidden]`: a product with one-hot rows, exact in any arithmetic.
    fn chosen(&mut self, name: &str, rows: &str, first: &str) -> String {
        let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[rows, names::BATCH_SHAPE]);
        let chosen = self.writer.op(&format!("{name}.chosen"), &Op::plain("MatMul"), &[first, &deep]);
        self.writer.op(name, &Op::plain("Reshape"), &[&chosen, names::ROWS_SHAPE])
    }

    /// One encoder layer for the wanted rows; keys and values are those of all rows.
    fn layer(&mut self, name: &str, layer: &Layer, view: &View<'_>) -> String {
        let context = self.attention(&format!("{name}.attention"), layer, view);
        let x = self.dense(&format!("{name}.attention.output"), &layer.output, &context);
        // Only models with this norm come here; see `coreml::write`.
        let attention_norm = layer.attention_norm.as_ref().unwrap_or(&layer.norm);
        let middle = self.residual_norm(&format!("{name}.attention.norm"), [&x, view.wanted], attention_norm);
        let x = self.dense(&format!("{name}.up"), &layer.up, &middle);
        let x = self.activation(&format!("{name}.activation"), layer.activation, &x);
        let x = self.dense(&format!("{name}.down"), &layer.down, &x);
        self.residual_norm(&format!("{name}.norm"), [&x, &middle], &layer.norm)
    }

    fn attention(&mut self, name: &str, layer: &Layer, view: &View<'_>) -> String {
        let View { all, wanted, .. } = *view;
        let queries = self.dense(&format!("{name}.query"), &self.scaled(&layer.query), wanted);
        let keys = self.dense(&format!("{name}.key"), &layer.key, all);
        let values = self.dense(&format!("{name}.value"), &layer.value, all);
        let queries = self.heads(&format!("{name}.query"), [&queries, view.queries], &[0, 2, 1, 3]);
        let keys = self.heads(&format!("{name}.key"), [&keys, names::DEEP_SHAPE], &[0, 2, 3, 1]);
        let values = self.heads(&format!("{name}.value"), [&values, names::DEEP_SHAPE], &[0, 2, 1, 3]);
        let scores = self.writer.op(&format!("{name}.scores"), &Op::plain("MatMul"), &[&queries, &keys]);
        let masked = self.writer.op(&format!("{name}.masked"), &Op::plain("Add"), &[&scores, view.mask]);
        let softmax = Op::plain("Softmax").with(&[("axis", Attribute::Int(-1))]);
        let shares = self.writer.op(&format!("{name}.shares"), &softmax, &[&masked]);
        let context = self.writer.op(&format!("{name}.context.heads"), &Op::plain("MatMul"), &[&shares, &values]);
        let back = Op::plain("Transpose").with(&[("perm", Attribute::Ints(&[0, 2, 1, 3]))]);
        let context = self.writer.op(&format!("{name}.context.deep"), &back, &[&context]);
        self.writer.op(&format!("{name}.context"), &Op::plain("Reshape"), &[&context, names::ROWS_SHAPE])
    }

    /// Rows unfolded to `[batch, length, heads, depth]`, in another order.
    fn heads(&mut self, name: &str, [rows, shape]: [&str; 2], order: &'static [i64]) -> String {
        let deep = self.writer.op(&format!("{name}.deep"), &Op::plain("Reshape"), &[rows, shape]);
        let perm = [("perm", Attribute::Ints(order))];
        self.writer.op(&format!("{name}.heads"), &Op::plain("Transpose").with(&perm), &[&deep])
    }

    /// The query projection with attention's scale in it, which saves an operator.
    fn scaled(&self, query: &Dense) -> Dense {
        #[expect(clippy::cast_precision_loss, reason = "a head's width is small")]
        let scale = 1.0 / ((self.model.hidden / self.model.heads.max(1)) as f32).sqrt();
        let mut scaled = query.clone();
        scaled.weight.values.iter_mut().chain(&mut scaled.bias).for_each(|value| *value *= scale);
        scaled
    }

    fn dense(&mut self, name: &str, dense: &Dense, x: &str) -> String {
        let (inputs, outputs) = (dense.weight.rows, dense.weight.columns);
        let values = &dense.weight.values;
        let turned: Vec<f32> =
            (0..outputs).flat_map(|column| (0..inputs).map(move |row| values[row * outputs + column])).collect();
        let weight = self.floats(&format!("{name}.weight"), &[outputs, inputs], &turned);
        let bias = self.floats(&format!("{name}.bias"), &[outputs], &dense.bias);
        let turned = Op::plain("Gemm").with(&[("transB", Attribute::Int(1))]);
        self.writer.op(name, &turned, &[x, &weight, &bias])
    }

    fn residual_norm(&mut self, name: &str, terms: [&str; 2], norm: &Norm) -> String {
        let sum = self.writer.op(&format!("{name}.sum"), &Op::plain("Add"), &terms);
        self.norm(name, &sum, norm)
    }

    fn norm(&mut self, name: &str, x: &str, norm: &Norm) -> String {
        let scale = self.floats(&format!("{name}.scale"), &[norm.scale.len()], &norm.scale);
        let bias = self.floats(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias);
        let epsilon = match self.arithmetic {
            Arithmetic::Fp32 => norm.epsilon,
            Arithmetic::Fp16 => norm.epsilon.max(HALF_EPSILON),
        };
        let attributes = &[("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(epsilon))];
        self.writer.op(name, &Op::plain("LayerNormalization").with(attributes), &[x, &scale, &bias])
    }

    fn activation(&mut self, name: &str, activation: Activation, x: &str) -> String {
        let approximate = [("approximate", Attribute::Text("tanh"))];
        let op = match activation {
            Activation::Gelu => Op::plain("Gelu"),
            Activation::GeluTanh => Op::plain("Gelu").with(&approximate),
            Activation::Relu => Op::plain("Relu"),
            Activation::Tanh => Op::plain("Tanh"),
            Activation::Silu => {
                let logistic = self.writer.op(&format!("{name}.logistic"), &Op::plain("Sigmoid"), &[x]);
                return self.writer.op(name, &Op::plain("Mul"), &[x, &logistic]);
            }
        };
        self.writer.op(name, &op, &[x])
    }

    fn cast(&mut self, name: &str, x: &str, to: i32) -> String {
        let to = [("to", Attribute::Int(i64::from(to)))];
        self.writer.op(name, &Op::plain("Cast").with(&to), &[x])
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let data = match self.arithmetic {
            Arithmetic::Fp16 => Data::F16(values.iter().map(|&value| half::narrow(value)).collect()),
            Arithmetic::Fp32 => Data::F32(values.to_vec()),
        };
        self.writer.weight(name, &Array { dims: dims.to_vec(), data })
    }
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
