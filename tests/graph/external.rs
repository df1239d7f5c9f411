//! Moves a graph's weights into a file beside it.

use prost::Message as _;
use rescored_graph::proto::{Model, StringEntry, kind};

/// A graph with its weights in a file beside it, as exporters keep what is large, and that file.
pub(crate) fn with_weights_beside(onnx: &[u8], location: &str) -> (Vec<u8>, Vec<u8>) {
    let mut model = Model::decode(onnx).unwrap();
    let mut file = Vec::new();
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if tensor.raw_data.len() < 512 {
            continue;
        }
        let entry = |key: &str, value: String| StringEntry { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", file.len().to_string()),
            entry("length", tensor.raw_data.len().to_string()),
        ];
        tensor.data_location = kind::EXTERNAL;
        file.append(&mut tensor.raw_data);
    }
    (model.encode_to_vec(), file)
}
