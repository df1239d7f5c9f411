//! What `bench backends` compares: this program in every arrangement, and others.
//!
//! Owns which arrangements of ours there are. It must not know how a race is run or reported.

use super::Watch;
use super::load::Target;
use super::pipe::Pipe;
use super::served::{Program, Served, Setting};
use super::tei::Tei;

/// The arithmetic of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers in the products.
    Int8,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The cores.
    Cpu,
    /// An NVIDIA GPU.
    Accelerator,
    /// An Apple GPU or neural engine.
    Metal,
}

/// One row of the table.
#[derive(Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// What it runs on.
    pub device: Device,
    /// The settings with which this program runs like that; `None` for other programs.
    pub settings: Option<Vec<Setting>>,
    /// Its version, or that of what it stands on.
    pub version: String,
    /// Who answers, or why nobody does.
    pub who: Result<Who, String>,
}

/// Who answers.
#[derive(Debug)]
pub enum Who {
    /// This program.
    Ours(Served),
    /// Another one behind a pipe.
    Peer(Pipe),
    /// Another one behind an address.
    Url(Tei),
}

/// Execution providers, by the words of `RESCORED_PROVIDER`.
const PROVIDERS: [(&str, Device); 5] = [
    ("cpu", Device::Cpu),
    ("coreml", Device::Metal),
    ("cuda", Device::Accelerator),
    ("tensorrt", Device::Accelerator),
    ("openvino", Device::Cpu),
];

const ARITHMETICS: [Arithmetic; 3] = [Arithmetic::Fp32, Arithmetic::Int8, Arithmetic::Fp16];

/// Graphs, by the words of `RESCORED_GRAPH`.
const GRAPHS: [(&str, &str); 2] = [("auto", "compiled graph"), ("source", "source graph")];

impl Arithmetic {
    /// The word of `RESCORED_PRECISION`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// Mean distance of logits from fp32 above which something else than the same model must have been run: rounding of
    /// floats is far below, and 8 bits cost this model 0.03 to 0.05 (`tests/bench/reports/cpu-throughput.md`).
    pub const fn tolerance(self) -> f64 {
        match self {
            Self::Fp32 => 0.01,
            Self::Fp16 => 0.05,
            Self::Int8 => 0.25,
        }
    }
}

impl Candidate {
    /// What is asked; `None` where nobody answers.
    pub fn target(&self) -> Option<&dyn Target> {
        match self.who.as_ref().ok()? {
            Who::Ours(served) => Some(served),
            Who::Peer(pipe) => Some(pipe),
            Who::Url(tei) => Some(tei),
        }
    }

    /// The process behind it, where it is on this machine.
    pub fn process(&self) -> Option<u32> {
        match self.who.as_ref().ok()? {
            Who::Ours(served) => Some(served.process()),
            Who::Peer(pipe) => Some(pipe.process()),
            Who::Url(_) => None,
        }
    }

    /// Whether it is this program.
    pub const fn is_ours(&self) -> bool {
        self.settings.is_some()
    }

    /// Its name with its arithmetic and device: what no other row has.
    pub fn full_name(&self) -> String {
        let device = match self.device {
            Device::Accelerator if !self.is_ours() => ", cuda",
            Device::Cpu | Device::Metal | Device::Accelerator => "",
        };
        format!("{}{device}, {}", self.name, self.arithmetic.word())
    }
}

/// This program in every arrangement that this host can run; a provider that does not run here at all has one row.
pub fn ours(program: &Program, model: &str, watch: &dyn Watch) -> Vec<Candidate> {
    PROVIDERS.iter().flat_map(|&(provider, device)| of_provider(program, model, provider, device, watch)).collect()
}

fn of_provider(
    program: &Program,
    model: &str,
    provider: &'static str,
    device: Device,
    watch: &dyn Watch,
) -> Vec<Candidate> {
    let mut rows: Vec<Candidate> = Vec::new();
    for arithmetic in ARITHMETICS {
        let reported = |graph: &str| -> Vec<Setting> {
            vec![
                ("RESCORED_MODELS", model.to_owned()),
                ("RESCORED_PROVIDER", provider.to_owned()),
                ("RESCORED_PRECISION", arithmetic.word().to_owned()),
                ("RESCORED_GRAPH", graph.to_owned()),
            ]
        };
        for (graph, what) in GRAPHS {
            watch.say(&format!("starting rescored, {provider}, {}, {what}", arithmetic.word()));
            let settings = reported(graph);
            // What there is already is not written again.
            let compiled = match graph {
                "source" => Ok(String::new()),
                _ => program.run(&compilation(model, provider, arithmetic), &settings),
            };
            let who = compiled.and_then(|_| program.serve(&settings));
            if let Err(why) = &who
                && why.contains("RESCORED_PROVIDER")
            {
                return vec![row(format!("rescored, {provider}"), arithmetic, device, settings, Err(why.clone()))];
            }
            rows.push(row(format!("rescored, {provider}, {what}"), arithmetic, device, settings, who));
        }
    }
    // Nothing ran: one reason says it.
    if rows.iter().all(|row| row.who.is_err()) {
        rows.truncate(1);
        for row in &mut rows {
            row.name = format!("rescored, {provider}");
        }
    }
    rows
}

/// What writes the graph of an arrangement: providers that run no other graphs have their own.
fn compilation<'a>(model: &'a str, provider: &'a str, arithmetic: Arithmetic) -> Vec<&'a str> {
    let mut reported = vec!["compile", model, "--precision", arithmetic.word()];
    // Elsewhere the one for Apple's devices would be written in vain, and it takes minutes.
    if provider == "cuda" || (provider == "coreml" && cfg!(target_os = "macos")) {
        reported.extend(["--provider", provider]);
    }
    reported
}

fn row(
    name: String,
    arithmetic: Arithmetic,
    device: Device,
    settings: Vec<Setting>,
    who: Result<Served, String>,
) -> Candidate {
    let version = format!("rescored {}", env!("CARGO_PKG_VERSION"));
    Candidate { name, arithmetic, device, settings: Some(settings), version, who: who.map(Who::Ours) }
}
