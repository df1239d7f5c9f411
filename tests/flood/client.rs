//! Clients that behave badly: raw sockets, as many as are wanted, from outside of the server's memory limit.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What came back of a request, if anything did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// 0 when the connection ended without an answer.
    pub(crate) status: u16,
    pub(crate) may_retry: bool,
}

pub(crate) fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
    Some(stream)
}

pub(crate) fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Writes as much as is taken until then; how much that was.
pub(crate) fn write_until(stream: &mut TcpStream, bytes: &[u8], until: Instant) -> usize {
    let mut written = 0;
    while written < bytes.len() && Instant::now() < until {
        match stream.write(&bytes[written..(written + (1 << 20)).min(bytes.len())]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    written
}

/// Sends a whole request and reads its answer to the end.
pub(crate) fn post(address: SocketAddr, path: &str, body: &[u8]) -> Told {
    let Some(mut stream) = connect(address) else { return Told { status: 0, may_retry: false } };
    let until = Instant::now() + Duration::from_secs(40);
    write_until(&mut stream, head(path, body.len()).as_bytes(), until);
    write_until(&mut stream, body, until);
    read(&mut stream)
}

/// Reads an answer to the end of its connection.
pub(crate) fn read(stream: &mut TcpStream) -> Told {
    let (mut start, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(count) = stream.read(&mut piece) {
        if count == 0 {
            break;
        }
        let room = 4096_usize.saturating_sub(start.len());
        start.extend_from_slice(&piece[..count.min(room)]);
    }
    let text = String::from_utf8_lossy(&start).to_ascii_lowercase();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Told { status, may_retry: text.contains("\r\nretry-after:") }
}
