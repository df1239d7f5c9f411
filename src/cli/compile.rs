//! `compile`: from a model's folder to a written graph that has proved itself, kept beside it.
//!
//! Owns the order (manifest, tokenizer, samples, proof, files) and the samples. How a graph is written and proved is
//! [`rescored_graph`]'s, how it runs [`rescored_runtime`]'s. It must not know servers.

pub mod coreml;

use std::path::{Path, PathBuf};

use rescored_core::domain::Truncation;
use rescored_graph::compile::{Compiled, Refused, Sample};
use rescored_graph::safetensors::NotBert;
use rescored_graph::{
    self as graph, Activations, CrossEncoder, Layout, Origin, Precision as Arithmetic, Provenance, Ranges, Target,
    Weights,
};
use rescored_runtime::Encoding;
use rescored_runtime::catalogue::PrecisionName;
use rescored_runtime::checksum::Sha256;
use rescored_runtime::compiled::{self, DataFile, Record, Storage, WriteError};
use rescored_runtime::manifest::{self, Manifest, ManifestError, Recorded, Written};
use rescored_runtime::open::{OpenError, is_dynamically_quantised, runtime};
use rescored_runtime::options::{Kind, Options as ModelOptions, Precision, Provider};
use rescored_runtime::origin::{self, Unreadable};
use rescored_runtime::prompted;
use rescored_runtime::provider::register::roster;
use rescored_runtime::runner::SessionRunner;
use rescored_runtime::session::Runtime;
use rescored_runtime::tokenizer::{EncodeError, TokenizerError};
use serde::Deserialize;

/// Real pairs on which a written graph is proved and its ranges are observed: abstracts of `PubMedQA` (MIT), cut to one to
/// eight sentences, and a few by hand.
const SAMPLES: &str = include_str!("../../models/samples.jsonl");

/// Pairs of one forward pass, by default: what a core's cache holds of usual passages.
const SLOTS: usize = 4;

/// What to write.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where models lie, which runtime runs them.
    pub model: ModelOptions,
    /// The model.
    pub id: String,
    /// What the graph is for.
    pub provider: Kind,
    /// How the rows that enter an 8-bit product are quantised.
    pub scheme: Scheme,
    /// How 8-bit weights are stored; [`Storage::of_host`] suits this processor.
    pub weights: Storage,
    /// Pairs of one forward pass.
    pub slots: usize,
    /// Keep the first layers only, as a new model for benchmarks.
    pub layers: Option<usize>,
}

impl Options {
    /// A graph of a model for the processor of this host, as the sub-command writes it without flags.
    pub fn of_host(model: &ModelOptions, id: &str) -> Self {
        Self {
            model: model.clone(),
            id: id.to_owned(),
            provider: Kind::Cpu,
            scheme: Scheme::default(),
            weights: Storage::of_host(),
            slots: SLOTS,
            layers: None,
        }
    }
}

/// How activations are quantised in int8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// One range for all tokens, found in each forward pass: one pair a pass.
    PerPair,
    /// One range a token.
    PerToken,
    /// Ranges observed on the samples.
    #[default]
    Static,
    /// One range a token, by operators of our own.
    Fused,
}

