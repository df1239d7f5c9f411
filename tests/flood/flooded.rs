//! One server in a memory limit, all floods one after the other, and small requests beside them.
//!
//! Whatever comes, the server is not killed, answers nothing of the 5xx kind but 503 with Retry-After, and goes on answering small
//! requests and probes meanwhile. Each limit is one test; they take turns, so that what they print can be compared.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cage::Cage;
use crate::client::{self, ClientOutcome};
use crate::{floods, tier};

/// One at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A server in a cage.
struct Server {
    child: Child,
    address: SocketAddr,
    cage: Cage,
}

/// Small requests and probes, one after the other, beside a flood.
struct Beside {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Seen>,
}

/// What they saw.
#[derive(Default)]
struct Seen {
    served: usize,
    refused: usize,
    /// Why they were, and how often.
    why: BTreeMap<String, usize>,
    slowest_request: Duration,
    slowest_probe: Duration,
}

impl Server {
    fn start(limit: u64) -> Self {
        let cage = Cage::new(limit);
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut command = cage.command(env!("CARGO_BIN_EXE_rescored"));
        command.env_clear().envs(cage.settings());
        command.env("RESCORED_LISTEN", "127.0.0.1:0").env("RESCORED_MODEL_DIR", models);
        command.env("RESCORED_LOG_FORMAT", "json").env("RESCORED_CLIENT_TIMEOUT", "5s");
        command.env("RESCORED_CACHE_REDIS", format!("redis://{}", tier::start()));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), cage };
        let mut wait_until = |message: &str| loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("a line") > 0, "the program ended before it said `{message}`");
            let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
            if line["message"] == message {
                return line;
            }
        };
        let address = wait_until("listening")["address"].as_str().expect("an address").to_owned();
        server.address = address.parse().expect("an address");
        println!("budget {} MiB", wait_until("memory budget")["budget_bytes"].as_u64().expect("bytes") >> 20);
        // A full pipe would stop the program.
        thread(move || {
            let lines = log.lines().map_while(Result::ok);
            // How short memory was, and what went wrong, is part of the report.
            let matters = |line: &String| line.contains("\"memory\"") || line.contains("ERROR");
            lines.filter(matters).for_each(|line| println!("the server: {line}"));
        });
        while client::post(server.address, "/v1/rerank", SMALL).status() != Some(200) {
            std::thread::sleep(Duration::from_millis(50));
        }
        server.cage.judge(server.child.id(), "at rest");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SMALL: &[u8] = br#"{"query":"how many people live in berlin","documents":["Berlin has 3,520,031 inhabitants."]}"#;

pub(crate) fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().spawn(work).expect("a thread")
}

impl Beside {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = thread(move || {
            let mut seen = Seen::default();
            let mut number = 0;
            while !stopped.load(Ordering::Acquire) {
                number += 1;
                // Another text each time: the cache does not answer.
                let body =
                    format!(r#"{{"query":"how many people live in town {number}","documents":["It has {number}."]}}"#);
                let begun = Instant::now();
                let reported = client::post(address, "/v1/rerank", body.as_bytes());
                seen.slowest_request = seen.slowest_request.max(begun.elapsed());
                allowed("beside", &reported);
                if reported.status() == Some(200) {
                    seen.served += 1;
                } else {
                    seen.refused += 1;
                    *seen.why.entry(reported.why()).or_default() += 1;
                }
                let begun = Instant::now();
                let reported = probe(address);
                assert_eq!(reported.status(), Some(200), "GET /livez: {reported:?} after {:.1?}", begun.elapsed());
                seen.slowest_probe = seen.slowest_probe.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { stop, asking }
    }

    /// `None` when somebody was not answered.
    fn stop(self) -> Option<Seen> {
        self.stop.store(true, Ordering::Release);
        self.asking.join().ok()
    }
}

fn probe(address: SocketAddr) -> ClientOutcome {
    use std::io::Write;
    let mut stream = match client::connect(address) {
        Ok(stream) => stream,
        Err(reported) => return reported,
    };
    drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    client::read(&mut stream)
}

/// No answer at all (the connection was closed on somebody who went on writing) is allowed, but no refused connection and no
/// silence; of the 5xx kind, only 503.
fn allowed(what: &str, reported: &ClientOutcome) {
    let fine = match reported {
        ClientOutcome::Answered { status: 503, may_retry, .. } => *may_retry,
        ClientOutcome::Answered { status, .. } => *status < 500,
        ClientOutcome::Closed | ClientOutcome::Broken(_) => true,
        ClientOutcome::NotConnected(_) | ClientOutcome::TimedOut(_) => false,
    };
    assert!(fine, "{what}: {reported:?}");
}

fn flooded(limit: u64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(limit);
    for (name, flood) in floods::ALL {
        let begun = Instant::now();
        let beside = Beside::start(server.address);
        let reported = flood(server.address);
        let Some(seen) = beside.stop() else {
            panic!("{name}: not every request was answered; {} processes killed for memory", server.cage.kills());
        };
        for one in &reported {
            allowed(name, one);
        }
        let count = |from: u16, to: u16| {
            let within = |one: &&ClientOutcome| one.status().is_some_and(|status| (from..=to).contains(&status));
            reported.iter().filter(within).count()
        };
        println!(
            "{name}: {:.1} s; 200: {}, 4xx: {}, 503: {}, closed: {}; beside it {} served, {} refused, slowest {} ms, slowest probe {} ms",
            begun.elapsed().as_secs_f64(),
            count(200, 200),
            count(400, 499),
            count(503, 503),
            reported.iter().filter(|one| one.status().is_none()).count(),
            seen.served,
            seen.refused,
            seen.slowest_request.as_millis(),
            seen.slowest_probe.as_millis()
        );
        server.cage.judge(server.child.id(), name);
        assert!(
            seen.served > seen.refused,
            "{name}: small requests are served meanwhile, not refused: {:#?}",
            seen.why
        );
        // Wide bounds: debug builds on busy machines. What idle ones show stands in the report of each run.
        assert!(seen.slowest_request < Duration::from_secs(20), "{name}: {:?}", seen.slowest_request);
        assert!(seen.slowest_probe < Duration::from_secs(9), "{name}: {:?}", seen.slowest_probe);
    }
}

/// Case A2, and A3 in a process of its own.
#[test]
fn in_1024_mib_no_flood_kills_the_server_or_starves_small_requests() {
    flooded(1 << 30);
}

/// Case A2, with the defaults of a small container.
#[test]
fn in_512_mib_no_flood_kills_the_server_or_starves_small_requests() {
    flooded(512 << 20);
}
