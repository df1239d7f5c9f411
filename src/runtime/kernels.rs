//! Operators of our own in graphs for NVIDIA GPUs: a bias added to every row, with and without GELU after it.
//!
//! Owns their registration with ONNX Runtime. What they compute is in `kernels/rows.cu`, which NVRTC made `kernels/rows.ptx`
//! of: the driver translates that for its device, so that neither a build of this crate nor a host that runs it needs
//! CUDA's compiler. It must not know graphs.

mod driver;

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::{DynTensorValueType, TensorElementType};
use rescored_graph::own;

use self::driver::Launch;

/// ONNX Runtime's name of the provider that runs them.
const PROVIDER: &str = "CUDAExecutionProvider";

/// Values that a thread loads at once: rows are whole numbers of them.
const LANES: u32 = 8;

/// One of the operators.
#[derive(Clone, Copy, Debug)]
struct Rows {
    name: &'static str,
    entry: &'static str,
}

/// Both, by their names in graphs and in `rows.ptx`.
const OPERATORS: [Rows; 2] =
    [Rows { name: own::BIAS, entry: "bias" }, Rows { name: own::BIAS_GELU, entry: "bias_gelu" }];

/// What the operators are made of.
pub(super) const fn source() -> &'static str {
    driver::PTX
}

/// The domain that sessions on CUDA are given.
pub(super) fn domain() -> ort::Result<OperatorDomain> {
    OPERATORS.into_iter().try_fold(OperatorDomain::new(own::DOMAIN)?, OperatorDomain::add)
}

impl Operator for Rows {
    type Kernel<'attr> = Self;

    // A thread reads a value before it writes its place.
    const INPLACES: &[(u32, u32)] = &[(0, 0)];

    fn name(&self) -> &str {
        self.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [const { OperatorInput::required(TensorElementType::Float16) }; 2]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float16)]
    }

    fn create_kernel(&self, _: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(*self)
    }
}

impl Kernel for Rows {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new(format!("{}: an input or output is missing", self.name));
        let x = context.input(0)?.ok_or_else(missing)?;
        let bias = context.input(1)?.ok_or_else(missing)?;
        let shape: Vec<i64> = x.dtype().tensor_shape().ok_or_else(missing)?.iter().copied().collect();
        let (rows, columns) = measure(&shape).map_err(|why| ort::Error::new(format!("{}: {why}", self.name)))?;
        let y = context.output(0, shape)?.ok_or_else(missing)?;
        let launch = Launch {
            bias: bias.downcast::<DynTensorValueType>()?.data_ptr() as u64,
            x: x.downcast::<DynTensorValueType>()?.data_ptr() as u64,
            y: y.downcast::<DynTensorValueType>()?.data_ptr() as u64,
            rows,
            lanes: columns / LANES,
        };
        let stream = context.stream()?.map_or(0, |stream| stream.as_ptr() as usize);
        driver::launch(self.entry, launch, stream).map_err(|why| ort::Error::new(format!("{}: {why}", self.name)))
    }
}

/// Rows and columns of a tensor whose last dimension is that of the bias.
fn measure(shape: &[i64]) -> Result<(u32, u32), String> {
    let unfit = || format!("{shape:?} is no shape of rows of {LANES} to {} half floats each", own::MOST_COLUMNS);
    let [rows @ .., columns] = shape else { return Err(unfit()) };
    let columns = usize::try_from(*columns).map_err(|_| unfit())?;
    if !own::takes(columns) {
        return Err(unfit());
    }
    let rows = i32::try_from(rows.iter().product::<i64>()).ok().and_then(|rows| u32::try_from(rows).ok());
    Ok((rows.ok_or_else(unfit)?, u32::try_from(columns).map_err(|_| unfit())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_rows_or_are_refused() {
        for (sentence, shape, wanted) in [
            ("rows of an intermediate", &[16_384, 1536][..], Some((16_384, 1536))),
            ("more dimensions are more rows", &[2, 3, 384], Some((6, 384))),
            ("no rows", &[0, 384], Some((0, 384))),
            ("columns that no thread could load at once", &[4, 12], None),
            ("wider than a block", &[4, 16_384], None),
            ("more rows than a kernel counts", &[1 << 40, 384], None),
            ("nothing", &[], None),
            ("a dimension that is not known", &[-1, 384], None),
        ] {
            assert_eq!(measure(shape).ok(), wanted, "{sentence}");
        }
    }

    #[test]
    fn every_operator_has_an_entry_of_four_arguments_that_the_oldest_driver_of_cuda_13_reads() {
        for Rows { entry, .. } in OPERATORS {
            let head = driver::PTX.split_once(&format!(".visible .entry {entry}(")).expect("an entry").1;
            let arguments = head.split_once(')').expect("its end").0.matches(".param").count();
            assert_eq!(arguments, 4, "{entry}");
        }
        assert!(driver::PTX.contains(".version 9.0"), "PTX of CUDA 13.0, which ONNX Runtime's own wheel needs too");
    }
}