/// A graph that was written, or was there.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its file.
    pub path: PathBuf,
    /// Its arrangement and arithmetic, in a word.
    pub target: String,
    /// What was measured on the samples.
    pub record: Record,
    /// Samples it was proved on; 0 when it was there already.
    pub samples: usize,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model's folder.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The runtime library.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model's own weights.
    #[error(transparent)]
    Origin(#[from] Unreadable),
    /// A file of the model cannot be read or copied.
    #[error("model: `{}` cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A sample cannot be encoded.
    #[error("samples: the tokenizer refuses one of them")]
    Sample(#[from] EncodeError),
    /// The samples are not understood.
    #[error("samples: not understood")]
    Samples(#[from] serde_json::Error),
    /// The graph could not be written or did not prove itself.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has a part that Hugging Face's BERT has no name for.
    #[error(transparent)]
    NotBert(#[from] NotBert),
    /// It could not be kept.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was written for CoreML cannot be opened again.
    #[error(transparent)]
    CoreMl(#[from] rescored_runtime::coreml::open::OpenError),
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: String,
}

/// Writes a graph for this CPU and keeps it where `serve` looks for it.
///
/// # Errors
/// [`CompileError`]; the model then runs as it is.
pub fn compile(options: &Options) -> Result<Done, CompileError> {
    let manifest = Manifest::open(&options.model.dir, &options.id)?;
    manifest.verify()?;
    let (source, source_sha256) = origin::read(&manifest)?;
    let mut target = target(options, &source);
    if let Some(done) = present(options, &manifest, &target, source_sha256) {
        return Ok(done);
    }
    let model = source.cross_encoder().map_err(Refused::from)?;
    if let Some(other) = stock(&target, &model) {
        target = other;
        if let Some(done) = present(options, &manifest, &target, source_sha256) {
            return Ok(done);
        }
    }
    let samples = samples(&manifest)?;
    let provenance = provenance(source_sha256);
    let mut runner = runner(options, &manifest)?;
    let source = source.without_weights();
    let compiled = graph::compile((&source, &model), (&target, &provenance), &samples, &mut runner)?;
    let record = record(&compiled, source_sha256, options.provider);
    let (path, record) = match options.layers {
        None => compiled::keep(&manifest.dir, record, &compiled.graph)?,
        Some(layers) => (keep_shape(&manifest, layers, &compiled, options)?, record),
    };
    Ok(Done { path, target: compiled.target.to_string(), record, samples: samples.len() })
}

/// The target in the runtime's own operators, where a model has a part that ours for whole layers do not compute.
fn stock(target: &Target, model: &CrossEncoder) -> Option<Target> {
    let Arithmetic::Int8 { activations: Activations::Fused, .. } = target.precision else { return None };
    let part = graph::beyond_fused_layers(model)?;
    tracing::warn!(part, "layers are not fused: the model has a part that fused ones lack");
    let weights = match Storage::of_host() {
        Storage::Signed | Storage::Packed => Weights::Signed,
        Storage::Unsigned => Weights::Unsigned,
    };
    let precision = Arithmetic::Int8 { weights, activations: Activations::Static(Ranges::default()) };
    Some(Target { precision, ..target.clone() })
}

/// What graphs are proved on. A graph for a device proves itself on that device: it is refused where there is none.
fn runner(options: &Options, manifest: &Manifest) -> Result<SessionRunner, CompileError> {
    let wanted = ModelOptions { provider: Provider::Only(options.provider), ..options.model.clone() };
    let runtime = runtime(&wanted)?;
    let roster = roster(&wanted, &runtime).map_err(OpenError::from)?;
    let device = roster.usable.first().and_then(|usable| usable.devices.first()).copied().unwrap_or(0);
    Ok(session_runner(runtime, (options.provider, device), manifest))
}

/// Runs a model's graphs.
fn session_runner(runtime: Runtime, device: (Kind, u32), manifest: &Manifest) -> SessionRunner {
    let source = manifest.graph.with_file_name("");
    SessionRunner { runtime, device, source, scratch: compiled::folder(&manifest.dir) }
}

/// The same graph, written before from the same source.
fn present(options: &Options, manifest: &Manifest, target: &Target, source: Sha256) -> Option<Done> {
    if options.layers.is_some() {
        return None;
    }
    let (path, record) =
        compiled::find(&manifest.dir, source, (options.provider, name(&target.precision).into()), options.weights)?;
    (record.graph == file(target)).then(|| Done { path, target: target.to_string(), record, samples: 0 })
}

fn file(target: &Target) -> String {
    format!("{target}.onnx")
}

/// Writes a model as other runtimes read it: `model.safetensors` and `config.json` with Hugging Face's names,
/// `tokenizer.json`, and `onnx/model.onnx`, padded, in fp32. The weights are the same, so scores can be compared.
///
/// # Errors
/// [`CompileError`].
pub fn export(options: &Options, folder: &Path) -> Result<(), CompileError> {
    let manifest = Manifest::open(&options.model.dir, &options.id)?;
    manifest.verify()?;
    let (source, source_sha256) = origin::read(&manifest)?;
    let provenance = provenance(source_sha256);
    let bert = source.cross_encoder().map_err(Refused::from)?;
    let bert = match options.layers {
        Some(layers) => bert.with_first_layers(layers),
        None => bert,
    };
    let (weights, config) = graph::safetensors::write(&bert)?;
    let target = Target { layout: Layout::Padded, precision: Arithmetic::Fp32, layers: None };
    let graph = graph::emit(&bert, &target, &provenance).map_err(Refused::from)?;
    let tokenizer = read(&manifest.tokenizer)?;
    for (file, bytes) in [
        ("model.safetensors", weights.as_slice()),
        ("config.json", config.as_bytes()),
        ("tokenizer.json", &tokenizer),
        ("tokenizer_config.json", br#"{"tokenizer_class": "BertTokenizerFast", "model_max_length": 512}"#),
    ] {
        let path = folder.join(file);
        let written =
            std::fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|source| CompileError::File { path, source })?;
    }
    compiled::write(&folder.join("onnx/model.onnx"), &graph)?;
    Ok(())
}

fn provenance(source: Sha256) -> Provenance {
    Provenance { source_sha256: source.to_string(), tool: format!("rescored {}", env!("CARGO_PKG_VERSION")) }
}

fn target(options: &Options, source: &Origin) -> Target {
    let asked = match options.model.precision {
        Precision::Auto if options.provider == Kind::Cuda => Precision::Fp16,
        Precision::Auto if matches!(source, Origin::Onnx(exported) if is_dynamically_quantised(&exported.onnx)) => {
            Precision::Int8
        }
        Precision::Auto => Precision::Fp32,
        asked @ (Precision::Fp32 | Precision::Fp16 | Precision::Int8) => asked,
    };
    let precision = match asked {
        Precision::Fp32 | Precision::Auto => Arithmetic::Fp32,
        Precision::Fp16 => Arithmetic::Fp16,
        Precision::Int8 => Arithmetic::Int8 {
            weights: match options.weights {
                Storage::Signed | Storage::Packed => Weights::Signed,
                Storage::Unsigned => Weights::Unsigned,
            },
            activations: match options.scheme {
                Scheme::PerPair => Activations::PerPair,
                Scheme::PerToken => Activations::PerToken,
                Scheme::Static => Activations::Static(Ranges::default()),
                Scheme::Fused => Activations::Fused,
            },
        },
    };
    let alone = matches!(precision, Arithmetic::Int8 { activations: Activations::PerPair, .. });
    let slots = if alone { 1 } else { options.slots };
    let layout = if options.provider == Kind::Cuda { Layout::Ragged } else { Layout::Packed { slots } };
    Target { layout, precision, layers: options.layers }
}

/// How the weights of a target are stored, when they are integers.
const fn storage(target: &Target) -> Option<Storage> {
    match target.precision {
        Arithmetic::Int8 { activations: Activations::Fused, .. } => Some(Storage::Packed),
        Arithmetic::Int8 { weights: Weights::Signed, .. } => Some(Storage::Signed),
        Arithmetic::Int8 { weights: Weights::Unsigned, .. } => Some(Storage::Unsigned),
        Arithmetic::Fp32 | Arithmetic::Fp16 => None,
    }
}

fn samples(manifest: &Manifest) -> Result<Vec<Sample>, CompileError> {
    let tokenizer = prompted::tokenizer(manifest, manifest.max_length)?;
    SAMPLES
        .lines()
        .map(|line| {
            let pair: Pair = serde_json::from_str(line)?;
            let fitted = tokenizer.pair(&tokenizer.query(&pair.query)?, &pair.document, &Truncation::MODEL)?;
            Ok(fitted.windows.iter().map(sample).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, CompileError>>()
        .map(|samples| samples.into_iter().flatten().collect())
}

fn sample(encoding: &Encoding) -> Sample {
    let mut types = vec![0; encoding.len()];
    types[encoding.document_starts().min(encoding.len())..].fill(encoding.document_type().into());
    Sample { ids: encoding.ids().iter().map(|&id| i64::from(id)).collect(), types }
}

/// What is known of a graph before it is kept.
fn record(compiled: &Compiled<'_>, source_sha256: Sha256, provider: Kind) -> Record {
    Record {
        graph: file(&compiled.target),
        sha256: Sha256::of(&[]),
        data: None,
        source_sha256,
        provider,
        precision: name(&compiled.target.precision),
        weights: storage(&compiled.target),
        proof_max: compiled.proof.max,
        loss_mean: compiled.loss.mean,
        loss_max: compiled.loss.max,
        company_max: compiled.company.max,
        rules: compiled::RULES,
    }
}

const fn name(precision: &Arithmetic) -> PrecisionName {
    match precision {
        Arithmetic::Fp32 => PrecisionName::Fp32,
        Arithmetic::Fp16 => PrecisionName::Fp16,
        Arithmetic::Int8 { .. } => PrecisionName::Int8,
    }
}

/// Keeps a model of fewer layers as a model of its own. Its graph says that it is a shape only.
fn keep_shape(
    manifest: &Manifest,
    layers: usize,
    compiled: &Compiled<'_>,
    options: &Options,
) -> Result<PathBuf, CompileError> {
    let precision = name(&compiled.target.precision);
    let graphics = if options.provider == Kind::Cpu { String::new() } else { format!("-{}", options.provider.word()) };
    let id = format!("{}-{layers}-layers-{}{graphics}", options.id, Precision::from(precision).word());
    let folder = options.model.dir.join(&id);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| CompileError::File { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let tokenizer = read(&manifest.tokenizer)?;
    let graph = folder.join("model.onnx");
    let (sha256, data) = compiled::write(&graph, &compiled.graph)?;
    let size = graph.metadata().map_err(at(&graph))?.len();
    std::fs::write(folder.join("tokenizer.json"), &tokenizer).map_err(at(&folder))?;
    let mut files = vec![
        Recorded { name: "model.onnx".to_owned(), sha256, size },
        Recorded { name: "tokenizer.json".to_owned(), sha256: Sha256::of(&tokenizer), size: tokenizer.len() as u64 },
    ];
    files.extend(data.map(|DataFile { name, sha256, size }| Recorded { name, sha256, size }));
    let written = Written {
        id,
        source: format!("the first {layers} layers of {}", manifest.source),
        licence: manifest.licence.clone(),
        inputs: Vec::new(),
        max_length: manifest.max_length,
        activation: manifest.activation.into(),
        precision,
        graph: "model.onnx".to_owned(),
        tokenizer: "tokenizer.json".to_owned(),
        files,
    };
    let path = folder.join(manifest::FILE);
    std::fs::write(&path, serde_json::to_vec_pretty(&written)?).map_err(at(&path))?;
    Ok(folder.join("model.onnx"))
}

fn read(path: &Path) -> Result<Vec<u8>, CompileError> {
    std::fs::read(path).map_err(|source| CompileError::File { path: path.to_owned(), source })
}
