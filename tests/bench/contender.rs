//! What is compared: this program over HTTP, and peers behind pipes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::host::cpu_seconds;
use super::server::Server;
use super::stage::{python, sources};
use super::texts::Request;

/// The arithmetic of a contender's model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    Fp32,
    Int8,
}

/// A way to score pairs.
pub(crate) struct Contender<'s> {
    pub(crate) name: String,
    pub(crate) precision: Precision,
    transport: Transport<'s>,
}

enum Transport<'s> {
    Http {
        server: &'s Server,
        clients: usize,
    },
    Peer(Peer),
    /// Cannot run here, and why.
    Missing(String),
}

/// What scoring all requests took, and gave.
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// Every request's logits, in the order of its documents.
    pub(crate) logits: Vec<Vec<f64>>,
}

impl<'s> Contender<'s> {
    pub(crate) fn over_http(name: &str, precision: Precision, server: &'s Server, clients: usize) -> Self {
        let plural = if clients == 1 { "client" } else { "clients" };
        Self { name: format!("{name}, {clients} {plural}"), precision, transport: Transport::Http { server, clients } }
    }

    pub(crate) fn peer(name: &str, precision: Precision, peer: Result<Peer, String>) -> Self {
        let transport = peer.map_or_else(Transport::Missing, Transport::Peer);
        Self { name: name.to_owned(), precision, transport }
    }

    /// Whether this is the program whose repository this is.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.transport, Transport::Http { .. })
    }

    /// Clients that send at the same time, each needing a request.
    pub(crate) fn clients(&self) -> usize {
        match self.transport {
            Transport::Http { clients, .. } => clients,
            Transport::Peer(_) | Transport::Missing(_) => 1,
        }
    }

    /// Seconds of CPU that it has used so far, spinning included.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        match &self.transport {
            Transport::Http { server, .. } => cpu_seconds(server.process()),
            Transport::Peer(peer) => cpu_seconds(peer.child.id()),
            Transport::Missing(_) => None,
        }
    }

    /// Why it does not run, if it does not.
    pub(crate) fn missing(&self) -> Option<&str> {
        match &self.transport {
            Transport::Missing(why) => Some(why),
            Transport::Http { .. } | Transport::Peer(_) => None,
        }
    }

    /// Versions of what runs.
    pub(crate) fn version(&self) -> &str {
        match &self.transport {
            Transport::Http { .. } => concat!("rescored ", env!("CARGO_PKG_VERSION")),
            Transport::Peer(peer) => &peer.version,
            Transport::Missing(_) => "",
        }
    }

    /// Waits until its model is loaded.
    pub(crate) fn settle(&mut self) {
        if let Transport::Peer(peer) = &mut self.transport
            && let Err(why) = peer.ready()
        {
            self.transport = Transport::Missing(why);
        }
    }

    /// Scores all requests. `None` when it cannot, or no more.
    pub(crate) fn run(&mut self, requests: &[Request]) -> Option<Run> {
        let done = match &mut self.transport {
            Transport::Http { server, clients } => Ok(over_http(server, *clients, requests)),
            Transport::Peer(peer) => peer.score_all(requests),
            Transport::Missing(_) => return None,
        };
        done.map_err(|why| self.transport = Transport::Missing(why)).ok()
    }
}

fn over_http(server: &Server, clients: usize, requests: &[Request]) -> Run {
    let bodies: Vec<String> = requests.iter().map(Request::body).collect();
    let started = Instant::now();
    let answers = std::thread::scope(|scope| {
        let work = |client| {
            let bodies = &bodies;
            scope.spawn(move || {
                let mut connection = server.connect();
                let mine = (client..bodies.len()).step_by(clients);
                mine.map(|at| (at, connection.post("/v1/rerank", &bodies[at], ""))).collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..clients).map(work).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });
    let time = started.elapsed();
    let mut logits = vec![Vec::new(); requests.len()];
    for (at, answer) in answers {
        logits[at] = vec![f64::NAN; requests[at].documents.len()];
        for result in answer.ok()["results"].as_array().expect("results") {
            let index = usize::try_from(result["index"].as_u64().expect("an index")).expect("an index");
            logits[at][index] = result["relevance_score"].as_f64().expect("a score");
        }
    }
    Run { time, logits }
}

/// A program that scores what it reads on its standard input, a JSON line a request.
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Peer {
    /// Starts a script; it loads its model meanwhile.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(python())
            .arg(sources().join("peers").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("its Python does not start: {error}"))?;
        let requests = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Ok(Self { child, requests, answers, version: String::new() })
    }

    /// Waits for its model.
    pub(crate) fn ready(&mut self) -> Result<(), String> {
        let line = self.line()?;
        match (line["ready"].as_str(), line["missing"].as_str()) {
            (Some(version), _) => version.clone_into(&mut self.version),
            (None, why) => return Err(why.unwrap_or("no reason given").to_owned()),
        }
        Ok(())
    }

    /// Sends one line and reads one.
    pub(crate) fn ask(&mut self, question: &serde_json::Value) -> Result<serde_json::Value, String> {
        writeln!(self.requests, "{question}").map_err(|error| format!("it ended: {error}"))?;
        self.line()
    }

    fn score_all(&mut self, requests: &[Request]) -> Result<Run, String> {
        let mut run = Run { time: Duration::ZERO, logits: Vec::new() };
        for request in requests {
            let pairs: Vec<_> = request.documents.iter().map(|document| [&request.query, document]).collect();
            let answer = self.ask(&serde_json::json!({"pairs": pairs}))?;
            let logits = answer["logits"].as_array().ok_or("an answer without logits")?;
            run.logits.push(logits.iter().map(|logit| logit.as_f64().unwrap_or(f64::NAN)).collect());
            run.time += Duration::from_secs_f64(answer["seconds"].as_f64().ok_or("an answer without its time")?);
        }
        Ok(run)
    }

    fn line(&mut self) -> Result<serde_json::Value, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|_| "it ended without an answer".to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
