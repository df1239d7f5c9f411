//! The listening sockets, the routes, and the stop.
//!
//! Owns what actix-web is told. Binding and serving are two steps, so that a caller learns the real addresses (port 0)
//! before the first request. It must not know signals: whoever runs the process catches them and uses [`Stop`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::Method;
use actix_web::{App, HttpRequest, HttpServer, guard, web};
use tokio::sync::Notify;

use super::error::{Reject, printable};
use super::face::{FACES, Scene};
use super::keys::{Keys, KeysError};
use super::operations::OPERATIONS;
use super::options::{Listen, Options};
use super::{answer, cache, rescore};
use crate::domain::LongDocuments;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::rerank::Reranker;

/// Clients keep idle connections for 60 seconds and do not retry when a server hangs up first.
const KEEP_ALIVE: Duration = Duration::from_secs(90);

/// Time for a client to send its request's head; what a slow sender may hold of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connection threads. Reading and printing JSON is all they do; the cores belong to inference.
const THREADS: usize = 2;

/// Threads, for each connection thread, that read and print large bodies.
const LARGE_BODY_THREADS: usize = 2;

/// Upper bound on a graceful stop; the caller, who knows the grace period, cuts it short with [`Stop::now`].
const LONGEST_STOP_SECONDS: u64 = 3600;

/// What requests are answered with.
#[derive(Clone, Debug)]
pub struct State {
    /// Scores.
    pub reranker: Arc<Reranker>,
    /// What probes are told.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What every handler sees.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) reranker: Arc<Reranker>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) scene: Scene,
    pub(super) max_body: usize,
    pub(super) deadline: Duration,
    pub(super) long_documents: LongDocuments,
    pub(super) keys: Keys,
    /// Places for warm-up streams.
    pub(super) warm_ups: cache::Places,
}

/// How long a stop at once may take before the server is left behind: one that is busy with a graceful stop does not
/// hear of it.
const PATIENCE_TO_STOP: Duration = Duration::from_millis(500);

/// A server that holds its addresses and does not serve yet. Dropping it gives them back.
pub struct Bound {
    server: Server,
    left_behind: Arc<Notify>,
    addresses: Vec<Listen>,
    _sockets: Vec<SocketFile>,
}

/// Stops a server from anywhere. Dropping it does nothing.
#[derive(Clone)]
pub struct Stop {
    handle: ServerHandle,
    /// [`Bound::serve`] holds the other end.
    left_behind: Arc<Notify>,
}

/// An address that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The file of API keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
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

/// Takes a socket's file away when the server is gone.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already; nothing is lost by that.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

impl Bound {
    /// The addresses taken, with the ports that the system chose.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// What stops the server. It works once serving has begun; a stop asked for earlier is obeyed then.
    pub fn stop(&self) -> Stop {
        Stop { handle: self.server.handle(), left_behind: Arc::clone(&self.left_behind) }
    }

    /// Serves until stopped. Runs inside a tokio or actix runtime of one thread.
    ///
    /// # Errors
    /// When the connection threads cannot be started.
    pub async fn serve(self) -> io::Result<()> {
        tokio::select! {
            ended = self.server => ended,
            () = self.left_behind.notified() => Ok(()),
        }
    }
}

impl Stop {
    /// Stops accepting, closes idle connections, finishes what was accepted.
    pub async fn gracefully(&self) {
        self.handle.stop(true).await;
    }

    /// Stops at once; requests in work are dropped. Cuts a graceful stop short, too.
    pub async fn now(&self) {
        if tokio::time::timeout(PATIENCE_TO_STOP, self.handle.stop(false)).await.is_err() {
            self.left_behind.notify_one();
        }
    }
}

/// Takes every address that the options name.
///
/// # Errors
/// The first address that cannot be taken.
pub fn bind(options: &Options, state: State) -> Result<Bound, BindError> {
    let shared = web::Data::new(Shared {
        reranker: state.reranker,
        health: state.health,
        metrics: state.metrics,
        scene: Scene { max_documents: options.max_documents },
        max_body: options.max_body,
        deadline: options.deadline,
        long_documents: options.long_documents,
        keys: Keys::open(options.api_keys.as_deref())?,
        warm_ups: cache::Places::default(),
    });
    let mut server = HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes))
        .workers(THREADS)
        .worker_max_blocking_threads(LARGE_BODY_THREADS)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        // A caller that hangs up gives its answer up, and so the work that was left to do for it.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .shutdown_timeout(LONGEST_STOP_SECONDS)
        .disable_signals();
    let mut addresses = Vec::new();
    let mut sockets = Vec::new();
    for listen in &options.listen {
        match listen {
            Listen::Tcp(address) => {
                let tcp = |source| BindError::Tcp { address: *address, source };
                let known = server.addrs().len();
                server = server.bind(address).map_err(tcp)?;
                addresses.extend(server.addrs().into_iter().skip(known).map(Listen::Tcp));
            }
            Listen::Unix(path) => {
                let unix = |source| BindError::Unix { path: path.clone(), source };
                server = server.listen_uds(unix_listener(path).map_err(unix)?).map_err(unix)?;
                addresses.push(listen.clone());
                sockets.push(SocketFile(path.clone()));
            }
        }
    }
    Ok(Bound { server: server.run(), left_behind: Arc::default(), addresses, _sockets: sockets })
}

/// Listens on a path, and takes the place of a file that a dead process left there.
fn unix_listener(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            Ok(_) | Err(_) => Err(error),
        },
        other => other,
    }
}

fn routes(config: &mut web::ServiceConfig) {
    for face in FACES {
        for path in face.paths {
            let handler = move |request, payload| answer::face(face, request, payload);
            let resource = web::resource(*path).route(web::post().to(handler));
            config.service(
                resource.default_service(web::to(|request, payload| wrong_method((request, payload), "POST"))),
            );
        }
    }
    for route in rescore::ROUTES {
        let handler = move |request, payload| rescore::rescore(route, request, payload);
        let resource = web::resource(route.path).route(web::post().to(handler));
        config.service(resource.default_service(web::to(|request, payload| wrong_method((request, payload), "POST"))));
    }
    for operation in OPERATIONS {
        for path in operation.paths {
            let handler = move |request, payload| answer::plain(operation.name, (request, payload), operation.answer);
            let reading = guard::Any(guard::Get()).or(guard::Method(Method::HEAD));
            let resource = web::resource(*path).route(web::route().guard(reading).to(handler));
            config.service(
                resource.default_service(web::to(|request, payload| wrong_method((request, payload), "GET, HEAD"))),
            );
        }
    }
    cache::routes(config);
    config.default_service(web::to(unknown_path));
}

pub(super) async fn wrong_method(
    request: (HttpRequest, web::Payload),
    allowed: &'static str,
) -> actix_web::HttpResponse {
    answer::plain("none", request, |_, request| {
        Err(Reject::Method { method: printable(request.method().as_str()), allowed }.into())
    })
    .await
}

async fn unknown_path(request: HttpRequest, payload: web::Payload) -> actix_web::HttpResponse {
    answer::plain("none", (request, payload), |_, request| Err(Reject::Path { path: printable(request.path()) }.into()))
        .await
}
