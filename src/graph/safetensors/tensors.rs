//! Tensors of a checkpoint by name, in one file or several.
//!
//! Owns their checks: a tensor that is missing, of another shape, of another type, or not finite is named, and so is one
//! that nothing reads. Weights of products there are `[outputs, inputs]` and are turned.

use std::cell::RefCell;
use std::collections::HashSet;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::NotReadable;
use crate::array::{Array, Data};
use crate::bytes::Bytes;
use crate::cross_encoder::{Dense, Norm, NormKind, Table};
use crate::half;

/// Ends of names of tensors that models carry and do not compute with: buffers, and heads of the task they were trained on
/// before.
const IDLE: [&str; 4] = ["position_ids", "token_type_ids", "inv_freq", "num_batches_tracked"];
/// Beginnings of such names.
const IDLE_PARTS: [&str; 9] = [
    "cls.",
    "lm_head.",
    "lm_predictions.",
    "mask_predictions.",
    "decoder.",
    "generator_",
    "discriminator_predictions.",
    "qa_outputs.",
    "vocab_",
];

/// A checkpoint's tensors.
pub(super) struct Tensors<'a> {
    files: Vec<SafeTensors<'a>>,
    read: RefCell<HashSet<String>>,
}

/// Whether a product or a norm has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    /// It has one.
    Own,
    /// It has none; a tensor of its name is one too many.
    None,
}

impl Bias {
    /// As a configuration says.
    pub(super) fn of(is_there: bool) -> Self {
        if is_there { Self::Own } else { Self::None }
    }
}

impl<'a> Tensors<'a> {
    pub(super) fn open(files: &'a [Bytes]) -> Result<Self, NotReadable> {
        let files: Vec<SafeTensors<'a>> =
            files.iter().map(|file| SafeTensors::deserialize(file.as_slice())).collect::<Result<_, _>>()?;
        let mut names = HashSet::new();
        match files.iter().flat_map(SafeTensors::names).find(|name| !names.insert(*name)) {
            Some(twice) => Err(NotReadable::Twice { name: twice.to_owned() }),
            None => Ok(Self { files, read: RefCell::default() }),
        }
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<TensorView<'_>> {
        self.files.iter().find_map(|file| file.tensor(name).ok())
    }

    /// A tensor's values, of these dimensions.
    pub(super) fn floats(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, NotReadable> {
        let expected = |found: &str| NotReadable::Tensor {
            name: name.into(),
            expected: format!("floats of shape {dims:?}"),
            found: found.into(),
        };
        let tensor = self.find(name).ok_or_else(|| expected("none of this name"))?;
        self.read.borrow_mut().insert(name.to_owned());
        if tensor.shape() != dims {
            return Err(expected(&format!("shape {:?}", tensor.shape())));
        }
        let values = floats(&tensor).ok_or_else(|| expected(&format!("type {:?}", tensor.dtype())))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(expected(&format!("{} at value {at}", values[at]))),
            None => Ok(values),
        }
    }

    /// A table of rows.
    pub(super) fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Table, NotReadable> {
        Ok(Table::floats(rows, columns, self.floats(name, &[rows, columns])?))
    }

    /// Some rows of a table, one after the other; the others are not looked at.
    pub(super) fn some_rows(
        &self,
        name: &str,
        dims: [usize; 2],
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, NotReadable> {
        let [rows, columns] = dims;
        let expected = |found: String| NotReadable::Tensor {
            name: name.into(),
            expected: format!("floats of shape {dims:?}"),
            found,
        };
        let tensor = self.find(name).ok_or_else(|| expected("none of this name".into()))?;
        self.read.borrow_mut().insert(name.to_owned());
        if tensor.shape() != dims {
            return Err(expected(format!("shape {:?}", tensor.shape())));
        }
        let bytes = tensor.data().len() / rows.max(1);
        let row = |&row: &usize| {
            let data = tensor.data().get(row * bytes..(row + 1) * bytes);
            let data = data.ok_or_else(|| expected(format!("no row {row}")))?;
            let view = TensorView::new(tensor.dtype(), vec![1, columns], data)?;
            let values = floats(&view).ok_or_else(|| expected(format!("type {:?}", tensor.dtype())))?;
            match values.iter().find(|value| !value.is_finite()) {
                Some(value) => Err(expected(format!("{value} in row {row}"))),
                None => Ok(values),
            }
        };
        wanted.iter().map(row).collect()
    }

    /// A product: `{name}.weight`, turned, and `{name}.bias`.
    pub(super) fn dense(&self, name: &str, inputs: usize, outputs: usize, bias: Bias) -> Result<Dense, NotReadable> {
        let weight = Array::floats(&[outputs, inputs], self.floats(&format!("{name}.weight"), &[outputs, inputs])?);
        let values = match weight.transposed() {
            Some(Array { data: Data::F32(values), .. }) => values,
            // A matrix of floats was just made.
            _ => Vec::new(),
        };
        let bias = self.bias(name, outputs, bias)?;
        Ok(Dense { weight: Table::floats(inputs, outputs, values), bias })
    }

    /// A norm: `{name}.weight` and `{name}.bias`.
    pub(super) fn norm(&self, name: &str, width: usize, epsilon: f32, bias: Bias) -> Result<Norm, NotReadable> {
        let scale = self.floats(&format!("{name}.weight"), &[width])?;
        Ok(Norm { kind: NormKind::Layer, scale, bias: self.bias(name, width, bias)?, epsilon })
    }

    fn bias(&self, name: &str, width: usize, bias: Bias) -> Result<Vec<f32>, NotReadable> {
        match bias {
            Bias::Own => self.floats(&format!("{name}.bias"), &[width]),
            Bias::None => Ok(Vec::new()),
        }
    }

    /// Notes tensors that the model has and a pair's logit does not need.
    pub(super) fn ignore(&self, name: &str) {
        self.read.borrow_mut().insert(name.to_owned());
    }

    /// Refuses tensors that nothing read: a model with a part that is not computed would score otherwise than it should.
    pub(super) fn finish(&self) -> Result<(), NotReadable> {
        let read = self.read.borrow();
        let is_idle = |name: &str| {
            IDLE.iter().any(|end| name.ends_with(end)) || IDLE_PARTS.iter().any(|part| name.starts_with(part))
        };
        let names = self.files.iter().flat_map(SafeTensors::names);
        let mut extra: Vec<&str> = names.filter(|name| !read.contains(*name) && !is_idle(name)).collect();
        extra.sort_unstable();
        match extra.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(NotReadable::Extra { name: (*first).to_owned(), count: extra.len() }),
        }
    }
}

fn floats(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let words = || tensor.data().as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
    if tensor.dtype() == Dtype::F32 {
        return Some(tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());
    }
    if tensor.dtype() == Dtype::BF16 {
        return Some(words().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect());
    }
    (tensor.dtype() == Dtype::F16).then(|| words().map(half::widen).collect())
}
