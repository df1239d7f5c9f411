//! Clients that behave badly: raw sockets, as many as are wanted, from outside of the server's memory limit.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What came back of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientOutcome {
    Answered {
        status: u16,
        may_retry: bool,
        /// The beginning of the body.
        said: String,
    },
    /// No connection was made.
    NotConnected(ErrorKind),
    /// The connection was reset, or broke otherwise, before an answer began.
    Broken(ErrorKind),
    /// The connection was closed in order, without an answer.
    Closed,
    /// Nothing came for so long.
    TimedOut(Duration),
}

impl ClientOutcome {
    /// What a refusal says, and what became of a request without an answer.
    pub(crate) fn why(&self) -> String {
        if let Self::Answered { status, said, .. } = self { format!("{status} {said}") } else { format!("{self:?}") }
    }

    pub(crate) const fn status(&self) -> Option<u16> {
        if let Self::Answered { status, .. } = self { Some(*status) } else { None }
    }
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, ClientOutcome> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10));
    let prepared = stream.and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    prepared.map_err(|error| ClientOutcome::NotConnected(error.kind()))
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
pub(crate) fn post(address: SocketAddr, path: &str, body: &[u8]) -> ClientOutcome {
    let mut stream = match connect(address) {
        Ok(stream) => stream,
        Err(reported) => return reported,
    };
    let until = Instant::now() + Duration::from_secs(40);
    write_until(&mut stream, head(path, body.len()).as_bytes(), until);
    write_until(&mut stream, body, until);
    read(&mut stream)
}

/// Reads an answer to the end of its connection.
pub(crate) fn read(stream: &mut TcpStream) -> ClientOutcome {
    let (mut start, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let ended = loop {
        match stream.read(&mut piece) {
            Ok(0) => break ClientOutcome::Closed,
            Ok(count) => {
                let room = 4096_usize.saturating_sub(start.len());
                start.extend_from_slice(&piece[..count.min(room)]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break ClientOutcome::TimedOut(PATIENCE);
            }
            Err(error) => break ClientOutcome::Broken(error.kind()),
        }
    };
    // An answer counts however its connection ended.
    let text = String::from_utf8_lossy(&start);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let may_retry = head.to_ascii_lowercase().contains("\r\nretry-after:");
    let said = body.chars().take(200).collect();
    status.map_or(ended, |status| ClientOutcome::Answered { status, may_retry, said })
}
