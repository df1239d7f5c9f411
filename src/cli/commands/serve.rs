//! `rescored serve`: answer requests until a stop is asked for.
//!
//! A runbook: read the settings, start the logs, build, run, drain, exit code. It must not know how any of it is done.

use std::process::ExitCode;
use std::sync::Arc;

use rescored_process::telemetry;
use rescored_runtime::options::{Graphs, Kind, Provider};
use rescored_server::app::App;
use rescored_server::config::{Config, Host, reference};
use rescored_server::http::{Files, Listen};
use rescored_server::repository::{Repository, error_chain};

use super::{FAILURE, USAGE, Vars, fail};
use crate::compile::{Done, Options, compile};

/// Serves.
pub(super) fn run(vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars, &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    if let Err(error) = telemetry::start(&config.telemetry) {
        return fail(USAGE, &error);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::debug!(settings = reference::summary(&config.effective), "settings");
    if config.compile {
        compile_all(&config);
    }
    let app = match App::build(&config) {
        Ok(app) => app,
        Err(error) => return fail(FAILURE, &error),
    };
    for address in app.addresses() {
        match address {
            Listen::Tcp(address) => tracing::info!(%address, "listening"),
            Listen::Unix(path) => tracing::info!(path = %path.display(), "listening"),
        }
    }
    let reread = (app.files(), app.repository());
    match app.run(asked_to_stop(reread)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error),
    }
}

/// Writes the graphs that are missing. A failure is logged, and the model's own graph runs.
fn compile_all(config: &Config) {
    if config.model.graphs == Graphs::Source
        || matches!(config.model.provider, Provider::Only(kind) if kind != Kind::Cpu)
    {
        tracing::warn!(
            "RESCORED_COMPILE: graphs are written for the CPU, and other ones were asked for; nothing is written"
        );
        return;
    }
    for id in &config.model.ids {
        match compile(&Options::of_host(&config.model, id)) {
            Ok(Done { path, samples, .. }) => {
                tracing::info!(model.id = id, graph = %path.display(), is_new = samples > 0, "model compiled");
            }
            Err(error) => {
                tracing::warn!(model.id = id, error = error_chain(&error), "model not compiled; its own graph runs");
            }
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT. Until then, SIGHUP has keys and certificates read again, and the models' files
/// loaded anew.
async fn asked_to_stop((files, repository): (Files, Arc<Repository>)) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signal handlers are refused by the system; stop this process by SIGKILL");
        return std::future::pending().await;
    };
    let reloading = async move {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return std::future::pending().await };
        while hang_up.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "models are loaded anew");
            let (files, repository) = (files.clone(), Arc::clone(&repository));
            let again = move || {
                files.look_again();
                repository.reload();
            };
            // Failures are reported where they happen.
            let _ = tokio::task::spawn_blocking(again).await;
        }
    };
    tokio::select! {
        () = reloading => {}
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stop asked for"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stop asked for"),
    }
}
