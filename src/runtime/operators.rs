//! Operators of our own in graphs for CPUs: whole encoder layers in integers, attention of packed pairs, and the mean of a
//! pair's rows.
//!
//! Owns how ONNX Runtime is told of them and what it hands over. What they compute is `rescored_kernels`'. It must not know
//! models.

mod layer;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::{TensorElementType, ValueRef};
use rescored_graph::own::{self, attribute};
use rescored_kernels::{Attention, HeadNorms, Inputs, Isa, Positions, Queries, Reach, Relative, Scratch, mean_rows};
use rescored_process::sync;

/// ONNX Runtime's name of the provider that runs them.
const PROVIDER: &str = "CPUExecutionProvider";

/// One for the process, as ONNX Runtime's list of domains is.
static BUILDING: Mutex<()> = Mutex::new(());

/// The right to build a session that has operators of our own. ONNX Runtime looks their domain up in a list of the process and
/// then adds it: of two sessions that are built at once, one finds that it "is already exist".
pub(crate) fn building() -> MutexGuard<'static, ()> {
    sync::lock(&BUILDING)
}

/// The domain that sessions on CPUs are given.
pub(super) fn domain() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(own::DOMAIN)?.add(PackedAttention)?.add(PackedMean)?.add(layer::Layer)
}

/// See [`own::ATTENTION`].
struct PackedAttention;

/// One node's attributes.
struct AttentionKernel {
    heads: usize,
    key_heads: usize,
    scale: f32,
    reach: Reach,
    queries: Queries,
    /// Gains of the norms of queries and of keys, and their epsilon; empty where there are none.
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    epsilon: f32,
    rotary: Vec<f32>,
    slopes: Vec<f32>,
    isa: Isa,
}

thread_local! {
    /// Buffers of all nodes that a thread runs: kept by node they would add up over a model's layers.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Operator for PackedAttention {
    type Kernel<'attr> = AttentionKernel;

    fn name(&self) -> &str {
        own::ATTENTION
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let rows = || OperatorInput::required(TensorElementType::Float32);
        [
            rows(),
            rows(),
            rows(),
            OperatorInput::required(TensorElementType::Int64),
            OperatorInput::optional(TensorElementType::Int64),
            OperatorInput::optional(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Int64),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel(&self, node: &KernelContext<'_>) -> ort::Result<AttentionKernel> {
        let missing = |name: &str| fault(own::ATTENTION, &format!("attribute `{name}` is missing or negative"));
        let whole = |name: &str| node.get::<i64>(name).map(usize::try_from);
        let is_set = |name: &str| node.get::<i64>(name) == Some(1);
        let window = whole(attribute::WINDOW).transpose().map_err(|_| missing(attribute::WINDOW))?;
        let heads = whole(attribute::HEADS).and_then(Result::ok).filter(|&heads| heads > 0);
        let heads = heads.ok_or_else(|| missing(attribute::HEADS))?;
        let gains = |name: &str| node.get::<Vec<f32>>(name).unwrap_or_default();
        Ok(AttentionKernel {
            heads,
            key_heads: whole(attribute::KEY_HEADS)
                .transpose()
                .map_err(|_| missing(attribute::KEY_HEADS))?
                .unwrap_or(heads),
            scale: node.get::<f32>(attribute::SCALE).ok_or_else(|| missing(attribute::SCALE))?,
            reach: match (window, is_set(attribute::CAUSAL)) {
                (None, false) => Reach::All,
                (Some(side), false) => Reach::Window(side),
                (None, true) => Reach::Causal,
                (Some(side), true) => Reach::CausalWindow(side),
            },
            queries: match (is_set(attribute::FIRST), is_set(attribute::LAST)) {
                (true, _) => Queries::First,
                (false, true) => Queries::Last,
                (false, false) => Queries::All,
            },
            query_norm: gains(attribute::QUERY_NORM),
            key_norm: gains(attribute::KEY_NORM),
            epsilon: node.get::<f32>(attribute::EPSILON).unwrap_or(0.0),
            rotary: node.get::<Vec<f32>>(attribute::ROTARY).unwrap_or_default(),
            slopes: node.get::<Vec<f32>>(attribute::SLOPES).unwrap_or_default(),
            isa: Isa::best(),
        })
    }
}

impl Kernel for AttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        contained(own::ATTENTION, || self.attend(context))
    }
}

