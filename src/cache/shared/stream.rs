//! A connection's bytes: TCP, a Unix socket, or TLS over TCP, every step of it within one deadline.
//!
//! A socket's own time limit is that of one read: whoever sends a byte now and then keeps it from passing. So each read and
//! write is given what is left until the deadline, in a TLS handshake as well. Owns sockets.
//! It must not know what is said, nor whom TLS trusts.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::StreamOwned;
use rustls::pki_types::ServerName;

use super::address::Host;
use super::tls::{ClientConfig, ClientConnection};

/// See the module.
pub(super) enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A socket that fails once its deadline has passed.
pub(super) struct Timed {
    socket: Socket,
    until: Instant,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn tcp(host: &Host, until: Instant) -> io::Result<Self> {
        Ok(Self::Plain(Timed { socket: Socket::Tcp(connect(host, until)?), until }))
    }

    /// The handshake is made with the first bytes that are sent.
    pub(super) fn tls(host: &Host, config: &Arc<ClientConfig>, until: Instant) -> io::Result<Self> {
        // A zone says which way to an address, not whose it is.
        let name = host.name.split('%').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let timed = Timed { socket: Socket::Tcp(connect(host, until)?), until };
        Ok(Self::Tls(Box::new(StreamOwned::new(client, timed))))
    }

    pub(super) fn unix(path: &Path, until: Instant) -> io::Result<Self> {
        Ok(Self::Plain(Timed { socket: Socket::Unix(UnixStream::connect(path)?), until }))
    }

    /// From now on until then.
    pub(super) const fn set_deadline(&mut self, until: Instant) {
        match self {
            Self::Plain(timed) => timed.until = until,
            Self::Tls(stream) => stream.sock.until = until,
        }
    }
}

fn connect(host: &Host, until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the host's name leads to no address");
    for address in (host.name.as_str(), host.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket says of a time limit that passed that it would block.
fn named<T>(outcome: io::Result<T>) -> io::Result<T> {
    let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    outcome.map_err(|error| if would_block(&error) { io::ErrorKind::TimedOut.into() } else { error })
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        named(match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(left)?;
                socket.read(bytes)
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(left)?;
                socket.read(bytes)
            }
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        named(match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_write_timeout(left)?;
                socket.write(bytes)
            }
            Socket::Unix(socket) => {
                socket.set_write_timeout(left)?;
                socket.write(bytes)
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustls::crypto::ring;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::shared::tls::{self, Certificates};

    /// A listener on a port of its own, and the host that leads to it.
    fn listener() -> (TcpListener, Host) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Host { name: "localhost".into(), port })
    }

    fn thread(work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().name("peer".into()).spawn(work).unwrap();
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn what_is_said_over_tls_arrives_where_the_certificate_is_trusted_and_only_there() {
        let (listener, host) = listener();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let server = Arc::new(server);
        thread(move || {
            for socket in listener.incoming() {
                let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&server)).unwrap(), socket.unwrap());
                let mut bytes = [0; 4];
                // A client that does not trust us hangs up.
                if tls.read_exact(&mut bytes).is_ok() {
                    tls.write_all(&bytes).unwrap();
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let authorities = folder.path().join("ca.pem");
        std::fs::write(&authorities, cert.pem()).unwrap();
        let trusting = tls::client(&Certificates { authorities: Some(authorities), own: None }).unwrap();
        let mut stream = Stream::tls(&host, &trusting, soon()).unwrap();
        stream.write_all(b"ping").unwrap();
        stream.flush().unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"ping");
        let public = tls::client(&Certificates::default()).unwrap();
        let mut stranger = Stream::tls(&host, &public, soon()).unwrap();
        let refused = stranger
            .write_all(b"ping")
            .and_then(|()| stranger.flush())
            .and_then(|()| stranger.read(&mut back).map(drop));
        assert!(refused.unwrap_err().to_string().contains("certificate"), "a certificate of nobody's");
    }

    // Case A9.
    #[test]
    fn a_peer_that_sends_a_byte_now_and_then_does_not_keep_a_deadline_from_passing() {
        let (listener, host) = listener();
        thread(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                thread(move || {
                    while socket.write_all(&[22]).is_ok() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
            }
        });
        for is_tls in [false, true] {
            let begun = Instant::now();
            let until = begun + Duration::from_millis(200);
            let mut stream = if is_tls {
                Stream::tls(&host, &tls::client(&Certificates::default()).unwrap(), until).unwrap()
            } else {
                Stream::tcp(&host, until).unwrap()
            };
            let mut all = Vec::new();
            let asked = stream.write_all(b"ping").and_then(|()| stream.flush());
            let error = asked.and_then(|()| stream.read_to_end(&mut all)).unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(10), "TLS {is_tls}: {error}");
            assert!(is_tls || error.kind() == io::ErrorKind::TimedOut, "{error}");
        }
    }
}
