//! Which graph of a model a provider runs.
//!
//! Owns the choice between a compiled graph and the model's own, and what is said when there is neither. It must not know
//! how a graph is loaded.

use std::path::PathBuf;

use rescored_graph::{self as graph, Origin, Summary};

use super::{OpenError, read};
use crate::checksum::Sha256;
use crate::compiled::{self, Storage};
use crate::options::{Graphs, Kind, Options, Precision};
use crate::origin::{self, Own, Unreadable};
use crate::provider::Usable;
use crate::{Batching, BatchingPolicy, ExternalData, Manifest};

/// Operators that quantise activations with one scale a tensor: every row of a batch then depends on all others.
const DYNAMIC_QUANTISERS: [&str; 3] = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"];

/// What a graph's bytes say, and where they lie.
pub(super) struct Chosen {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) summary: Summary,
    pub(super) precision: Precision,
    /// Weights that lie beside it.
    pub(super) external: ExternalData,
}

/// Whether a graph finds the ranges of its activations in each forward pass. Bytes that are no graph do not.
pub fn is_dynamically_quantised(onnx: &[u8]) -> bool {
    graph::summary(onnx).is_ok_and(|summary| quantises_dynamically(&summary))
}

pub(super) fn quantises_dynamically(summary: &Summary) -> bool {
    summary.operators.iter().any(|operator| DYNAMIC_QUANTISERS.contains(&operator.name.as_str()))
}

/// The graph that a provider runs: a compiled one of the precision asked for, else the model's own if that is of this
/// precision and the provider runs such graphs well.
pub(super) fn choose(manifest: &Manifest, options: &Options, kind: Kind) -> Result<Chosen, OpenError> {
    if origin::is_safetensors(&manifest.graph) {
        // What serves was written from them; their checksum identifies the graph.
        return written_from_weights(manifest, options, (kind, origin::identity(manifest)?));
    }
    let Own { origin, sha256: source, external } = origin::open(manifest)?;
    let own = match origin {
        Origin::Onnx(exported) => {
            let own = look_at(manifest, (manifest.graph.clone(), exported.onnx), None)?;
            Chosen { precision: manifest.precision.unwrap_or(own.precision), external, ..own }
        }
        Origin::Safetensors(_) => return written_from_weights(manifest, options, (kind, source)),
    };
    let asked = match (options.precision, kind) {
        (Precision::Auto, Kind::Cuda) if options.graphs == Graphs::Best => Precision::Fp16,
        (Precision::Auto, _) => own.precision,
        (asked, _) => asked,
    };
    let compiled = match options.graphs {
        Graphs::Best => compiled::find(&manifest.dir, source, (kind, asked), Storage::of_host()),
        Graphs::Source => None,
    };
    let fits = match own.summary.provider() {
        Some(word) => word == kind.word(),
        None => options.graphs == Graphs::Source || runs_any(kind),
    };
    match compiled {
        Some((path, _)) => compiled_graph(manifest, path, asked),
        // Never the model's own in another precision, whichever provider would run it.
        None if asked != own.precision && (options.graphs == Graphs::Source || runs_any(kind)) => {
            // Exporters put graphs of several precisions side by side; the one that `compile` writes goes before them.
            match manifest.of_precision(asked) {
                Some(beside) => choose(&beside, options, kind),
                None => Err(OpenError::Precision {
                    id: manifest.id.clone(),
                    asked: asked.word(),
                    found: own.precision.word(),
                    run: remedy(&manifest.id, (asked, own.precision)),
                }),
            }
        }
        None if fits => Ok(own),
        None => Err(OpenError::NoGraph {
            id: manifest.id.clone(),
            reason: format!("no {} graph for `{}` was written", asked.word(), kind.word()),
            run: format!("rescored compile {} --provider {}", manifest.id, kind.word()),
        }),
    }
}

/// The graph that a provider runs of weights that came without one: only a compiled one will do.
fn written_from_weights(
    manifest: &Manifest,
    options: &Options,
    (kind, source): (Kind, Sha256),
) -> Result<Chosen, OpenError> {
    let asked = match (options.precision, kind) {
        (Precision::Auto, Kind::Cuda) => Precision::Fp16,
        (Precision::Auto, _) => Precision::Fp32,
        (asked, _) => asked,
    };
    let weights = manifest.graph.display();
    let mut run = format!("rescored compile {}", manifest.id);
    let reason = if options.graphs == Graphs::Source {
        format!("RESCORED_GRAPH: `source` asks for the model's own graph, and `{weights}` is none; set it to `auto`")
    } else if let Some((path, _)) = compiled::find(&manifest.dir, source, (kind, asked), Storage::of_host()) {
        return compiled_graph(manifest, path, asked);
    } else if kind != Kind::Cpu && runs_any(kind) {
        format!("`{weights}` is no graph, and `{}` runs only a model's own; use `cpu`, `cuda` or `coreml`", kind.word())
    } else {
        let flag =
            |name: &str, value: Option<&str>| value.map_or_else(String::new, |value| format!(" --{name} {value}"));
        run += &flag("precision", (options.precision != Precision::Auto).then(|| asked.word()));
        run += &flag("provider", (kind != Kind::Cpu).then(|| kind.word()));
        format!("`{weights}` is no graph, and no {} one for `{}` was written of it", asked.word(), kind.word())
    };
    Err(OpenError::NoGraph { id: manifest.id.clone(), reason, run })
}

