//! This program, serving.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::client::Connection;
use super::stage::{binary, models};

/// A server of its own process, on a port of its own.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start<V: AsRef<std::ffi::OsStr>>(vars: &[(&str, V)]) -> Self {
        let mut child = Command::new(binary())
            .env_clear()
            .env("RESCORED_MODEL_DIR", models())
            .env("RESCORED_LISTEN", "127.0.0.1:0")
            .env("RESCORED_LOG_FORMAT", "json")
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut address = None;
        let mut last = String::new();
        for line in log.by_ref() {
            last = line.expect("a line");
            let line: serde_json::Value = serde_json::from_str(&last).unwrap_or_default();
            if line["message"] == "listening" {
                address = line["address"].as_str().map(|address| address.parse().expect("an address"));
            }
            if line["message"] == "ready" {
                break;
            }
        }
        // Its log goes on; a full pipe would stop it.
        std::thread::Builder::new().spawn(move || log.for_each(drop)).expect("a thread");
        let address = address.unwrap_or_else(|| panic!("the server is not up: {last}"));
        Self { child, address }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.connect().send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        let values = page.text().lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
