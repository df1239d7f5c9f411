//! Arrays: the values behind a graph's initialisers and constants.
//!
//! Owns the decoding of ONNX tensors from their several encodings and the encoding into raw bytes. It must not know what
//! an array means to a model.

use super::beside::{Beside, values_beside};
use super::proto::{self, kind};

/// A dense array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes of the dimensions; empty for a scalar.
    pub dims: Vec<usize>,
    /// Its values.
    pub data: Data,
}

/// Values of one element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats, as their bits.
    F16(Vec<u16>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

/// A tensor that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor `{name}`: {reason}")]
pub struct BadTensor {
    name: String,
    reason: String,
}

impl Array {
    /// An array of floats; the dimensions must multiply to the number of values.
    pub fn floats(dims: &[usize], values: Vec<f32>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), data: Data::F32(values) }
    }

    /// A scalar float.
    pub fn float(value: f32) -> Self {
        Self { dims: Vec::new(), data: Data::F32(vec![value]) }
    }

    /// A vector of integers, as shapes and axes are.
    pub fn ints(values: &[i64]) -> Self {
        Self { dims: vec![values.len()], data: Data::I64(values.to_vec()) }
    }

    /// A scalar integer.
    pub fn int(value: i64) -> Self {
        Self { dims: Vec::new(), data: Data::I64(vec![value]) }
    }

    /// The values as integers, where they are.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        match &self.data {
            Data::I64(values) => Some(values.clone()),
            Data::I32(values) => Some(values.iter().map(|&value| i64::from(value)).collect()),
            Data::I8(values) => Some(values.iter().map(|&value| i64::from(value)).collect()),
            Data::U8(values) => Some(values.iter().map(|&value| i64::from(value)).collect()),
            Data::F32(_) | Data::F16(_) => None,
        }
    }

    /// The values as floats, where they are; halves are widened.
    pub fn to_floats(&self) -> Option<Vec<f32>> {
        match &self.data {
            Data::F32(values) => Some(values.clone()),
            Data::F16(bits) => Some(bits.iter().map(|&bits| super::half::widen(bits)).collect()),
            Data::I8(_) | Data::U8(_) | Data::I32(_) | Data::I64(_) => None,
        }
    }

    /// The one float of an array of one value.
    pub fn scalar(&self) -> Option<f32> {
        let Data::F32(values) = &self.data else { return None };
        if let [value] = values.as_slice() { Some(*value) } else { None }
    }

    /// A matrix with its two dimensions exchanged; `None` when it is no matrix.
    pub fn transposed(&self) -> Option<Self> {
        let &[rows, columns] = self.dims.as_slice() else { return None };
        let data = match &self.data {
            Data::F32(values) => Data::F32(transpose(values, rows, columns)),
            Data::F16(values) => Data::F16(transpose(values, rows, columns)),
            Data::I8(values) => Data::I8(transpose(values, rows, columns)),
            Data::U8(values) => Data::U8(transpose(values, rows, columns)),
            Data::I32(values) => Data::I32(transpose(values, rows, columns)),
            Data::I64(values) => Data::I64(transpose(values, rows, columns)),
        };
        Some(Self { dims: vec![columns, rows], data })
    }

    /// The array as an ONNX tensor of raw little-endian bytes.
    pub fn to_tensor(&self, name: &str) -> proto::Tensor {
        let (data_type, raw_data) = match &self.data {
            Data::F32(values) => (kind::FLOAT, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Data::F16(values) => (kind::FLOAT16, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Data::I8(values) => (kind::INT8, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Data::U8(values) => (kind::UINT8, values.clone()),
            Data::I32(values) => (kind::INT32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Data::I64(values) => (kind::INT64, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        let dims = self.dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
        proto::Tensor { dims, data_type, raw_data, name: name.into(), ..Default::default() }
    }
}

impl TryFrom<&proto::Tensor> for Array {
    type Error = BadTensor;

    fn try_from(tensor: &proto::Tensor) -> Result<Self, BadTensor> {
        Self::read(tensor, &Beside::new())
    }
}

impl Array {
    /// A tensor whose values may lie in one of the files beside its graph.
    ///
    /// # Errors
    /// [`BadTensor`] when they are not there, do not fit the dimensions, or are of a kind that is not read here.
    pub fn read(tensor: &proto::Tensor, beside: &Beside) -> Result<Self, BadTensor> {
        let bad = |reason: String| BadTensor { name: tensor.name.clone(), reason };
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or_else(|| bad(format!("dims {:?} hold a negative size", tensor.dims)))?;
        let raw = if tensor.data_location == kind::EXTERNAL {
            values_beside(tensor, beside).map_err(bad)?
        } else {
            &tensor.raw_data
        };
        let data =
            decode(tensor, raw).ok_or_else(|| bad(format!("element type {} is not read here", tensor.data_type)))?;
        let expected = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if expected != Some(data.len()) {
            return Err(bad(format!("dims {dims:?} do not fit its {} values", data.len())));
        }
        Ok(Self { dims, data })
    }
}

impl Data {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the schema keeps bytes and halves in 32-bit fields")]
#[expect(clippy::cast_sign_loss, reason = "the schema keeps bytes and halves in 32-bit fields")]
fn decode(tensor: &proto::Tensor, raw: &[u8]) -> Option<Data> {
    let inline = raw.is_empty();
    let ints = &tensor.int32_data;
    Some(match tensor.data_type {
        kind::FLOAT if inline => Data::F32(tensor.float_data.clone()),
        kind::FLOAT => Data::F32(words(raw, f32::from_le_bytes)),
        kind::DOUBLE if inline => Data::F32(tensor.double_data.iter().map(|&value| value as f32).collect()),
        kind::DOUBLE => Data::F32(words(raw, |bytes| f64::from_le_bytes(bytes) as f32)),
        kind::FLOAT16 if inline => Data::F16(ints.iter().map(|&value| value as u16).collect()),
        kind::FLOAT16 => Data::F16(words(raw, u16::from_le_bytes)),
        kind::INT8 if inline => Data::I8(ints.iter().map(|&value| value as i8).collect()),
        kind::INT8 => Data::I8(words(raw, i8::from_le_bytes)),
        kind::UINT8 | kind::BOOL if inline => Data::U8(ints.iter().map(|&value| value as u8).collect()),
        kind::UINT8 | kind::BOOL => Data::U8(raw.to_vec()),
        kind::INT32 if inline => Data::I32(ints.clone()),
        kind::INT32 => Data::I32(words(raw, i32::from_le_bytes)),
        kind::INT64 if inline => Data::I64(tensor.int64_data.clone()),
        kind::INT64 => Data::I64(words(raw, i64::from_le_bytes)),
        _ => return None,
    })
}

fn words<const SIZE: usize, T>(raw: &[u8], read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    raw.as_chunks::<SIZE>().0.iter().map(|chunk| read(*chunk)).collect()
}

fn transpose<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(r, c)| values[r * columns + c])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_inline_and_raw_read_alike() {
        let inline =
            proto::Tensor { dims: vec![3], data_type: kind::INT8, int32_data: vec![-1, 0, 127], ..Default::default() };
        let raw = proto::Tensor { raw_data: vec![0xff, 0, 127], int32_data: Vec::new(), ..inline.clone() };
        assert_eq!(Array::try_from(&inline).unwrap(), Array::try_from(&raw).unwrap());
    }

    #[test]
    fn tensors_that_cannot_be_read_are_named_with_the_reason() {
        let tensor = |change: fn(&mut proto::Tensor)| {
            let mut tensor = Array::float(1.0).to_tensor("w");
            change(&mut tensor);
            Array::try_from(&tensor).unwrap_err().to_string()
        };
        assert!(
            tensor(|t| t.data_location = 1).contains("`w`: its values lie in `` beside the graph, which was not given")
        );
        assert!(tensor(|t| t.dims = vec![2]).contains("dims [2] do not fit its 1 values"));
        assert!(tensor(|t| t.dims = vec![-1]).contains("negative"));
        assert!(tensor(|t| t.data_type = 14).contains("element type 14"));
    }

    proptest! {
        #[test]
        fn arrays_survive_the_way_through_a_tensor(values in prop::collection::vec(any::<i8>(), 6)) {
            let array = Array { dims: vec![2, 3], data: Data::I8(values) };
            prop_assert_eq!(Array::try_from(&array.to_tensor("x")).unwrap(), array);
        }

        #[test]
        fn transposing_twice_gives_the_matrix_back(values in prop::collection::vec(-1.0_f32..1.0, 12)) {
            let array = Array::floats(&[3, 4], values);
            let there = array.transposed().unwrap();
            prop_assert_eq!(&there.dims, &[4, 3]);
            prop_assert_eq!(there.transposed().unwrap(), array);
        }
    }
}
