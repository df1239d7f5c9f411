//! A model's folder without a manifest: what its files tell.
//!
//! Owns the names of weights that `compile` makes graphs of, and the keys of `config.json` and `tokenizer_config.json`; names
//! of graphs are those of `graphs`, and sentence-transformers' files `library`'s. It must not know the manifest's own format.

use std::path::{Path, PathBuf};

use rescored_process::files;
use serde_json::Value;

use super::{DESCRIPTION_BYTES, Manifest, ManifestError, graphs, lacking, library};
use crate::catalogue::{Entry, PrecisionName};
use crate::options::hub_repository;
use crate::tokenizer::TOKENIZER_BYTES;

/// Files that say how long a pair may be, for messages.
pub(super) const LENGTHS: &str = "{config,tokenizer_config,sentence_bert_config}.json";

/// Where the model hub keeps weights without a graph, of which `config.json` tells the sizes: one file, or the index of
/// several.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Tokens of a pair when nothing says how many.
const USUAL_LENGTH: u32 = 512;

/// Describes a folder that `fetch` did not fill; `known` is the catalogue's entry of the same id, whose facts go
/// before those of `config.json`, so that a model placed by hand answers like a fetched one.
///
/// The graph is `graph`, or else looked for.
pub(super) fn describe(
    (dir, id): (PathBuf, String),
    known: Option<&Entry>,
    graph: Option<&str>,
) -> Result<Manifest, ManifestError> {
    let fetched = known.is_some();
    let graph = graph.map_or_else(|| find_graph(&dir, &id, fetched), |graph| Ok(dir.join(graph)))?;
    let tokenizer = dir.join("tokenizer.json");
    if !tokenizer.is_file() {
        return Err(lacking::no_tokenizer(&dir, &id, fetched));
    }
    for path in [&graph, &tokenizer] {
        lacking::refuse_pointer(path, &id)?;
    }
    let config = Description::read(&dir.join("config.json"), &id)?;
    let tokenizer_config = Description::read(&dir.join("tokenizer_config.json"), &id)?;
    let (max_length, activation) = if let Some(entry) = known {
        (entry.max_length, entry.activation.into())
    } else {
        let own = Description::read(&dir.join(library::OWN), &id)?;
        let reader = Description::read(&dir.join(library::READER), &id)?;
        // A causal model's is its instruction.
        if causal(&dir, &id)?.is_none() {
            library::refuse_prompts(&own, &id)?;
        }
        if reader.value.get("do_lower_case").is_some() {
            // Bytes that are no text are reported where the tokenizer is opened.
            let tokenizer = files::read_text(&tokenizer, TOKENIZER_BYTES).unwrap_or_default();
            library::refuse_lower_case(&reader, &tokenizer, &id)?;
        }
        refuse_labels(&config, &id)?;
        (length(&config, (&tokenizer_config, &reader), &id)?, library::activation(&own, &config, &id)?)
    };
    // A folder's name proves nothing about where its weights come from, but for those of the hub's own cache.
    let source = match dir.canonicalize().as_deref().ok().and_then(hub_repository) {
        Some(("", name)) => name.to_owned(),
        Some((owner, name)) => format!("{owner}/{name}"),
        None => String::new(),
    };
    // A name that tells none may be that of any.
    let told = graph.to_str().filter(|path| graphs::is_onnx(path)).and_then(graphs::precision_of);
    let precision = told.filter(|told| *told != PrecisionName::Fp32).map(Into::into);
    Ok(Manifest {
        id,
        dir,
        graph,
        tokenizer,
        source,
        licence: String::new(),
        inputs: Vec::new(),
        max_length,
        activation,
        precision,
        prompt: None,
        files: Vec::new(),
    })
}

/// The architecture of a decoder that writes words, by what `config.json` says; `None` of any other model.
pub(super) fn causal(dir: &Path, id: &str) -> Result<Option<String>, ManifestError> {
    let config = Description::read(&dir.join("config.json"), id)?;
    let named = config.value.get("architectures").and_then(Value::as_array).into_iter().flatten();
    let causal = named.filter_map(Value::as_str).find(|name| name.ends_with("ForCausalLM"));
    Ok(causal.map(|name| name.chars().take(100).collect()))
}

