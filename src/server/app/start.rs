//! From threads that begin to load models to a process that is ready.
//!
//! Owns what a model must have done before anybody is answered by it: run once on every worker, and proved itself as new
//! files do while the process serves. A model that fails ends the start; one that takes long is reported by readiness,
//! and waited for. It must not know how a model is loaded, or what it is to score.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_cache::snapshot_writer::SnapshotWriter;
use rescored_engine::StartError;
use rescored_process::health::Health;
use rescored_runtime as model;

use super::{AppError, Core, memory};
use crate::repository::{error_chain, proof};
use crate::rerank::{Generation, Reranker};

/// How long readiness waits for the snapshot at most. Reading begins with the process, beside the models, and takes less
/// time than they do: scores are found as soon as they are read, and the first tier takes them over afterwards
/// (`src/cache/restoring.rs`). So this waits only where a disk is slow; past it the process is ready, and reading goes
/// on.
const PATIENCE_TO_LOAD: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Where the models' golden pairs lie.
    pub(super) model: model::Options,
    /// Past it, readiness says which model is not ready yet.
    pub(super) time_limit: Duration,
}

impl Start {
    /// Resolves only when a model fails; a process that is warm goes on until it is stopped.
    pub(super) async fn warm_up(
        self,
        core: &Core,
        snapshot_writer: Option<Arc<SnapshotWriter>>,
    ) -> Result<(), AppError> {
        let (reranker, health) = (Arc::clone(&core.reranker), Arc::clone(&core.health));
        let started = Instant::now();
        let wait = move || {
            self.wait_for_models(&reranker, &health, started)?;
            // So that the first request is answered from what the process before this one knew.
            if snapshot_writer.is_some_and(|snapshot_writer| !snapshot_writer.wait_until_loaded(PATIENCE_TO_LOAD)) {
                tracing::warn!("the snapshot is still being read; ready without it");
            }
            Ok::<_, AppError>(())
        };
        let waited = tokio::task::spawn_blocking(wait).await;
        let warm = waited.map_err(io::Error::other)?;
        if let Err(error) = &warm {
            core.health.set_trouble(error_chain(error));
        }
        warm?;
        memory::give_back();
        core.health.set_trouble("");
        core.health.warmed();
        tracing::info!(warm_up_ms = started.elapsed().as_millis(), "ready");
        std::future::pending().await
    }

    fn wait_for_models(&self, reranker: &Reranker, health: &Health, started: Instant) -> Result<(), AppError> {
        let now = reranker.now();
        // New files may have taken the place of those that were loaded first; they have proved themselves.
        let replaced = || !Arc::ptr_eq(&now, &reranker.now());
        let late = Cell::new(false);
        let wanted = || {
            if !late.get() && started.elapsed() > self.time_limit {
                late.set(true);
                let why = StartError::Unfinished { models: now.loading() };
                let limit_s = self.time_limit.as_secs_f64();
                // Before it is logged: whoever reads the log may ask at once.
                health.set_trouble(format!("{why}, {limit_s} s after the start; see RESCORED_LOAD_TIMEOUT"));
                tracing::error!(limit_s, %why, "not ready within RESCORED_LOAD_TIMEOUT; still waiting");
            }
            !health.is_draining() && !replaced()
        };
        match prove(&now, &self.model, &wanted) {
            Err(_) if replaced() => Ok(()),
            other => other,
        }
    }
}

/// Blocks until every model of a generation has been loaded, has run once and has proved itself; for as long as `wanted`
/// says so.
pub(super) fn prove(now: &Generation, options: &model::Options, wanted: &dyn Fn() -> bool) -> Result<(), AppError> {
    now.wait_until_warm_while(wanted)?;
    for card in now.models() {
        let golden = options.golden(&card.id)?;
        let unproved = |source| AppError::Unproved { id: card.id.clone(), source };
        proof::prove(now, &card.id, &golden, wanted).map_err(unproved)?;
    }
    Ok(())
}
