//! The smallest client: whole requests as bytes, one connection that stays open, and of the answer only what is counted.
//!
//! It must not know what is asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::super::texts::Request;

/// How long an answer may take.
const LONGEST: Duration = Duration::from_mins(10);

/// A connection.
pub(super) struct Wire {
    reader: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

/// A request's bytes, and how many pairs it asks for.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    bytes: Vec<u8>,
    pub(super) pairs: usize,
}

impl Prepared {
    pub(super) fn new(request: &Request) -> Self {
        let body = json!({"query": request.query, "documents": request.documents}).to_string();
        let head = "POST /v1/rerank HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length:";
        let bytes = format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { bytes, pairs: request.documents.len() }
    }

    /// Bytes of the whole request.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Wire {
    /// Opens a connection to `http://host:port`.
    pub(super) fn open(url: &str) -> Result<Self, String> {
        let open = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LONGEST))?;
            Ok(stream)
        };
        let stream = open().map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { reader: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends a request and reads its answer; how many of its pairs were hits.
    pub(super) fn send(&mut self, request: &Prepared) -> Result<usize, String> {
        let (status, hits) = self.exchange(&request.bytes).map_err(|error| error.to_string())?;
        if status == 200 { Ok(hits) } else { Err(format!("status {status}: {}", String::from_utf8_lossy(&self.body))) }
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        self.reader.get_mut().write_all(request)?;
        let odd = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let status = self.line()?.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| odd("no status"))?;
        let (mut length, mut hits) = (0, 0);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            let number = || value.trim().parse::<usize>();
            if name.eq_ignore_ascii_case("content-length") {
                length = number().map_err(|_| odd("no length"))?;
            } else if name.eq_ignore_ascii_case("x-rescored-cache-hits") {
                hits = number().map_err(|_| odd("no number of hits"))?;
            }
        }
        self.body.resize(length, 0);
        self.reader.read_exact(&mut self.body)?;
        Ok((status, hits))
    }

    fn line(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.reader.read_line(&mut self.line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.line.trim_end())
    }
}
