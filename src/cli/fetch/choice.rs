//! Which files of a repository make a model.
//!
//! Owns the choice: weights, the graph of several, the tokenizer, descriptions, parts in folders. It must not know where
//! files come from: whoever asks reads the few whose content decides.

use std::path::Path;

use rescored_runtime::manifest::{graphs, is_inner_path};
use serde_json::Value;

use super::hub::RemoteFile;
use super::{FetchError, Wish};

/// The index of weights in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The list of a sentence-transformers model's parts, each in a folder.
const MODULES: &str = "modules.json";

/// Descriptions that are taken where they are there.
const DESCRIPTIONS: [&str; 10] = [
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "chat_template.jinja",
    "chat_template.json",
    "prompt.json",
    MODULES,
];

/// The folder of chat templates beside the usual one, one of which a model's options may name.
const TEMPLATES: &str = "additional_chat_templates/";

/// What a tokenizer is made of where it is not described whole.
const VOCABULARIES: [&str; 7] = [
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spm.model",
    "spiece.model",
    "tokenizer.model",
];

/// Endings of files that may be weights, for messages.
const WEIGHTS: [&str; 9] = [".safetensors", ".bin", ".onnx", ".h5", ".msgpack", ".gguf", ".pt", ".ot", ".xml"];

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The path of the graph, of the weights, or of their index.
    pub(super) graph: String,
    /// Every file, by its path.
    pub(super) files: Vec<RemoteFile>,
}

/// Gives the content of a file of the repository.
pub(super) type Read<'r> = dyn FnMut(&RemoteFile) -> Result<Vec<u8>, FetchError> + 'r;

/// A repository's files.
struct Repository<'a> {
    name: &'a str,
    files: &'a [RemoteFile],
}

/// Chooses among the files of a repository; `read` gives the content of the few that name others.
pub(super) fn choose(
    (name, files): (&str, &[RemoteFile]),
    wish: Wish,
    read: &mut Read<'_>,
) -> Result<Chosen, FetchError> {
    let repository = Repository { name, files };
    let (graph, mut chosen) = repository.weights(wish, read)?;
    chosen.extend(DESCRIPTIONS.iter().filter_map(|path| repository.get(path)));
    let is_template = |file: &&RemoteFile| file.path.starts_with(TEMPLATES) && is_a(&file.path, "jinja");
    chosen.extend(files.iter().filter(is_template));
    match repository.get("tokenizer.json") {
        Some(whole) => chosen.push(whole),
        None => chosen.extend(VOCABULARIES.iter().filter_map(|path| repository.get(path))),
    }
    if let Some(modules) = repository.get(MODULES) {
        chosen.extend(repository.parts(modules, read)?);
    }
    let mut files: Vec<RemoteFile> = chosen.into_iter().cloned().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(Chosen { graph, files })
}

impl<'a> Repository<'a> {
    fn get(&self, path: &str) -> Option<&'a RemoteFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The weights with what belongs to them: safetensors, of which `compile` writes graphs, else an ONNX graph.
    fn weights(&self, wish: Wish, read: &mut Read<'_>) -> Result<(String, Vec<&'a RemoteFile>), FetchError> {
        // Without sizes nothing can be made of them.
        let described = self.get("config.json").is_some();
        if described && !wish.onnx {
            if let Some(one) = self.get("model.safetensors") {
                return Ok((one.path.clone(), vec![one]));
            }
            if let Some(index) = self.get(INDEX) {
                return self.shards(index, read);
            }
            let plain = |file: &&RemoteFile| {
                let path = &file.path;
                is_a(path, "safetensors") && !path.contains('/') && !path.starts_with("adapter")
            };
            let mut plain = self.files.iter().filter(plain);
            if let (Some(only), None) = (plain.next(), plain.next()) {
                return Ok((only.path.clone(), vec![only]));
            }
        }
        let paths: Vec<String> = self.files.iter().map(|file| file.path.clone()).collect();
        let of_wish = graphs::best(&paths, wish.precision).unwrap_or_default();
        match of_wish.and_then(|path| self.get(path)) {
            Some(graph) => Ok((graph.path.clone(), self.with_data(graph))),
            None => Err(self.no_weights(described, wish)),
        }
    }