impl AttentionKernel {
    fn attend(&self, context: &ComputeContext) -> ort::Result<()> {
        let fault = |why: &str| fault(own::ATTENTION, why);
        let inputs = (0..=own::BEGINNINGS).map(|at| input_of(context, at)).collect::<ort::Result<Vec<_>>>()?;
        let input = |at: usize| inputs.get(at).and_then(Option::as_ref);
        let floats = |at: usize| input(at).map(floats).transpose();
        let missing = || fault("an input or output is missing");
        let (dims, query) = floats(0)?.ok_or_else(missing)?;
        let (_, key) = floats(1)?.ok_or_else(missing)?;
        let (_, value) = floats(2)?.ok_or_else(missing)?;
        let lengths = lengths_of(input(3).ok_or_else(missing)?)?;
        let hidden = dims.last().copied().and_then(|width| usize::try_from(width).ok()).unwrap_or(0);
        let rows = input(4).map(|rows| rows.try_extract_tensor::<i64>()).transpose()?;
        let positions = if let Some((_, rows)) = rows {
            let table = |at: usize| Ok::<_, ort::Error>(floats(at)?.map_or(&[][..], |(_, values)| values));
            Positions::Relative(Relative { rows, keys: table(5)?, queries: table(6)? })
        } else if !self.rotary.is_empty() {
            Positions::Rotary(&self.rotary)
        } else if !self.slopes.is_empty() {
            Positions::Slopes(&self.slopes)
        } else {
            Positions::Absolute
        };
        let head_norms = (!self.query_norm.is_empty()).then_some(HeadNorms {
            query: &self.query_norm,
            key: &self.key_norm,
            epsilon: self.epsilon,
        });
        let attention = Attention {
            heads: self.heads,
            key_heads: self.key_heads,
            width: hidden / self.heads,
            scale: self.scale,
            reach: self.reach,
            head_norms,
            positions,
        };
        let beginnings = input(own::BEGINNINGS).map(places_of).transpose()?.unwrap_or_default();
        let queries = self.queries;
        let rows = Inputs { query, key, value, lengths: &lengths, beginnings: &beginnings, queries };
        let mut output = context.output(0, dims.to_vec())?.ok_or_else(missing)?;
        let (_, out) = output.try_extract_tensor_mut::<f32>()?;
        let attend = |scratch: &RefCell<Scratch>| attention.run(self.isa, &rows, &mut scratch.borrow_mut(), out);
        SCRATCH.with(attend).map_err(|misfit| fault(&misfit.to_string()))
    }
}

/// See [`own::MEAN`].
struct PackedMean;

struct MeanKernel;

impl Operator for PackedMean {
    type Kernel<'attr> = MeanKernel;

    fn name(&self) -> &str {
        own::MEAN
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32), OperatorInput::required(TensorElementType::Int64)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel(&self, _: &KernelContext<'_>) -> ort::Result<MeanKernel> {
        Ok(MeanKernel)
    }
}

impl Kernel for MeanKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        contained(own::MEAN, || mean(context))
    }
}

fn mean(context: &ComputeContext) -> ort::Result<()> {
    let missing = || fault(own::MEAN, "an input or output is missing");
    let rows = input_of(context, 0)?.ok_or_else(missing)?;
    let (dims, rows) = floats(&rows)?;
    let lengths = lengths_of(&input_of(context, 1)?.ok_or_else(missing)?)?;
    let width = dims.last().copied().unwrap_or(0);
    let pairs = i64::try_from(lengths.len()).unwrap_or(i64::MAX);
    let mut output = context.output(0, [pairs, width])?.ok_or_else(missing)?;
    let (_, out) = output.try_extract_tensor_mut::<f32>()?;
    let columns = usize::try_from(width).unwrap_or(0);
    mean_rows(rows, &lengths, columns, out).map_err(|misfit| fault(own::MEAN, &misfit.to_string()))
}

/// What an operator answers, also where it panics: ONNX Runtime calls it through C, where a panic would end the process.
fn contained(operator: &str, compute: impl FnOnce() -> ort::Result<()>) -> ort::Result<()> {
    let panicked = |_| Err(fault(operator, "it panicked"));
    catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(panicked)
}

/// An input; none where an optional one is not given.
fn input_of(context: &ComputeContext, at: usize) -> ort::Result<Option<ValueRef<'_>>> {
    if at < context.num_inputs()? { context.input(at) } else { Ok(None) }
}

fn floats<'v>(value: &'v ValueRef<'_>) -> ort::Result<(&'v [i64], &'v [f32])> {
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok((shape, values))
}

/// Tokens of each pair.
fn lengths_of(value: &ValueRef<'_>) -> ort::Result<Vec<usize>> {
    let (_, values) = value.try_extract_tensor::<i64>()?;
    let length =
        |&length: &i64| usize::try_from(length).map_err(|_| ort::Error::new(format!("a pair of {length} tokens")));
    values.iter().map(length).collect()
}

/// The pair that holds each one's beginning; one that is no place is none of the pairs, which the kernel refuses.
fn places_of(value: &ValueRef<'_>) -> ort::Result<Vec<usize>> {
    let (_, values) = value.try_extract_tensor::<i64>()?;
    Ok(values.iter().map(|&place| usize::try_from(place).unwrap_or(usize::MAX)).collect())
}

fn fault(operator: &str, why: &str) -> ort::Error {
    ort::Error::new(format!("{operator}: {why}"))
}
