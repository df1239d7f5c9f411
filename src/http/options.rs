//! What the HTTP server can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::LongDocuments;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A UNIX socket at this path.
    Unix(PathBuf),
}

/// Settings of the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Every address served.
    pub listen: Vec<Listen>,
    /// Bytes of a request's body at most.
    pub max_body: usize,
    /// Documents of one request at most.
    pub max_documents: usize,
    /// How long a request may take when its caller names no deadline.
    pub deadline: Duration,
    /// What happens to documents that do not fit, when the caller says nothing of it.
    pub long_documents: LongDocuments,
    /// A file of accepted API keys, one a line; without it everybody may ask.
    pub api_keys: Option<PathBuf>,
}
