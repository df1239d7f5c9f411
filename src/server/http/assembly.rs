//! The HTTP library's parts put together by hand, where its own server has no place for a [`Transport`].
//!
//! Owns the configuration of each connection's dispatcher. It must not know what is served, nor which addresses there are.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::App;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::rt::net::{TcpStream, UnixStream};
use rescored_process::budget::Budget;
use rescored_process::metrics::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connections::Connections;
use super::tls::ServerConfig;
use super::transport::Transport;

/// What a server is given beside its addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Connection threads.
    pub(super) threads: usize,
    /// Threads of each for work that blocks.
    pub(super) blocking_threads: usize,
    /// How long a connection may be idle.
    pub(super) keep_alive: Duration,
    /// How long a head, and a TLS handshake, may take.
    pub(super) client: Duration,
    /// An upper bound on a graceful stop.
    pub(super) longest_stop_seconds: u64,
}

/// What all that is served is to the HTTP library.
pub(super) trait Application:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    > + 'static
{
}

impl<A> Application for A where
    A: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static
{
}

/// A server to which addresses are added.
pub(super) struct Assembly {
    builder: ServerBuilder,
    dispatch: Dispatch,
}

/// What every dispatcher is given.
#[derive(Clone)]
struct Dispatch {
    terms: Terms,
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
    budget: Budget,
    stopping: GracefulShutdownSignal,
}

impl Assembly {
    pub(super) fn new(terms: Terms, connections: Arc<Connections>, metrics: Arc<Metrics>, budget: Budget) -> Self {
        let builder = ServerBuilder::new()
            .workers(terms.threads)
            .worker_max_blocking_threads(terms.blocking_threads)
            .shutdown_timeout(terms.longest_stop_seconds)
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        Self { builder, dispatch: Dispatch { terms, connections, metrics, budget, stopping } }
    }

    /// Serves an application on a listener, in TLS when a configuration is given.
    pub(super) fn tcp<A, F>(self, listener: TcpListener, app: F, tls: Option<ServerConfig>) -> io::Result<Self>
    where
        A: Application,
        F: Fn() -> App<A> + Clone + Send + 'static,
    {
        let Self { builder, dispatch } = self;
        let (name, shared_dispatch) = (format!("http {}", listener.local_addr()?), dispatch.clone());
        let builder = match tls {
            None => builder.listen(name, listener, move || {
                let own = shared_dispatch.clone();
                fn_service(move |io: TcpStream| std::future::ready(Ok::<_, DispatchError>(own.plain(io))))
                    .and_then(shared_dispatch.service(app()))
            }),
            Some(mut tls) => {
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                builder.listen(name, listener, move || {
                    let own = shared_dispatch.clone();
                    let mut acceptor = Acceptor::new(tls.clone());
                    acceptor.set_handshake_timeout(shared_dispatch.terms.client);
                    acceptor
                        .map_err(TlsError::into_service_error)
                        .map(move |io: TlsStream<TcpStream>| {
                            let peer = prepare(io.get_ref().0);
                            (own.transport(io), Protocol::Http1, peer)
                        })
                        .and_then(shared_dispatch.service(app()).map_err(TlsError::Service))
                })
            }
        };
        Ok(Self { builder: builder?, dispatch })
    }

    /// Serves an application on a UNIX socket.
    pub(super) fn unix<A, F>(self, listener: UnixListener, app: F) -> io::Result<Self>
    where
        A: Application,
        F: Fn() -> App<A> + Clone + Send + 'static,
    {
        let Self { builder, dispatch } = self;
        let shared_dispatch = dispatch.clone();
        let builder = builder.listen_uds("http unix", listener, move || {
            let own = shared_dispatch.clone();
            fn_service(move |io: UnixStream| {
                std::future::ready(Ok::<_, DispatchError>((own.transport(io), Protocol::Http1, None)))
            })
            .and_then(shared_dispatch.service(app()))
        });
        Ok(Self { builder: builder?, dispatch })
    }

    /// Begins to serve when it is polled.
    pub(super) fn run(self) -> Server {
        self.builder.run()
    }
}

/// Small answers are sent at once; the peer's address is known now if ever.
fn prepare(io: &TcpStream) -> Option<SocketAddr> {
    // Without it answers come a little later, that is all.
    let _ = io.set_nodelay(true);
    io.peer_addr().ok()
}

impl Dispatch {
    fn transport<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, io: T) -> Transport<T> {
        Transport::new(io, Arc::clone(&self.metrics), &self.budget)
    }

    fn plain(&self, io: TcpStream) -> (Transport<TcpStream>, Protocol, Option<SocketAddr>) {
        let peer = prepare(&io);
        (self.transport(io), Protocol::Http1, peer)
    }

    /// HTTP/1.1 for an application, over any kind of connection.
    fn service<A, T>(
        &self,
        app: App<A>,
    ) -> impl ServiceFactory<
        (Transport<T>, Protocol, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<A, T>
    where
        A: Application,
        T: AsyncRead + AsyncWrite + Unpin + Send + Any,
    {
        let (stopping, connections) = (self.stopping.clone(), Arc::clone(&self.connections));
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(self.terms.keep_alive)
            .client_request_timeout(self.terms.client)
            // What is unread of a body is read as far as it is at all when its answer goes out: see `outgoing`.
            .client_disconnect_timeout(Duration::ZERO)
            // A caller that hangs up gives its answer up, and so the work that was left to do for it.
            .h1_allow_half_closed(false)
            .on_connect_ext(move |transport: &Transport<T>, data| {
                if let Some(io) = transport.io() {
                    connections.accept(io, data);
                }
            })
            .finish(map_config(app.into_factory().map_err(|error: actix_web::Error| error.error_response()), |()| {
                AppConfig::default()
            }))
    }
}
