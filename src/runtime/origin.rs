//! A model's own weights on disk: the ONNX graph, or the safetensors files with their `config.json`, and the modules that
//! sentence-transformers keeps beside an encoder.
//!
//! Owns which files are read and the checksum that stands for them: compiled graphs and measurements speak of weights by
//! it. It must not know what stands inside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use rescored_graph::safetensors::{Checkpoint, Module, Verdict};
use rescored_graph::{self as graph, Exported, Origin};
use rescored_process::files;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::checksum::Sha256;
use super::manifest::DESCRIPTION_BYTES;
use super::tokenizer::TokenizerError;
use super::{ExternalData, ExternalError, Manifest, mapped, prompted};

/// Files beside the weights.
const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const LIBRARY: &str = "config_sentence_transformers.json";
/// The weights of a module.
const WEIGHTS: &str = "model.safetensors";
/// How the name of a list of weight files ends.
const INDEX: &str = ".safetensors.index.json";

/// A file of the weights cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The graph, the weights or their description.
    #[error("model: `{}` cannot be read; check that it is there and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file beside the graph.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// The tokenizer, which knows the tokens of a decoder's verdict.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A description of other files is not one.
    #[error("model: `{}` is not understood; take it from the model's source again", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A description names a file elsewhere.
    #[error("model: `{}` names `{name}`; files of a model lie in its folder", path.display())]
    Named {
        /// The description.
        path: PathBuf,
        /// What it names.
        name: String,
    },
}

/// A model's own weights.
#[derive(Debug)]
pub struct Own {
    /// The graph, or the weights without one.
    pub origin: Origin,
    /// The checksum that stands for all of their files.
    pub sha256: Sha256,
    /// Files beside the graph that hold its weights.
    pub external: ExternalData,
}

/// Whether weights of this name need `compile` before they run: they are no graph.
pub fn is_safetensors(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("safetensors")) || is_index(path)
}

/// Whether a file lists the files that hold the weights.
fn is_index(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(INDEX))
}

/// Reads the weights, and their checksum.
///
/// # Errors
/// [`Unreadable`].
pub fn read(manifest: &Manifest) -> Result<(Origin, Sha256), Unreadable> {
    let Own { origin, sha256, .. } = open(manifest)?;
    Ok((origin, sha256))
}

/// As [`read`], with the files beside a graph that hold its weights.
///
/// # Errors
/// [`Unreadable`].
pub fn open(manifest: &Manifest) -> Result<Own, Unreadable> {
    if !is_safetensors(&manifest.graph) {
        let weights = bytes(&manifest.graph)?;
        let external = external(manifest, &weights)?;
        let sha256 = with(Sha256::of(&weights), &external);
        let exported = Exported { onnx: weights, beside: external.map()? };
        return Ok(Own { origin: Origin::Onnx(exported), sha256, external });
    }
    let parts = Parts::of(manifest)?;
    let mut sums = Vec::new();
    let mut held = |path: &PathBuf| {
        let bytes = mapped::bytes(path).map_err(|source| Unreadable::File { path: path.clone(), source })?;
        sums.push(Sha256::of(bytes.as_slice()));
        Ok::<_, Unreadable>(bytes)
    };
    let weights = parts.weights.iter().map(&mut held).collect::<Result<_, _>>()?;
    let mut modules = Vec::new();
    for part in &parts.modules {
        let weights = part.weights.iter().map(&mut held).collect::<Result<_, _>>()?;
        let config = if part.has_config { text(&part.folder.join(CONFIG))? } else { "{}".into() };
        modules.push(Module { kind: part.kind.clone(), folder: part.name.clone(), config, weights });
    }
    let config = text(&parts.config)?;
    let configs: Vec<&str> = modules.iter().map(|module| module.config.as_str()).collect();
    let sha256 = judged(manifest, parts.identity(&sums, &config, &configs))?;
    let checkpoint = Checkpoint { weights, config, modules, verdict: verdict(manifest)? };
    Ok(Own { origin: Origin::Safetensors(checkpoint), sha256, external: ExternalData::default() })
}

/// The ids of a decoder's verdict, by its tokenizer; `None` of any other model.
fn verdict(manifest: &Manifest) -> Result<Option<Verdict>, Unreadable> {
    if !prompted::has_verdict(manifest) {
        return Ok(None);
    }
    let tokenizer = prompted::tokenizer(manifest, manifest.max_length)?;
    Ok(prompted::verdict(manifest, &tokenizer)?)
}

/// The checksum of weights that are judged by some rows of the vocabulary: which these are decides a score as well.
fn judged(manifest: &Manifest, weights: Sha256) -> Result<Sha256, Unreadable> {
    if !prompted::has_verdict(manifest) {
        return Ok(weights);
    }
    let verdict = manifest.prompt.as_ref().and_then(|prompt| prompt.verdict.as_ref());
    let path = &manifest.tokenizer;
    let (tokenizer, _) = Sha256::of_file(path).map_err(|source| Unreadable::File { path: path.clone(), source })?;
    Ok(Sha256::of(format!("{weights} {verdict:?} {tokenizer}").as_bytes()))
}

