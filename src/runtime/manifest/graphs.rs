//! Names of graphs: what exporters call them, and which of several is meant.
//!
//! Owns the order among the graphs of a folder or of a repository, and the arithmetic that a name tells. It must not open
//! any file.

use std::path::Path;

use crate::catalogue::PrecisionName;

/// What exporters call a graph, the likeliest first; each lies at the top or in `onnx/`.
const USUAL: [&str; 5] =
    ["model.onnx", "model_quantized.onnx", "model_int8.onnx", "model_uint8.onnx", "model_fp16.onnx"];

/// Several graphs, and no reason to take one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several(pub Vec<String>);

/// The arithmetic that a graph's name tells; one that tells none is fp32, and `None` is one that is not served.
pub fn precision_of(path: &str) -> Option<PrecisionName> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if says(&["q4", "bnb4", "int4"]) {
        return None;
    }
    if says(&["int8", "quantized", "quantised"]) {
        return Some(PrecisionName::Int8);
    }
    // The optimiser's fourth level is the third in 16 bits.
    if says(&["fp16", "float16", "f16", "_o4."]) {
        return Some(PrecisionName::Fp16);
    }
    Some(PrecisionName::Fp32)
}

/// The graph that is meant among `paths`, those at the top and in `onnx/`: of the arithmetic asked for, else the likeliest
/// name, else the only one.
///
/// # Errors
/// [`Several`], where nothing tells which; never when an arithmetic was asked for.
pub fn best(paths: &[String], asked: Option<PrecisionName>) -> Result<Option<&str>, Several> {
    let mut graphs: Vec<&str> = paths.iter().map(String::as_str).filter(|path| is_graph(path)).collect();
    graphs.sort_by_key(|path| (place(path), path.contains('/'), *path));
    if let Some(asked) = asked {
        return Ok(graphs.into_iter().find(|path| precision_of(path) == Some(asked)));
    }
    match graphs.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.is_empty() || place(first) < USUAL.len() => Ok(Some(first)),
        several => Err(Several(several.iter().map(|path| (*path).to_owned()).collect())),
    }
}

/// Whether a path is called as a graph is.
pub fn is_onnx(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "onnx")
}

fn is_graph(path: &str) -> bool {
    let below = path.strip_prefix("onnx/").unwrap_or(path);
    is_onnx(below) && !below.contains('/')
}

fn place(path: &str) -> usize {
    let name = path.strip_prefix("onnx/").unwrap_or(path);
    USUAL.iter().position(|usual| *usual == name).unwrap_or(USUAL.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use PrecisionName::{Fp16, Fp32, Int8};

    // Case D6.
    #[test]
    fn of_several_graphs_the_one_of_the_arithmetic_asked_for_is_meant() {
        let hub = ["onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_q4.onnx", "onnx/model_quantized.onnx"];
        for (why, paths, asked, best_one) in [
            ("fp32 before all", hub.to_vec(), None, Ok(Some("onnx/model.onnx"))),
            ("int8 beside fp32", hub.to_vec(), Some(Int8), Ok(Some("onnx/model_quantized.onnx"))),
            ("fp16 beside fp32", hub.to_vec(), Some(Fp16), Ok(Some("onnx/model_fp16.onnx"))),
            ("int8 alone", vec!["onnx/model_quantized.onnx"], None, Ok(Some("onnx/model_quantized.onnx"))),
            ("int8 alone, and fp32 asked for", vec!["onnx/model_quantized.onnx"], Some(Fp32), Ok(None)),
            ("the top before the folder", vec!["onnx/model.onnx", "model.onnx"], None, Ok(Some("model.onnx"))),
            (
                "int8 for processors of several kinds",
                vec!["onnx/model_qint8_avx512.onnx", "onnx/model_qint8_arm64.onnx"],
                Some(Int8),
                Ok(Some("onnx/model_qint8_arm64.onnx")),
            ),
            ("the only one, whatever its name", vec!["ours.onnx"], None, Ok(Some("ours.onnx"))),
            ("none", vec!["config.json", "other/model.onnx", ".onnx"], None, Ok(None)),
            ("no reason for one of two", vec!["b.onnx", "a.onnx"], None, Err(vec!["a.onnx", "b.onnx"])),
        ] {
            let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
            let expected = best_one.map_err(|names: Vec<&str>| Several(names.into_iter().map(str::to_owned).collect()));
            assert_eq!(best(&paths, asked), expected, "{why}");
        }
    }

    // Case D6.
    #[test]
    fn names_tell_the_arithmetic() {
        for (name, precision) in [
            ("model.onnx", Some(Fp32)),
            ("onnx/model_O3.onnx", Some(Fp32)),
            ("onnx/model_O4.onnx", Some(Fp16)),
            ("model_fp16.onnx", Some(Fp16)),
            ("model_quantized.onnx", Some(Int8)),
            ("model_uint8.onnx", Some(Int8)),
            ("model_qint8_avx512_vnni.onnx", Some(Int8)),
            ("model_q4f16.onnx", None),
            ("model_bnb4.onnx", None),
        ] {
            assert_eq!(precision_of(name), precision, "{name}");
        }
    }
}
