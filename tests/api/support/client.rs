//! The smallest HTTP client that can send wrong bytes on purpose.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// A connection that stays open.
pub(crate) struct Connection {
    reader: BufReader<Box<dyn Read>>,
    writer: Box<dyn Write>,
}

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = stream.try_clone().unwrap();
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(stream) }
    }

    pub(crate) fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server listens");
        let reader = stream.try_clone().unwrap();
        Self { reader: BufReader::new(Box::new(reader)), writer: Box::new(stream) }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have answered and hung up already; the reading side shows it.
        drop(self.writer.write_all(bytes.as_ref()));
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.write(bytes);
        self.read()
    }

    pub(crate) fn post(&mut self, path: &str, body: impl AsRef<[u8]>, headers: &str) -> Response {
        let body = body.as_ref();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.write([head.as_bytes(), body].concat());
        self.read()
    }

    /// One line of the answer.
    pub(crate) fn line(&mut self, line: &mut String) {
        self.reader.read_line(line).expect("a line");
    }

    pub(crate) fn read(&mut self) -> Response {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer");
        let mut words = line.split_whitespace();
        let version = words.next().expect("a status line").to_owned();
        let status = words.next().expect("a status").parse().expect("a number");
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("headers");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        if status != 204 {
            self.reader.read_exact(&mut body).expect("the whole body");
        }
        Response { status, version, headers, body }
    }
}

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The answer, once it is sure to be a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        write!(f, "{} {start}", self.status)
    }
}
