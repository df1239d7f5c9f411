//! The other programs that are measured: which there are, what they need, how they are started with our weights.
//!
//! Owns the one table of peers. One that cannot run here has a row that says why. It must not know how a race is run.

use std::path::{Path, PathBuf};

use rescored_runtime::checksum::Sha256;

use super::Watch;
use super::candidates::{Arithmetic, Candidate, Device, Who};
use super::host;
use super::python::Python;
use super::served::Program;
use super::tei::Tei;

/// The fp32 graph that optimum exports of the weights, and an 8-bit one.
const FP32: &str = "onnx/model.onnx";
const INT8: &str = "onnx/model_int8.onnx";

/// Packages that export the weights to ONNX, for the peers that read it.
const EXPORT: [&str; 4] = ["torch", "transformers", "optimum-onnx", "onnxruntime"];

/// A peer.
struct Peer {
    name: &'static str,
    arithmetic: Arithmetic,
    device: Device,
    script: &'static str,
    /// What the script is given between the model's folder and the number of threads.
    script_arguments: &'static [&'static str],
    packages: &'static [&'static str],
    /// Whether `make bench` measures it too, where every program scores all texts of every round: one row a library, and
    /// none that takes a minute for a request.
    in_throughput: bool,
}

const TORCH: &[&str] = &["torch", "transformers"];
const SENTENCE: &[&str] = &["sentence-transformers", "torch"];
const SENTENCE_ONNX: &[&str] = &["sentence-transformers", "optimum-onnx", "onnxruntime"];
const SENTENCE_OPENVINO: &[&str] = &["sentence-transformers", "optimum-intel", "openvino"];
const PLAIN: &[&str] = &["onnxruntime", "tokenizers", "numpy"];

use Arithmetic::{Fp16, Fp32, Int8};
use Device::{Accelerator, Cpu, Metal};

