//! What is compared: this program over HTTP, and peers behind pipes.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::texts::Request;
use super::{PATIENCE, python};

/// A way to score pairs.
pub(crate) struct Contender<'s> {
    pub(crate) name: &'static str,
    way: Way<'s>,
}

enum Way<'s> {
    Http { server: &'s Server, clients: usize },
    Peer(Peer),
}

impl<'s> Contender<'s> {
    pub(crate) fn over_http(name: &'static str, server: &'s Server, clients: usize) -> Self {
        Self { name, way: Way::Http { server, clients } }
    }

    pub(crate) fn peer(name: &'static str, peer: Peer) -> Self {
        Self { name, way: Way::Peer(peer) }
    }

    /// Time for all requests.
    pub(crate) fn time(&mut self, requests: &[Request]) -> Duration {
        match &mut self.way {
            Way::Http { server, clients } => over_http(server, *clients, requests),
            Way::Peer(peer) => requests.iter().map(|request| peer.score(request)).sum(),
        }
    }
}

fn over_http(server: &Server, clients: usize, requests: &[Request]) -> Duration {
    let bodies: Vec<String> = requests.iter().map(Request::body).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let bodies = &bodies;
            scope.spawn(move || {
                let mut connection = server.connect();
                for body in bodies.iter().skip(client).step_by(clients) {
                    connection.post("/v1/rerank", body, "").ok();
                }
            });
        }
    });
    started.elapsed()
}

/// This program, serving.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    models: PathBuf,
}

impl Server {
    pub(crate) fn start(vars: &[(&str, &str)]) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rescored"))
            .env_clear()
            .envs(vars.iter().copied())
            .env("RESCORED_MODEL_DIR", &models)
            .env("RESCORED_LISTEN", "127.0.0.1:0")
            .env("RESCORED_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut address = None;
        for line in log.by_ref() {
            let line: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("a line of JSON");
            if line["message"] == "listening" {
                address = line["address"].as_str().map(|address| address.parse().expect("an address"));
            }
            if line["message"] == "ready" {
                break;
            }
        }
        // Its log goes on; a full pipe would stop it.
        std::thread::Builder::new().spawn(move || log.for_each(drop)).expect("a thread");
        Self { child, address: address.expect("the server is up; `make fetch` first"), models }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn model_folder(&self) -> PathBuf {
        self.models.join("ms-marco-MiniLM-L-12-v2")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that scores what it reads on its standard input, a JSON line a request.
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// `None` when it cannot run here.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers").join(script);
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (requests, answers) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let mut peer = Self { child, requests, answers };
        let started = Instant::now();
        peer.line()?["ready"].as_str()?;
        assert!(started.elapsed() < PATIENCE, "the peer took {:?} to start", started.elapsed());
        Some(peer)
    }

    fn score(&mut self, request: &Request) -> Duration {
        let pairs: Vec<_> = request.documents.iter().map(|document| [&request.query, document]).collect();
        let request = serde_json::json!({"pairs": pairs}).to_string();
        writeln!(self.requests, "{request}").expect("the peer reads");
        let answer = self.line().expect("the peer answers");
        assert_eq!(answer["logits"].as_array().map(Vec::len), Some(pairs.len()));
        Duration::from_secs_f64(answer["seconds"].as_f64().expect("a time"))
    }

    fn line(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
