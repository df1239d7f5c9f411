//! An encoder layer in integers, as an operator: its weights are laid out once for the processor and shared by all sessions.
//!
//! Owns what ONNX Runtime hands over of a layer, and the layers that are in use. What a layer computes is
//! `rescored_kernels::layer`'s.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::{DynTensorValueType, PrimitiveTensorElementType, TensorElementType};
use rescored_graph::own::{self, attribute};
use rescored_kernels::isa::Path;
use rescored_kernels::layer::{EncoderLayer, LayerScratch, Norm, Parts, Placement, Places};
use rescored_kernels::matrix::{PackedMatrix, Weights};
use rescored_kernels::quantise::Precision;
use rescored_kernels::{Misfit, Queries, Reach};
use rescored_process::sync;

use super::{PROVIDER, contained, fault, floats, input_of, lengths_of};

/// Inputs of the operator: rows, lengths, six products of three, two norms of two, three of relative positions.
const INPUTS: usize = 2 + 6 * 3 + 2 * 2 + 3;
/// The first of each.
const PRODUCTS: usize = 2;
const NORMS: usize = PRODUCTS + 6 * 3;
const RELATIVE: usize = NORMS + 2 * 2;

/// See [`own::LAYER`].
pub(super) struct Layer;

/// A node of it.
pub(super) struct LayerKernel {
    layer: Arc<EncoderLayer>,
    queries: Queries,
}

thread_local! {
    /// Buffers of all layers that a thread runs.
    static SCRATCH: RefCell<LayerScratch> = RefCell::default();
}

/// Layers in use, by a hash of everything that they are made of: sessions of one graph, or of two graphs with the same
/// layer, hold its weights once.
static LAYERS: LazyLock<Mutex<HashMap<blake3::Hash, Weak<EncoderLayer>>>> = LazyLock::new(Mutex::default);

impl Operator for Layer {
    type Kernel<'attr> = LayerKernel;

    fn name(&self) -> &str {
        own::LAYER
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let floats = || OperatorInput::optional(TensorElementType::Float32);
        let product = || [OperatorInput::required(TensorElementType::Int8), floats(), floats()];
        let mut inputs = vec![
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(TensorElementType::Int64),
        ];
        inputs.extend((0..6).flat_map(|_| product()));
        inputs.extend((0..4).map(|_| floats()));
        inputs.push(OperatorInput::optional(TensorElementType::Int64));
        inputs.extend([floats(), floats()]);
        debug_assert_eq!(inputs.len(), INPUTS);
        inputs
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel(&self, node: &KernelContext<'_>) -> ort::Result<LayerKernel> {
        let queries = if flag(node, attribute::FIRST) { Queries::First } else { Queries::All };
        let description = Description::of(node)?;
        let key = description.hash();
        let mut layers = sync::lock(&LAYERS);
        if let Some(layer) = layers.get(&key).and_then(Weak::upgrade) {
            return Ok(LayerKernel { layer, queries });
        }
        layers.retain(|_, layer| layer.strong_count() > 0);
        let layer = description.layer().map_err(|misfit| fault(own::LAYER, &misfit.to_string()))?;
        let layer = Arc::new(layer);
        layers.insert(key, Arc::downgrade(&layer));
        Ok(LayerKernel { layer, queries })
    }
}

impl Kernel for LayerKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        contained(own::LAYER, || self.run(context))
    }
}

impl LayerKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || fault(own::LAYER, "an input or output is missing");
        let rows = input_of(context, 0)?.ok_or_else(missing)?;
        let (dims, rows) = floats(&rows)?;
        let lengths = lengths_of(&input_of(context, 1)?.ok_or_else(missing)?)?;
        let wanted = match self.queries {
            Queries::First | Queries::Last => i64::try_from(lengths.len()).unwrap_or(i64::MAX),
            Queries::All => dims.first().copied().unwrap_or(0),
        };
        let mut output = context.output(0, [wanted, dims.last().copied().unwrap_or(0)])?.ok_or_else(missing)?;
        let (_, out) = output.try_extract_tensor_mut::<f32>()?;
        let run = |scratch: &RefCell<LayerScratch>| {
            self.layer.run(rows, (&lengths, self.queries), &mut scratch.borrow_mut(), out)
        };
        SCRATCH.with(run).map_err(|misfit| fault(own::LAYER, &misfit.to_string()))
    }
}