/// Every peer, those of the experiment that this project grew out of first.
#[rustfmt::skip]
const PEERS: [Peer; 21] = [
    Peer { name: "MPS (PyTorch on Metal)", arithmetic: Fp16, device: Metal, script: "pytorch.py", script_arguments: &["mps", "float16", "eager"], packages: TORCH, in_throughput: false },
    Peer { name: "MLX", arithmetic: if cfg!(target_os = "macos") { Fp16 } else { Fp32 }, device: if cfg!(target_os = "macos") { Metal } else { Cpu }, script: "mlx_.py", script_arguments: &[], packages: MLX, in_throughput: false },
    Peer { name: "PyTorch", arithmetic: Fp32, device: Cpu, script: "pytorch.py", script_arguments: &["cpu", "float32", "eager"], packages: TORCH, in_throughput: false },
    Peer { name: "Compiled (torch.compile)", arithmetic: Fp32, device: Cpu, script: "pytorch.py", script_arguments: &["cpu", "float32", "compiled"], packages: TORCH, in_throughput: false },
    Peer { name: "PyTorch", arithmetic: Fp32, device: Accelerator, script: "pytorch.py", script_arguments: &["cuda", "float32", "eager"], packages: TORCH, in_throughput: false },
    Peer { name: "PyTorch", arithmetic: Fp16, device: Accelerator, script: "pytorch.py", script_arguments: &["cuda", "float16", "eager"], packages: TORCH, in_throughput: false },
    Peer { name: "Compiled (torch.compile)", arithmetic: Fp16, device: Accelerator, script: "pytorch.py", script_arguments: &["cuda", "float16", "compiled"], packages: TORCH, in_throughput: false },
    Peer { name: "sentence-transformers", arithmetic: Fp32, device: Accelerator, script: "sentence_transformers_.py", script_arguments: &["torch-cuda-float32"], packages: SENTENCE, in_throughput: false },
    Peer { name: "sentence-transformers", arithmetic: Fp16, device: Accelerator, script: "sentence_transformers_.py", script_arguments: &["torch-cuda-float16"], packages: SENTENCE, in_throughput: false },
    Peer { name: "sentence-transformers, PyTorch", arithmetic: Fp32, device: Cpu, script: "sentence_transformers_.py", script_arguments: &["torch"], packages: SENTENCE, in_throughput: true },
    Peer { name: "sentence-transformers, torch.compile", arithmetic: Fp32, device: Cpu, script: "sentence_transformers_.py", script_arguments: &["torch-compile"], packages: SENTENCE, in_throughput: true },
    Peer { name: "sentence-transformers, onnx", arithmetic: Fp32, device: Cpu, script: "sentence_transformers_.py", script_arguments: &["onnx"], packages: SENTENCE_ONNX, in_throughput: true },
    Peer { name: "sentence-transformers, openvino", arithmetic: Fp32, device: Cpu, script: "sentence_transformers_.py", script_arguments: &["openvino"], packages: SENTENCE_OPENVINO, in_throughput: true },
    Peer { name: "FlashRank", arithmetic: Fp32, device: Cpu, script: "flashrank_.py", script_arguments: &[FP32], packages: &["FlashRank"], in_throughput: true },
    Peer { name: "FlashRank", arithmetic: Int8, device: Cpu, script: "flashrank_.py", script_arguments: &[INT8], packages: &["FlashRank"], in_throughput: true },
    Peer { name: "fastembed", arithmetic: Fp32, device: Cpu, script: "fastembed_.py", script_arguments: &[FP32], packages: &["fastembed"], in_throughput: true },
    Peer { name: "fastembed for Rust", arithmetic: Fp32, device: Cpu, script: "fastembed_rs_.py", script_arguments: &[FP32], packages: &["onnxruntime"], in_throughput: true },
    Peer { name: "ONNX Runtime in Python, padded", arithmetic: Fp32, device: Cpu, script: "onnxruntime_padded.py", script_arguments: &[FP32], packages: PLAIN, in_throughput: true },
    Peer { name: "ONNX Runtime in Python, sorted by 8", arithmetic: Fp32, device: Cpu, script: "onnxruntime_sorted.py", script_arguments: &[FP32], packages: PLAIN, in_throughput: true },
    Peer { name: "ONNX Runtime in Python, padded", arithmetic: Int8, device: Cpu, script: "onnxruntime_padded.py", script_arguments: &[INT8], packages: PLAIN, in_throughput: true },
    Peer { name: "ONNX Runtime in Python, sorted by 8", arithmetic: Int8, device: Cpu, script: "onnxruntime_sorted.py", script_arguments: &[INT8], packages: PLAIN, in_throughput: true },
];

/// On Linux the part that computes is a package of its own.
const MLX: &[&str] = if cfg!(target_os = "linux") { &["mlx", "mlx-cpu", "tokenizers"] } else { &["mlx", "tokenizers"] };

/// What all peers start from.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Their Python.
    pub python: &'a Python,
    /// This program, which writes the weights.
    pub program: &'a Program,
    /// The model.
    pub model: &'a str,
    /// Where models lie.
    pub model_dir: &'a Path,
    /// Where the weights are written.
    pub folder: PathBuf,
    /// The first layers alone, a shape whose scores mean nothing; `None` for the whole model.
    pub layers: Option<u16>,
}

/// Every peer that can be started, and for the others why not.
pub fn start(ground: &Ground<'_>, watch: &dyn Watch) -> Vec<Candidate> {
    started(ground, watch, |_| true)
}

/// Those that `make bench` measures.
pub fn for_throughput(ground: &Ground<'_>, watch: &dyn Watch) -> Vec<Candidate> {
    started(ground, watch, |peer| peer.in_throughput)
}

fn started(ground: &Ground<'_>, watch: &dyn Watch, wanted: impl Fn(&Peer) -> bool) -> Vec<Candidate> {
    let weights = weights(ground, watch);
    let accelerated = super::accelerator::Accelerators::find().is_some();
    let wanted = PEERS.iter().filter(|peer| wanted(peer));
    wanted.map(|peer| one(peer, ground, &weights, accelerated, watch)).collect()
}