    /// A graph and the files beside it that hold its weights, as exporters name them: `model.onnx_data`,
    /// `model.onnx.data`, `model.onnx_data_1`.
    fn with_data(&self, graph: &'a RemoteFile) -> Vec<&'a RemoteFile> {
        let belongs = |file: &&RemoteFile| match file.path.strip_prefix(graph.path.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with("_data") || rest.starts_with(".data"),
            None => false,
        };
        self.files.iter().filter(belongs).collect()
    }

    /// The index and every file that it names.
    fn shards(&self, index: &'a RemoteFile, read: &mut Read<'_>) -> Result<(String, Vec<&'a RemoteFile>), FetchError> {
        let content = self.json(index, read)?;
        let map = content.get("weight_map").and_then(Value::as_object);
        let mut names: Vec<&str> = map.into_iter().flatten().filter_map(|(_, file)| file.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(self.broken(&index.path, "names no files"));
        }
        let mut files = vec![index];
        for name in names {
            files.push(
                self.get(name)
                    .ok_or_else(|| self.broken(&index.path, format!("names `{name}`, which is not there")))?,
            );
        }
        Ok((index.path.clone(), files))
    }

    /// Files of the folders that the list of parts names.
    fn parts(&self, modules: &'a RemoteFile, read: &mut Read<'_>) -> Result<Vec<&'a RemoteFile>, FetchError> {
        let content = self.json(modules, read)?;
        let mut files = Vec::new();
        for module in content.as_array().into_iter().flatten() {
            let folder = module.get("path").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/');
            if folder.is_empty() {
                continue;
            }
            if !is_inner_path(folder) {
                return Err(self.broken(&modules.path, format!("names the folder `{folder}`, which leads elsewhere")));
            }
            let own = |file: &&RemoteFile| {
                let below = file.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
                below.is_some_and(|name| !name.contains('/') && (is_a(name, "json") || is_a(name, "safetensors")))
            };
            files.extend(self.files.iter().filter(own));
        }
        Ok(files)
    }

    fn json(&self, file: &RemoteFile, read: &mut Read<'_>) -> Result<Value, FetchError> {
        let content = read(file)?;
        serde_json::from_slice(&content).map_err(|_| self.broken(&file.path, "is no JSON"))
    }

    fn broken(&self, file: &str, problem: impl Into<String>) -> FetchError {
        FetchError::Broken { repo: self.name.to_owned(), file: file.to_owned(), problem: problem.into() }
    }

    fn no_weights(&self, described: bool, wish: Wish) -> FetchError {
        const SHOWN: usize = 12;
        let is_weight = |file: &&RemoteFile| WEIGHTS.iter().any(|ending| file.path.ends_with(ending));
        let weights: Vec<&str> = self.files.iter().filter(is_weight).map(|file| file.path.as_str()).collect();
        let shown = weights.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let found = match weights.len() {
            0 => "no weights at all".to_owned(),
            few if few <= SHOWN => shown,
            many => format!("{shown} and {} more", many - SHOWN),
        };
        let has = |ending: &str| weights.iter().any(|path| path.ends_with(ending));
        let hint = if has(".onnx") && (wish.onnx || wish.precision.is_some()) {
            "leave --onnx or --precision out, or name a precision that is there"
        } else if has(".onnx") {
            "name one of its graphs by --precision, or bring the one that you want by hand, as model.onnx"
        } else if has(".safetensors") && !described {
            "config.json, which gives the sizes of the weights, is missing"
        } else if has("pytorch_model.bin") {
            "transformers writes safetensors of it: AutoModelForSequenceClassification.from_pretrained(…).save_pretrained(FOLDER); \
             serve that folder"
        } else {
            "look for another repository of the same model"
        };
        FetchError::NoWeights { repo: self.name.to_owned(), found, hint }
    }
}

