//! 16-bit floats of a tensor, as their bits.
//!
//! `ort` gives such values out as types of the crate `half`, which would bring a derive macro into the build of everything
//! else for the sake of one number a pair. This reads them as what they are in memory. It has one `unsafe` call, and must
//! not know what the values mean.

use ort::value::{DynTensorValueType, DynValue, TensorElementType};

/// The bits of a tensor's values; `None` when its values are no 16-bit floats, or do not lie in this process's memory.
#[expect(unsafe_code, reason = "see the module")]
pub(super) fn bits(value: &DynValue) -> Option<Vec<u16>> {
    if !matches!(value.dtype().tensor_type()?, TensorElementType::Float16 | TensorElementType::Bfloat16) {
        return None;
    }
    let count =
        value.dtype().tensor_shape()?.iter().try_fold(1_usize, |product, &size| {
            usize::try_from(size).ok().and_then(|size| product.checked_mul(size))
        })?;
    let tensor = value.view().downcast::<DynTensorValueType>().ok()?;
    let start = tensor.data_ptr().cast::<u16>();
    if count == 0 {
        return Some(Vec::new());
    }
    if start.is_null() || !start.is_aligned() || !tensor.memory_info().is_cpu_accessible() {
        return None;
    }
    // SAFETY: the tensor is alive behind `value` for the whole call and nobody writes it, as `value` is borrowed; it lies in
    // memory that this process may read, at an aligned address that is not null; ONNX Runtime keeps a dense tensor of
    // `count` values, the product of the dimensions of a value that exists, which are two bytes each by their type.
    let values = unsafe { std::slice::from_raw_parts(start, count) };
    Some(values.to_vec())
}
