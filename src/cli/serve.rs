//! `rescored serve`: answer requests until a stop is asked for.
//!
//! A runbook: read the settings, start the logs, build, run, drain, exit code. It must not know how any of it is done.

use std::process::ExitCode;
use std::sync::Arc;

use super::{FAILURE, USAGE, Vars, fail};
use crate::app::App;
use crate::config::{Config, Host, reference};
use crate::http::{Files, Listen};
use crate::repository::Repository;
use crate::telemetry;

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
    tracing::debug!(settings = reference::summary(&config.effective), "settings");
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
            // Failures are told where they happen.
            let _ = tokio::task::spawn_blocking(again).await;
        }
    };
    tokio::select! {
        () = reloading => {}
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stop asked for"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stop asked for"),
    }
}
