//! The last stages of the process within its grace period: requests first, then the cache's last snapshot.
//!
//! Owns how much of the grace period each has. It must not know what comes between them.

use std::time::{Duration, Instant};

use rescored_cache::snapshot_writer::{Ending, SnapshotWriter};

use super::AppError;
use crate::http::{self, Stop};

/// What is kept of the grace period at most for what comes after the last answer: the forward passes that are going on.
const LAST_OF_DRAIN: Duration = Duration::from_secs(1);

/// Finishes what was accepted within the grace period but for the part of it that the end of everything else takes, and
/// reports what was given up, if anything was. A client that does not read its answer is not waited for any longer.
pub(super) async fn requests(server: &Stop, drain: Duration) -> Option<http::Interrupted> {
    let patience = drain.saturating_sub((drain / 10).min(LAST_OF_DRAIN));
    if tokio::time::timeout(patience, server.gracefully()).await.is_ok() {
        return None;
    }
    let cut = server.cut();
    tracing::warn!(requests = cut.requests, unread_answers = cut.unread, "the drain's time is over: cut");
    if patience.is_zero() {
        server.now().await;
    } else {
        // It is busy with the graceful stop and would not hear of another one.
        server.leave_behind();
    }
    Some(cut)
}

/// What the last snapshot may take when requests took the whole grace period.
const LEAST_FOR_SNAPSHOT: Duration = Duration::from_secs(1);

/// Has the last snapshot written within what is left of the grace period.
pub(super) fn snapshot(snapshot_writer: Option<&SnapshotWriter>, until: Instant) -> Result<(), AppError> {
    let patience = until.saturating_duration_since(Instant::now()).max(LEAST_FOR_SNAPSHOT);
    let Some(snapshot_writer) = snapshot_writer else { return Ok(()) };
    let why = match snapshot_writer.finish(patience) {
        // That another process keeps the file was logged when it was found out, and stands in `/info`.
        Ending::Written | Ending::Locked => return Ok(()),
        Ending::Failed { why } => why,
        Ending::Late => "its file system took longer than was left of RESCORED_DRAIN".to_owned(),
    };
    let path = snapshot_writer.path().to_owned();
    tracing::error!(path = %path.display(), why, "the last snapshot is not written");
    Err(AppError::Snapshot { path, why })
}
