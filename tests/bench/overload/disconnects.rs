//! Clients that send 100 cold documents and hang up.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rescored_core::random::Seeded;

use super::load;
use super::page::Finding;
use super::target::Target;

const CLIENTS: usize = 1000;
const DOCUMENTS: usize = 100;

/// Runs it.
pub(crate) fn run(target: &Target) -> Vec<Finding> {
    load::closed(target, 2, 20, Duration::from_secs(3));
    let (pairs, scored) = (target.metric("rescored_pairs_total"), target.metric("rescored_pairs_scored_total"));
    let mut random = Seeded::new(3);
    let bodies: Vec<String> =
        (0..CLIENTS).map(|_| load::body(DOCUMENTS, target.words, target.kind, &mut random)).collect();
    let started = Instant::now();
    for body in &bodies {
        let mut stream = TcpStream::connect(target.address).expect("the server listens");
        write!(stream, "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .expect("sent");
    }
    let sending = started.elapsed();
    let until = Instant::now() + Duration::from_mins(1);
    while target.metric("rescored_requests_in_flight") > 0.0 || target.metric("rescored_queue_tokens") > 0.0 {
        assert!(Instant::now() < until, "work for nobody is still waiting");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = target.metric("rescored_pairs_total") - pairs;
    let done = target.metric("rescored_pairs_scored_total") - scored;
    let share = done / (CLIENTS * DOCUMENTS) as f64;
    vec![Finding::new(
        share < 0.02,
        format!(
            "{CLIENTS} clients in {:.1} s: {asked:.0} pairs were asked for, {done:.0} were scored, {:.2} % of {}",
            sending.as_secs_f64(),
            share * 100.0,
            CLIENTS * DOCUMENTS
        ),
    )]
}