/// A JSON description beside a model; a missing one is empty.
pub(super) struct Description {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

impl Description {
    fn read(path: &Path, id: &str) -> Result<Self, ManifestError> {
        let value = match files::read_text(path, DESCRIPTION_BYTES) {
            Ok(text) => serde_json::from_str(&text).map_err(|source| ManifestError::Malformed {
                id: id.into(),
                path: path.to_owned(),
                fetched: false,
                source,
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
            Err(source) => return Err(ManifestError::Unreadable { id: id.into(), path: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), value })
    }

    /// A whole number above 0; `None` where nothing is said, or no limit: tokenizers without one write 1e30, others -1.
    ///
    /// # Errors
    /// What stands there and is no such number.
    fn number(&self, key: &'static str, id: &str) -> Result<Option<u32>, ManifestError> {
        let value = self.value.get(key).filter(|value| !value.is_null());
        let Some(value) = value else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number < 0.0 || number > f64::from(u32::MAX) => Ok(None),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, and within the bounds above"
            )]
            Some(number) if number > 0.0 && number.fract() == 0.0 => Ok(Some(number as u32)),
            Some(_) | None => Err(ManifestError::Unsupported {
                id: id.into(),
                path: self.path.clone(),
                field: key,
                value: value.to_string().chars().take(100).collect(),
                expected: "a whole number above 0 is",
            }),
        }
    }
}

fn find_graph(dir: &Path, id: &str, fetched: bool) -> Result<PathBuf, ManifestError> {
    std::fs::read_dir(dir).map_err(|source| ManifestError::Unreadable {
        id: id.into(),
        path: dir.to_owned(),
        source,
    })?;
    match graphs::best(&graphs(dir), None) {
        Ok(Some(graph)) => Ok(dir.join(graph)),
        Ok(None) => {
            let weights = WEIGHTS.iter().map(|name| dir.join(name)).find(|path| path.is_file());
            let weights = weights.filter(|_| dir.join("config.json").is_file());
            weights.ok_or_else(|| lacking::no_weights(dir, id, fetched))
        }
        Err(graphs::Several(names)) => {
            Err(ManifestError::Ambiguous { id: id.into(), path: dir.to_owned(), names: names.join(", ") })
        }
    }
}

