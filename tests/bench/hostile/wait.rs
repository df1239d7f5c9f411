//! One-line requests of another client beside hostile ones.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_lab::bench::report::{Section, Table, Tone};

use super::client::Connection;
use super::kinds::text;
use super::page::Finding;
use super::program::program;

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

/// One-line requests beside each hostile one, and whether their bound is kept.
pub(crate) fn run() -> (Section, Vec<Finding>) {
    let mut started = program().start(&[]).unwrap_or_else(|why| panic!("rescored does not start: {why}"));
    started.forget_log();
    let address: SocketAddr = started.url().trim_start_matches("http://").parse().expect("an address");
    let pass = largest_pass(address);
    let bound = PASSES * pass + ADDED;
    let mut table = Table::new("", &["case", "beside", "one-line requests", "median", "worst", "kept"]);
    let mut slowest = Duration::ZERO;
    for hostile in hostile() {
        let mut waits = beside(address, &hostile);
        waits.sort_unstable();
        let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        slowest = slowest.max(worst);
        let (word, tone) = if worst <= bound { ("yes", Tone::Plain) } else { ("no", Tone::Aside) };
        let times = [median, worst].map(|time| format!("{time:.1?}"));
        let cells = [hostile.case.to_owned(), hostile.what, waits.len().to_string()].into_iter().chain(times);
        table.push(tone, cells.chain([word.to_owned()]).collect());
    }
    let section = Section {
        id: "wait".to_owned(),
        title: "wait: one-line requests of another client beside hostile ones".to_owned(),
        question: "How long do hostile requests keep others waiting?".to_owned(),
        tables: vec![table],
        notes: vec![format!("a forward pass of 512 tokens: {pass:.1?}")],
        ..Section::default()
    };
    let what = format!("worst {slowest:.1?}; allowed is {bound:.1?}, {PASSES} forward passes and {ADDED:?}");
    (section, vec![Finding::new(slowest <= bound, what)])
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
