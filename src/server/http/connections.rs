//! Connections: how many there may be, and which have said nothing for too long.
//!
//! actix-web times the head of a connection's first request and the pause between two requests. What it does not time is
//! here: a later request whose head never ends, and an answer that its caller does not read. A connection without a
//! request in work may be silent for a keep-alive and a head's time, then it is shut down. When there are too many, the one
//! that has been without a request for longest makes room for the next one; where all have requests, the next one is shut
//! down. Owns the table of connections, and what memory is planned for each. It must not know requests.

use std::any::Any;
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::rt::net;
use rescored_process::metrics::{Metrics, Reason};
use rescored_process::sync::lock;

use super::access::Arrival;
use super::tls;

/// Bytes that are planned for each connection: the library's buffers, its state, a short head, and what the system keeps of a
/// connection that is used as it is meant to be. Longer heads, and bodies, take theirs from the memory budget.
pub const PLANNED_BYTES: u64 = 64 << 10;

/// A connection that was opened just now does not make room for another one: its request is on its way.
const FRESH: Duration = Duration::from_millis(250);

/// How often the table is looked through.
pub(super) const EVERY: Duration = Duration::from_millis(250);

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    /// How long a connection without a request in work may be silent.
    silence: Duration,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Open {
    /// A second handle of the socket, to shut it down with.
    socket: TcpStream,
    /// Requests in work: more than one only where a client pipelines.
    busy: usize,
    since: Instant,
}

/// A connection's place in the table; kept by the connection itself, and given back when it ends.
#[derive(Debug)]
struct Place {
    number: u64,
    all: Arc<Connections>,
}

/// What there is to report about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Report {
    /// How many are open.
    open: usize,
    /// How many there may be.
    limit: usize,
    /// Bytes planned for those that are open; they are beside the memory budget.
    planned_bytes: u64,
}

/// What a stop at once gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Requests in work.
    pub requests: usize,
    /// Answers that their clients have not read to the end.
    pub unread: usize,
}

/// A request in work keeps its connection.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Connections {
    pub(super) fn new(limit: usize, silence: Duration, metrics: Arc<Metrics>) -> Self {
        metrics.memory.connections_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Self { limit, silence, open: Mutex::default(), next: AtomicU64::new(0), metrics }
    }

    /// A connection was accepted: gives it a place, or shuts it down when there are too many.
    pub(super) fn accept(self: &Arc<Self>, connection: &dyn Any, data: &mut Extensions) {
        data.insert(arrival(connection));
        // Without a second handle it cannot be watched: the system is out of them, which is too many, too.
        let Some(socket) = second_handle(connection) else { return };
        let mut open = self.open();
        if open.len() >= self.limit && !self.make_room(&mut open) {
            drop(open);
            self.shut(&socket, "too_many");
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, Open { socket, busy: 0, since: Instant::now() });
        self.show(&open);
        drop(open);
        data.insert(Arc::new(Place { number, all: Arc::clone(self) }));
    }

    /// Shuts down the connection that has been without a request for longest. It leaves the table at once, and its place is
    /// the next one's.
    fn make_room(&self, open: &mut HashMap<u64, Open>) -> bool {
        let idle = open.iter().filter(|(_, one)| one.busy == 0 && one.since.elapsed() > FRESH);
        let Some(number) = idle.min_by_key(|(_, one)| one.since).map(|(number, _)| *number) else { return false };
        if let Some(one) = open.remove(&number) {
            self.shut(&one.socket, "room");
        }
        true
    }

    /// What there is to report.
    pub(super) fn report(&self) -> Report {
        let open = self.open().len();
        Report { open, limit: self.limit, planned_bytes: open as u64 * PLANNED_BYTES }
    }

    /// Shuts down what has been silent for too long.
    pub(super) fn sweep(&self, now: Instant) {
        for one in self.open().values() {
            if one.busy == 0 && now.saturating_duration_since(one.since) > self.silence {
                self.shut(&one.socket, "silent");
            }
        }
    }

    /// What would be given up if the server stopped now, once it has closed connections that were idle.
    pub(super) fn cut(&self) -> Interrupted {
        let open = self.open();
        let requests = open.values().map(|one| one.busy).sum();
        Interrupted { requests, unread: open.values().filter(|one| one.busy == 0).count() }
    }

    fn shut(&self, socket: &TcpStream, reason: &'static str) {
        // A connection that has ended meanwhile needs no shutting down.
        if socket.shutdown(Shutdown::Both).is_ok() {
            self.metrics.connections_shut.get_or_create(&Reason { reason }).inc();
        }
    }

    fn show(&self, open: &HashMap<u64, Open>) {
        let level = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.connections.set(level(open.len() as u64));
        self.metrics.memory.connections_bytes.set(level(open.len() as u64 * PLANNED_BYTES));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        // No code that can panic runs under this lock; a poisoned table is whole all the same.
        lock(&self.open)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.remove(&self.number);
        self.all.show(&open);
    }
}

impl Busy {
    /// A request has begun.
    pub(super) fn with(request: &HttpRequest) -> Option<Self> {
        let place = Arc::clone(request.conn_data::<Arc<Place>>()?);
        if let Some(open) = place.all.open().get_mut(&place.number) {
            open.busy += 1;
        }
        Some(Self(place))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(open) = self.0.all.open().get_mut(&self.0.number) {
            open.busy -= 1;
            open.since = Instant::now();
        }
    }
}

/// How a connection came in.
fn arrival(connection: &dyn Any) -> Arrival {
    if connection.is::<net::UnixStream>() {
        return Arrival::Unix;
    }
    let tcp = connection.downcast_ref::<net::TcpStream>().or_else(|| tls::socket(connection));
    Arrival::Tcp(tcp.and_then(|tcp| tcp.local_addr().ok()).map(|address| address.ip().to_canonical()))
}

/// Another handle of a connection's socket, whatever its kind: shutting down works on all of them.
fn second_handle(connection: &dyn Any) -> Option<TcpStream> {
    let socket: &dyn AsFd = if let Some(tcp) = connection.downcast_ref::<net::TcpStream>() {
        tcp
    } else if let Some(unix) = connection.downcast_ref::<net::UnixStream>() {
        unix
    } else {
        tls::socket(connection)?
    };
    let handle: OwnedFd = socket.as_fd().try_clone_to_owned().ok()?;
    Some(TcpStream::from(handle))
}