fn one(
    peer: &Peer,
    ground: &Ground<'_>,
    weights: &Result<(), String>,
    accelerated: bool,
    watch: &dyn Watch,
) -> Candidate {
    let here = match peer.device {
        Metal if !cfg!(target_os = "macos") => Err("needs macOS on Apple silicon".to_owned()),
        Accelerator if !accelerated => Err("needs an NVIDIA GPU; NVML finds none".to_owned()),
        Cpu | Accelerator | Metal => weights.clone(),
    };
    let who = here.and_then(|()| {
        watch.say(&format!("starting {}, {}", peer.name, peer.arithmetic.word()));
        ground.python.require(peer.packages)?;
        let (folder, threads) = (ground.folder.display().to_string(), host::cores().to_string());
        let arguments: Vec<&str> = [folder.as_str()]
            .into_iter()
            .chain(peer.script_arguments.iter().copied())
            .chain([threads.as_str()])
            .collect();
        let mut pipe = ground.python.start(peer.script, &arguments)?;
        pipe.ready()?;
        Ok(pipe)
    });
    let version = who.as_ref().map_or_else(|_| String::new(), |pipe| pipe.version.clone());
    Candidate {
        name: peer.name.to_owned(),
        arithmetic: peer.arithmetic,
        device: peer.device,
        settings: None,
        version,
        who: who.map(Who::Peer),
    }
}

/// Writes the weights as others read them. Graphs made of other weights are thrown away.
fn weights(ground: &Ground<'_>, watch: &dyn Watch) -> Result<(), String> {
    watch.say("writing the weights as other programs read them");
    let folder = ground.folder.display().to_string();
    let layers = ground.layers.map(|layers| layers.to_string());
    let mut compile = vec!["compile", ground.model, "--export", &folder];
    compile.extend(layers.iter().flat_map(|layers| ["--layers", layers]));
    ground.program.run(&compile, &[])?;
    let script_arguments = |error: std::io::Error| format!("{folder}: {error}");
    let (sha256, _) = Sha256::of_file(&ground.folder.join("model.safetensors")).map_err(script_arguments)?;
    let note = ground.folder.join("weights.sha256");
    if std::fs::read_to_string(&note).ok().as_deref() != Some(&sha256.to_string()) {
        for made in ["plain", INT8] {
            // What is not there need not be removed; what stays would be marked by its scores.
            let path = ground.folder.join(made);
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
        std::fs::write(&note, sha256.to_string()).map_err(script_arguments)?;
    }
    watch.say("exporting them to ONNX, for the peers that read it");
    let own = own_int8(ground);
    let arguments: Vec<&str> = [folder.as_str()].into_iter().chain(own.as_deref()).collect();
    // Without it the peers that read ONNX say by themselves what they miss.
    if let Err(why) = ground.python.require(&EXPORT).and_then(|()| ground.python.run("prepare.py", &arguments)) {
        watch.say(&format!("no ONNX export: {why}"));
    }
    Ok(())
}

/// The model's own graph, where that is an 8-bit one: what its users run elsewhere.
fn own_int8(ground: &Ground<'_>) -> Option<String> {
    // It has all layers.
    if ground.layers.is_some() {
        return None;
    }
    let graph = ground.model_dir.join(ground.model).join("model.onnx");
    let onnx = std::fs::read(&graph).ok()?;
    rescored_runtime::open::is_dynamically_quantised(&onnx).then(|| graph.display().to_string())
}

/// The text-embeddings-inference server at this address, or why it is left out.
pub fn tei(url: Option<&str>) -> Candidate {
    let who = url.ok_or_else(|| "no address; name a server with the same weights by --tei URL".to_owned());
    let who = who.and_then(Tei::at);
    Candidate {
        name: "text-embeddings-inference".to_owned(),
        arithmetic: Fp32,
        device: Cpu,
        settings: None,
        version: who.as_ref().map_or_else(|_| String::new(), |tei| tei.url().to_owned()),
        who: who.map(Who::Url),
    }
}
