//! Under load: who is refused and when, deadlines, parts of answers, clients that go away.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{App, Connection, Pace, Setup};

/// A server whose two workers do 2,000 tokens a second each, in passes of 64.
fn slow() -> App {
    App::with(Setup {
        pace: Pace { pass: Duration::ZERO, token: Duration::from_micros(500) },
        batch_tokens: 64,
        ..Setup::default()
    })
}

/// A request for `count` documents of 13 bytes, 16 tokens a pair, that nobody asked for before.
fn body(name: &str, count: usize) -> String {
    let documents: Vec<String> = (0..count).map(|n| format!("{name:>8} {n:04}")).collect();
    serde_json::json!({"query": "q", "documents": documents}).to_string()
}

/// Lets the server see how fast it is.
fn warm(app: &App) {
    assert_eq!(app.post("/v1/rerank", body("warm", 100)).status, 200);
}

#[test]
fn who_would_be_late_is_refused_at_once_and_learns_when_to_come_back() {
    let app = slow();
    warm(&app);
    std::thread::scope(|scope| {
        // Four seconds of work, with time for it.
        let large = scope.spawn(|| app.post("/v1/rerank", body("large", 1000)));
        std::thread::sleep(Duration::from_millis(150));
        let started = Instant::now();
        let refused = app.post_with("/v1/rerank", body("hasty", 500), "x-request-timeout-ms: 500\r\n");
        let took = started.elapsed();
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(took < Duration::from_millis(100), "{took:?}");
        let wait: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=6).contains(&wait), "{wait}");
        assert!(refused.text().contains("tokens are waiting"), "{refused:?}");
        // A small one flows beside it.
        let started = Instant::now();
        let small = app.post_with("/v1/rerank", body("small", 5), "x-request-timeout-ms: 1000\r\n");
        assert_eq!(small.status, 200, "{small:?}");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert_eq!(large.join().expect("an answer").status, 200);
    });
    assert_eq!(app.figure("rescored_refusals_total{reason=\"late\"}"), 1);
    let rate = app.figure("rescored_drain_tokens_per_second");
    assert!((1500..5000).contains(&rate), "{rate} tokens a second, of 4,000 that two workers do at best");
}

#[test]
fn cached_pairs_are_served_while_the_queue_is_full() {
    let app = App::with(Setup {
        pace: Pace { pass: Duration::ZERO, token: Duration::from_micros(500) },
        batch_tokens: 64,
        queue_tokens: 500,
        ..Setup::default()
    });
    assert_eq!(app.post("/v1/rerank", body("known", 10)).status, 200);
    std::thread::scope(|scope| {
        let large = scope.spawn(|| app.post("/v1/rerank", body("large", 300)));
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(app.post("/v1/rerank", body("new", 10)).status, 429);
        let started = Instant::now();
        let known = app.post("/v1/rerank", body("known", 10));
        assert_eq!((known.status, known.header("x-rescored-cache-hits")), (200, Some("10")));
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
        // Half of it known: a part, for who takes one.
        let half: serde_json::Value = serde_json::from_str(&body("known", 20)).expect("json");
        let half = serde_json::json!({"query": "q", "documents": half["documents"], "allow_partial": true}).to_string();
        let part = app.post("/v1/rerank", half);
        assert_eq!(part.header("x-rescored-partial"), Some("10/20"), "{part:?}");
        assert_eq!(large.join().expect("an answer").status, 200);
    });
}

#[test]
fn a_deadline_ends_a_request_and_a_part_is_given_to_who_takes_it() {
    let app = slow();
    warm(&app);
    for (name, partial, status) in [("strict", false, 504), ("lenient", true, 200)] {
        let mut value: serde_json::Value = serde_json::from_str(&body(name, 400)).expect("json");
        value["allow_partial"] = partial.into();
        value["timeout_ms"] = 400.into();
        let started = Instant::now();
        let answer = app.post("/v1/rerank", value.to_string());
        let took = started.elapsed();
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(took >= Duration::from_millis(395) && took < Duration::from_millis(500), "{name}: {took:?}");
        if partial {
            let reported = answer.header("x-rescored-partial").expect("the header").to_owned();
            let scored: usize = reported.strip_suffix("/400").expect("of 400").parse().expect("a number");
            assert!((20..300).contains(&scored), "{reported}");
            let answer = answer.ok();
            let order: Vec<usize> = answer["results"]
                .as_array()
                .expect("results")
                .iter()
                .map(|item| usize::try_from(item["index"].as_u64().expect("one")).expect("small"))
                .collect();
            assert_eq!(order.len(), 400);
            assert!(order[scored..].is_sorted(), "the rest stands in the caller's order");
            assert!(order[..scored].iter().all(|index| *index < scored + 16), "the first ones were scored: {reported}");
        }
    }
    // What was left of both is not scored after all.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(app.figure("rescored_queue_tokens"), 0);
}

