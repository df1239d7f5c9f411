//! The sidecar as it is used: a process of its own that gets settings and is asked over HTTP.
//!
//! Owns its start, its end, and the wire. Every candidate so has its own runtime library, memory and CPU time, and what
//! is measured is exactly what the settings in the report make. It must not know experiments.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rescored_cli::companion;
use rescored_process::sync::lock;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use super::load::{Reply, Target};
use super::texts::Request;

/// Settings of the operator that would keep a candidate from being measured: another address, a cache that answers in
/// its place, keys, logs.
const NOT_OURS: [&str; 12] = [
    "RESCORED_LISTEN",
    "RESCORED_OPERATIONS_LISTEN",
    "RESCORED_SOCKET_MODE",
    "RESCORED_UI",
    "RESCORED_CACHE",
    "RESCORED_API_KEYS",
    "RESCORED_TLS",
    "RESCORED_LOG",
    "RESCORED_OTLP",
    "RESCORED_DRAIN",
    "RESCORED_DEADLINE",
    "RESCORED_MAX_",
];

/// What every candidate is given besides. A busy CPU may take minutes for what 64 clients send at once.
const OURS: [(&str, &str); 5] = [
    ("RESCORED_LISTEN", "127.0.0.1:0"),
    ("RESCORED_CACHE_BYTES", "0"),
    ("RESCORED_LOG", "info"),
    ("RESCORED_LOG_FORMAT", "json"),
    ("RESCORED_DEADLINE", "1h"),
];

/// The one of [`NOT_OURS`] that changes scores, and stays.
const KEPT: &str = "RESCORED_MAX_LENGTH";

/// How long a start may take: a large model on a slow disk, an accelerator that builds its kernels.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long an answer may take.
const LONGEST: Duration = Duration::from_hours(1);

/// A setting: name and value.
pub type Setting = (&'static str, String);

/// There is nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`rescored` lies neither beside this program nor on PATH; build it: cargo build --release --bin rescored")]
pub struct NoProgram;

/// The program's file, and the environment that this one was started with.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Name and value of every environment variable.
    pub vars: Vec<(OsString, OsString)>,
}

/// The program, started and ready; it is killed when this is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    url: String,
    /// Lines since it was ready; a lock, so that several threads may ask it.
    log: Mutex<Receiver<String>>,
}

/// A server that answers.
#[derive(Debug)]
pub struct Served {
    started: Started,
    agent: Agent,
    /// What `/info` said.
    pub info: Value,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Scored>,
}

#[derive(Deserialize)]
struct Scored {
    index: usize,
    relevance_score: f64,
}

impl Program {
    /// The program that is installed beside this one.
    ///
    /// # Errors
    /// When there is none.
    pub fn beside(vars: Vec<(OsString, OsString)>) -> Result<Self, NoProgram> {
        let path = companion::find(rescored_core::NAME, &vars).ok_or(NoProgram)?;
        Ok(Self { path, vars })
    }

    /// The value of a variable of the environment.
    pub fn var(&self, name: &str) -> Option<String> {
        let (_, value) = self.vars.iter().find(|(known, _)| known == name)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// Starts a server with these settings, and waits until it is ready.
    ///
    /// # Errors
    /// What it said instead, in a line.
    pub fn serve(&self, settings: &[Setting]) -> Result<Served, String> {
        let mut started = self.start(settings)?;
        started.forget_log();
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(LONGEST))
            .max_idle_connections(1024)
            .max_idle_connections_per_host(1024)
            .build()
            .into();
        let mut served = Served { started, agent, info: Value::Null };
        served.info = served.get("/info")?;
        Ok(served)
    }

    /// Starts the program with these settings, and waits until it is ready.
    ///
    /// # Errors
    /// What it said instead, in a line.
    pub fn start(&self, settings: &[Setting]) -> Result<Started, String> {
        let mut command = self.command(settings);
        let child = command.arg("serve").stderr(Stdio::piped()).spawn();
        let child = child.map_err(|error| format!("{}: {error}", self.path.display()))?;
        let mut started = Started { child, url: String::new(), log: Mutex::new(channel().1) };
        let log = follow(started.child.stderr.take().ok_or("no log")?)?;
        started.url = format!("http://{}", address(&log)?);
        started.log = Mutex::new(log);
        Ok(started)
    }

