//! A written graph whose large weights have not been copied yet.
//!
//! Owns the two forms in which it is kept: one file that holds everything, or a small one with the large weights in a second
//! one beside it, as ONNX calls external data. Protobuf takes at most 2 GiB, and a loader maps a second file where it would
//! copy what stands in the first. Pure: bytes go into whatever is written to.

use std::borrow::Cow;
use std::io;

use prost::Message;

use super::half;
use super::proto::{self, kind};

/// Weights of fewer values stay in the graph: biases, norms and shapes, which optimisers fold.
const LARGE_VALUES: usize = 16_384;

/// Weights of so many bytes together are kept beside the graph.
const BESIDE_BYTES: u64 = 256 << 20;

/// Where each large weight begins: at a page, so that it can be mapped.
const PAGE: u64 = 4096;

/// How many values are converted at once while they are written.
const CHUNK: usize = 1 << 16;

/// Values of a weight in the form in which they are kept.
#[derive(Clone, Debug)]
pub(super) enum Values<'m> {
    /// 32-bit floats.
    F32(Cow<'m, [f32]>),
    /// 32-bit floats that are kept as 16-bit ones.
    F16(Cow<'m, [f32]>),
    /// Signed bytes.
    I8(Cow<'m, [i8]>),
    /// Unsigned bytes.
    U8(Cow<'m, [u8]>),
}

/// A large weight: the initialiser that it belongs to, and its values.
#[derive(Clone, Debug)]
pub(super) struct Large<'m> {
    pub(super) at: usize,
    pub(super) values: Values<'m>,
}

/// A graph without large weights.
impl From<proto::Model> for Written<'_> {
    fn from(model: proto::Model) -> Self {
        Self::new(model, Vec::new())
    }
}

/// See the module. Weights are borrowed from the model that it was written from.
#[derive(Clone, Debug)]
pub struct Written<'m> {
    /// The graph; initialisers of large weights are without values.
    model: Box<proto::Model>,
    large: Vec<Large<'m>>,
    /// Bytes of large weights from which they are kept beside the graph.
    beside_from: u64,
}

impl<'m> Written<'m> {
    pub(super) fn new(model: proto::Model, large: Vec<Large<'m>>) -> Self {
        Self { model: Box::new(model), large, beside_from: BESIDE_BYTES }
    }

    /// The same, with large weights beside the graph from so many bytes on.
    #[must_use]
    pub fn beside_from(self, bytes: u64) -> Self {
        Self { beside_from: bytes, ..self }
    }

    /// Whether its large weights are to be kept beside it.
    pub fn is_large(&self) -> bool {
        self.large.iter().map(|large| large.values.bytes()).sum::<u64>() > self.beside_from
    }

    /// The graph in one piece. Of a large one nobody can read that.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut model = proto::Model::clone(&self.model);
        for (large, tensor) in self.tensors(&mut model) {
            let mut raw = Vec::with_capacity(usize::try_from(large.bytes()).unwrap_or_default());
            // A vector takes all that is written.
            let _ = large.write(&mut raw);
            tensor.raw_data = raw;
        }
        model.encode_to_vec()
    }

    /// The graph whose large weights lie in the file `location` beside it.
    pub fn to_bytes_beside(&self, location: &str) -> Vec<u8> {
        let mut model = proto::Model::clone(&self.model);
        let mut start = 0;
        for (large, tensor) in self.tensors(&mut model) {
            let entry = |key: &str, value: String| proto::StringEntry { key: key.into(), value };
            tensor.data_location = kind::EXTERNAL;
            tensor.external_data = vec![
                entry("location", location.to_owned()),
                entry("offset", start.to_string()),
                entry("length", large.bytes().to_string()),
            ];
            start = next_page(start + large.bytes());
        }
        model.encode_to_vec()
    }

    /// What that file holds.
    ///
    /// # Errors
    /// As `out` reports them.
    pub fn write_weights(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut written = 0;
        for Large { values, .. } in &self.large {
            let gap = next_page(written) - written;
            io::copy(&mut io::Read::take(io::repeat(0), gap), out)?;
            values.write(out)?;
            written += gap + values.bytes();
        }
        Ok(())
    }

    /// Each large weight with its initialiser in a copy of the graph.
    fn tensors<'t>(
        &'t self,
        model: &'t mut proto::Model,
    ) -> impl Iterator<Item = (&'t Values<'m>, &'t mut proto::Tensor)> {
        let tensors = model.graph.iter_mut().flat_map(|graph| graph.initializer.iter_mut().enumerate());
        let mut large = self.large.iter().peekable();
        tensors.filter_map(move |(at, tensor)| {
            let large = large.next_if(|large| large.at == at)?;
            Some((&large.values, tensor))
        })
    }
}

