//! Who waits for whom: small requests beside large ones of every kind of text, and pairs whose asker left.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{App, Pace, Setup};

/// A server whose two workers do 2,000 tokens a second each, in passes of 64.
fn slow() -> App {
    App::with(Setup {
        pace: Pace { pass: Duration::ZERO, token: Duration::from_micros(500) },
        batch_tokens: 64,
        ..Setup::default()
    })
}

fn body(query: &str, documents: &[String]) -> String {
    serde_json::json!({"query": query, "documents": documents}).to_string()
}

/// Sends a request whole, and gives back the connection without reading the answer.
fn send(app: &App, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address).expect("the server listens");
    let head = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    stream
}

/// Case A6.
#[test]
fn a_pair_whose_asker_hung_up_is_scored_for_the_next() {
    let app = App::start();
    for round in 0..60_u64 {
        // Long enough that they are often still being read when the first asker is gone.
        let documents: Vec<String> = (0..16).map(|n| format!("{round} {n} {}", "word ".repeat(600))).collect();
        let body = body("q", &documents);
        let first = send(&app, &body);
        // From at once to when they are scored.
        std::thread::sleep(Duration::from_micros(round * 150));
        first.shutdown(Shutdown::Both).expect("hung up");
        drop(first);
        let second = app.post("/v1/rerank", &body);
        assert_eq!(second.status, 200, "round {round}: {second:?}");
    }
    assert_eq!(app.figure("rescored_pair_failures_total{reason=\"lost\"}"), 0);
}

/// Case A6, its neighbours: the first asker has less time than the others.
#[test]
fn a_pair_whose_first_asker_had_less_time_is_scored_for_the_others() {
    let app = slow();
    let documents: Vec<String> = (0..200).map(|n| format!("{n:>16}")).collect();
    let body = body("q", &documents);
    std::thread::scope(|scope| {
        // 200 pairs of 20 tokens take a second.
        let hasty = scope.spawn(|| app.post_with("/v1/rerank", &body, "x-request-timeout-ms: 300\r\n"));
        std::thread::sleep(Duration::from_millis(100));
        let others: Vec<_> = (0..3).map(|_| scope.spawn(|| app.post("/v1/rerank", &body))).collect();
        assert_eq!(hasty.join().expect("an answer").status, 504);
        for other in others {
            let answer = other.join().expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    // Nothing was begun anew.
    assert_eq!(app.figure("rescored_pairs_scored_total"), 200);
}

/// Case A6, its neighbours: many others wait.
#[test]
fn a_pair_whose_first_asker_hung_up_while_many_wait_is_scored_once_for_all() {
    let app = slow();
    let documents: Vec<String> = (0..100).map(|n| format!("{n:>16}")).collect();
    let body = body("q", &documents);
    std::thread::scope(|scope| {
        let first = send(&app, &body);
        std::thread::sleep(Duration::from_millis(50));
        let others: Vec<_> = (0..8).map(|_| scope.spawn(|| app.post("/v1/rerank", &body))).collect();
        std::thread::sleep(Duration::from_millis(100));
        first.shutdown(Shutdown::Both).expect("hung up");
        drop(first);
        for other in others {
            let answer = other.join().expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    assert!(app.figure("rescored_pairs_scored_total") <= 100);
}

/// Case A5. The model makes a token of every byte: four times as many as English suggests.
#[test]
fn a_one_line_request_never_waits_for_thousands_of_one_word_documents() {
    let app = slow();
    let words: Vec<String> = (0..2000).map(|n| format!("{n:x}")).collect();
    std::thread::scope(|scope| {
        // Some 14,000 tokens: more than three seconds.
        let large = scope.spawn(|| app.post("/v1/rerank", body("q", &words)));
        std::thread::sleep(Duration::from_millis(200));
        let mut waits = Vec::new();
        while !large.is_finished() {
            let started = Instant::now();
            let small = app.post("/v1/rerank", body("s", &[format!("small {}", waits.len())]));
            if large.is_finished() {
                break;
            }
            assert_eq!(small.status, 200, "{small:?}");
            waits.push(started.elapsed());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(large.join().expect("an answer").status, 200);
        assert!(waits.len() > 5, "{waits:?}");
        let longest = waits.iter().max().expect("some");
        // Two passes of 64 tokens are 64 ms; the machine may be busy.
        assert!(*longest < Duration::from_millis(900), "{waits:?}");
    });
}

/// Case A4.
#[test]
fn dense_texts_of_one_keep_no_tokenizer_thread_from_others() {
    let app = App::start();
    // Of all their bytes a model of 256 tokens can take some; a hundred of them keep both threads busy for a while.
    let dense: Vec<String> = (0..400).map(|n| format!("{n}{}", "北京".repeat(8000))).collect();
    let dense = body("q", &dense);
    std::thread::scope(|scope| {
        let large = scope.spawn(|| app.post_with("/v1/rerank", &dense, "x-request-timeout-ms: 500\r\n"));
        let mut waits = Vec::new();
        while !large.is_finished() {
            let started = Instant::now();
            let small = app.post("/v1/rerank", body("s", &[format!("small {}", waits.len())]));
            assert_eq!(small.status, 200, "{small:?}");
            waits.push(started.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(large.join());
        // What nobody waits for any more keeps nobody waiting.
        let started = Instant::now();
        assert_eq!(app.post("/v1/rerank", body("s", &["after".into()])).status, 200);
        waits.push(started.elapsed());
        let longest = waits.iter().max().expect("some");
        assert!(*longest < Duration::from_millis(900), "{waits:?}");
    });
}
