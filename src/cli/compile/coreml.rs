//! `compile --provider coreml`: graphs and the table of embeddings for CoreML, proved on the CPU before they are kept.
//!
//! Owns the order, and the pairs that a device is checked with later: real ones, and the same cut to every length that
//! programs have, so that no program serves unchecked. It must not know servers.

use std::path::PathBuf;
use std::sync::Arc;

use rescored_core::domain::accelerator::{Accelerator as _, State};
use rescored_graph::compile::{FP32_TOLERANCE, Feed, Refused, Runner as _, Sample as Ids, padded};
use rescored_graph::coreml::{Arithmetic, Shape, table, write};
use rescored_graph::{Origin, Runnable};
use rescored_runtime::checksum::Sha256;
use rescored_runtime::coreml::check::Sample;
use rescored_runtime::coreml::compute_units::{ExecutionTarget, Place};
use rescored_runtime::coreml::device::{Cast, Graph, Onnx, OrtDevice};
use rescored_runtime::coreml::files::{Files, Record, Written, folder};
use rescored_runtime::coreml::grid;
use rescored_runtime::coreml::open::{Source, open};
use rescored_runtime::coreml::prove::logits;
use rescored_runtime::coreml::store::Store;
use rescored_runtime::coreml::table::Table;
use rescored_runtime::manifest::Manifest;
use rescored_runtime::open::runtime;
use rescored_runtime::options::{Kind, Precision};
use rescored_runtime::origin;
use rescored_runtime::session::Runtime;

use super::{CompileError, Options, provenance, samples};

/// Pairs that a device is checked with, of those that the graphs were proved on.
const KEPT: usize = 24;

/// The graph in 16 bits may be this far off on average, computed in 16 bits on the CPU.
const HALF_TOLERANCE: f32 = 0.02;

/// What was written, or was there.
#[derive(Clone, Debug)]
pub struct Done {
    /// The folder of the files.
    pub folder: PathBuf,
    /// What was measured.
    pub record: Record,
    /// Pairs that the graphs were proved on; 0 when they were there already.
    pub samples: usize,
    /// What a device chose; `None` where there is no CoreML.
    pub chosen: Option<State>,
}

/// Writes graphs of both arithmetics and the table, proves them, keeps them, and measures this machine's units where it has
/// any.
///
/// # Errors
/// [`CompileError`].
pub fn compile(options: &Options) -> Result<Done, CompileError> {
    let manifest = Manifest::open(&options.model.dir, &options.id)?;
    manifest.verify()?;
    let (source, sha256) = origin::read(&manifest)?;
    let runtime = runtime(&options.model)?;
    let found = Files::find(&manifest.id, &manifest.dir, sha256);
    let (record, samples) = if let Ok(files) = found {
        (files.record, 0)
    } else {
        let ids = check_pairs(&samples(&manifest)?, manifest.max_length);
        (written((&source, sha256), &manifest, &ids, &runtime)?.record, ids.len())
    };
    let chosen = OrtDevice::is_available().then(|| {
        let source = Source {
            id: &manifest.id,
            folder: &manifest.dir,
            sha256,
            max_length: manifest.max_length.min(options.model.max_length),
        };
        let precision =
            if options.model.precision == Precision::Int8 { Precision::Auto } else { options.model.precision };
        let model = rescored_runtime::Options { precision, ..options.model.clone() };
        let opened = open(&source, &model, (&runtime, Cast::Real))?;
        opened.pool.prepare();
        Ok::<_, CompileError>(opened.pool.state())
    });
    Ok(Done { folder: folder(&manifest.dir), record, samples, chosen: chosen.transpose()? })
}

/// The pairs, and some of them cut to every length of the grid, a query of no document among them.
fn check_pairs(samples: &[Ids], max_length: u32) -> Vec<Ids> {
    let mut pairs = samples.to_vec();
    let lengths = grid::shapes(max_length as usize).into_iter().filter(|shape| !shape.is_packed());
    let mut lengths: Vec<usize> = lengths.map(|shape| shape.length).collect();
    lengths.dedup();
    for length in lengths {
        for cut in [length, length * 3 / 4] {
            if let Some(sample) = samples.iter().find(|sample| sample.ids.len() > cut)
                && let (Some(&end), Some(&kind)) = (sample.ids.last(), sample.types.last())
            {
                let mut pair = Ids { ids: sample.ids[..cut].to_vec(), types: sample.types[..cut].to_vec() };
                pair.ids[cut - 1] = end;
                pair.types[cut - 1] = kind;
                pairs.push(pair);
            }
        }
    }
    pairs
}

