//! `rescored compile`: write a graph of a model for this host.
//!
//! Owns the flags. It must not know how a graph is written.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{FAILURE, USAGE, Vars, fail};
use crate::compile::{Options, Scheme, compile};
use crate::config::{Config, Host};
use crate::model::options::Precision;

/// The flags of `compile`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The model [default: the first of `RESCORED_MODELS`].
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// The arithmetic [default: `RESCORED_PRECISION`, else that of the model's own graph].
    #[arg(long)]
    precision: Option<Arithmetic>,
    /// How activations are quantised in int8.
    #[arg(long, default_value = "static")]
    scheme: Quantisation,
    /// Pairs of one forward pass.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    slots: u16,
    /// Keep the first layers only, as a model of its own whose scores mean nothing: a shape for benchmarks.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    layers: Option<u16>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arithmetic {
    Fp32,
    Fp16,
    Int8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantisation {
    PerPair,
    PerToken,
    Static,
}

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
        scheme: match flags.scheme {
            Quantisation::PerPair => Scheme::PerPair,
            Quantisation::PerToken => Scheme::PerToken,
            Quantisation::Static => Scheme::Static,
        },
        slots: flags.slots.into(),
        layers: flags.layers.map(usize::from),
        model,
    };
    match compile(&options) {
        Ok(done) => {
            let line = format!(
                "{}: {} (fp32 within {:.1e} of its source; {:.4} logits from fp32 on average, {:.4} at most, over {} pairs)",
                done.target,
                done.path.display(),
                done.record.proof_max,
                done.record.loss_mean,
                done.record.loss_max,
                done.samples
            );
            // A closed pipe is no reason for another code.
            let _ = writeln!(std::io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILURE, &error),
    }
}
