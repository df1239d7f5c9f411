//! A redis-server of a test's own, on a port of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::eventually;

/// A running server. Dropping it kills it.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// `None`, said aloud, where there is no redis-server.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let mut all: Vec<String> = ["--save", "", "--appendonly", "no"].map(str::to_owned).into();
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Self::launch(all)
    }

    /// A sentinel with this settings file.
    pub(crate) fn sentinel(settings: &str) -> Option<Self> {
        Self::launch([settings, "--sentinel"].map(str::to_owned).into())
    }

    fn launch(arguments: Vec<String>) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let folder = tempfile::tempdir().expect("a folder");
        let Ok(child) = spawn(port, folder.path(), &arguments) else {
            eprintln!("skipped: no redis-server on the path");
            return None;
        };
        let redis = Self { child, port, folder, arguments };
        redis.wait();
        Some(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait(&self) {
        eventually("redis-server answers", || self.try_say("PING").is_some_and(|answer| answer.starts_with("+PONG")));
    }

    /// Sends one command, and gives the beginning of its answer.
    pub(crate) fn say(&self, command: &str) -> String {
        self.try_say(command).expect("redis-server answers")
    }

    fn try_say(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 64 << 10];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// How many keys it holds.
    pub(crate) fn keys(&self) -> u64 {
        self.say("DBSIZE").trim_start_matches(':').trim().parse().expect("a number")
    }

    /// How many commands it has carried out.
    pub(crate) fn commands(&self) -> u64 {
        let info = self.say("INFO stats");
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.and_then(|number| number.trim().parse().ok()).expect("a number")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, self.folder.path(), &self.arguments).expect("redis-server starts again");
        self.wait();
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} is sent");
    }
}

fn spawn(port: u16, folder: &std::path::Path, arguments: &[String]) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
