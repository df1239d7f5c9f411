//! The memory budget from outside: what is held for requests is bounded, waits in order, is refused clearly, and small
//! requests find room. Cases A2, A3 and A12; `tests/flood` does the same to the program in a memory limit.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rescored_server::http::Patience;
use serde_json::Value;

use crate::support::{App, Connection, Setup};

const MIB: u64 = 1 << 20;

fn with(memory: u64) -> App {
    App::with(Setup { memory: Some(memory), ..Setup::default() })
}

fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().spawn(work).expect("a thread")
}

fn raw(app: &App) -> TcpStream {
    let stream = TcpStream::connect(app.address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
    stream
}

fn head(length: usize) -> String {
    format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Bytes that were taken before the connection broke or stood still.
fn pour(stream: &mut TcpStream, piece: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match stream.write(piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => sent += count,
        }
    }
    sent
}

/// Everything up to the end of the connection.
fn rest(stream: &mut TcpStream) -> String {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Closed on somebody who went on writing.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Until nothing is held any more; requests end a moment after their answers.
fn wait_until_nothing_is_held(app: &App) {
    let begun = Instant::now();
    while app.figure("rescored_memory_budget_used_bytes") > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "memory is not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Case A12.
#[test]
fn a_chunked_body_without_an_end_is_refused_at_the_limit_and_closed_soon() {
    let app = App::with(Setup { max_body: 1 << 20, ..Setup::default() });
    for path in ["/v1/rerank", "/rescore/opensearch", "/livez", "/nowhere"] {
        let mut stream = raw(&app);
        write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").expect("written");
        let begun = Instant::now();
        let piece = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
        let sent = pour(&mut stream, piece.as_bytes(), 256 << 20);
        assert!(sent < 48 << 20, "{path}: {sent} bytes were taken");
        rest(&mut stream);
        assert!(begun.elapsed() < Duration::from_secs(10), "{path}: {:?}", begun.elapsed());
    }
    wait_until_nothing_is_held(&app);
}

/// Case A12.
#[test]
fn a_declared_length_beyond_the_limit_is_refused_unread_and_closed() {
    let app = App::with(Setup { max_body: 1 << 20, ..Setup::default() });
    let mut stream = raw(&app);
    stream.write_all(head(2 << 20).as_bytes()).expect("written");
    let begun = Instant::now();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("RESCORED_MAX_BODY"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Case A12: whoever writes all of a body that is too large before reading gets to read why.
#[test]
fn a_client_that_writes_before_it_reads_still_learns_why() {
    let app = App::with(Setup { max_body: 1 << 20, ..Setup::default() });
    let mut stream = raw(&app);
    stream.write_all(head(3 << 20).as_bytes()).expect("written");
    stream.write_all(&vec![b' '; 3 << 20]).expect("all of it is taken");
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Case A12.
#[test]
fn a_client_that_asks_before_it_sends_is_asked_to_go_on() {
    let app = App::start();
    let body = r#"{"query":"q","documents":["a"]}"#;
    let mut connection = app.connect();
    let length = body.len();
    connection.write(format!(
        "POST /v1/rerank HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    ));
    let mut line = String::new();
    connection.line(&mut line);
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    connection.line(&mut line);
    connection.send(body).ok();
}

#[test]
fn a_refused_small_body_leaves_the_connection_open() {
    let app = App::start();
    let mut connection = app.connect();
    for _ in 0..3 {
        assert_eq!(connection.post("/v1/nowhere", " ".repeat(10_000), "").status, 404);
        connection.post("/v1/rerank", r#"{"query":"q","documents":["a"]}"#, "").ok();
    }
}

/// Case A2.
#[test]
fn what_can_never_fit_is_refused_before_it_is_read() {
    let app = with(8 * MIB);
    let mut stream = raw(&app);
    stream.write_all(head(5 << 20).as_bytes()).expect("written");
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("RESCORED_MEMORY_BUDGET"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("retry-after"), "{answer}");
}

/// Case A2.
#[test]
fn small_values_are_paid_for_by_what_they_become() {
    let app = with(64 * MIB);
    for item in ["{}", "\"\"", "[]", r#"{"a":""}"#] {
        let items = vec![item; (6 << 20) / (item.len() + 1)].join(",");
        let response = app.post("/v1/rerank", format!(r#"{{"query":"q","documents":[{items}]}}"#));
        assert_eq!(response.status, 413, "{item}: {response:?}");
        assert!(response.text().contains("memory"), "{item}: {response:?}");
    }
    wait_until_nothing_is_held(&app);
    app.post("/v1/rerank", r#"{"query":"q","documents":["a"]}"#).ok();
}

/// Case A2: bodies that stand still hold what has come of them, but not from those who wait for it.
#[test]
fn unfinished_bodies_starve_nobody_and_are_given_up_while_others_wait() {
    let patience = Patience { client: Duration::from_mins(5), ..Patience::default() };
    let app = App::with(Setup { memory: Some(16 * MIB), patience, ..Setup::default() });
    let mut unfinished: Vec<TcpStream> = (0..12).map(|_| raw(&app)).collect();
    for stream in &mut unfinished {
        stream.write_all(head(3 << 20).as_bytes()).expect("written");
        pour(stream, &vec![b' '; 64 << 10], 2 << 20);
    }
    let held = app.figure("rescored_memory_budget_used_bytes");
    assert!(held <= 12 * MIB, "{held} bytes are held for large bodies");
    let begun = Instant::now();
    app.post("/v1/rerank", r#"{"query":"q","documents":["small"]}"#).ok();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // One that is whole may be asked to come back until some of the others have been given up.
    let text = "a".repeat(500_000);
    let whole = format!(r#"{{"query":"q","documents":["{text}","{text}b","{text}c"]}}"#);
    let begun = Instant::now();
    while app.post("/v1/rerank", &whole).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "a whole body is served in the end");
    }
    drop(unfinished);
    wait_until_nothing_is_held(&app);
}

/// Case A2.
#[test]
fn large_requests_beyond_the_budget_are_served_in_turn_or_asked_to_come_back() {
    let app = with(16 * MIB);
    let text = "a".repeat(900_000);
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let body = format!(r#"{{"query":"q{number}","documents":["{text}","{text}b","{text}c"]}}"#);
            let address = app.address;
            thread(move || Connection::open(address).post("/v1/rerank", body, ""))
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().expect("an answer")).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(served > 0, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    }
    wait_until_nothing_is_held(&app);
}

/// Case A2: an answer is held until it is read.
#[test]
fn an_answer_that_nobody_reads_is_paid_for_until_its_connection_ends() {
    let app = with(128 * MIB);
    let text = "a".repeat(1 << 20);
    let documents = vec![format!("\"{text}\""); 12].join(",");
    let body = format!(r#"{{"query":"q","return_documents":true,"documents":[{documents}]}}"#);
    let mut stream = raw(&app);
    stream.write_all(head(body.len()).as_bytes()).expect("written");
    pour(&mut stream, body.as_bytes(), body.len());
    let begun = Instant::now();
    while app.figure("rescored_requests_in_flight") > 0 || app.figure("rescored_pairs_total") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is scored");
        std::thread::sleep(Duration::from_millis(20));
    }
    let held = app.figure("rescored_memory_budget_used_bytes");
    assert!(held > 8 * MIB && held < 30 * MIB, "{held} bytes are held for an answer of 12 MiB");
    drop(stream);
    wait_until_nothing_is_held(&app);
}

/// Case A3, and its neighbours.
#[test]
fn streams_of_next_to_nothing_hold_nobody_up() {
    let app = App::start();
    let streams = ["\n".repeat(4 << 20), "\r\n".repeat(2 << 20), " ".repeat(4 << 20), "{}\n".repeat(20_000)];
    let address = app.address;
    let sent: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            thread(move || {
                let mut connection = TcpStream::connect(address).expect("the server listens");
                let head =
                    format!("POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", stream.len());
                connection.write_all(head.as_bytes()).expect("written");
                connection.write_all(stream.as_bytes()).expect("written");
                let reported = rest(&mut connection);
                let last = reported.lines().rfind(|line| line.contains("\"done\"")).expect("a summary").to_owned();
                serde_json::from_str::<Value>(&last).expect("JSON")
            })
        })
        .collect();
    let (mut slowest, mut looks) = (Duration::ZERO, 0);
    while !sent.iter().all(std::thread::JoinHandle::is_finished) {
        let begun = Instant::now();
        assert_eq!(app.get("/livez").status, 200);
        app.post("/v1/rerank", format!(r#"{{"query":"q","documents":["{looks}"]}}"#)).ok();
        slowest = slowest.max(begun.elapsed());
        looks += 1;
    }
    let reported: Vec<Value> = sent.into_iter().map(|one| one.join().expect("a client")).collect();
    // It took 27 s when splitting was quadratic.
    assert!(slowest < Duration::from_secs(3), "a probe and a small request took {slowest:?}");
    for (reported, lines) in reported.iter().zip([4 << 20, 2 << 20, 1, 20_000]) {
        assert_eq!((&reported["complete"], &reported["lines"]), (&true.into(), &lines.into()), "{reported}");
    }
    wait_until_nothing_is_held(&app);
}

/// Case A3: a line without an end is bounded by the limit of a body, and by the budget.
#[test]
fn a_warm_up_line_that_does_not_fit_is_passed_over() {
    let app = with(8 * MIB);
    let good = r#"{"query":"q","documents":["a"]}"#;
    let stream = format!("{good}\n{}\n{good}\n", "x".repeat(6 << 20));
    let mut connection = raw(&app);
    connection.set_write_timeout(None).expect("a socket");
    let head = format!("POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", stream.len());
    connection.write_all(head.as_bytes()).expect("written");
    connection.write_all(stream.as_bytes()).expect("written");
    let reported = rest(&mut connection);
    assert!(reported.contains("\"line\":2") && reported.contains("memory"), "{reported}");
    assert!(reported.contains("\"pairs\":2") && reported.contains("\"complete\":true"), "{reported}");
    wait_until_nothing_is_held(&app);
}

/// Case A2: heads are paid for beyond what is planned for a connection, refused where there is no memory, and given back.
#[test]
fn long_heads_are_paid_for_as_they_come_and_refused_where_nothing_is_left() {
    let app = with(MIB);
    let begin = "POST /v1/rerank HTTP/1.1\r\nhost: x\r\n";
    let short = format!("{begin}x-short: {}", "x".repeat(4 << 10));
    let line = format!("{begin}x-long: {}", "x".repeat(100 << 10));
    let lines = format!("{begin}{}", format!("x-line: {}\r\n", "x".repeat(2000)).repeat(50));
    let mut first = raw(&app);
    first.write_all(short.as_bytes()).expect("written");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(app.figure("rescored_memory_budget_used_bytes"), 0, "a short head is planned for");
    let mut open = vec![first];
    for sent in [&line, &lines].into_iter().cycle().take(8) {
        let mut stream = raw(&app);
        // One that is refused in the middle of it does not take it all.
        drop(stream.write_all(sent.as_bytes()));
        open.push(stream);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while app.figure("rescored_memory_budget_used_bytes") < 300 << 10 {
        assert!(Instant::now() < until, "long heads are not paid for");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(app.figure("rescored_memory_budget_used_bytes") <= MIB);
    // More than a megabyte has room for: of so many, some were refused, and those got an answer that says so.
    let mut refused = 0;
    for stream in open.iter_mut().skip(1) {
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        let mut reported = [0; 512];
        if let Ok(count) = stream.read(&mut reported)
            && count > 0
        {
            let reported = String::from_utf8_lossy(&reported[..count]).to_ascii_lowercase();
            assert!(reported.starts_with("http/1.1 503") && reported.contains("\r\nretry-after: 1\r\n"), "{reported}");
            refused += 1;
        }
    }
    assert!(refused > 0, "nothing was refused");
    // A probe's head is short: it is answered whatever others hold.
    assert_eq!(app.get("/livez").status, 200);
    drop(open);
    wait_until_nothing_is_held(&app);
    // A whole long head is served where there is room, and paid for until its answer.
    let mut connection = raw(&app);
    connection
        .write_all(format!("{}\r\n\r\n", line.replace("POST /v1/rerank", "GET /livez")).as_bytes())
        .expect("written");
    let mut reported = [0; 12];
    connection.read_exact(&mut reported).expect("an answer");
    assert_eq!(&reported, b"HTTP/1.1 200");
    wait_until_nothing_is_held(&app);
}

#[test]
fn the_budget_is_reported() {
    let app = with(100 * MIB);
    let info = app.get("/info").ok();
    assert_eq!(info["memory_budget"]["bytes"], 100 * MIB, "{info}");
    assert_eq!(app.figure("rescored_memory_budget_bytes"), 100 * MIB);
}