/// Graphs at a folder's top and in its `onnx/`, by their paths in it.
pub(super) fn graphs(dir: &Path) -> Vec<String> {
    let within = |folder: &str| {
        let entries = std::fs::read_dir(dir.join(folder)).ok().into_iter().flatten().filter_map(Result::ok);
        let files = entries.filter(|entry| entry.path().is_file());
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let below = within("onnx").into_iter().map(|name| format!("onnx/{name}"));
    within("").into_iter().chain(below).filter(|path| graphs::is_onnx(path)).collect()
}

/// Refuses a model that says of itself that it has several labels. One that says nothing is believed: its graph is asked.
fn refuse_labels(config: &Description, id: &str) -> Result<(), ManifestError> {
    // A list of labels is not what the library writes, and names them all the same.
    let named = config.value.get("id2label").and_then(|labels| match labels {
        Value::Object(labels) => Some(labels.len()),
        Value::Array(labels) => Some(labels.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    });
    let counted = config.number("num_labels", id)?.map(|count| count as usize);
    match named.or(counted) {
        Some(labels) if labels > 1 => Err(ManifestError::Unsupported {
            id: id.into(),
            path: config.path.clone(),
            field: if named.is_some() { "id2label" } else { "num_labels" },
            value: format!("{labels} labels"),
            expected: "a cross-encoder for ranking has 1",
        }),
        _ => Ok(()),
    }
}

/// The smallest of what the model has positions for, what its tokenizer was told, and what sentence-transformers was.
fn length(
    config: &Description,
    (tokenizer, reader): (&Description, &Description),
    id: &str,
) -> Result<u32, ManifestError> {
    let family = config.value.get("model_type").and_then(Value::as_str).unwrap_or_default();
    // RoBERTa's family counts positions from behind the padding id, so the first ones are never used.
    let offset = if family.contains("roberta") || family == "camembert" {
        // The padding id may be 0.
        let padding = config.value.get("pad_token_id").and_then(Value::as_u64);
        padding.and_then(|id| u32::try_from(id).ok()).unwrap_or(1) + 1
    } else {
        0
    };
    let positions = config.number("max_position_embeddings", id)?.map(|positions| positions.saturating_sub(offset));
    let stated = tokenizer.number("model_max_length", id)?;
    let longest = reader.number("max_seq_length", id)?;
    Ok([positions, stated, longest].into_iter().flatten().min().unwrap_or(USUAL_LENGTH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rescored_core::domain::Activation;

    fn open(files: &[(&str, &str)]) -> Result<Manifest, ManifestError> {
        open_as("m", files)
    }

    fn open_as(id: &str, files: &[(&str, &str)]) -> Result<Manifest, ManifestError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(id).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut manifest = Manifest::open(dir.path(), id)?;
        manifest.graph = manifest.graph.strip_prefix(&manifest.dir).unwrap().to_owned();
        Ok(manifest)
    }

    #[test]
    fn a_graph_under_any_usual_name_makes_a_model() {
        for (files, graph) in [
            (vec!["model.onnx", "other.onnx"], "model.onnx"),
            (vec!["onnx/model.onnx", "other.onnx"], "onnx/model.onnx"),
            (vec!["model_quantized.onnx", "other.onnx"], "model_quantized.onnx"),
            (vec!["only.onnx"], "only.onnx"),
            // Case D6.
            (vec!["onnx/model_quantized.onnx"], "onnx/model_quantized.onnx"),
            (vec!["onnx/model.onnx", "onnx/model_quantized.onnx"], "onnx/model.onnx"),
        ] {
            let mut folder = vec![("tokenizer.json", "{}")];
            folder.extend(files.iter().map(|&name| (name, "x")));
            let manifest = open(&folder).unwrap();
            assert_eq!(manifest.graph, Path::new(graph));
            assert_eq!((manifest.max_length, manifest.activation), (512, Activation::Sigmoid), "defaults");
            assert_eq!(manifest.verify().unwrap(), 0, "nothing was recorded, so nothing is checked");
        }
    }

    // Case D6.
    #[test]
    fn a_graph_of_another_precision_beside_the_usual_one_is_found() {
        use crate::catalogue::PrecisionName;
        let tokenizer = ("tokenizer.json", "{}");
        let both = open(&[tokenizer, ("onnx/model.onnx", "x"), ("onnx/model_quantized.onnx", "x")]);
        let alone = open(&[tokenizer, ("onnx/model_quantized.onnx", "x")]).unwrap();
        assert_eq!(both.unwrap().precision, None, "a usual name may be that of any precision");
        assert_eq!(alone.precision, Some(PrecisionName::Int8.into()));
        let dir = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "model.onnx", "model_quantized.onnx"] {
            std::fs::write(dir.path().join(name), "{}").unwrap();
        }
        let manifest = Manifest::open(Path::new("models"), dir.path().to_str().unwrap()).unwrap();
        let int8 = manifest.of_precision(PrecisionName::Int8.into()).unwrap();
        assert_eq!(int8.graph.file_name().unwrap(), "model_quantized.onnx");
        assert!(manifest.of_precision(PrecisionName::Fp16.into()).is_none());
    }

    #[test]
    fn lengths_and_activations_are_read_where_they_stand() {
        use Activation::{Identity, Sigmoid};
        for (why, config, tokenizer, length, activation) in [
            ("nothing said", "{}", "{}", 512, Sigmoid),
            ("positions", r#"{"max_position_embeddings":256}"#, "{}", 256, Sigmoid),
            ("a smaller tokenizer", r#"{"max_position_embeddings":512}"#, r#"{"model_max_length":128}"#, 128, Sigmoid),
            (
                "no real limit",
                r#"{"max_position_embeddings":512}"#,
                r#"{"model_max_length":1000000000000000019884624838656}"#,
                512,
                Sigmoid,
            ),
            (
                "roberta's offset",
                r#"{"model_type":"xlm-roberta","pad_token_id":1,"max_position_embeddings":514}"#,
                "{}",
                512,
                Sigmoid,
            ),
            ("no limit", r#"{"max_position_embeddings":-1}"#, r#"{"model_max_length":null}"#, 512, Sigmoid),
            ("a whole number all the same", r#"{"max_position_embeddings":100.0}"#, "{}", 100, Sigmoid),
            ("the least", r#"{"max_position_embeddings":8}"#, "{}", 8, Sigmoid),
            ("behind a byte order mark", "\u{feff}{\"max_position_embeddings\":256}", "{}", 256, Sigmoid),
            ("long", r#"{"max_position_embeddings":8192}"#, r#"{"model_max_length":8192}"#, 8192, Sigmoid),
            (
                "identity",
                r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity"}}"#,
                "{}",
                512,
                Identity,
            ),
            (
                "the older key",
                r#"{"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}"#,
                "{}",
                512,
                Identity,
            ),
            (
                "sigmoid",
                r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Sigmoid"}}"#,
                "{}",
                512,
                Sigmoid,
            ),
        ] {
            let manifest = open(&[
                ("model.onnx", "x"),
                ("tokenizer.json", "{}"),
                ("config.json", config),
                ("tokenizer_config.json", tokenizer),
            ])
            .unwrap();
            assert_eq!((manifest.max_length, manifest.activation), (length, activation), "{why}");
        }
    }

    #[test]
    fn a_catalogue_model_placed_by_hand_answers_like_a_fetched_one() {
        let identity = r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity"}}"#;
        let files = [("model.onnx", "x"), ("tokenizer.json", "{}"), ("config.json", identity)];
        assert_eq!(open_as("ms-marco-MiniLM-L-6-v2", &files).unwrap().activation, Activation::Sigmoid);
        assert_eq!(open_as("mine", &files).unwrap().activation, Activation::Identity);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let tokenizer = ("tokenizer.json", "{}");
        let graph = ("model.onnx", "x");
        for (why, files, expected) in [
            ("no tokenizer", vec![graph], "tokenizer.json` is missing"),
            ("no graph", vec![tokenizer], "model.onnx` is missing"),
            ("two graphs", vec![tokenizer, ("a.onnx", "x"), ("b.onnx", "x")], "several ONNX files (a.onnx, b.onnx)"),
            ("a broken config", vec![tokenizer, graph, ("config.json", "{\"a\":")], "config.json` is not understood"),
            (
                "another activation",
                vec![
                    tokenizer,
                    graph,
                    ("config.json", r#"{"sentence_transformers":{"activation_fn":"torch.nn.Tanh"}}"#),
                ],
                "activation_fn: `torch.nn.Tanh` is not supported",
            ),
            // Case B13.
            (
                "several labels",
                vec![tokenizer, graph, ("config.json", r#"{"id2label":{"0":"A","1":"B","2":"C"}}"#)],
                "id2label: `3 labels` is not supported; a cross-encoder for ranking has 1",
            ),
            (
                "labels in a list",
                vec![tokenizer, graph, ("config.json", r#"{"id2label":["A","B"]}"#)],
                "id2label: `2 labels`",
            ),
            // Case B21: a length that cannot be meant is no other one in silence.
            (
                "a length in words",
                vec![tokenizer, graph, ("config.json", r#"{"max_position_embeddings":"512"}"#)],
                "max_position_embeddings: `\"512\"` is not supported; a whole number above 0 is",
            ),
            (
                "no positions",
                vec![tokenizer, graph, ("config.json", r#"{"max_position_embeddings":0}"#)],
                "max_position_embeddings: `0` is not supported",
            ),
            (
                "half a token",
                vec![tokenizer, graph, ("tokenizer_config.json", r#"{"model_max_length":64.5}"#)],
                "model_max_length: `64.5` is not supported",
            ),
            (
                "no room for two texts",
                vec![tokenizer, graph, ("tokenizer_config.json", r#"{"model_max_length":7}"#)],
                "max_length: `7` is not supported; a pair has room for 8 tokens at least",
            ),
            (
                "bytes that are no text",
                vec![tokenizer, graph, ("config.json", "\u{0}")],
                "config.json` is not understood",
            ),
            (
                "labels counted",
                vec![tokenizer, graph, ("config.json", r#"{"num_labels":2}"#)],
                "num_labels: `2 labels`",
            ),
        ] {
            let fault = open(&files).unwrap_err().to_string();
            assert!(fault.contains(expected), "{why}: {fault}");
        }
    }

    // Case B12: what sentence-transformers 5.7.0 wrote.
    #[test]
    fn a_folder_of_sentence_transformers_modules_is_read() {
        let own = r#"{"__version__":{"sentence_transformers":"5.7.0"},"activation_fn":"torch.nn.modules.linear.Identity",
            "default_prompt_name":null,"model_type":"CrossEncoder","prompts":{}}"#;
        let modules =
            r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
        let manifest = open(&[
            ("model.onnx", "x"),
            ("tokenizer.json", "{}"),
            ("config.json", r#"{"id2label":{"0":"LABEL_0"},"max_position_embeddings":8192}"#),
            ("config_sentence_transformers.json", own),
            ("modules.json", modules),
            ("sentence_bert_config.json", r#"{"max_seq_length":300,"do_lower_case":false}"#),
            ("1_Dense/config.json", r#"{"in_features":256,"activation_function":"torch.nn.modules.activation.GELU"}"#),
        ])
        .unwrap();
        assert_eq!((manifest.max_length, manifest.activation), (300, Activation::Identity));
    }
}
