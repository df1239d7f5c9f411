//! SIGTERM in the middle of load: every request that the program took is answered, and it ends in time.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_core::random::Seeded;

use super::load;
use super::page::Finding;
use super::target::{address, start};

const TIMES: usize = 50;
const CLIENTS: usize = 6;
/// The default of `RESCORED_DRAIN`.
const GRACE: Duration = Duration::from_secs(25);

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Names of requests that were answered whole.
    answered: Mutex<BTreeSet<String>>,
    /// Names of requests whose answer broke off after it had begun.
    broken: Mutex<BTreeSet<String>>,
}

/// Runs it.
pub(crate) fn run() -> Vec<Finding> {
    let (mut lost, mut broken, mut codes, mut taken) = (0, 0, 0, 0);
    let mut longest = Duration::ZERO;
    let mut random = Seeded::new(11);
    for round in 0..TIMES {
        let started = start();
        let address = address(&started);
        let (seen, over) = (Seen::default(), AtomicBool::new(false));
        let log = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (seen, over) = (&seen, &over);
                scope.spawn(move || keep_asking(address, &format!("{round}-{client}"), seen, over));
            }
            std::thread::sleep(Duration::from_millis(150 + (random.share() * 500.0) as u64));
            let asked = Instant::now();
            let kill =
                Command::new("kill").args(["-TERM", &started.process().to_string()]).status().expect("kill runs");
            assert!(kill.success());
            let (status, log) = started.wait().expect("it ends");
            longest = longest.max(asked.elapsed());
            codes += usize::from(status.code() != Some(0));
            over.store(true, Ordering::Release);
            log
        });
        let answered = seen.answered.into_inner().expect("nobody panicked");
        for line in log {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "answered" && line["status"] == 200 {
                taken += 1;
                lost += usize::from(!line["request.id"].as_str().is_some_and(|id| answered.contains(id)));
            }
        }
        broken += seen.broken.into_inner().expect("nobody panicked").len();
    }
    vec![
        Finding::new(
            lost == 0,
            format!("{TIMES} stops: {lost} of {taken} requests that the program answered did not arrive"),
        ),
        Finding::new(broken == 0, format!("{broken} answers broke off")),
        Finding::new(codes == 0, format!("{codes} ends with another code than 0")),
        Finding::new(longest < GRACE, format!("the longest took {longest:?} from the signal to the end")),
    ]
}

/// One client: one request after the other on one connection, a new one when it is closed.
fn keep_asking(address: SocketAddr, name: &str, seen: &Seen, over: &AtomicBool) {
    let mut random = Seeded::new(name.len() as u64 * 31);
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(GRACE + Duration::from_secs(5))).expect("a timeout");
        let mut reader = BufReader::new(stream);
        loop {
            number += 1;
            let id = format!("{name}-{number}");
            let body = load::body(12, 40, load::Kind::Words, &mut random);
            match ask(&mut reader, &id, &body) {
                Asked::Answered => drop(seen.answered.lock().expect("nobody panics").insert(id)),
                Asked::Broken => drop(seen.broken.lock().expect("nobody panics").insert(id)),
                // Not taken: the connection was closed before a byte of an answer.
                Asked::Refused => break,
            }
            if over.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

enum Asked {
    Answered,
    Refused,
    Broken,
}

fn ask(reader: &mut BufReader<TcpStream>, id: &str, body: &str) -> Asked {
    let head =
        format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\nx-request-id: {id}\r\ncontent-length: {}\r\n\r\n", body.len());
    if reader.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).is_err() {
        return Asked::Refused;
    }
    let (mut line, mut length) = (String::new(), 0);
    let mut begun = false;
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 => begun = true,
            _ => return if begun { Asked::Broken } else { Asked::Refused },
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() { Asked::Broken } else { Asked::Answered }
}
