//! Writes a cross-encoder as an ONNX graph for one target.
//!
//! Owns the order of the computation: embeddings, layers, the last one for the `[CLS]` rows only, head. Rows are flat,
//! `[tokens, hidden]`, so that every product is one `Gemm` with its bias inside; attention alone sees pairs. Operators are
//! ONNX's own except the 8-bit product, whose scaling ONNX Runtime keeps in an operator of its own.

use prost::Message;

use self::{
    attention::{Pairs, Place},
    products::Site,
    writer::{Attribute, Op, Writer},
};
use super::{
    array::{Array, Data},
    bert::{Activation, Bert, Norm, Table},
    half, own, proto,
    proto::kind,
    summary::PROVIDER,
    target::{Activations, LayerRanges, Layout, Precision, Provenance, Range, Target},
};

mod absorbed;
mod attention;
pub(super) mod coreml;
mod embeddings;
mod products;
mod ragged;
mod writer;

/// The largest message of protobuf, which an ONNX file is: <https://protobuf.dev/programming-guides/proto-limits/>.
const MOST_BYTES: usize = 0x7fff_ffff;

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
    /// The graph does not fit into one file.
    #[error("size: the graph takes {bytes} bytes, one ONNX file holds {MOST_BYTES}; such models are not written here")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
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
    writer: Writer,
    bert: &'a Bert,
    target: &'a Target,
    /// Values that hold observed extremes, when ranges are asked for instead of logits alone.
    observed: Option<Vec<String>>,
}

/// Writes the model for a target.
pub(super) fn emit(bert: &Bert, target: &Target, provenance: &Provenance) -> Result<Vec<u8>, Unfit> {
    write(bert, target, provenance, None)
}

/// Writes the model in fp32 with the extremes of everything that enters a product as outputs beside the logits:
/// `ranges`, a row a product's input, `[4 · layers, 2]`.
pub(super) fn emit_observer(bert: &Bert, target: &Target, provenance: &Provenance) -> Result<Vec<u8>, Unfit> {
    write(bert, &Target { precision: Precision::Fp32, ..target.clone() }, provenance, Some(Vec::new()))
}

/// A graph that doubles two floats, `x` to `y`: the least that shows whether something runs.
pub(super) fn doubling() -> Vec<u8> {
    let mut writer = Writer::default();
    let x = writer.input_of(kind::FLOAT, "x", &["2"]);
    writer.op("y", &Op::plain("Add"), &[&x, &x]);
    writer.output("y", &["2"]);
    let opset_import = vec![proto::OperatorSet { domain: String::new(), version: OPSET_OF_OLD }];
    let graph = Some(writer.finish("doubling"));
    proto::Model { ir_version: IR_VERSION_OF_OLD, graph, opset_import, ..Default::default() }.encode_to_vec()
}

fn write(
    bert: &Bert,
    target: &Target,
    provenance: &Provenance,
    observed: Option<Vec<String>>,
) -> Result<Vec<u8>, Unfit> {
    let layers = check(bert, target)?;
    let mut emitter = Emitter { writer: Writer::default(), bert, target, observed };
    emitter.graph(layers);
    let shape_only = layers < bert.layers.len();
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
    if ragged::has_own(target) {
        sets.push((own::DOMAIN, 1));
    }
    let set = |(domain, version): (&str, i64)| proto::OperatorSet { domain: domain.into(), version };
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "rescored".into(),
        producer_version: provenance.tool.clone(),
        graph: Some(emitter.writer.finish("cross-encoder")),
        opset_import: sets.into_iter().map(set).collect(),
        metadata_props: entries.into_iter().map(entry).collect(),
        functions: Vec::new(),
    };
    fitting(model.encode_to_vec())
}

/// The bytes of a graph that a reader of protobuf takes.
fn fitting(onnx: Vec<u8>) -> Result<Vec<u8>, Unfit> {
    if onnx.len() > MOST_BYTES { Err(Unfit::TooLarge { bytes: onnx.len() }) } else { Ok(onnx) }
}

