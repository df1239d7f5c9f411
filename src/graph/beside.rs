//! Values of tensors that lie in files beside their graph, as ONNX's external data does.
//!
//! Owns where in such a file a tensor's bytes are. Pure: the bytes are the caller's. It must not know folders.

use std::collections::BTreeMap;

use super::bytes::Bytes;
use super::proto::{self, Tensor};

/// The files beside a graph, by the names that it gives them.
pub type Beside = BTreeMap<String, Bytes>;

/// A graph as exporters write it, and the files beside it that hold its weights.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The graph's bytes.
    pub onnx: Vec<u8>,
    /// Files that it names.
    pub beside: Beside,
}

impl From<Vec<u8>> for Exported {
    fn from(onnx: Vec<u8>) -> Self {
        Self { onnx, beside: Beside::new() }
    }
}

/// The bytes of a tensor that lies beside its graph, or what is wrong with where it says that they lie.
pub(super) fn values_beside<'b>(tensor: &Tensor, beside: &'b Beside) -> Result<&'b [u8], String> {
    let location = entry(tensor, "location").unwrap_or_default();
    let file = beside
        .get(location)
        .ok_or_else(|| format!("its values lie in `{location}` beside the graph, which was not given"))?
        .as_slice();
    let number = |key: &str| entry(tensor, key).map(str::parse::<usize>).transpose();
    let (Ok(start), Ok(length)) = (number("offset"), number("length")) else {
        return Err(format!("its place in `{location}` is no number"));
    };
    let start = start.unwrap_or(0);
    let end = length.map_or(Some(file.len()), |length| start.checked_add(length));
    end.and_then(|end| file.get(start..end))
        .ok_or_else(|| format!("its values lie beyond the {} bytes of `{location}`", file.len()))
}

/// What a tensor says of its external data.
pub(super) fn entry<'t>(tensor: &'t Tensor, key: &str) -> Option<&'t str> {
    let found = tensor.external_data.iter().find(|entry: &&proto::StringEntry| entry.key == key);
    found.map(|entry| entry.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{Array, Data};
    use crate::proto::{StringEntry, kind};

    fn tensor(entries: &[(&str, &str)]) -> Tensor {
        let entry = |&(key, value): &(&str, &str)| StringEntry { key: key.into(), value: value.into() };
        Tensor {
            name: "w".into(),
            dims: vec![2],
            data_type: kind::UINT8,
            data_location: kind::EXTERNAL,
            external_data: entries.iter().map(entry).collect(),
            ..Tensor::default()
        }
    }

    // Case D2.
    #[test]
    fn values_beside_a_graph_are_read_and_what_leads_elsewhere_is_named() {
        let beside = Beside::from([("f".to_owned(), Bytes::from(vec![1, 2, 3, 4]))]);
        let read = |entries: &[(&str, &str)]| Array::read(&tensor(entries), &beside);
        let all = read(&[("location", "f"), ("offset", "2"), ("length", "2")]).unwrap();
        assert_eq!(all.data, Data::U8(vec![3, 4]));
        let to_the_end = read(&[("location", "f"), ("offset", "2")]).unwrap();
        assert_eq!(to_the_end.data, Data::U8(vec![3, 4]), "a length need not be given");
        for (entries, fault) in [
            (vec![("location", "g")], "its values lie in `g` beside the graph, which was not given"),
            (vec![("location", "f"), ("offset", "3"), ("length", "2")], "beyond the 4 bytes of `f`"),
            (vec![("location", "f"), ("offset", "18446744073709551615"), ("length", "2")], "beyond the 4 bytes"),
            (vec![("location", "f"), ("offset", "-1")], "its place in `f` is no number"),
            (vec![("location", "f"), ("length", "3")], "dims [2] do not fit its 3 values"),
        ] {
            let found = read(&entries).unwrap_err().to_string();
            assert!(found.contains(fault), "{found}");
        }
    }
}
