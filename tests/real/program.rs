//! The program as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::support::models;

/// The program with this environment and no other.
pub(crate) fn program(vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rescored"));
    command.env_clear().envs(vars.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// `None` once a test has taken it.
    pub(crate) log: Option<BufReader<ChildStderr>>,
}

impl Server {
    /// One that is ready.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with these settings that is ready.
    pub(crate) fn with(more: &[(&str, &str)]) -> Self {
        let mut server = Self::listening(more);
        server.wait_until("ready");
        server
    }

    /// One with these settings that has its address, and may not be ready yet.
    pub(crate) fn listening(more: &[(&str, &str)]) -> Self {
        let dir = models().display().to_string();
        let vars = [("RESCORED_LISTEN", "127.0.0.1:0"), ("RESCORED_MODEL_DIR", &dir), ("RESCORED_LOG_FORMAT", "json")];
        let mut child = program(&[&vars, more].concat()).spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        // Whatever comes next, dropping it ends the program.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log: Some(log) };
        let line = server.wait_until("listening");
        server.address = line["address"].as_str().expect("an address").parse().expect("an address");
        server
    }

    /// Reads the log up to the line with this message.
    pub(crate) fn wait_until(&mut self, message: &str) -> serde_json::Value {
        loop {
            let mut line = String::new();
            let read = self.log().read_line(&mut line).expect("a line");
            assert!(read > 0, "the program ended before it said `{message}`");
            // ONNX Runtime says in lines of its own what went wrong in a graph.
            if line.contains("[E:onnxruntime") || line.contains("[W:onnxruntime") {
                continue;
            }
            let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
            if line["message"] == message {
                return line;
            }
        }
    }

    pub(crate) fn log(&mut self) -> &mut BufReader<ChildStderr> {
        self.log.as_mut().expect("nobody took the log")
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, named without its `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(kill.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