/// What gives a model another precision: `compile` writes graphs of weights, and what was rounded to integers has none.
fn remedy(id: &str, (asked, found): (Precision, Precision)) -> String {
    match found {
        Precision::Int8 => {
            format!(
                "set RESCORED_PRECISION=auto, or put its graph in fp32 beside it (model.onnx) and run: rescored compile {id} --precision {}",
                asked.word()
            )
        }
        Precision::Auto | Precision::Fp32 | Precision::Fp16 => {
            format!("run: rescored compile {id} --precision {}", asked.word())
        }
    }
}

/// Whether a provider runs graphs that were not written for it.
const fn runs_any(kind: Kind) -> bool {
    match kind {
        Kind::Cpu | Kind::OpenVino | Kind::Tensorrt => true,
        Kind::Cuda | Kind::CoreMl => false,
    }
}

/// A graph that `compile` wrote, and the file beside it that holds its weights, where they are many.
fn compiled_graph(manifest: &Manifest, path: PathBuf, precision: Precision) -> Result<Chosen, OpenError> {
    let bytes = read(manifest, &path)?;
    let chosen = look_at(manifest, (path, bytes), Some(precision))?;
    let external = ExternalData::open(manifest, &chosen.path, &chosen.summary.externals).map_err(Unreadable::from)?;
    Ok(Chosen { external, ..chosen })
}

/// What a graph says of itself; files beside it are not looked at.
fn look_at(
    manifest: &Manifest,
    (path, bytes): (PathBuf, Vec<u8>),
    precision: Option<Precision>,
) -> Result<Chosen, OpenError> {
    let unreadable = |source| OpenError::Graph { id: manifest.id.clone(), path: path.clone(), source };
    let summary = graph::summary(&bytes).map_err(unreadable)?;
    let guess = if quantises_dynamically(&summary) { Precision::Int8 } else { Precision::Fp32 };
    let external = ExternalData::default();
    Ok(Chosen { path, bytes, precision: precision.unwrap_or(guess), summary, external })
}

/// Which pairs of a graph may share a pass, and how large passes are.
pub(super) fn batching(summary: &Summary, usable: &Usable) -> (BatchingPolicy, Batching) {
    let batching_policy = match summary.slots {
        Some(slots) => BatchingPolicy::Packed { slots: Some(slots) },
        None if summary.is_ragged || summary.shares_beginnings => BatchingPolicy::Packed { slots: None },
        None if quantises_dynamically(summary) => BatchingPolicy::Alone,
        None => BatchingPolicy::SameLength,
    };
    let batching = match usable.kind {
        Kind::Cpu if summary.shares_beginnings => Batching::CPU_PROMPTS,
        Kind::Cpu | Kind::OpenVino => Batching::CPU,
        Kind::Cuda | Kind::Tensorrt => Batching::gpus(usable.devices.len()),
        Kind::CoreMl => Batching::ACCELERATOR,
    };
    (batching_policy, batching)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CoreMl, Provider, Shapes};

    fn options(precision: Precision, graphs: Graphs) -> Options {
        Options {
            ids: Vec::new(),
            dir: PathBuf::new(),
            runtime: None,
            provider: Provider::Auto,
            devices: None,
            precision,
            graphs,
            max_length: 512,
            shapes: Shapes::Refused,
            coreml: CoreMl::default(),
            threads: None,
        }
    }

    // Case D6.
    #[test]
    fn what_gives_a_model_another_precision_leads_in_no_circle() {
        let int8 = remedy("m", (Precision::Fp32, Precision::Int8));
        assert!(int8.starts_with("set RESCORED_PRECISION=auto, or put its graph in fp32 beside it"), "{int8}");
        assert_eq!(remedy("m", (Precision::Int8, Precision::Fp32)), "run: rescored compile m --precision int8");
    }

    #[test]
    fn weights_without_a_graph_say_what_to_do_for_every_provider() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("m");
        std::fs::create_dir(&folder).unwrap();
        for (file, content) in [("model.safetensors", "w"), ("config.json", "{}"), ("tokenizer.json", "{}")] {
            std::fs::write(folder.join(file), content).unwrap();
        }
        let manifest = Manifest::open(dir.path(), "m").unwrap();
        for (precision, graphs, kind, wanted) in [
            (
                Precision::Auto,
                Graphs::Best,
                Kind::Cpu,
                "no fp32 one for `cpu` was written of it; run: rescored compile m",
            ),
            (
                Precision::Int8,
                Graphs::Best,
                Kind::Cpu,
                "no int8 one for `cpu` was written of it; run: rescored compile m --precision int8",
            ),
            (
                Precision::Auto,
                Graphs::Best,
                Kind::Cuda,
                "no fp16 one for `cuda` was written of it; run: rescored compile m --provider cuda",
            ),
            (
                Precision::Auto,
                Graphs::Best,
                Kind::OpenVino,
                "`openvino` runs only a model's own; use `cpu`, `cuda` or `coreml`",
            ),
            (Precision::Auto, Graphs::Source, Kind::Cpu, "model.safetensors` is none; set it to `auto`"),
        ] {
            let options = options(precision, graphs);
            let fault = choose(&manifest, &options, kind).map(|_| ()).unwrap_err().to_string();
            assert!(fault.contains(wanted), "{options:?} {kind:?}: {fault}");
        }
    }
}
