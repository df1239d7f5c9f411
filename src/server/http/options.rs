//! Options of the HTTP server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use super::access::names::{HostName, Origin};
use rescored_core::domain::{EmptyDocuments, LongDocuments};

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A UNIX socket at this path.
    Unix(PathBuf),
}

/// Whether the page at `/ui` is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ui {
    /// It is.
    #[default]
    On,
    /// It is not: its paths are unknown ones.
    Off,
}

/// Bytes of one query or document at most: more than any model reads of a text, whose length and windows bound that.
pub const MAX_TEXT: usize = 4 << 20;

/// Settings of the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Every address served.
    pub listen: Vec<Listen>,
    /// Bytes of a request's body at most.
    pub max_body: usize,
    /// Documents of one request at most.
    pub max_documents: usize,
    /// Bytes of one query or document at most.
    pub max_text: usize,
    /// How long a request may take when its caller names no deadline.
    pub deadline: Duration,
    /// What happens to documents that do not fit, when the caller says nothing of it.
    pub long_documents: LongDocuments,
    /// A file of accepted API keys, one a line; without it everybody may ask.
    pub api_keys: Option<PathBuf>,
    /// Who can connect, and how.
    pub exposure: Exposure,
    /// What one client may hold of the server.
    pub patience: Patience,
    /// What becomes of requests that are not quite what is served.
    pub leniency: Leniency,
    /// The page at `/ui`.
    pub ui: Ui,
}

/// What becomes of requests that are not quite what is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// Documents without text.
    pub empty_documents: EmptyDocuments,
    /// Keys that nobody reads.
    pub strict: Strict,
}

/// Whether a request that asks for something that is not served is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strict {
    /// It is answered, with a warning.
    #[default]
    Off,
    /// It is.
    On,
}

/// Who can connect, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// TLS on every TCP address of [`Options::listen`].
    pub tls: Option<Tls>,
    /// Addresses of probes, figures and descriptions alone, without TLS or keys. Figures are then not served elsewhere.
    pub operations: Vec<Listen>,
    /// Permissions of UNIX sockets; else what the process's mask leaves.
    pub socket_mode: Option<u32>,
    /// Hosts that requests may be for beside those that are ours anyway.
    pub hosts: Vec<HostName>,
    /// Origins whose pages may ask beside our own.
    pub origins: Vec<Origin>,
}

/// Files of a TLS certificate, in PEM; read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those that vouch for it.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What one client may hold of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Connections at once; more are shut down as they come.
    pub connections: usize,
    /// How long a connection may be idle between two requests.
    pub keep_alive: Duration,
    /// How long the head of a request may take, and a pause within its body.
    pub client: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connections: 4096, keep_alive: Duration::from_secs(90), client: Duration::from_secs(10) }
    }
}
