//! Connections that send a byte now and then, and what others notice of them.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::load;
use super::page::Finding;
use super::target::Target;

const CONNECTIONS: usize = 500;
const HEAD: &[u8] = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\nx-padding: ";

/// Runs it: others without them, with them, and without them again, a few times in turn.
pub(crate) fn run(target: &Target) -> Vec<Finding> {
    let capacity = load::closed(target, 8, 50, Duration::from_secs(5));
    // A third of what it can do, in requests of ten documents.
    let rate = capacity / 30.0;
    let others = || {
        let sent = load::open(target, rate, |_| 10, Duration::from_secs(5), Duration::from_secs(10));
        load::quantile(sent.iter().map(|one| one.took).collect(), 0.99)
    };
    others();
    let (mut without, mut with, mut replaced) = (Vec::new(), Vec::new(), 0);
    for _ in 0..3 {
        without.push(others());
        let over = AtomicBool::new(false);
        let again = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| hold(target, &over, &again));
            with.push(others());
            over.store(true, Ordering::Release);
        });
        replaced += again.into_inner();
    }
    let median = |times: &[Duration]| load::quantile(times.to_vec(), 0.5).as_secs_f64() * 1000.0;
    let (without, with) = (median(&without), median(&with));
    vec![Finding::new(
        with < without * 1.2,
        format!(
            "p99 of others {without:.2} ms without and {with:.2} ms with {CONNECTIONS} slow connections ({:+.0} %; {rate:.0} requests/s; \
             {replaced} connections were shut and opened again)",
            (with / without - 1.0) * 100.0
        ),
    )]
}

/// Keeps that many connections open, each a byte further every now and then.
fn hold(target: &Target, over: &AtomicBool, again: &AtomicUsize) {
    let open = || {
        let mut stream = TcpStream::connect(target.address).expect("the server listens");
        stream.write_all(HEAD).expect("sent");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| open()).collect();
    while !over.load(Ordering::Acquire) {
        for stream in &mut streams {
            if stream.write_all(b"x").is_err() {
                *stream = open();
                again.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
