//! How many connections there may be, and the files that they take.
//!
//! Owns the way from settings and the memory limit to that number. It must not know how connections are taken.

use super::pressure::MemoryMonitor;
use super::sizing;
use crate::config::Config;

/// Connections that there may be: as set, or what the memory limit allows.
pub(super) fn allowed(config: &Config) -> usize {
    let limit = MemoryMonitor::new(config.memory_limit).map(|monitor| monitor.limit());
    config.max_connections.unwrap_or_else(|| sizing::connections(limit, config.http.patience.connections))
}

/// Files that the process holds beside its connections: models, logs, threads' own.
const OTHER_FILES: u64 = 512;

/// Every connection has two handles, see `http::connections`. Shells commonly allow 1,024 where the system allows more.
pub(super) fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 * 2 + OTHER_FILES;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed >= wanted => {}
        Ok(allowed) => tracing::warn!(wanted, allowed, "open files: the limit is lower than connections may need"),
        Err(error) => tracing::warn!(wanted, %error, "open files: the limit is lower than connections may need"),
    }
}
