//! Compiled graphs of the real model: proved against their source, near the golden logits, and exact in any batch.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rescored_cli::compile::{Done, Options, Scheme, compile};
use rescored_core::domain::{EmptyDocuments, Pair, Priority, Texts, Truncation};
use rescored_runtime::compiled::Storage;
use rescored_runtime::options::{Kind, Precision};
use rescored_runtime::{Batch, Model};
use rescored_server::app::Core;
use rescored_server::rerank::Request;

use crate::support::{config, float, golden_logits, models, text};

const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// A compiled graph of these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Graph {
    Fp32,
    /// Integers with ranges observed beforehand.
    Static,
    /// Integers in layers of our own.
    Fused,
}

/// Model folders of these tests' own: one with a graph of each precision compiled in it, one with fused layers.
struct Workshop {
    folder: tempfile::TempDir,
    fused_folder: tempfile::TempDir,
    fp32: Done,
    int8: Done,
    fused: Done,
}

static WORKSHOP: LazyLock<Workshop> = LazyLock::new(|| {
    let prepared = || {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(models().join(".runtime"), folder.path().join(".runtime")).expect("a link");
        let (from, to) = (models().join(MODEL), folder.path().join(MODEL));
        std::fs::create_dir(&to).expect("a folder");
        for file in ["model.onnx", "tokenizer.json", "manifest.json"] {
            std::fs::copy(from.join(file), to.join(file)).expect("the model is here; run `make fetch` first");
        }
        folder
    };
    let (folder, fused_folder) = (prepared(), prepared());
    let written = |folder: &Path, precision, scheme| {
        let model = options(folder, precision);
        let options = Options {
            model,
            id: MODEL.to_owned(),
            provider: Kind::Cpu,
            scheme,
            weights: Storage::of_host(),
            slots: 4,
            layers: None,
        };
        compile(&options).expect("the real model compiles")
    };
    let fp32 = written(folder.path(), Precision::Fp32, Scheme::Static);
    let int8 = written(folder.path(), Precision::Int8, Scheme::Static);
    let fused = written(fused_folder.path(), Precision::Int8, Scheme::Fused);
    Workshop { folder, fused_folder, fp32, int8, fused }
});

fn options(folder: &Path, precision: Precision) -> rescored_runtime::Options {
    let graphs = rescored_runtime::options::Graphs::Best;
    rescored_runtime::Options { dir: folder.to_owned(), precision, graphs, ..config(&[]).model }
}

fn open(graph: Graph) -> Model {
    let (folder, precision) = match graph {
        Graph::Fp32 => (&WORKSHOP.folder, Precision::Fp32),
        Graph::Static => (&WORKSHOP.folder, Precision::Int8),
        Graph::Fused => (&WORKSHOP.fused_folder, Precision::Int8),
    };
    Model::open_all(&options(folder.path(), precision)).expect("the compiled graph opens").remove(0)
}

