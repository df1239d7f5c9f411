//! Bytes and connections: what every HTTP client relies on.

use std::time::{Duration, Instant};

use rescored_server::config::{Config, Host};
use rescored_server::http::Patience;

use crate::support::{App, Connection, Setup};

const BODY: &str = r#"{"query":"q","documents":["a"]}"#;

#[test]
fn answers_have_length_type_and_the_callers_request_id() {
    let app = App::start();
    let response = app.post_with("/v1/rerank", BODY, "x-request-id: trace-7\r\naccept-encoding: gzip\r\n");
    assert_eq!(response.version, "HTTP/1.1");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
    assert_eq!(response.header("x-request-id"), Some("trace-7"));
    assert_eq!(response.header("content-encoding"), None);
    for name in ["x-compute-tokens", "x-total-time", "x-queue-time", "x-inference-time", "x-tokenization-time"] {
        let value = response.header(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
    }
    let long = "x".repeat(200);
    let replaced = app.post_with("/v1/rerank", BODY, &format!("x-request-id: {long}\r\n"));
    assert!(replaced.header("x-request-id").is_some_and(|id| id.len() == 32), "an unusable id is replaced");
}

#[test]
fn answers_are_ascii_also_when_documents_come_back() {
    let app = App::start();
    let body = r#"{"query":"é","documents":["straße 東京 😀"],"return_documents":true}"#;
    let response = app.post("/v1/rerank", body);
    assert!(response.body.is_ascii(), "{response:?}");
    assert_eq!(response.ok()["results"][0]["document"]["text"], "straße 東京 😀");
}

#[test]
fn escaped_and_plain_texts_are_the_same_pair() {
    let app = App::start();
    let plain = app.post("/v1/rerank", r#"{"query":"a/b é😀","documents":["tür/tor"]}"#);
    let escaped = app.post("/v1/rerank", r#"{"query":"a\/b \u00e9\ud83d\ude00","documents":["t\u00FCr\/tor"]}"#);
    assert_eq!(escaped.header("x-rescored-cache-hits"), Some("1"));
    assert_eq!(plain.ok()["results"], escaped.ok()["results"]);
}

#[test]
fn a_connection_serves_many_requests_also_after_refusals() {
    let app = App::start();
    let mut connection = app.connect();
    for _ in 0..3 {
        assert_eq!(connection.post("/v1/rerank", BODY, "").status, 200);
        assert_eq!(connection.post("/v1/rerank", "{", "").status, 400);
        assert_eq!(connection.post("/nowhere", BODY, "").status, 404);
    }
}

#[test]
fn unix_sockets_are_served_and_their_files_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rescored.sock");
    let app = App::with(Setup { sockets: vec![path.clone()], ..Setup::default() });
    assert_eq!(Connection::open_unix(&path).post("/v1/rerank", BODY, "").status, 200);
    assert_eq!(app.post("/v1/rerank", BODY).status, 200);
    drop(app);
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn a_socket_file_of_a_dead_process_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rescored.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _app = App::with(Setup { sockets: vec![path.clone()], ..Setup::default() });
    assert_eq!(Connection::open_unix(&path).post("/v1/rerank", BODY, "").status, 200);
}

#[test]
fn a_graceful_stop_finishes_what_was_accepted_and_closes_idle_connections() {
    let app = App::start();
    let mut idle = app.connect();
    assert_eq!(idle.post("/v1/rerank", BODY, "").status, 200);
    let slow = r#"{"query":"q","documents":["=slow 1"]}"#;
    let mut busy = app.connect();
    busy.write(format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{slow}", slow.len()));
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    actix_web::rt::System::new().block_on(app.stop.gracefully());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(busy.read().status, 200, "what was accepted is finished");
    app.join();
}

#[test]
fn a_stop_at_once_cuts_a_graceful_one_short() {
    let app = App::start();
    let slow: Vec<String> = (0..40).map(|i| format!("=slow {i}")).collect();
    let slow = format!(r#"{{"query":"q","documents":{slow:?}}}"#);
    let mut busy = app.connect();
    busy.write(format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{slow}", slow.len()));
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    actix_web::rt::System::new().block_on(async {
        let graceful = tokio::time::timeout(Duration::from_millis(300), app.stop.gracefully()).await;
        assert!(graceful.is_err(), "the request in work takes seconds");
        app.stop.now().await;
    });
    app.join();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

// Case A10.
#[test]
fn a_stop_knows_what_it_would_give_up() {
    let app = App::start();
    let documents: Vec<String> = (0..60).map(|n| format!("{n} {}", "words ".repeat(80_000))).collect();
    let body = serde_json::json!({"query": "q", "documents": documents, "return_documents": true}).to_string();
    let mut unread = app.connect();
    unread.write(format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let begun = Instant::now();
    while app.figure("rescored_requests_total{dialect=\"cohere\",face=\"cohere\",status=\"200\"}") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is answered");
        std::thread::sleep(Duration::from_millis(20));
    }
    actix_web::rt::System::new().block_on(async {
        let graceful = tokio::time::timeout(Duration::from_millis(500), app.stop.gracefully()).await;
        assert!(graceful.is_err(), "the answer is not read");
        assert_eq!(app.stop.cut(), rescored_server::http::Interrupted { requests: 0, unread: 1 });
        app.stop.leave_behind();
    });
    app.join();
}

#[test]
fn an_idle_connection_serves_for_as_long_as_the_setting_says_which_is_more_than_75_seconds_by_default() {
    let usual = Config::from_vars(Vec::<(String, String)>::new(), &Host { cores: 2 }).expect("defaults").http.patience;
    assert_eq!(usual, Patience::default());
    assert!(usual.keep_alive >= Duration::from_secs(80), "balancers use connections again for 75 s: {usual:?}");
    // Idle for longer than a head may take, and for three quarters of what it may be.
    let patience = Patience { keep_alive: Duration::from_secs(4), client: Duration::from_secs(1), ..usual };
    let app = App::with(Setup { patience, ..Setup::default() });
    let mut connection = app.connect();
    assert_eq!(connection.post("/v1/rerank", BODY, "").status, 200);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(connection.post("/v1/rerank", BODY, "").status, 200);
    let (begun, mut line) = (Instant::now(), String::new());
    connection.line(&mut line);
    assert_eq!(line, "", "nothing is said at its end");
    let idle = begun.elapsed();
    assert!(idle > Duration::from_secs(3) && idle < Duration::from_secs(15), "it ended after {idle:?}");
}

#[test]
fn many_clients_get_the_answers_of_one() {
    let app = App::start();
    let bodies: Vec<String> = (0..40)
        .map(|i| {
            let documents: Vec<String> = (0..=i % 7).map(|d| format!("document {d} of {}", i % 5)).collect();
            format!(r#"{{"query":"query {}","texts":{documents:?},"raw_scores":true}}"#, i % 3)
        })
        .collect();
    let serial: Vec<Vec<u8>> = bodies.iter().map(|body| app.post("/rerank", body).body).collect();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (app, bodies, serial) = (&app, &bodies, &serial);
            scope.spawn(move || {
                let mut connection = app.connect();
                for (i, body) in bodies.iter().enumerate().skip(client) {
                    assert_eq!(connection.post("/rerank", body, "").body, serial[i], "client {client}, request {i}");
                }
            });
        }
    });
}

#[test]
fn with_keys_set_scores_and_the_cache_need_one_and_probes_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, "opensesame\n").expect("a file");
    let app = App::with(Setup { api_keys: Some(path), ..Setup::default() });
    let body = r#"{"query":"q","documents":["d"]}"#;
    for (header, status) in [
        ("", 401),
        ("authorization: Bearer wrong\r\n", 401),
        ("authorization: Bearer opensesame\r\n", 200),
        ("authorization: bearer opensesame\r\n", 200),
    ] {
        let answer = app.post_with("/v1/rerank", body, header);
        assert_eq!(answer.status, status, "{header}: {answer:?}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(answer.json()["error"].is_string());
        }
    }
    assert_eq!(app.post("/rescore/opensearch", "{}").status, 401);
    for path in ["/livez", "/readyz", "/health", "/metrics", "/.well-known/ready"] {
        assert!(app.get(path).status < 300, "{path} needs no key");
    }
    assert_eq!(app.get("/v1/cache").status, 401);
}