/// The layers that are kept, when the target suits the model.
fn check(bert: &Bert, target: &Target) -> Result<usize, Unfit> {
    let layers = target.layers.unwrap_or(bert.layers.len());
    if layers == 0 || layers > bert.layers.len() {
        return Err(Unfit::Count { what: "layers" });
    }
    match (&target.precision, target.layout) {
        (_, Layout::Packed { slots: 0 }) => Err(Unfit::Count { what: "slots" }),
        (Precision::Int8 { activations: Activations::PerPair, .. }, Layout::Packed { slots }) if slots > 1 => {
            Err(Unfit::SharedRange { slots })
        }
        (Precision::Int8 { .. }, Layout::Ragged) => Err(Unfit::Integers),
        (Precision::Int8 { activations: Activations::Static(ranges), .. }, _) if ranges.layers.len() < layers => {
            Err(Unfit::Ranges { ranges: ranges.layers.len(), layers })
        }
        _ => Ok(layers),
    }
}

impl Emitter<'_> {
    fn graph(&mut self, layers: usize) {
        let rows = match self.target.layout {
            Layout::Ragged => self.ragged(layers),
            Layout::Padded | Layout::Packed { .. } => self.rows_of(layers),
        };
        let head = &self.bert.head;
        let x = self.float_dense("head.dense", &head.dense, &rows);
        let x = self.activation("head.activation", head.activation, &x);
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

    /// The `[CLS]` rows after the last layer.
    fn rows_of(&mut self, layers: usize) -> String {
        let (mut rows, pairs) = self.embeddings();
        for at in 0..layers {
            rows = self.layer(at, &rows, &pairs.rows(at + 1 == layers));
        }
        rows
    }

    /// One encoder layer; the last one computes the `[CLS]` rows only.
    fn layer(&mut self, at: usize, rows: &str, pairs: &Pairs<'_>) -> String {
        let layer = &self.bert.layers[at];
        let name = |part: &str| format!("layer.{at}.{part}");
        let ranges = self.ranges(at);
        let (context, residual) =
            self.attention(&Place { name: name("attention"), layer, pairs, range: ranges.attention }, rows);
        let x = self.rows(&name("context"), &context, ranges.context);
        let x = self.dense(&Site::new(name("attention.output"), &layer.output), &x);
        let middle = self.residual_norm(&name("attention.norm"), [&x, &residual], &layer.attention_norm);
        let x = self.rows(&name("up"), &middle, ranges.up);
        let x = self.dense(&Site::new(name("up"), &layer.up), &x);
        let x = self.activation(&name("activation"), layer.activation, &x);
        let x = self.rows(&name("down"), &x, ranges.down);
        let x = self.dense(&Site::new(name("down"), &layer.down), &x);
        self.residual_norm(&name("norm"), [&x, &middle], &layer.norm)
    }

    fn residual_norm(&mut self, name: &str, terms: [&str; 2], norm: &Norm) -> String {
        let sum = self.writer.op(&format!("{name}.sum"), &Op::plain("Add"), &terms);
        self.norm(name, &sum, norm)
    }

    fn norm(&mut self, name: &str, x: &str, norm: &Norm) -> String {
        let scale = self.floats(&format!("{name}.scale"), &[norm.scale.len()], &norm.scale);
        let bias = self.floats(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias);
        let attributes = &[("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(norm.epsilon))];
        self.writer.op(name, &Op::plain("LayerNormalization").with(attributes), &[x, &scale, &bias])
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
        }
    }

    /// A weight in the graph's float type.
    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let data = match self.target.precision {
            Precision::Fp16 => Data::F16(values.iter().map(|&value| half::narrow(value)).collect()),
            Precision::Fp32 | Precision::Int8 { .. } => Data::F32(values.to_vec()),
        };
        self.writer.weight(name, &Array { dims: dims.to_vec(), data })
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
mod tests {
    use super::*;
    use crate::sample::{tiny, tiny_quantised};
    use crate::target::Weights;

    fn written(bert: &Bert, layout: Layout, precision: Precision) -> proto::Model {
        let target = Target { layout, precision, layers: None };
        let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
        proto::Model::decode(emit(bert, &target, &provenance).unwrap().as_slice()).unwrap()
    }

    fn count(graph: &proto::Graph, op: &str) -> usize {
        graph.node.iter().filter(|node| node.op_type == op).count()
    }

    fn int8(activations: Activations) -> Precision {
        Precision::Int8 { weights: Weights::Unsigned, activations }
    }

    #[test]
    fn every_value_is_made_before_it_is_read_and_nothing_is_left_over() {
        let precisions = [Precision::Fp32, Precision::Fp16, int8(Activations::PerToken), int8(Activations::PerPair)];
        for layout in [Layout::Padded, Layout::Packed { slots: 1 }, Layout::Packed { slots: 3 }, Layout::Ragged] {
            for precision in precisions.clone() {
                let integers = matches!(precision, Precision::Int8 { .. });
                if (layout, &precision) == (Layout::Packed { slots: 3 }, &precisions[3])
                    || (layout == Layout::Ragged && integers)
                {
                    continue;
                }
                let case = format!("{layout:?} {precision:?}");
                let graph = written(&tiny_quantised(2), layout, precision).graph.unwrap();
                let mut known: Vec<&String> = graph.input.iter().map(|input| &input.name).collect();
                known.extend(graph.initializer.iter().map(|tensor| &tensor.name));
                let mut read: Vec<&String> = graph.output.iter().map(|output| &output.name).collect();
                for node in &graph.node {
                    for input in node.input.iter().filter(|name| !name.is_empty()) {
                        assert!(known.contains(&input), "{case}: {} reads {input}", node.name);
                        read.push(input);
                    }
                    known.extend(&node.output);
                }
                let unread = graph.initializer.iter().map(|tensor| &tensor.name).find(|name| !read.contains(name));
                assert_eq!(unread, None, "{case}: a weight that nothing reads");
            }
        }
    }

    #[test]
    fn the_last_layer_asks_for_the_first_rows_only() {
        let graph = written(&tiny(2), Layout::Packed { slots: 3 }, Precision::Fp16).graph.unwrap();
        let reads = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap().input[0].clone();
        assert_eq!(reads("layer.1.attention.query"), "layer.1.attention.first");
        assert_eq!(reads("layer.1.attention.key"), "layer.0.norm", "keys are those of all tokens");
        assert_eq!(reads("layer.0.attention.query"), "embeddings.norm");
        assert_eq!(count(&graph, "Attention"), 2 * 3, "one a layer and slot");
    }

    #[test]
    fn in_fp32_the_last_layer_computes_keys_and_values_of_no_token() {
        for slots in [1, 3] {
            let graph = written(&tiny(2), Layout::Packed { slots }, Precision::Fp32).graph.unwrap();
            let products = |part: &str| {
                let stem = format!("layer.1.attention.{part}");
                graph.node.iter().filter(|node| node.op_type == "Gemm" && node.name.starts_with(&stem)).count()
            };
            assert_eq!((products("query"), products("key"), products("value")), (1, 0, 0));
            let readers = graph.node.iter().filter(|node| node.input.iter().any(|input| input == "layer.0.norm"));
            let readers: Vec<&str> = readers.map(|node| node.op_type.as_str()).collect();
            let wanted: &[&str] = if slots == 1 { &["Gather", "FusedMatMul", "MatMul"] } else { &["Gather", "Split"] };
            assert_eq!(readers, wanted, "rows of all tokens are met as they are");
            assert_eq!(count(&graph, "Attention"), slots, "one a slot in the first layer alone");
        }
    }

    #[test]
    fn a_graph_for_gpus_has_one_packed_attention_a_layer_but_the_last_and_reads_32_bit_integers() {
        let graph = written(&tiny(3), Layout::Ragged, Precision::Fp16).graph.unwrap();
        for (op, wanted) in [
            ("PackedMultiHeadAttention", 2),
            ("RestorePadding", 1),
            ("SkipLayerNormalization", 6),
            ("BiasGelu", 3),
            ("EmbedLayerNormalization", 1),
            ("Softmax", 1),
            ("Split", 0),
            ("Shape", 0),
        ] {
            assert_eq!(count(&graph, op), wanted, "{op}");
        }
        let kind_of = |input: &proto::ValueInfo| input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type;
        assert!(graph.input.iter().all(|input| kind_of(input) == kind::INT32));
        let halves = graph.initializer.iter().filter(|tensor| tensor.data_type == kind::FLOAT16).count();
        let floats = graph.initializer.iter().filter(|tensor| tensor.data_type == kind::FLOAT).count();
        assert!(halves > 40 && floats == 0, "{halves} half tensors, {floats} float ones");
        let keys = graph.initializer.iter().find(|tensor| tensor.name == "layer.2.attention.key.weight").unwrap();
        assert_eq!(keys.dims.len(), 3, "a matrix a head: the last layer's queries meet the tokens themselves");
        assert!(graph.initializer.iter().all(|tensor| !tensor.name.ends_with("key.bias")), "it changes no share");
    }

    #[test]
    fn a_graph_that_no_reader_would_take_is_refused() {
        assert_eq!(fitting(vec![1, 2]), Ok(vec![1, 2]));
        // Zeroed pages are not touched, so this costs no memory.
        let refused = fitting(vec![0; MOST_BYTES + 1]).unwrap_err();
        assert_eq!(refused, Unfit::TooLarge { bytes: 1 << 31 });
        assert!(refused.to_string().contains("2147483648 bytes, one ONNX file holds 2147483647"), "{refused}");
    }

    #[test]
    fn unsigned_weights_are_the_same_integers_moved_by_128() {
        let bert = tiny_quantised(1);
        let model = written(&bert, Layout::Packed { slots: 1 }, int8(Activations::PerPair));
        let graph = model.graph.unwrap();
        let weight = graph.initializer.iter().find(|tensor| tensor.name == "layer.0.up.weight").unwrap();
        let source = bert.layers[0].up.weight.integers.as_ref().unwrap();
        assert_eq!(weight.data_type, kind::UINT8);
        let back: Vec<i16> = weight.raw_data.iter().map(|&byte| i16::from(byte) - 128).collect();
        let wanted: Vec<i16> = source.values.iter().map(|&value| i16::from(value)).collect();
        assert_eq!(back, wanted);
    }

    #[test]
    fn targets_that_would_break_a_promise_are_refused() {
        let write = |precision, slots, layers| {
            let target = Target { layout: Layout::Packed { slots }, precision, layers };
            emit(&tiny(2), &target, &Provenance { source_sha256: String::new(), tool: String::new() })
        };
        assert_eq!(write(int8(Activations::PerPair), 2, None), Err(Unfit::SharedRange { slots: 2 }));
        assert!(write(int8(Activations::PerPair), 1, None).is_ok());
        assert_eq!(write(Precision::Fp32, 0, None), Err(Unfit::Count { what: "slots" }));
        assert_eq!(write(Precision::Fp32, 1, Some(3)), Err(Unfit::Count { what: "layers" }));
        let unobserved = int8(Activations::Static(crate::target::Ranges::default()));
        assert_eq!(write(unobserved, 1, None), Err(Unfit::Ranges { ranges: 0, layers: 2 }));
    }

    #[test]
    fn a_graph_says_where_it_comes_from_and_a_shape_that_it_is_one() {
        let target = Target { layout: Layout::Padded, precision: Precision::Fp32, layers: Some(1) };
        let provenance = Provenance { source_sha256: "abc".into(), tool: "test".into() };
        let model = emit(&tiny(2), &target, &provenance).unwrap();
        let model = proto::Model::decode(model.as_slice()).unwrap();
        let entries: Vec<_> = model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(
            entries,
            [
                ("rescored.source_sha256", "abc"),
                ("rescored.tool", "test"),
                ("rescored.target", "fp32.padded.layers1"),
                ("rescored.shape_only", "true"),
            ]
        );
    }
}
