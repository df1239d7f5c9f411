//! One-line requests of another client beside hostile ones.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::kinds::text;

/// Forward passes of the largest size that a one-line request may wait for, and what is added.
const PASSES: u32 = 3;
const ADDED: Duration = Duration::from_millis(50);

/// How long one-line requests go on beside a hostile one that is answered sooner.
const LEAST: Duration = Duration::from_secs(2);

const MIB: usize = 1 << 20;

/// A hostile request.
struct Hostile {
    case: &'static str,
    what: String,
    path: &'static str,
    body: String,
    copies: usize,
}

/// The program, ended when it is dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Measures and prints a table; whether every bound is kept.
pub(crate) fn run() -> bool {
    let program = start();
    let pass = largest_pass(program.address);
    let bound = PASSES * pass + ADDED;
    println!("\n## wait: one-line requests of another client beside hostile ones\n");
    println!("a forward pass of 512 tokens: {pass:.1?}; bound: {bound:.1?}\n");
    println!("| case | beside | one-line requests | median | worst | kept |");
    println!("|---|---|---:|---:|---:|---|");
    let mut kept = true;
    for hostile in hostile() {
        let mut waits = beside(program.address, &hostile);
        waits.sort_unstable();
        let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        kept &= worst <= bound;
        let word = if worst <= bound { "yes" } else { "**no**" };
        let (case, what, count) = (hostile.case, &hostile.what, waits.len());
        println!("| {case} | {what} | {count} | {median:.1?} | {worst:.1?} | {word} |");
    }
    println!("\n{} {PASSES} forward passes and {ADDED:?}", if kept { "kept:" } else { "NOT KEPT:" });
    kept
}

fn start() -> Program {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    assert!(models.join("ms-marco-MiniLM-L-12-v2").is_dir(), "no model: run `make fetch`");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rescored"))
        .env_clear()
        .env("RESCORED_MODEL_DIR", models)
        .env("RESCORED_LISTEN", "127.0.0.1:0")
        .env("RESCORED_LOG_FORMAT", "json")
        .env("RESCORED_CACHE_BYTES", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut address = None;
    for line in log.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if line["message"] == "listening" {
            address = line["address"].as_str().map(|address| address.parse().expect("an address"));
        }
        if line["message"] == "ready" {
            break;
        }
    }
    // A full pipe would stop it.
    let drain = std::thread::Builder::new().name("log".to_owned());
    drain.spawn(move || log.for_each(drop)).expect("a thread");
    Program { child, address: address.expect("the program listens") }
}

/// How long a pair that fills the model's window takes alone, the median of several.
fn largest_pass(address: SocketAddr) -> Duration {
    let mut connection = Connection::open(address);
    let mut times: Vec<Duration> = (0..9)
        .map(|number| {
            let document = format!("{number} {}", text(super::kinds::PROSE, 8000));
            let started = Instant::now();
            connection.post("/v1/rerank", body("a question", &[document], ""), "").ok();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn body(query: &str, documents: &[String], more: &str) -> String {
    let documents = serde_json::to_string(documents).expect("JSON");
    format!("{{\"query\":{},\"documents\":{documents}{more}}}", serde_json::Value::from(query))
}

fn hostile() -> Vec<Hostile> {
    let documents = |case, kind: &str, count: usize, bytes: usize, more: &str| Hostile {
        case,
        what: format!("{count} documents of {} KiB, {kind}{}", bytes / 1024, if more.is_empty() { "" } else { more }),
        path: "/v1/rerank",
        body: body(
            "a question",
            &(0..count).map(|number| format!("{number} {}", text(kind, bytes))).collect::<Vec<_>>(),
            more,
        ),
        copies: 1,
    };
    let mut all = vec![
        documents("A1", "exclamation marks", 4, MIB, ""),
        documents("A1", "one Chinese character", 3, 39 * MIB / 10, ""),
        documents("A1", "minified JSON", 4, MIB, ""),
        documents("A1", "base64", 4, MIB, ""),
        documents("A1", "one unbroken word", 4, 39 * MIB / 10, ""),
        documents("A1", "combining marks", 4, MIB, ""),
        documents("A1", "emoji", 4, MIB, ""),
        documents("A4", "Chinese prose", 5, 3_000_000, ",\"timeout_ms\":500"),
    ];
    for kind in ["Chinese prose", "Russian prose", "Arabic prose", "Hindi prose", "Thai without spaces", "source code"]
    {
        all.push(documents("A4", kind, 50, 100_000, ""));
    }
    let words: Vec<String> = (0..10_000).map(|number| format!("word{number}")).collect();
    let one_word = |count: usize| Hostile {
        case: "A5",
        what: format!("{count} documents of one word"),
        path: "/v1/rerank",
        body: body("a question", &words[..count], ""),
        copies: 1,
    };
    all.extend([one_word(3_000), one_word(10_000)]);
    all.push(Hostile {
        case: "A3",
        what: "4 streams of 4 MiB of line ends to the cache's warm-up".into(),
        path: "/v1/cache/warm",
        body: "\n".repeat(4 * MIB),
        copies: 4,
    });
    all
}

/// How long each one-line request took while the hostile one went on.
fn beside(address: SocketAddr, hostile: &Hostile) -> Vec<Duration> {
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..hostile.copies).map(|_| scope.spawn(|| send(address, hostile))).collect();
        let measure = scope.spawn(|| {
            let mut connection = Connection::open(address);
            let (mut waits, started) = (Vec::new(), Instant::now());
            while running.load(Ordering::Relaxed) || started.elapsed() < LEAST {
                let line = format!("line {} {}", waits.len(), hostile.what);
                let asked = Instant::now();
                connection.post("/v1/rerank", body("one line", &[line], ""), "").ok();
                waits.push(asked.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            waits
        });
        for sender in senders {
            sender.join().expect("it ends");
        }
        running.store(false, Ordering::Relaxed);
        measure.join().expect("it ends")
    })
}

/// Sends it on a connection of its own, and reads until the server closes that.
fn send(address: SocketAddr, hostile: &Hostile) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        hostile.path,
        hostile.body.len()
    );
    // A refusal may come before the body's end.
    if stream.write_all(head.as_bytes()).is_ok() {
        drop(stream.write_all(hostile.body.as_bytes()));
    }
    drop(std::io::copy(&mut stream, &mut std::io::sink()));
}