/// Sends a request and hangs up, with a FIN or (with unread data in the way) a reset.
fn send_and_go(app: &App, path: &str, body: &str) {
    let mut stream = TcpStream::connect(app.address).expect("the server listens");
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
}

#[test]
fn of_a_thousand_clients_that_go_away_next_to_nothing_is_scored() {
    let app = slow();
    warm(&app);
    let before = app.figure("rescored_pairs_scored_total");
    std::thread::scope(|scope| {
        for client in 0..4 {
            let app = &app;
            scope.spawn(move || {
                for n in 0..250 {
                    send_and_go(app, "/v1/rerank", &body(&format!("{client}.{n}"), 100));
                }
            });
        }
    });
    let until = Instant::now() + Duration::from_secs(10);
    while app.figure("rescored_queue_tokens") > 0 || app.figure("rescored_pairs_total") < 100_100 {
        assert!(Instant::now() < until, "abandoned work is still waiting");
        std::thread::sleep(Duration::from_millis(20));
    }
    let scored = app.figure("rescored_pairs_scored_total") - before;
    assert!(scored < 2000, "{scored} of 100,000 pairs were scored for nobody");
    assert_eq!(app.post("/v1/rerank", body("after", 10)).status, 200);
}

#[test]
fn a_client_that_goes_away_stops_its_forward_pass_and_a_large_body_too() {
    let app = App::with(Setup {
        pace: Pace { pass: Duration::from_secs(20), token: Duration::ZERO },
        warm: true,
        stuck_after: Duration::from_mins(2),
        ..Setup::default()
    });
    let _keep = &app;
    for (path, text) in [
        ("/v1/rerank", body("small", 2)),
        ("/v1/rerank", body(&"large ".repeat(60), 2000)),
        ("/rescore/opensearch", engine_result(2000)),
    ] {
        let stopped = app.figure("rescored_forwards_stopped_total{reason=\"unwanted\"}");
        let mut stream = TcpStream::connect(app.address).expect("the server listens");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", text.len());
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(text.as_bytes()).expect("sent");
        let until = Instant::now() + Duration::from_secs(10);
        while app.figure("rescored_queue_tokens") == 0 {
            assert!(Instant::now() < until, "{path}: it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        stream.shutdown(Shutdown::Both).expect("hung up");
        drop(stream);
        while app.figure("rescored_queue_tokens") > 0 {
            assert!(Instant::now() < until, "{path}: work for nobody is still waiting");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(app.figure("rescored_forwards_stopped_total{reason=\"unwanted\"}") > stopped, "{path}");
    }
}

/// A search response of OpenSearch with so many hits, larger than what is read on a connection's thread.
fn engine_result(hits: usize) -> String {
    let hits: Vec<_> = (0..hits)
        .map(|n| serde_json::json!({"_index": "i", "_id": n.to_string(), "_score": 1.0, "_source": {"text": format!("{n} {}", "x".repeat(200))}}))
        .collect();
    serde_json::json!({
        "query": "q", "fields": ["text"], "rescore": {"window_size": 2000, "query": {}},
        "response": {"hits": {"max_score": 1.0, "hits": hits}},
    })
    .to_string()
}

#[test]
fn a_warm_up_leaves_the_queue_to_searches() {
    let app = App::with(Setup {
        pace: Pace { pass: Duration::ZERO, token: Duration::from_micros(500) },
        batch_tokens: 64,
        queue_tokens: 4000,
        ..Setup::default()
    });
    let line = body("warm", 300);
    let mut warming = Connection::open(app.address);
    let stream = line + "\n";
    warming
        .write(format!("POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{stream}", stream.len()));
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    assert_eq!(app.post_with("/v1/rerank", body("search", 10), "x-request-timeout-ms: 800\r\n").status, 200);
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
}
