//! One request to a sidecar that runs: for health checks of containers and units, where no curl is.
//!
//! Owns the few lines of HTTP that this takes, over TCP and UNIX sockets. Bounded in time and bytes. It must not know
//! what readiness is made of.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rescored_server::http::{Listen, Options};
use ureq::Agent;
use ureq::tls::TlsConfig;

/// A sidecar answers a probe from memory, in well under a millisecond; one that takes this long is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer that are looked at: the status line is all that counts.
const ANSWER: u64 = 4096;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the process runs.
    Live,
    /// Whether it takes work.
    Ready,
}

impl Question {
    const fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        }
    }
}

/// Why a probe says no.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers.
    #[error("no answer")]
    Silent(#[source] io::Error),
    /// Something answers that is no HTTP.
    #[error("the answer is not HTTP")]
    Foreign,
    /// It answers, and not with 200.
    #[error("status {0}")]
    Status(u16),
    /// No address is configured.
    #[error("RESCORED_LISTEN: names no address")]
    Nowhere,
}

/// Asks the sidecar that runs under these settings: at the address of its operations, where it has one, else at its
/// first.
///
/// # Errors
/// [`ProbeError`]: whatever is not a 200 within two seconds.
pub fn first(options: &Options, question: Question) -> Result<(), ProbeError> {
    if let Some(listen) = options.exposure.operations.first() {
        return ask(listen, false, question);
    }
    ask(options.listen.first().ok_or(ProbeError::Nowhere)?, options.exposure.tls.is_some(), question)
}

/// Asks the sidecar at this address.
///
/// # Errors
/// As [`first`].
pub(super) fn ask(listen: &Listen, tls: bool, question: Question) -> Result<(), ProbeError> {
    let status = match listen {
        Listen::Tcp(address) if tls => encrypted(reachable(*address), question)?,
        Listen::Tcp(_) | Listen::Unix(_) => {
            exchange(listen, question).map_err(ProbeError::Silent)?.ok_or(ProbeError::Foreign)?
        }
    };
    if status == 200 { Ok(()) } else { Err(ProbeError::Status(status)) }
}

/// Over TLS. The certificate is not looked at: it names the host that callers use, and this is a question to ourselves.
fn encrypted(address: SocketAddr, question: Question) -> Result<u16, ProbeError> {
    let tls = TlsConfig::builder().disable_verification(true).build();
    let config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).tls_config(tls);
    let agent: Agent = config.build().into();
    let answer = agent.get(format!("https://{address}{}", question.path())).call();
    answer.map(|answer| answer.status().as_u16()).map_err(|error| ProbeError::Silent(io::Error::other(error)))
}

fn exchange(listen: &Listen, question: Question) -> io::Result<Option<u16>> {
    match listen {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            status(stream, question)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            status(stream, question)
        }
    }
}

/// A server that listens everywhere is asked over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn status(mut stream: impl Read + Write, question: Question) -> io::Result<Option<u16>> {
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", question.path());
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    Ok(parse(&answer))
}

/// The status of an answer, if it is one of HTTP/1.
fn parse(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|&byte| byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_nothing_else_is_taken_for_one() {
        for (answer, status) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some(200)),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some(503)),
            ("HTTP/1.0 404 Not Found\r\n", Some(404)),
            ("", None),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            ("-ERR unknown command 'GET'\r\n", None),
            ("HTTP/1.1 two hundred\r\n", None),
        ] {
            assert_eq!(parse(answer.as_bytes()), status, "{answer:?}");
        }
    }

    #[test]
    fn an_unspecified_address_is_asked_over_loopback() {
        for (given, asked) in [("0.0.0.0:8787", "127.0.0.1:8787"), ("[::]:1", "[::1]:1"), ("10.0.0.1:5", "10.0.0.1:5")]
        {
            assert_eq!(reachable(given.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
