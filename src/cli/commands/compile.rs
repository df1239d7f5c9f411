//! `rescored compile`: write a graph of a model for this host.
//!
//! Owns the flags. It must not know how a graph is written.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rescored_runtime::compiled::Storage;
use rescored_runtime::options::{Kind, Precision};
use rescored_server::config::{Config, Host};

use super::{FAILURE, USAGE, Vars, fail, stdout};
use crate::compile::{Done, Options, Scheme, compile, coreml, export};

/// The flags of `compile`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The model [default: the first of `RESCORED_MODELS`].
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The arithmetic [default: `RESCORED_PRECISION`, else that of the model's own graph].
    #[arg(long)]
    precision: Option<Arithmetic>,
    /// What the graph is written for.
    #[arg(long, default_value = "cpu")]
    provider: Target,
    /// How activations are quantised in int8.
    #[arg(long, default_value = "static")]
    scheme: Quantisation,
    /// How 8-bit weights are stored: as this processor wants them, or for a host with or without VNNI.
    #[arg(long, value_name = "STORAGE")]
    weights: Option<Weights>,
    /// Pairs of one forward pass.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    slots: u16,
    /// Keep the first layers only, as a model of its own whose scores mean nothing: a shape for benchmarks.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    layers: Option<u16>,
    /// Write the model as other runtimes read it (safetensors, padded fp32 ONNX) into this folder instead.
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// ONNX Runtime's own kernels.
    Cpu,
    /// NVIDIA's GPUs: a graph in fp16, proved on the GPU.
    Cuda,
    /// Apple's GPUs and Neural Engines: graphs in fp32 and fp16, a table of embeddings, and on a Mac the measured units.
    Coreml,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arithmetic {
    Fp32,
    Fp16,
    Int8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Weights {
    /// For hosts with VNNI or AMX, and for Arm.
    Signed,
    /// For x86 hosts without VNNI, where signed products saturate.
    Unsigned,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantisation {
    /// One range for all tokens, found in each pass: one pair a pass.
    PerPair,
    /// One range a token, in the runtime's own operators.
    PerToken,
    /// Ranges observed on samples beforehand, in the runtime's own operators.
    Static,
    /// One range a token, in operators of our own that compute whole layers: the nearest to fp32, exact on every processor.
    Fused,
}

/// Shapes for benchmarks are for providers that a shape is measured on.
#[derive(Debug, thiserror::Error)]
#[error("--layers: `--provider coreml` writes whole models only; leave one of the two out")]
struct NoShape;

/// Compiles and says what was measured.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars, &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let mut model = config.model;
    model.precision = match flags.precision {
        None => model.precision,
        Some(Arithmetic::Fp32) => Precision::Fp32,
        Some(Arithmetic::Fp16) => Precision::Fp16,
        Some(Arithmetic::Int8) => Precision::Int8,
    };
    let options = Options {
        id: flags.model.clone().or_else(|| model.ids.first().cloned()).unwrap_or_default(),
        provider: match flags.provider {
            Target::Cpu => Kind::Cpu,
            Target::Cuda => Kind::Cuda,
            Target::Coreml => Kind::CoreMl,
        },
        scheme: match flags.scheme {
            Quantisation::PerPair => Scheme::PerPair,
            Quantisation::PerToken => Scheme::PerToken,
            Quantisation::Static => Scheme::Static,
            Quantisation::Fused => Scheme::Fused,
        },
        weights: match flags.weights {
            None => Storage::of_host(),
            Some(Weights::Signed) => Storage::Signed,
            Some(Weights::Unsigned) => Storage::Unsigned,
        },
        slots: flags.slots.into(),
        layers: flags.layers.map(usize::from),
        model,
    };
    if flags.layers.is_some() && flags.provider == Target::Coreml {
        return fail(USAGE, &NoShape);
    }
    let outcome = match &flags.export {
        Some(folder) => export(&options, folder).map(|()| format!("exported to {}", folder.display())),
        None if flags.provider == Target::Coreml => coreml::compile(&options).map(|done| told_of_coreml(&done)),
        None => compile(&options).map(|done| error_chain(&done)),
    };
    match outcome {
        Ok(line) => {
            stdout::tell(&format!("{line}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILURE, &error),
    }
}

fn error_chain(done: &Done) -> String {
    let Done { path, target, record, samples } = done;
    let path = path.display();
    if *samples == 0 {
        return format!("{target}: is there: {path}");
    }
    let company = match record.provider {
        Kind::Cpu => "the same bits in company".to_owned(),
        Kind::Cuda | Kind::Tensorrt | Kind::OpenVino | Kind::CoreMl => {
            format!("within {:.4} in company", record.company_max)
        }
    };
    format!(
        "{target}: {path} (fp32 within {:.1e} of its source; {:.4} logits from fp32 on average, {:.4} at most, {company}, over {samples} pairs)",
        record.proof_max, record.loss_mean, record.loss_max,
    )
}

fn told_of_coreml(done: &coreml::Done) -> String {
    let coreml::Done { folder, record, samples, chosen } = done;
    let folder = folder.display();
    let mut lines = vec![if *samples == 0 {
        format!("coreml: is there: {folder}")
    } else {
        format!(
            "coreml: {folder} (fp32 within {:.1e} of its source; fp16 {:.4} logits off on average, {:.4} at most, over {samples} pairs)",
            record.proof_max, record.half_mean, record.half_max,
        )
    }];
    match chosen {
        None => lines.push("coreml: the runtime library has no CoreML here, so nothing was measured".to_owned()),
        Some(state) => {
            lines.extend(state.programs.iter().map(|program| {
                format!("coreml: {}: {}, {:.2} ms a run", program.shape, program.way, program.milliseconds)
            }));
            lines.extend(state.refused.iter().map(|one| format!("coreml: refused: {}: {}", one.way, one.reason)));
        }
    }
    lines.join("\n")
}