/// The files of a checkpoint.
struct Parts {
    weights: Vec<PathBuf>,
    config: PathBuf,
    modules: Vec<ModulePart>,
}

/// The files of one of sentence-transformers' modules.
struct ModulePart {
    kind: String,
    name: String,
    folder: PathBuf,
    has_config: bool,
    weights: Vec<PathBuf>,
}

/// What `modules.json` lists.
#[derive(Deserialize)]
struct Listed {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What `config_sentence_transformers.json` says.
#[derive(Default, Deserialize)]
struct Library {
    model_type: Option<String>,
}

/// What `model.safetensors.index.json` says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Parts {
    fn of(manifest: &Manifest) -> Result<Self, Unreadable> {
        let graph = &manifest.graph;
        let weights = if is_index(graph) {
            let index: Index = described(graph)?;
            let names: BTreeSet<String> = index.weight_map.into_values().collect();
            names.iter().map(|name| inside(graph, name)).collect::<Result<_, _>>()?
        } else {
            vec![graph.clone()]
        };
        let list = graph.with_file_name(MODULES);
        // As the library does: what lists no cross-encoder's modules is of an embedding model that was made of the same one.
        let library = graph.with_file_name(LIBRARY);
        let library: Library = if library.is_file() { described(&library)? } else { Library::default() };
        let is_listed = library.model_type.as_deref() == Some("CrossEncoder") && list.is_file();
        let mut listed: Vec<Listed> = if is_listed { described(&list)? } else { Vec::new() };
        if prompted::has_verdict(manifest) {
            // Its tokens are the prompt's already.
            listed.retain(|module| module.kind.rsplit('.').next() != Some("LogitScore"));
        }
        let module = |Listed { path, kind }: Listed| {
            // The transformer's own files are the model's.
            let folder = if path.is_empty() { manifest.dir.clone() } else { inside(&list, &path)? };
            let weights = if path.is_empty() { Vec::new() } else { vec![folder.join(WEIGHTS)] };
            let weights = weights.into_iter().filter(|weights| weights.is_file()).collect();
            let has_config = !path.is_empty() && folder.join(CONFIG).is_file();
            Ok::<_, Unreadable>(ModulePart { kind, name: path, folder, has_config, weights })
        };
        let modules = listed.into_iter().map(module).collect::<Result<_, _>>()?;
        Ok(Self { weights, config: graph.with_file_name(CONFIG), modules })
    }

    /// One checksum for all files: that of weights and sizes alone is what earlier releases wrote.
    fn identity(&self, sums: &[Sha256], config: &str, modules: &[&str]) -> Sha256 {
        let sizes = Sha256::of(config.as_bytes());
        let words: Vec<String> = sums.iter().chain([&sizes]).map(ToString::to_string).collect();
        let mut all = words.join(" ");
        for (part, config) in self.modules.iter().zip(modules).filter(|(part, _)| !part.name.is_empty()) {
            let _ = write!(all, " {} {}", part.kind, Sha256::of(config.as_bytes()));
        }
        Sha256::of(all.as_bytes())
    }
}

/// A file or folder that a description names, below the description's own folder.
fn inside(description: &Path, name: &str) -> Result<PathBuf, Unreadable> {
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain && !name.is_empty() {
        return Ok(description.with_file_name(name));
    }
    Err(Unreadable::Named { path: description.to_owned(), name: name.to_owned() })
}