/// Whether a path ends in this extension.
fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rescored_runtime::catalogue::PrecisionName;

    fn chosen(paths: &[&str], wish: Wish, contents: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
        let files: Vec<RemoteFile> =
            paths.iter().map(|path| RemoteFile { path: (*path).into(), size: 1, sha256: None }).collect();
        let mut read = |file: &RemoteFile| {
            let content = contents.iter().find(|(path, _)| *path == file.path);
            Ok(content.expect("only what decides is read").1.as_bytes().to_vec())
        };
        let chosen = choose(("us/m", &files), wish, &mut read).map_err(|fault| fault.to_string())?;
        Ok((chosen.graph, chosen.files.into_iter().map(|file| file.path).collect()))
    }

    // Case D8.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a case a repository")]
    fn what_makes_a_model_is_taken_and_nothing_else() {
        let any = Wish::default();
        let onnx = Wish { onnx: true, ..any };
        let int8 = Wish { precision: Some(PrecisionName::Int8), ..any };
        let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}"#;
        let modules = r#"[{"path":"","type":"T"},{"path":"1_Pooling"},{"path":"2_Dense/"}]"#;
        let hub = [
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/model_quantized.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
            "training_args.bin",
            "vocab.txt",
        ];
        let described = ["config.json", "tokenizer.json", "tokenizer_config.json"];
        for (why, paths, wish, contents, graph, beside) in [
            ("safetensors before all", hub.to_vec(), any, vec![], "model.safetensors", described.to_vec()),
            ("also where a precision is named", hub.to_vec(), int8, vec![], "model.safetensors", described.to_vec()),
            ("a graph where it is asked for", hub.to_vec(), onnx, vec![], "onnx/model.onnx", described.to_vec()),
            (
                "of the precision asked for",
                hub.to_vec(),
                Wish { onnx: true, ..int8 },
                vec![],
                "onnx/model_quantized.onnx",
                described.to_vec(),
            ),
            (
                "a graph with its weights",
                vec![
                    "onnx/model.onnx",
                    "onnx/model.onnx_data",
                    "onnx/model_fp16.onnx",
                    "onnx/model_fp16.onnx_data",
                    "tokenizer.json",
                ],
                any,
                vec![],
                "onnx/model.onnx",
                vec!["onnx/model.onnx_data", "tokenizer.json"],
            ),
            (
                "weights in several files",
                vec![
                    "config.json",
                    INDEX,
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "model-00003-of-00003.safetensors",
                    "tokenizer.json",
                ],
                any,
                vec![(INDEX, index)],
                INDEX,
                vec![
                    "config.json",
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "tokenizer.json",
                ],
            ),
            (
                "parts in folders",
                vec![
                    "1_Pooling/config.json",
                    "2_Dense/config.json",
                    "2_Dense/model.safetensors",
                    "2_Dense/pytorch_model.bin",
                    "3_Other/config.json",
                    "config.json",
                    "model.safetensors",
                    MODULES,
                    "tokenizer.json",
                ],
                any,
                vec![(MODULES, modules)],
                "model.safetensors",
                vec![
                    "1_Pooling/config.json",
                    "2_Dense/config.json",
                    "2_Dense/model.safetensors",
                    "config.json",
                    MODULES,
                    "tokenizer.json",
                ],
            ),
            (
                "a vocabulary where no tokenizer.json is",
                vec!["config.json", "model.safetensors", "sentencepiece.bpe.model"],
                any,
                vec![],
                "model.safetensors",
                vec!["config.json", "sentencepiece.bpe.model"],
            ),
            (
                "weights of another name",
                vec!["config.json", "ours.safetensors", "adapter_model.safetensors"],
                any,
                vec![],
                "ours.safetensors",
                vec!["config.json"],
            ),
        ] {
            let (found, files) = chosen(&paths, wish, &contents).unwrap_or_else(|fault| panic!("{why}: {fault}"));
            let mut expected: Vec<&str> = beside.into_iter().chain([graph]).collect();
            expected.sort_unstable();
            assert_eq!((found.as_str(), files.iter().map(String::as_str).collect()), (graph, expected), "{why}");
        }
    }

    // Case D8.
    #[test]
    fn a_repository_of_which_no_model_can_be_made_is_refused_with_what_it_has() {
        let any = Wish::default();
        let fp16 = Wish { precision: Some(PrecisionName::Fp16), ..any };
        for (why, paths, wish, contents, expected) in [
            (
                "pickles",
                vec!["config.json", "pytorch_model.bin"],
                any,
                vec![],
                vec!["it has pytorch_model.bin", "save_pretrained"],
            ),
            ("nothing", vec!["README.md"], any, vec![], vec!["it has no weights at all", "another repository"]),
            ("no sizes", vec!["model.safetensors"], any, vec![], vec!["which gives the sizes"]),
            (
                "another precision",
                vec!["onnx/model.onnx"],
                fp16,
                vec![],
                vec!["it has onnx/model.onnx", "leave --onnx"],
            ),
            (
                "adapters",
                vec!["config.json", "adapter_model.safetensors"],
                any,
                vec![],
                vec!["it has adapter_model.safetensors"],
            ),
            (
                "half of the shards",
                vec!["config.json", INDEX],
                any,
                vec![(INDEX, r#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#)],
                vec!["names `model-00001-of-00002.safetensors`, which is not there"],
            ),
            ("an index of nothing", vec!["config.json", INDEX], any, vec![(INDEX, "{}")], vec!["names no files"]),
            (
                "a part outside",
                vec!["config.json", "model.safetensors", MODULES],
                any,
                vec![(MODULES, r#"[{"path":"../secrets"}]"#)],
                vec!["`../secrets`, which leads elsewhere"],
            ),
            (
                "no list",
                vec!["config.json", "model.safetensors", MODULES],
                any,
                vec![(MODULES, "<html>")],
                vec!["is no JSON"],
            ),
        ] {
            let fault = chosen(&paths, wish, &contents).expect_err(why);
            for part in expected {
                assert!(fault.contains("us/m") && fault.contains(part), "{why}: {fault}");
            }
        }
    }
}