fn written(
    (source, source_sha256): (&Origin, Sha256),
    manifest: &Manifest,
    ids: &[Ids],
    runtime: &Runtime,
) -> Result<Files, CompileError> {
    let bert = source.cross_encoder().map_err(Refused::from)?;
    let provenance = provenance(source_sha256);
    let graph = |arithmetic| Ok::<_, Refused>((arithmetic, write(&bert, arithmetic, &provenance)?));
    let graphs = [graph(Arithmetic::Fp32)?, graph(Arithmetic::Fp16)?];
    let bytes = table(&bert);
    let known = known(&source.floats(&bert).map_err(Refused::from)?, ids, (runtime, manifest))?;
    let proof = prove(&graphs, &bytes, (&known, manifest), runtime)?;
    let record = Record {
        source_sha256,
        graphs: graphs
            .iter()
            .map(|(arithmetic, onnx)| Written { arithmetic: arithmetic.word().to_owned(), sha256: Sha256::of(onnx) })
            .collect(),
        table_sha256: Sha256::of(&bytes),
        proof_max: proof.exact,
        half_mean: proof.half_mean,
        half_max: proof.half_max,
        samples: spread(known),
    };
    Files::keep(&manifest.dir, record, &graphs, &bytes).map_err(|(path, source)| CompileError::File { path, source })
}

/// Pairs with the logits of the source's float arithmetic, each run alone at its exact length.
fn known(
    floats: &Runnable<'_>,
    ids: &[Ids],
    (runtime, manifest): (&Runtime, &Manifest),
) -> Result<Vec<Sample>, CompileError> {
    let runs: Vec<Vec<Feed>> = ids.iter().map(padded).collect();
    let run = |error| Refused::Run { what: "source", source: Box::new(error) };
    let mut runner = super::session_runner(runtime.clone(), (Kind::Cpu, 0), manifest);
    let answers = runner.run(floats, &runs, "logits").map_err(run)?;
    let index = |value: i64| u32::try_from(value).unwrap_or(0);
    let sample = |(ids, answer): (&Ids, Vec<f32>)| Sample {
        ids: ids.ids.iter().map(|&id| index(id)).collect(),
        document_starts: index(as_int(ids.types.iter().position(|&kind| kind != 0).unwrap_or(ids.types.len()))),
        document_type: index(ids.types.iter().copied().max().unwrap_or(0)),
        logit: answer.first().copied().unwrap_or(f32::NAN),
    };
    Ok(ids.iter().zip(answers).map(sample).collect())
}

/// Distances over all proofs.
struct Proof {
    exact: f32,
    half_mean: f32,
    half_max: f32,
}

/// Runs every graph on the CPU: each pair in a row of its own of every length that holds it, and packed.
fn prove(
    graphs: &[(Arithmetic, Vec<u8>)],
    table: &[u8],
    (samples, manifest): (&[Sample], &Manifest),
    runtime: &Runtime,
) -> Result<Proof, CompileError> {
    let table = Table::held(table.to_vec()).map_err(|error| Refused::Samples { reason: error.to_string() })?;
    let held = graphs.iter().map(|(arithmetic, onnx)| Graph {
        onnx: Onnx::Bytes(Arc::from(onnx.as_slice())),
        arithmetic: *arithmetic,
        sha256: Sha256::of(onnx).to_string(),
    });
    // Nothing is compiled by CoreML here, so nothing is kept.
    let device = OrtDevice::new(runtime.clone(), held.collect(), Store::new(PathBuf::new(), ""), Cast::Rehearsal);
    let shapes: Vec<Shape> =
        grid::shapes(manifest.max_length as usize).into_iter().filter(|shape| shape.batch == 1).collect();
    let (packed, padded): (Vec<Shape>, Vec<Shape>) = shapes.into_iter().partition(|shape| shape.is_packed());
    let run = |error| Refused::Run { what: "coreml", source: Box::new(error) };
    let mut proof = Proof { exact: 0.0, half_mean: 0.0, half_max: 0.0 };
    for shapes in [padded, packed].into_iter().filter(|shapes| !shapes.is_empty()) {
        let of = |arithmetic| {
            let way = ExecutionTarget { place: Place::Host, arithmetic };
            logits((&device, way), samples, &table, &shapes).map_err(run)
        };
        let (exact, half) = (of(Arithmetic::Fp32)?, of(Arithmetic::Fp16)?);
        proof.exact = proof.exact.max(gaps(&exact, samples).fold(0.0, largest));
        proof.half_max = proof.half_max.max(gaps(&half, samples).fold(0.0, largest));
        proof.half_mean = proof.half_mean.max(gaps(&half, samples).sum::<f32>() / samples.len().max(1) as f32);
    }
    within("the coreml graph against the source", proof.exact, FP32_TOLERANCE)?;
    within("the 16-bit coreml graph against the source, on average", proof.half_mean, HALF_TOLERANCE)?;
    Ok(proof)
}

fn gaps<'a>(logits: &'a [f32], samples: &'a [Sample]) -> impl Iterator<Item = f32> + 'a {
    logits.iter().zip(samples).map(|(logit, sample)| (logit - sample.logit).abs())
}

/// The larger; what is no number is larger than all.
fn largest(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::INFINITY } else { a.max(b) }
}

fn within(what: &'static str, distance: f32, limit: f32) -> Result<(), Refused> {
    if distance <= limit { Ok(()) } else { Err(Refused::Differs { what, distance, limit }) }
}

/// Some of the pairs, of all lengths: the shortest, the longest, and those at even steps between.
fn spread(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by_key(|sample| sample.ids.len());
    let step = samples.len().div_ceil(KEPT).max(1);
    samples.into_iter().step_by(step).collect()
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
