//! The servers on their addresses, and the stop.
//!
//! Owns the configuration of actix-web. Binding and serving are two steps, so that a caller learns the real addresses (port 0)
//! before the first request. It must not know signals: whoever runs the process catches them and uses [`Stop`].

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{Server, Service, ServiceRequest};
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use rescored_process::budget::Budget;
use rescored_process::health::Health;
use rescored_process::metrics::Metrics;
use rescored_process::telemetry::traces::Traces;
use tokio::sync::{Notify, Semaphore};

use super::access::Access;
use super::assembly::{Assembly, Terms};
use super::connections::{self, Busy, Connections};
use super::dialect::RequestLimits;
use super::guard;
use super::keys::{Keys, KeysError};
use super::live::Live;
use super::options::{Exposure, Listen, Options, Patience};
use super::reread::Files;
use super::routes::{self, Served};
use super::sockets::{self, SocketFile};
use super::state::{AppState, LARGE_BODY_PERMITS};
use super::stop::Stop;
use super::tls::{self, Certificates, TlsError};
use super::warm_ups::Places;
use crate::repository::Repository;
use crate::rerank::Reranker;

/// Connection threads. Reading and printing JSON is all they do; the cores belong to inference.
const THREADS: usize = 2;

/// Threads, for each connection thread, for large bodies. An engine's result is waited for on one, so there are many; how
/// many of them read or print at a time is [`LARGE_BODY_PERMITS`].
const LARGE_BODY_THREADS: usize = 128;

/// Upper bound on a graceful stop; the caller, who knows the grace period, cuts it short with [`Stop::now`].
const LONGEST_STOP_SECONDS: u64 = 3600;

/// What requests are answered with.
#[derive(Clone, Debug)]
pub struct AppServices {
    /// Scores.
    pub reranker: Arc<Reranker>,
    /// What probes read.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Loads and unloads models when asked over HTTP; `None` refuses.
    pub repository: Option<Arc<Repository>>,
    /// What is traced.
    pub traces: Traces,
    /// Memory that requests may take.
    pub budget: Budget,
}

/// A server that holds its addresses and does not serve yet. Dropping it gives them back.
pub struct Bound {
    server: Server,
    /// Serves operations alone, and until everything else has ended.
    operations: Option<Server>,
    connections: Arc<Connections>,
    state: Arc<AppState>,
    certificates: Option<Arc<Certificates>>,
    left_behind: Arc<Notify>,
    addresses: Vec<Listen>,
    _sockets: Vec<SocketFile>,
}

/// An address that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The file of API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A TCP address.
    #[error(
        "RESCORED_LISTEN: cannot listen on {address}; is another process there, or is the address not of this host?"
    )]
    Tcp {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A UNIX socket.
    #[error("RESCORED_LISTEN: cannot listen on unix:{}; does the folder exist, and is no other process there?", path.display())]
    Unix {
        /// The path asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Bound {
    /// The addresses taken, with the ports that the system chose.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// What stops the server. It works once serving has begun; a stop asked for earlier is obeyed then.
    pub fn stop(&self) -> Stop {
        Stop {
            connections: Arc::clone(&self.connections),
            handle: self.server.handle(),
            operations: self.operations.as_ref().map(Server::handle),
            left_behind: Arc::clone(&self.left_behind),
        }
    }

    /// The files that are read again while the server runs.
    pub fn files(&self) -> Files {
        Files { state: Arc::clone(&self.state), certificates: self.certificates.clone() }
    }

    /// Serves until stopped. Runs inside a tokio or actix runtime of one thread.
    ///
    /// # Errors
    /// When the connection threads cannot be started.
    pub async fn serve(self) -> io::Result<()> {
        let files = self.files();
        let operations = self.operations.map(|server| (server.handle(), actix_web::rt::spawn(server)));
        let ended = tokio::select! {
            ended = self.server => ended,
            () = self.left_behind.notified() => Ok(()),
            () = sweep(&self.connections) => Ok(()),
            () = self.state.live.sample() => Ok(()),
            () = files.watch() => Ok(()),
        };
        if let Some((handle, serving)) = operations {
            handle.stop(false).await;
            serving.await.unwrap_or(Ok(()))?;
        }
        ended
    }
}

/// Looks after connections; never ends.
async fn sweep(connections: &Connections) {
    let mut tick = tokio::time::interval(connections::EVERY);
    loop {
        tick.tick().await;
        connections.sweep(Instant::now());
    }
}

/// Takes every address that the options name.
///
/// # Errors
/// The first address that cannot be taken.
pub fn bind(options: &Options, services: AppServices) -> Result<Bound, BindError> {
    let Patience { connections, keep_alive, client } = options.patience;
    let connections = Arc::new(Connections::new(connections, keep_alive + client, Arc::clone(&services.metrics)));
    let state = web::Data::new(AppState {
        live: Live::new(Arc::clone(&services.metrics)),
        reranker: services.reranker,
        health: services.health,
        metrics: services.metrics,
        repository: services.repository,
        traces: services.traces,
        limits: RequestLimits { max_documents: options.max_documents },
        max_body: options.max_body,
        max_text: options.max_text,
        deadline: options.deadline,
        long_documents: options.long_documents,
        leniency: options.leniency,
        keys: Keys::open(options.api_keys.as_deref())?,
        access: access(options),
        client_pause: client,
        budget: services.budget,
        connections: Arc::clone(&connections),
        large_body_permits: Semaphore::new(LARGE_BODY_PERMITS),
        warm_ups: Places::default(),
    });
    state.count_keys();
    warn_if_open(options);
    let (tls, certificates) = options.exposure.tls.as_ref().map(tls::config).transpose()?.unzip();
    let mut binding = Binding { options, state, connections, tls, addresses: Vec::new(), sockets: Vec::new() };
    let apart = &options.exposure.operations;
    let server = binding.serve(&options.listen, if apart.is_empty() { Served::All } else { Served::AllButFigures })?;
    binding.tls = None;
    let operations = if apart.is_empty() { None } else { Some(binding.serve(apart, Served::Operations)?) };
    let Binding { connections, state, addresses, sockets, .. } = binding;
    Ok(Bound {
        server,
        operations,
        connections,
        certificates,
        state: state.into_inner(),
        left_behind: Arc::default(),
        addresses,
        _sockets: sockets,
    })
}

/// What taking addresses needs, and those taken.
struct Binding<'o> {
    options: &'o Options,
    state: web::Data<AppState>,
    connections: Arc<Connections>,
    tls: Option<tls::ServerConfig>,
    addresses: Vec<Listen>,
    sockets: Vec<SocketFile>,
}

