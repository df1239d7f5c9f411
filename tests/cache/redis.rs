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
    /// A test without a redis-server fails.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut all: Vec<String> = ["--save", "", "--appendonly", "no"].map(str::to_owned).into();
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Self::launch(all)
    }

    /// A sentinel with this settings file.
    pub(crate) fn sentinel(settings: &str) -> Self {
        Self::launch([settings, "--sentinel"].map(str::to_owned).into())
    }

    fn launch(arguments: Vec<String>) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(port, folder.path(), &arguments)
            .expect("redis-server is on the path (Debian's package of that name)");
        let redis = Self { child, port, folder, arguments };
        redis.wait();
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait(&self) {
        eventually("redis-server answers", || {
            // One that asks for a password is there, too.
            self.try_say("PING").is_some_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
        });
    }

    /// Sends one command, and gives the beginning of its answer.
    pub(crate) fn say(&self, command: &str) -> String {
        self.try_say(command).expect("redis-server answers")
    }

    /// Sends commands on one connection, and gives their answers, each of one line.
    pub(crate) fn say_all(&self, commands: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("redis-server listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
        stream.write_all((commands.join("\r\n") + "\r\n").as_bytes()).expect("sent");
        let (mut answers, mut piece) = (String::new(), vec![0; 64 << 10]);
        while answers.matches("\r\n").count() < commands.len() {
            let length = stream.read(&mut piece).expect("redis-server answers");
            assert!(length > 0, "redis-server hung up");
            answers.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        answers
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

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

/// Makes a cluster of masters that share the slots: each with the port that others use, and that of its bus.
pub(crate) fn join(nodes: &[(&Redis, u16, u16)]) {
    let each = 16_384 / nodes.len();
    for (place, (node, ..)) in nodes.iter().enumerate() {
        let last = if place + 1 == nodes.len() { 16_383 } else { (place + 1) * each - 1 };
        assert!(node.say(&format!("CLUSTER ADDSLOTSRANGE {} {last}", place * each)).starts_with("+OK"));
        node.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1));
    }
    for (_, port, bus) in &nodes[1..] {
        assert!(nodes[0].0.say(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")).starts_with("+OK"));
    }
    let known = format!("cluster_known_nodes:{}", nodes.len());
    eventually("the cluster is up", || {
        nodes.iter().all(|(node, ..)| {
            let info = node.say("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains(&known)
        })
    });
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
