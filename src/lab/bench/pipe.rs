//! A program that scores what it reads on its standard input, a JSON line a request.
//!
//! Owns the protocol that `tests/bench/peers/protocol.py` speaks: `{"ready": version}` or `{"missing": why}` unasked, then
//! for each `{"pairs": [[query, document], ...]}` a `{"seconds": ..., "logits": [...]}`. It must not know who it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rescored_process::sync::lock;
use serde_json::{Value, json};

use super::load::{Reply, Target};
use super::texts::Request;

/// How long an answer may take, the first one, which loads and perhaps compiles a model, included.
const PATIENCE: Duration = Duration::from_mins(10);

/// A running program.
#[derive(Debug)]
pub struct Pipe {
    child: Child,
    ends: Mutex<Ends>,
    /// What it says it is.
    pub version: String,
    errors: PathBuf,
}

#[derive(Debug)]
struct Ends {
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Pipe {
    /// Starts a program; it loads its model meanwhile. What it says on standard error goes into the file `errors`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(command: &mut Command, errors: PathBuf) -> Result<Self, String> {
        let log = File::create(&errors).map_err(|error| format!("{}: {error}", errors.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let (Some(questions), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".to_owned());
        };
        let (lines, answers) = channel();
        let follow = move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        };
        let follower = std::thread::Builder::new().name("answers".to_owned()).spawn(follow);
        follower.map_err(|error| error.to_string())?;
        Ok(Self { child, ends: Mutex::new(Ends { questions, answers }), version: String::new(), errors })
    }

    /// Waits for its model.
    ///
    /// # Errors
    /// Why it cannot run here.
    pub fn ready(&mut self) -> Result<(), String> {
        let message = self.line(&lock(&self.ends))?;
        match (message["ready"].as_str(), message["missing"].as_str()) {
            (Some(version), _) => version.clone_into(&mut self.version),
            (None, why) => return Err(why.unwrap_or("no reason given").to_owned()),
        }
        Ok(())
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends one line and reads one.
    ///
    /// # Errors
    /// What it said at its end, or that it took too long.
    pub fn ask(&self, question: &Value) -> Result<Value, String> {
        self.exchange(&mut lock(&self.ends), question)
    }

    fn exchange(&self, ends: &mut Ends, question: &Value) -> Result<Value, String> {
        writeln!(ends.questions, "{question}").map_err(|_| self.last_words())?;
        self.line(ends)
    }

    fn line(&self, ends: &Ends) -> Result<Value, String> {
        match ends.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).map_err(|error| format!("an answer that is no JSON: {error}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it ended without a word").trim().to_owned()
    }
}

impl Target for Pipe {
    fn send(&self, request: &Request) -> Result<Reply, String> {
        let pairs: Vec<[&str; 2]> =
            request.documents.iter().map(|document| [request.query.as_str(), document.as_str()]).collect();
        let question = json!({"pairs": pairs});
        // Waiting for one's turn is a part of the latency.
        let mut ends = lock(&self.ends);
        let started = Instant::now();
        let message = self.exchange(&mut ends, &question)?;
        let all = started.elapsed();
        drop(ends);
        let logits = message["logits"].as_array().ok_or("an answer without logits")?;
        let spent = message["seconds"].as_f64().ok_or("an answer without its time")?;
        // Its own time counts: the pipe is the driver's.
        let aside = all.saturating_sub(Duration::try_from_secs_f64(spent).unwrap_or(all));
        Ok(Reply { logits: logits.iter().map(|logit| logit.as_f64().unwrap_or(f64::NAN)).collect(), aside })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Pipe) {
        let folder = tempfile::tempdir().unwrap();
        let pipe = Pipe::start(Command::new("sh").args(["-c", script]), folder.path().join("errors")).unwrap();
        (folder, pipe)
    }

    fn request() -> Request {
        Request { query: "q".into(), documents: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn a_program_answers_and_its_own_time_counts() {
        let answer = r#"echo '{"ready": "x 1"}'; read line; sleep 0.2; echo '{"seconds": 0.05, "logits": [1.5, -2]}'"#;
        let (_folder, mut pipe) = shell(answer);
        pipe.ready().unwrap();
        assert_eq!(pipe.version, "x 1");
        let reply = pipe.send(&request()).unwrap();
        assert_eq!(reply.logits, [1.5, -2.0]);
        assert!(reply.aside >= Duration::from_millis(100), "{:?}", reply.aside);
    }

    #[test]
    fn what_cannot_run_says_why() {
        let (_folder, mut pipe) = shell(r#"echo '{"missing": "no such device"}'"#);
        assert_eq!(pipe.ready(), Err("no such device".to_owned()));
        let (_folder, mut pipe) = shell("echo first >&2; echo 'Illegal instruction' >&2; exit 4");
        assert_eq!(pipe.ready(), Err("Illegal instruction".to_owned()));
    }
}