/// Logits of all pairs in one request through an engine of so many workers.
fn through_the_engine(graph: Graph, workers: usize, pairs: &[(String, String)]) -> Vec<f32> {
    let engine = rescored_engine::Options { workers: Some(workers), ..config(&[]).engine };
    let cache = rescored_cache::Options { bytes: 0, ..config(&[]).cache };
    let core = Core::start(vec![open(graph)], &engine, &cache).expect("threads");
    core.reranker.wait_until_warm().expect("the model runs");
    let texts = Texts {
        queries: pairs.iter().map(|(query, _)| query.into()).collect(),
        pairs: pairs
            .iter()
            .enumerate()
            .map(|(query, (_, document))| Pair { query, document: document.into() })
            .collect(),
        instruction: None,
    };
    let request = Request {
        model: None,
        texts: &texts,
        cut: Truncation::MODEL,
        refuse_cut: false,
        empty: EmptyDocuments::Score,
        deadline: Instant::now() + Duration::from_mins(10),
        priority: Priority::Live,
        memory: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(core.reranker.score(request)).expect("scores");
    answer.scored.iter().map(|scored| scored.logit.get()).collect()
}

/// Logits of all pairs, each alone in a forward pass of this thread's.
fn alone(graph: Graph, pairs: &[(String, String)]) -> Vec<f32> {
    let model = open(graph);
    let mut scorer = model.scorers.build().expect("the graph loads");
    let mut batch = Batch::default();
    let mut logits = Vec::new();
    for (query, document) in pairs {
        let query = model.tokenizer.query(query).expect("ids");
        let fitted = model.tokenizer.pair(&query, document, &Truncation::MODEL).expect("ids");
        model.batching_policy.arrange(&[&fitted.windows[0]], &mut batch);
        logits.push(scorer.score(&batch).expect("a forward pass")[0]);
    }
    logits
}

/// Golden pairs, and a field of their lines of a file of logits.
fn golden(field: &str, name: &str) -> (Vec<(String, String)>, Vec<f32>) {
    let lines = golden_logits(name);
    let texts = |pair| (text(pair, "query").to_owned(), text(pair, "document").to_owned());
    lines.iter().map(|(pair, line)| (texts(pair), float(&line[field]))).unzip()
}

/// Mean and largest difference.
fn distance(a: &[f32], b: &[f32]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let gaps: Vec<f32> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    (gaps.iter().sum::<f32>() / gaps.len() as f32, gaps.iter().copied().fold(0.0, f32::max))
}

#[test]
fn fp32_logits_are_the_golden_ones_in_any_company() {
    let (pairs, expected) = golden("logit", "golden-fp32");
    assert!(WORKSHOP.fp32.record.proof_max <= 1e-4, "{:?}", WORKSHOP.fp32.record);
    let alone = alone(Graph::Fp32, &pairs);
    let (mean, most) = distance(&alone, &expected);
    println!("compiled fp32 against golden fp32: mean {mean:e}, most {most:e}");
    assert!(most <= 1e-4, "compiled fp32 is {most} from the golden logits");
    for workers in [1, 2] {
        let together = through_the_engine(Graph::Fp32, workers, &pairs);
        assert_eq!(bits(&together), bits(&alone), "{workers} workers, all pairs in one request");
    }
    let (backwards, mut expected): (Vec<_>, Vec<_>) = (pairs.into_iter().rev().collect(), alone);
    expected.reverse();
    assert_eq!(bits(&through_the_engine(Graph::Fp32, 2, &backwards)), bits(&expected), "the other way round");
}

#[test]
fn int8_logits_stay_near_fp32_and_are_exact_in_any_company() {
    let (pairs, expected) = golden("logit", "golden-fp32");
    // Fused layers have their own tests of company (src/kernels/layer); here fewer pairs prove as much.
    for (graph, done, limit, step) in
        [(Graph::Static, &WORKSHOP.int8, 0.2, 1), (Graph::Fused, &WORKSHOP.fused, 0.06, 4)]
    {
        let pairs: Vec<_> = pairs.iter().step_by(step).cloned().collect();
        let expected: Vec<f32> = expected.iter().step_by(step).copied().collect();
        let alone = alone(graph, &pairs);
        let (mean, most) = distance(&alone, &expected);
        println!("compiled {} against golden fp32: mean {mean:.4}, most {most:.4}", done.target);
        assert!(mean <= limit, "{}: {mean} from fp32 on average", done.target);
        for workers in [1, 2] {
            let together = through_the_engine(graph, workers, &pairs);
            assert_eq!(bits(&together), bits(&alone), "{graph:?}, {workers} workers, all pairs in one request");
        }
    }
}

#[test]
fn a_damaged_compiled_graph_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join(MODEL);
    std::fs::create_dir(&model).expect("a folder");
    let record = &WORKSHOP.fp32.record;
    let source = record.source_sha256;
    let graph = rescored_graph::proto::Model { producer_version: "whole".into(), ..Default::default() };
    let (path, _) =
        rescored_runtime::compiled::keep(&model, record.clone(), &graph.into()).expect("a folder to write in");
    let find = || rescored_runtime::compiled::find(&model, source, (Kind::Cpu, Precision::Fp32), Storage::of_host());
    assert!(find().is_some());
    std::fs::write(&path, "half a graph").expect("a file to write");
    assert!(find().is_none());
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}