/// A product as the graph has it.
struct Product {
    shape: [usize; 2],
    weight: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// Everything that a layer is made of.
struct Description {
    heads: usize,
    scale: f32,
    window: Option<usize>,
    rotary: Vec<f32>,
    slopes: Vec<f32>,
    is_before: bool,
    is_gated: bool,
    epsilons: [f32; 2],
    products: Vec<Product>,
    /// Gain and bias of attention's norm and of the other.
    norms: [Vec<f32>; 4],
    relative: Option<RelativeTables>,
}

/// Terms of the distance: the tables' rows by distance, what queries meet and what keys meet.
struct RelativeTables {
    rows: Vec<i64>,
    keys: Vec<f32>,
    queries: Vec<f32>,
}

fn flag(node: &KernelContext<'_>, name: &str) -> bool {
    node.get::<i64>(name) == Some(1)
}

impl Description {
    fn of(node: &KernelContext<'_>) -> ort::Result<Self> {
        let missing = |what: &str| fault(own::LAYER, &format!("{what} is missing or no constant"));
        let whole = |name: &str| node.get::<i64>(name).and_then(|value| usize::try_from(value).ok());
        let product = |at: usize| {
            let first = PRODUCTS + 3 * at;
            let (dims, weight) = constant::<i8>(node, first).ok_or_else(|| missing("a weight"))?;
            let size = |at: usize| dims.get(at).and_then(|&size| usize::try_from(size).ok()).unwrap_or(0);
            let scales = constant::<f32>(node, first + 1).ok_or_else(|| missing("a weight's scale"))?.1;
            let bias = constant::<f32>(node, first + 2).map(|(_, values)| values).unwrap_or_default();
            Ok(Product { shape: [size(0), size(1)], weight, scales, bias })
        };
        let values = |at: usize| constant::<f32>(node, at).map(|(_, values)| values).unwrap_or_default();
        let epsilon = |name| node.get::<f32>(name);
        Ok(Self {
            heads: whole(attribute::HEADS).ok_or_else(|| missing(attribute::HEADS))?,
            scale: node.get(attribute::SCALE).ok_or_else(|| missing(attribute::SCALE))?,
            window: whole(attribute::WINDOW),
            rotary: node.get(attribute::ROTARY).unwrap_or_default(),
            slopes: node.get(attribute::SLOPES).unwrap_or_default(),
            is_before: flag(node, attribute::NORMS_BEFORE),
            is_gated: flag(node, attribute::GATED),
            epsilons: [
                epsilon(attribute::ATTENTION_EPSILON).unwrap_or_default(),
                epsilon(attribute::EPSILON).ok_or_else(|| missing(attribute::EPSILON))?,
            ],
            products: (0..6).map(product).collect::<ort::Result<_>>()?,
            norms: [NORMS, NORMS + 1, NORMS + 2, NORMS + 3].map(values),
            relative: constant::<i64>(node, RELATIVE).map(|(_, rows)| RelativeTables {
                rows,
                keys: values(RELATIVE + 1),
                queries: values(RELATIVE + 2),
            }),
        })
    }

    /// A hash of all of it; each part with its length, so that two parts are no other two.
    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        let bytes_of = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        put(format!("{:?} {:?}", (self.heads, self.window, self.is_before, self.is_gated), Path::best()).as_bytes());
        put(&bytes_of(&[self.scale, self.epsilons[0], self.epsilons[1]]));
        for product in &self.products {
            put(format!("{:?}", product.shape).as_bytes());
            put(&product.weight.iter().map(|value| value.cast_unsigned()).collect::<Vec<_>>());
            put(&bytes_of(&product.scales));
            put(&bytes_of(&product.bias));
        }
        for values in self.norms.iter().chain([&self.rotary, &self.slopes]) {
            put(&bytes_of(values));
        }
        if let Some(RelativeTables { rows, keys, queries }) = &self.relative {
            put(&rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<_>>());
            put(&bytes_of(keys));
            put(&bytes_of(queries));
        }
        hasher.finalize()
    }

    fn layer(&self) -> Result<EncoderLayer, Misfit> {
        let path = Path::best();
        let mut packed = self.products.iter().map(|product| {
            let [rows, columns] = product.shape;
            let weights = Weights { values: &product.weight, rows, columns, bias: &product.bias };
            PackedMatrix::from_integers(path, Precision::Int8, &weights, &product.scales)
        });
        // There are six.
        let absent = Misfit::of("the products of a layer", self.products.len(), 6);
        let mut next = || packed.next().unwrap_or_else(|| Err(absent.clone()));
        let norm = |at: usize| Norm {
            gain: self.norms[2 * at].clone(),
            bias: self.norms[2 * at + 1].clone(),
            epsilon: self.epsilons[at],
        };
        let places = match &self.relative {
            Some(RelativeTables { rows, keys, queries }) => {
                Places::Relative { rows: rows.clone(), keys: keys.clone(), queries: queries.clone() }
            }
            None if !self.rotary.is_empty() => Places::Rotary(self.rotary.clone()),
            None if !self.slopes.is_empty() => Places::Slopes(self.slopes.clone()),
            None => Places::Absolute,
        };
        let parts = Parts {
            heads: self.heads,
            scale: self.scale,
            reach: self.window.map_or(Reach::All, Reach::Window),
            places,
            placement: if self.is_before { Placement::Before } else { Placement::After },
            query: next()?,
            key: next()?,
            value: next()?,
            output: next()?,
            up: next()?,
            is_gated: self.is_gated,
            down: next()?,
            attention_norm: (!self.norms[0].is_empty()).then(|| norm(0)),
            norm: norm(1),
        };
        EncoderLayer::new(path, parts)
    }
}

/// A constant input's shape and values; none where it is not given, not constant, or of another kind.
fn constant<T: PrimitiveTensorElementType + Copy>(node: &KernelContext<'_>, at: usize) -> Option<(Vec<i64>, Vec<T>)> {
    let value = node.constant_input::<DynTensorValueType>(at).ok()?;
    let (shape, values) = value.try_extract_tensor::<T>().ok()?;
    Some((shape.to_vec(), values.to_vec()))
}