const fn next_page(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

impl Values<'_> {
    /// An initialiser of these values, and the values again where they are many and it has none.
    pub(super) fn into_tensor(self, name: &str, dims: &[usize]) -> (proto::Tensor, Option<Self>) {
        let data_type = match &self {
            Self::F32(_) => kind::FLOAT,
            Self::F16(_) => kind::FLOAT16,
            Self::I8(_) => kind::INT8,
            Self::U8(_) => kind::UINT8,
        };
        let dims = dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect();
        let mut tensor = proto::Tensor { dims, data_type, name: name.into(), ..Default::default() };
        if self.len() >= LARGE_VALUES {
            return (tensor, Some(self));
        }
        // A vector takes all that is written.
        let _ = self.write(&mut tensor.raw_data);
        (tensor, None)
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) | Self::F16(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    fn bytes(&self) -> u64 {
        let width = match self {
            Self::F32(_) => 4,
            Self::F16(_) => 2,
            Self::I8(_) | Self::U8(_) => 1,
        };
        self.len() as u64 * width
    }

    /// Little-endian bytes.
    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Self::F32(values) => in_chunks(values, out, f32::to_le_bytes),
            Self::F16(values) => in_chunks(values, out, |value| half::narrow(value).to_le_bytes()),
            Self::I8(values) => in_chunks(values, out, i8::to_le_bytes),
            Self::U8(values) => out.write_all(values),
        }
    }
}

fn in_chunks<T: Copy, const SIZE: usize>(
    values: &[T],
    out: &mut impl io::Write,
    bytes: impl Fn(T) -> [u8; SIZE],
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(values.len().min(CHUNK) * SIZE);
    for chunk in values.chunks(CHUNK) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|&value| bytes(value)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::beside::Beside;
    use crate::bytes::Bytes;
    use crate::cross_encoder::Table;
    use crate::sample::tiny;
    use crate::target::{Layout, Precision, Provenance, Target};

    // Case D2.
    #[test]
    fn a_graph_holds_the_same_weights_in_one_piece_and_with_a_file_beside_it() {
        let mut model = tiny(1);
        let values = (0..3000 * 8).map(|at| (at % 977) as f32 / 8.0).collect();
        model.embeddings.words = Table::floats(3000, 8, values);
        let provenance = Provenance { source_sha256: String::new(), tool: String::new() };
        for precision in [Precision::Fp32, Precision::Fp16] {
            let target = Target { layout: Layout::Packed { slots: 1 }, precision, layers: None };
            let written = crate::emit(&model, &target, &provenance).unwrap();
            assert!(!written.is_large());
            let mut weights = Vec::new();
            written.write_weights(&mut weights).unwrap();
            let small = written.to_bytes_beside("w");
            assert!(small.len() < 20_000 && weights.len() >= 2 * 3000 * 8, "{} {}", small.len(), weights.len());
            let beside = Beside::from([("w".to_owned(), Bytes::from(weights))]);
            let initialisers = |onnx: &[u8]| {
                let graph = proto::Model::decode(onnx).unwrap().graph.unwrap();
                graph.initializer.iter().map(|tensor| Array::read(tensor, &beside).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(initialisers(&small), initialisers(&written.to_bytes()));
        }
    }

    #[test]
    fn weights_beyond_a_limit_go_beside_and_each_begins_at_a_page() {
        // Zeroed pages are not touched, so these cost no memory.
        let large = |at, count: usize| Large { at, values: Values::F32(vec![0.0; count].into()) };
        let tensor = |name: &str| proto::Tensor { name: name.into(), ..Default::default() };
        let graph = proto::Graph { initializer: vec![tensor("a"), tensor("b"), tensor("c")], ..Default::default() };
        let model = proto::Model { graph: Some(graph), ..Default::default() };
        let most = 64 << 20;
        let at_most = Written::new(model.clone(), vec![large(0, most)]);
        assert!(!at_most.is_large());
        let beyond = Written::new(model, vec![large(0, most - 5), large(2, 6)]);
        assert!(beyond.is_large());
        let graph = proto::Model::decode(beyond.to_bytes_beside("w").as_slice()).unwrap().graph.unwrap();
        let starts: Vec<_> =
            graph.initializer.iter().map(|tensor| crate::beside::entry(tensor, "offset").map(str::to_owned)).collect();
        assert_eq!(starts, [Some("0".to_owned()), None, Some((256_u64 << 20).to_string())]);
    }
}
