//! The stop of a server: asked for from anywhere, with or without patience.
//!
//! Owns what a stop does, and what it reports. It must not know signals, nor why it is asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::sync::Notify;

use super::connections::{Connections, Interrupted};

/// How long a stop at once may take before the server is left behind: one that is busy with a graceful stop does not
/// hear of it.
const PATIENCE_TO_STOP: Duration = Duration::from_millis(500);

/// Stops a server from anywhere. Dropping it does nothing.
#[derive(Clone)]
pub struct Stop {
    pub(super) connections: Arc<Connections>,
    pub(super) handle: ServerHandle,
    pub(super) operations: Option<ServerHandle>,
    /// Whoever serves holds the other end.
    pub(super) left_behind: Arc<Notify>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

impl Stop {
    /// What is going on at this moment and would be given up.
    pub fn cut(&self) -> Interrupted {
        self.connections.cut()
    }

    /// Stops accepting, closes idle connections, finishes what was accepted.
    pub async fn gracefully(&self) {
        self.handle.stop(true).await;
    }

    /// Leaves new connections waiting, or takes them again. Operations' own addresses stay open.
    pub async fn hold(&self, hold: bool) {
        if hold {
            self.handle.pause().await;
        } else {
            self.handle.resume().await;
        }
    }

    /// Leaves a server behind whose graceful stop takes too long: it is busy with that and hears of nothing else.
    pub fn leave_behind(&self) {
        self.left_behind.notify_one();
    }

    /// Stops at once; requests in work are dropped. Cuts a graceful stop short, too.
    pub async fn now(&self) {
        if tokio::time::timeout(PATIENCE_TO_STOP, self.handle.stop(false)).await.is_err() {
            self.left_behind.notify_one();
        }
        // The server's own end does the same; this is for one that never served.
        if let Some(operations) = &self.operations {
            drop(tokio::time::timeout(PATIENCE_TO_STOP, operations.stop(false)).await);
        }
    }
}
