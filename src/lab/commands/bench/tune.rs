//! `rescored bench --tune`: find what scores most on this host, and keep it where `serve` looks.

use std::process::ExitCode;

use rescored_cli::commands::stdout;
use rescored_cli::commands::{FAILURE, USAGE, Vars, fail};
use rescored_runtime::manifest::{Manifest, ManifestError};
use rescored_runtime::options::Precision;
use rescored_runtime::origin::{self, Unreadable};
use rescored_runtime::tuned::{self, Measured, Tuned, TunedError};
use rescored_server::config::{Config, Host};

use crate::bench::background::Background;
use crate::bench::served::{NoProgram, Program};
use crate::bench::tune::search::TuningPoint;
use crate::bench::tune::{TuneError, tune};

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Tune(#[from] TuneError),
    #[error(transparent)]
    Tuned(#[from] TunedError),
    #[error(transparent)]
    Origin(#[from] Unreadable),
    #[error(transparent)]
    Program(#[from] NoProgram),
}

/// Tunes the default model.
pub(super) fn run(vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars.clone(), &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    match tuned(&config, vars) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error),
    }
}

fn tuned(config: &Config, vars: Vars) -> Result<(), Failed> {
    let id = config.model.ids.first().map_or("", String::as_str);
    let manifest = Manifest::open(&config.model.dir, id)?;
    manifest.verify()?;
    let source_sha256 = origin::identity(&manifest)?;
    let (own, others) = tuned::arithmetics(&manifest)?;
    let mut on_measured = |point: &TuningPoint, rate: &Result<f64, String>| {
        let outcome = rate.as_ref().map_or_else(Clone::clone, |rate| format!("{rate:.1} pairs/s"));
        stdout::tell(&format!("{}: {outcome}\n", shown(point)));
    };
    let program = Program::beside(vars)?;
    let background = Background::now();
    let (best, measured) = tune(&program, own, &others, &mut on_measured)?;
    let warning = background.warning().map_or_else(String::new, |warning| format!("; {warning}"));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let tuned = Tuned { host: tuned::host(), source_sha256, version, best: best.clone(), measured };
    let path = tuned::keep(&manifest.dir, &tuned)?;
    let Measured { precision, workers, threads, batch_tokens, .. } = best;
    let best = shown(&TuningPoint { precision, workers, threads, batch_tokens });
    stdout::tell(&format!(
        "best: {best}; kept in {}, which serve reads where RESCORED_PRECISION, RESCORED_WORKERS, RESCORED_THREADS and RESCORED_BATCH_TOKENS are `auto`{warning}\n",
        path.display()
    ));
    Ok(())
}

fn shown(point: &TuningPoint) -> String {
    let TuningPoint { precision, workers, threads, batch_tokens } = point;
    let precision = Precision::from(*precision).word();
    format!("{precision}, {workers} workers of {threads} threads, {batch_tokens} tokens a pass")
}