fn described<T: DeserializeOwned>(path: &Path) -> Result<T, Unreadable> {
    serde_json::from_str(&text(path)?).map_err(|source| Unreadable::Description { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<String, Unreadable> {
    files::read_text(path, DESCRIPTION_BYTES).map_err(|source| Unreadable::File { path: path.to_owned(), source })
}

fn external(manifest: &Manifest, onnx: &[u8]) -> Result<ExternalData, ExternalError> {
    // What is no graph names no files; it is reported where a graph is needed.
    let named = graph::summary(onnx).map(|summary| summary.externals).unwrap_or_default();
    ExternalData::open(manifest, &manifest.graph, &named)
}

/// Weights beside the graph change scores as those inside do.
fn with(graph: Sha256, external: &ExternalData) -> Sha256 {
    if external.is_empty() {
        return graph;
    }
    let files = external.hashes().map(|(location, hash)| format!(" {hash} {location}"));
    Sha256::of(format!("{graph}{}", files.collect::<String>()).as_bytes())
}

/// The checksum alone.
///
/// # Errors
/// [`Unreadable`].
pub fn identity(manifest: &Manifest) -> Result<Sha256, Unreadable> {
    let sum = |path: PathBuf| match Sha256::of_file(&path) {
        Ok((sum, _)) => Ok(sum),
        Err(source) => Err(Unreadable::File { path, source }),
    };
    if is_safetensors(&manifest.graph) {
        let parts = Parts::of(manifest)?;
        let files = parts.weights.iter().chain(parts.modules.iter().flat_map(|part| &part.weights));
        let sums = files.map(|path| sum(path.clone())).collect::<Result<Vec<_>, _>>()?;
        let configs = parts
            .modules
            .iter()
            .map(|part| if part.has_config { text(&part.folder.join(CONFIG)) } else { Ok("{}".into()) });
        let configs = configs.collect::<Result<Vec<_>, _>>()?;
        let configs: Vec<&str> = configs.iter().map(String::as_str).collect();
        return judged(manifest, parts.identity(&sums, &text(&parts.config)?, &configs));
    }
    // Which files hold its weights stands in the graph.
    let onnx = bytes(&manifest.graph)?;
    Ok(with(Sha256::of(&onnx), &external(manifest, &onnx)?))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    files::read(path, u64::MAX).map_err(|source| Unreadable::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, files: &[(&str, &str)]) -> Manifest {
        for (name, content) in files.iter().chain(&[("tokenizer.json", "{}")]) {
            std::fs::create_dir_all(dir.join("m")).unwrap();
            std::fs::write(dir.join("m").join(name), content).unwrap();
        }
        Manifest::open(dir, "m").unwrap()
    }

    #[test]
    fn a_graph_is_known_by_its_own_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(dir.path(), &[("model.onnx", "graph"), ("config.json", "{}")]);
        let (origin, sum) = read(&manifest).unwrap();
        assert!(matches!(origin, Origin::Onnx(exported) if exported.onnx == b"graph"));
        assert_eq!((sum, identity(&manifest).unwrap()), (Sha256::of(b"graph"), Sha256::of(b"graph")));
    }

    #[test]
    fn weights_are_known_by_their_checksum_and_that_of_their_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let mut sums = Vec::new();
        for (weights, config) in [("w", "{}"), ("w", "{ }"), ("v", "{}")] {
            let manifest = manifest(dir.path(), &[("model.safetensors", weights), ("config.json", config)]);
            let (origin, sum) = read(&manifest).unwrap();
            assert!(matches!(origin, Origin::Safetensors(checkpoint) if checkpoint.config == config));
            assert_eq!(identity(&manifest).unwrap(), sum, "with and without holding them");
            sums.push(sum);
        }
        assert!(sums[0] != sums[1] && sums[0] != sums[2] && sums[1] != sums[2]);
    }

    #[test]
    fn modules_count_where_they_are_a_cross_encoders_and_stay_in_the_folder() {
        let listed =
            |path: &str| format!(r#"[{{"path":"","type":"a.Transformer"}},{{"path":"{path}","type":"a.Dense"}}]"#);
        let opened = |library: &str, path: &str| {
            let dir = tempfile::tempdir().unwrap();
            let list = listed(path);
            let files = [
                ("model.safetensors", "w"),
                ("config.json", "{}"),
                ("modules.json", list.as_str()),
                ("config_sentence_transformers.json", library),
            ];
            let manifest = manifest(dir.path(), &files);
            std::fs::create_dir(dir.path().join("m/2_Dense")).unwrap();
            std::fs::write(dir.path().join("m/2_Dense/model.safetensors"), "dense").unwrap();
            let (origin, sum) = read(&manifest)?;
            assert_eq!(identity(&manifest).unwrap(), sum, "with and without holding them");
            let Origin::Safetensors(checkpoint) = origin else { panic!("weights") };
            Ok::<_, Unreadable>(checkpoint.modules.iter().map(|module| module.weights.len()).collect::<Vec<_>>())
        };
        let cross = r#"{"model_type":"CrossEncoder"}"#;
        assert_eq!(opened(cross, "2_Dense").unwrap(), [0, 1]);
        assert!(opened("{}", "2_Dense").unwrap().is_empty(), "an embedding model's, which the classifier does without");
        for path in ["../other", "/etc", "a/../../b"] {
            let fault = opened(cross, path).unwrap_err().to_string();
            assert!(fault.contains(&format!("names `{path}`; files of a model lie in its folder")), "{fault}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(dir.path(), &[("model.safetensors", "w"), ("config.json", "{}")]);
        std::fs::remove_file(dir.path().join("m/config.json")).unwrap();
        for fault in [read(&manifest).map(|_| ()).unwrap_err(), identity(&manifest).map(|_| ()).unwrap_err()] {
            assert!(fault.to_string().contains("config.json` cannot be read"), "{fault}");
        }
    }
}