    /// Runs another sub-command to its end.
    ///
    /// # Errors
    /// Its last line on standard error.
    pub fn run(&self, arguments: &[&str], settings: &[Setting]) -> Result<String, String> {
        let said = self.command(settings).args(arguments).output().map_err(|error| error.to_string())?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&said.stderr);
        Err(plain(said.lines().last().unwrap_or("it failed without a word")))
    }

    fn command(&self, settings: &[Setting]) -> Command {
        let ours = |name: &OsString| {
            let name = name.to_string_lossy();
            name == KEPT || !NOT_OURS.iter().any(|other| name.starts_with(other))
        };
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .envs(self.vars.iter().filter(|(name, _)| ours(name)).map(|(name, value)| (name, value)))
            .envs(OURS)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

impl Started {
    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its address: `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it ends by itself: its status, and the lines of its log since it was ready.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(mut self) -> std::io::Result<(ExitStatus, Vec<String>)> {
        let status = self.child.wait()?;
        let lines = lock(&self.log).iter().collect();
        Ok((status, lines))
    }

    /// Keeps no further lines of the log.
    pub fn forget_log(&mut self) {
        self.log = Mutex::new(channel().1);
    }
}

impl Served {
    /// Its process.
    pub fn process(&self) -> u32 {
        self.started.process()
    }

    /// Its address: `http://host:port`.
    pub fn url(&self) -> &str {
        self.started.url()
    }

    /// What a path answers, as JSON.
    ///
    /// # Errors
    /// What went wrong, in a line.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        serde_json::from_str(&self.page(path)?).map_err(|error| error.to_string())
    }

    /// The sum of a metric over its labels.
    ///
    /// # Errors
    /// What went wrong, in a line.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let page = self.page("/metrics")?;
        let values = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    fn page(&self, path: &str) -> Result<String, String> {
        let mut answer = self.agent.get(format!("{}{path}", self.url())).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }

    /// Has one of its models score a request.
    ///
    /// # Errors
    /// What it said, in a line.
    pub fn score(&self, model: Option<&str>, request: &Request) -> Result<Reply, String> {
        let mut body = json!({"query": request.query, "documents": request.documents, "raw_scores": true});
        if let Some(model) = model {
            body["model"] = json!(model);
        }
        let post = self.agent.post(format!("{}/v1/rerank", self.url())).content_type("application/json");
        let mut answer = post.send(body.to_string()).map_err(|error| error.to_string())?;
        let said = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("status {}: {said}", answer.status().as_u16()));
        }
        let answer: Answer = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let mut logits = vec![f64::NAN; request.documents.len()];
        for one in answer.results {
            if let Some(place) = logits.get_mut(one.index) {
                *place = one.relevance_score;
            }
        }
        Ok(Reply { logits, aside: Duration::ZERO })
    }
}

impl Target for Served {
    fn send(&self, request: &Request) -> Result<Reply, String> {
        self.score(None, request)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its log, line by line, read on to the end: a full pipe would stop the server.
fn follow(log: ChildStderr) -> Result<Receiver<String>, String> {
    let (lines, read) = channel();
    let follow = move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            // After the start nobody listens any more.
            let _ = lines.send(line);
        }
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(follow).map_err(|error| error.to_string())?;
    Ok(read)
}

/// The address in a log, once it says that the server is ready.
fn address(log: &Receiver<String>) -> Result<String, String> {
    let until = Instant::now() + PATIENCE;
    let (mut address, mut last) = (None, String::new());
    loop {
        let line = match log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(format!("not ready after {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => return Err(plain(&last)),
        };
        match serde_json::from_str::<Value>(&line) {
            Ok(entry) if entry["message"] == "listening" => {
                address = entry["address"].as_str().map(str::to_owned).or(address);
            }
            Ok(entry) if entry["message"] == "ready" => {
                return address.ok_or_else(|| "it does not say where it listens".to_owned());
            }
            Ok(_) => {}
            Err(_) => last = line,
        }
    }
}

/// The program's own word, without its name before it.
fn plain(line: &str) -> String {
    line.trim().trim_start_matches("rescored: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(lines: &[&str]) -> Result<String, String> {
        let (send, receive) = channel();
        for &line in lines {
            send.send(line.to_owned()).unwrap();
        }
        drop(send);
        address(&receive)
    }

    #[test]
    fn a_server_is_ready_when_its_log_says_so() {
        let listening = r#"{"message":"listening","address":"127.0.0.1:4321"}"#;
        assert_eq!(reported(&[listening, r#"{"message":"ready"}"#]), Ok("127.0.0.1:4321".to_owned()));
        assert!(reported(&[listening]).is_err(), "it ended before it was ready");
        assert!(reported(&[r#"{"message":"ready"}"#]).is_err(), "nowhere to ask");
    }

    #[test]
    fn a_server_that_does_not_start_gives_its_own_reason() {
        let said = reported(&[r#"{"message":"starting"}"#, "rescored: RESCORED_PROVIDER: `x` is not known"]);
        assert_eq!(said, Err("RESCORED_PROVIDER: `x` is not known".to_owned()));
    }

    #[test]
    fn what_would_hide_the_engine_is_not_passed_on() {
        let vars = [("RESCORED_CACHE_SNAPSHOT", "x"), ("RESCORED_MAX_LENGTH", "64"), ("RESCORED_WORKERS", "3")];
        let vars = vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let program = Program { path: "rescored".into(), vars };
        let command = program.command(&[("RESCORED_WORKERS", "2".to_owned())]);
        let reported: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_str().unwrap(), value.unwrap())).collect();
        assert!(!reported.iter().any(|(name, _)| *name == "RESCORED_CACHE_SNAPSHOT"));
        for (name, value) in [("RESCORED_MAX_LENGTH", "64"), ("RESCORED_WORKERS", "2"), ("RESCORED_CACHE_BYTES", "0")] {
            assert!(reported.contains(&(name, value.as_ref())), "{name}: {reported:?}");
        }
    }
}