impl Binding<'_> {
    /// A server on these addresses.
    fn serve(&mut self, listen: &[Listen], what: Served) -> Result<Server, BindError> {
        let state = self.state.clone();
        let page = self.options.ui;
        let app = move || {
            let app = App::new().app_data(state.clone()).wrap(from_fn(guard::check)).wrap_fn(busy);
            app.configure(move |config| routes::routes(config, what, page))
        };
        let terms = Terms {
            threads: THREADS,
            blocking_threads: LARGE_BODY_THREADS,
            keep_alive: self.options.patience.keep_alive,
            client: self.options.patience.client,
            longest_stop_seconds: LONGEST_STOP_SECONDS,
        };
        let mut assembly = Assembly::new(
            terms,
            Arc::clone(&self.connections),
            Arc::clone(&self.state.metrics),
            self.state.budget.clone(),
        );
        for listen in listen {
            assembly = match listen {
                Listen::Tcp(address) => {
                    let tcp = |source| BindError::Tcp { address: *address, source };
                    let listener = sockets::tcp(address).map_err(tcp)?;
                    self.addresses.push(Listen::Tcp(listener.local_addr().map_err(tcp)?));
                    assembly.tcp(listener, app.clone(), self.tls.clone()).map_err(tcp)?
                }
                Listen::Unix(path) => {
                    let unix = |source| BindError::Unix { path: path.clone(), source };
                    let (listener, file) = sockets::listen(path, self.options.exposure.socket_mode).map_err(unix)?;
                    self.addresses.push(listen.clone());
                    self.sockets.push(file);
                    assembly.unix(listener, app.clone()).map_err(unix)?
                }
            };
        }
        Ok(assembly.run())
    }
}

/// A request in work keeps its connection open, however long it takes.
fn busy<S: Service<ServiceRequest>>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<S::Response, S::Error>> + use<S> {
    let busy = Busy::with(request.request());
    let answer = service.call(request);
    async move {
        let answer = answer.await;
        drop(busy);
        answer
    }
}

/// Whose requests are taken.
fn access(options: &Options) -> Access {
    let Exposure { hosts, origins, operations, .. } = &options.exposure;
    let listen: Vec<Listen> = options.listen.iter().chain(operations).cloned().collect();
    Access::new(hosts.clone(), origins.clone(), &listen)
}

/// Everybody who can reach an address may ask: worth a word when that is more than this host.
fn warn_if_open(options: &Options) {
    let beyond = options.listen.iter().find(|listen| matches!(listen, Listen::Tcp(at) if !at.ip().is_loopback()));
    if let (Some(Listen::Tcp(address)), None) = (beyond, &options.api_keys) {
        tracing::warn!(%address, "everybody who reaches this address may ask: there are no keys; set RESCORED_API_KEYS_FILE");
    }
}
