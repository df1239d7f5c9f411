//! Whose requests are taken, and what becomes of bytes that are no request: `Host`, `Origin`, content types, framing,
//! offers to change the protocol, what is echoed, and the formats of figures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rescored_server::http::{Exposure, HostName, Listen, Origin};

use crate::support::{App, Connection, Response, Setup};

const BODY: &str = r#"{"query":"q","documents":["a"]}"#;

/// Everything that changes or costs something, as the first line of a request.
const GUARDED: [&str; 8] = [
    "POST /v1/rerank",
    "POST /rescore/opensearch",
    "POST /v1/cache/warm",
    "DELETE /v1/cache",
    "GET /v1/cache",
    "POST /v2/repository/models/fake/unload",
    "POST /v2/repository/index",
    "POST /nowhere",
];

fn send(app: &App, line: &str, headers: &str, body: &str) -> Response {
    app.connect().send(format!("{line} HTTP/1.1\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
}

#[track_caller]
fn refused(answer: &Response, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let reported = answer.json();
    assert!(reported["error"].as_str().is_some_and(|error| error.contains(word)), "{word}: {answer:?}");
    assert_eq!((&reported["message"], &reported["detail"]), (&reported["error"], &reported["error"]));
    assert!(answer.header("x-request-id").is_some());
}

// Case C1.
#[test]
fn foreign_hosts_and_pages_change_nothing_and_cost_nothing() {
    let app = App::start();
    app.post("/v1/rerank", BODY).ok();
    for line in GUARDED {
        for (headers, word) in [
            ("host: evil.example\r\n", "host"),
            (
                "host: evil.example:8787\r\norigin: http://evil.example:8787\r\ncontent-type: application/json\r\n",
                "host",
            ),
            ("host: localhost\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\n", "origin"),
            ("host: localhost\r\norigin: null\r\n", "origin"),
            ("host: localhost\r\nsec-fetch-site: cross-site\r\n", "sec-fetch-site"),
        ] {
            refused(&send(&app, line, headers, BODY), 403, word);
        }
    }
    assert_eq!(app.get("/v1/cache").ok()["entries"], 1, "nothing was forgotten or added");
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/ui", "/ui/main.js", "/info"] {
        let answer = send(&app, &format!("GET {path}"), "host: evil.example\r\norigin: https://evil.example\r\n", "");
        assert_eq!(answer.status, 200, "{path} is for everybody");
        assert_eq!(answer.header("access-control-allow-origin"), None, "but for no foreign script: {path}");
    }
}

// Case C1.
#[test]
fn ordinary_callers_and_our_own_page_are_served() {
    let app = App::start();
    for headers in [
        "host: localhost\r\n",
        "host: 127.0.0.1:8787\r\n",
        "host: rescored:8787\r\n",
        "host: rescored.search.svc.cluster.local\r\n",
        "host: host.docker.internal:8787\r\n",
        "host: 10.0.0.7\r\n",
        "host: [::1]:8787\r\n",
        "host: localhost:8787\r\norigin: http://localhost:8787\r\nsec-fetch-site: same-origin\r\n",
        "host: localhost\r\nx-forwarded-host: evil.example\r\n",
    ] {
        assert_eq!(send(&app, "POST /v1/rerank", headers, BODY).status, 200, "{headers}");
    }
    let old = format!("POST /v1/rerank HTTP/1.0\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    assert_eq!(app.connect().send(old).status, 200, "HTTP/1.0 knows no host");
    refused(&send(&app, "POST http://evil.example/v1/rerank", "host: localhost\r\n", BODY), 403, "evil.example");
    assert_eq!(send(&app, "POST http://localhost/v1/rerank", "host: localhost\r\n", BODY).status, 200);
    let twice = send(&app, "POST /v1/rerank", "host: localhost\r\nhost: evil.example\r\n", BODY);
    assert_eq!(twice.status, 400, "two hosts are no request");
}

// Case C1.
#[test]
fn a_key_is_leave_for_any_host_and_for_no_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, "opensesame").expect("a file");
    let app = App::with(Setup { api_keys: Some(path), ..Setup::default() });
    let key = "authorization: Bearer opensesame\r\n";
    assert_eq!(send(&app, "POST /v1/rerank", &format!("host: rerank.example\r\n{key}"), BODY).status, 200);
    refused(&send(&app, "POST /v1/rerank", "host: rerank.example\r\nauthorization: Bearer no\r\n", BODY), 403, "host");
    let page = format!("host: localhost\r\norigin: https://evil.example\r\n{key}");
    refused(&send(&app, "POST /v1/rerank", &page, BODY), 403, "origin");
}

// Case C1.
#[test]
fn settings_let_hosts_and_pages_in_and_browsers_learn_it() {
    let exposure = Exposure {
        hosts: vec![HostName::parse("rerank.example").expect("a host")],
        origins: vec![Origin::parse("https://search.example").expect("an origin")],
        ..Exposure::default()
    };
    let app = App::with(Setup { exposure, ..Setup::default() });
    let from = |origin: &str| format!("host: rerank.example\r\norigin: {origin}\r\n");
    let answer = send(&app, "POST /v1/rerank", &from("https://search.example"), BODY);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://search.example"));
    assert_eq!(answer.header("vary"), Some("origin"));
    let asks = "access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n";
    let preflight = send(&app, "OPTIONS /v1/rerank", &(from("https://search.example") + asks), "");
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (204, Some("https://search.example"))
    );
    assert!(preflight.header("access-control-allow-headers").is_some_and(|names| names.contains("content-type")));
    let foreign = send(&app, "OPTIONS /v1/rerank", &(from("https://evil.example") + asks), "");
    refused(&foreign, 403, "origin");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    let wrong = send(&app, "POST /v1/rerank", &from("https://search.example"), "{");
    assert_eq!((wrong.status, wrong.header("access-control-allow-origin")), (400, Some("https://search.example")));
}

// Case C1.
#[test]
fn a_unix_socket_is_asked_by_any_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let app = App::with(Setup { sockets: vec![path.clone()], ..Setup::default() });
    let request =
        |headers: &str| format!("POST /v1/rerank HTTP/1.1\r\ncontent-length: {}\r\n{headers}\r\n{BODY}", BODY.len());
    assert_eq!(Connection::open_unix(&path).send(request("host: any.example\r\n")).status, 200);
    let page = request("host: any.example\r\norigin: https://evil.example\r\n");
    assert_eq!(Connection::open_unix(&path).send(page).status, 403, "a proxy before it hands pages on");
    drop(app);
}

// Case C1.
#[test]
fn operations_of_their_own_address_are_for_everybody_and_nothing_else_is_there() {
    let operations = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    let app = App::with(Setup { exposure: Exposure { operations, ..Exposure::default() }, ..Setup::default() });
    let Some(&Listen::Tcp(apart)) = app.addresses.last() else { panic!("the last address is TCP") };
    let ask = |line: &str| {
        Connection::open(apart).send(format!("{line} HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 0\r\n\r\n"))
    };
    assert_eq!(ask("GET /metrics").status, 200);
    refused(&ask("DELETE /v1/cache"), 403, "host");
}

// Case C1: what a browser sends without asking beforehand.
#[test]
fn bodies_that_are_said_to_be_no_json_are_refused() {
    let app = App::start();
    for kind in [
        "text/plain",
        "text/plain;charset=UTF-8",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ] {
        for line in ["POST /v1/rerank", "POST /rescore/vespa", "POST /v1/cache/warm"] {
            let answer = send(&app, line, &format!("host: localhost\r\ncontent-type: {kind}\r\n"), BODY);
            refused(&answer, 415, "content-type");
        }
    }
}

// Case C9.
#[test]
fn an_encoding_in_any_header_is_refused() {
    let app = App::start();
    for headers in [
        "content-encoding: identity\r\ncontent-encoding: gzip\r\n",
        "content-encoding: gzip\r\ncontent-encoding: identity\r\n",
        "content-encoding: identity, br\r\n",
    ] {
        for path in ["/v1/rerank", "/rescore/opensearch", "/v1/cache/warm"] {
            refused(&app.post_with(path, BODY, headers), 415, "content-encoding");
        }
    }
    assert_eq!(app.post_with("/v1/rerank", BODY, "content-encoding: identity\r\n").status, 200);
}

/// All that the server says before it closes the connection.
fn said(app: &App, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    // It may hang up in the middle.
    drop(stream.write_all(sent));
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

// Case C9.
#[test]
fn what_is_no_request_gets_the_one_error_body_and_the_connection_ends() {
    let app = App::start();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200 << 10));
    let many = (0..120).fold(String::new(), |text, n| text + &format!("x-{n}: y\r\n"));
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let chunks =
        |body: &str| format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    for (case, sent, status) in [
        ("a chunk without a size", chunks("zz\r\n"), 400),
        ("a chunk that ends elsewhere", chunks("3\r\nabcdef\r\n"), 400),
        ("a broken chunk behind a good one", chunks("5\r\n{\"que\r\nxyz\r\n"), 400),
        (
            "a length that is none",
            "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n{}".to_owned(),
            400,
        ),
        ("a negative length", "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}".to_owned(), 400),
        (
            "two lengths",
            "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_owned(),
            400,
        ),
        (
            "a length and chunks",
            "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "an unknown transfer encoding",
            "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n{}".to_owned(),
            400,
        ),
        ("no host", "GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("a header line that is none", "GET /livez HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n".to_owned(), 400),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400),
        ("a greeting in TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(), 400),
        ("a method that is none", "GE\"T / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400),
        ("an address longer than any", long, 414),
        (
            "an address that is a little too long",
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(66_000)),
            414,
        ),
        ("more headers than any", many, 431),
    ] {
        let begun = Instant::now();
        let said = said(&app, sent.as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {said:?}");
        assert_eq!(said.matches("\r\n\r\n").count(), 1, "{case}: one answer: {said:?}");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        assert!(head.to_ascii_lowercase().contains("connection: close"), "{case}: {said:?}");
        let reported: serde_json::Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{case}: {error}: {said}"));
        assert!(reported["error"].as_str().is_some_and(|error| !error.is_empty()), "{case}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{case} took {:?}", begun.elapsed());
    }
    let unknown = send(&app, "BREW /v1/rerank", "host: x\r\n", "");
    refused(&unknown, 405, "method");
    assert_eq!(app.post("/v1/rerank", BODY).status, 200);
}

// Case A11.
#[test]
fn an_offer_to_speak_another_protocol_is_ignored_and_the_connection_stays_open() {
    let app = App::start();
    let mut connection = app.connect();
    let offers = [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
        "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "upgrade: websocket\r\n",
    ];
    for turn in 0..200 {
        let begun = Instant::now();
        let answer = connection.post("/v1/rerank", BODY, offers[turn % offers.len()]);
        assert_eq!(answer.status, 200, "request {turn}");
        assert_eq!((answer.header("connection"), answer.header("upgrade")), (None, None), "request {turn}");
        assert!(begun.elapsed() < Duration::from_secs(5), "request {turn}");
    }
    let closing = connection.post("/v1/rerank", BODY, "connection: Upgrade, close\r\nupgrade: h2c\r\n");
    assert_eq!((closing.status, closing.header("connection")), (200, Some("close")), "what else is said there counts");
}

// Case A13.
#[test]
fn a_body_is_read_whatever_protocol_is_offered_with_it() {
    let app = App::start();
    let mut connection = app.connect();
    for split in 0..3 {
        let head = format!(
            "POST /v1/rerank HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\ncontent-length: {}\r\n\r\n",
            BODY.len()
        );
        let whole = [head.as_bytes(), BODY.as_bytes()].concat();
        let begun = Instant::now();
        // In one piece, cut within a header's name, cut before the body.
        for piece in [&whole[..[0, 60, head.len()][split]], &whole[[0, 60, head.len()][split]..]] {
            connection.write(piece);
            std::thread::sleep(Duration::from_millis(30));
        }
        assert_eq!(connection.read().status, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let chunked = format!(
        "POST /v1/rerank HTTP/1.1\r\nhost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n",
        BODY.len()
    );
    assert_eq!(connection.send(chunked).status, 200);
    let quoted =
        r#"{"query":"q","documents":["\r\nUpgrade: websocket\r\nConnection: Upgrade"],"return_documents":true}"#;
    let answer = connection.post("/v1/rerank", quoted, "").ok();
    assert_eq!(answer["results"][0]["document"]["text"], "\r\nUpgrade: websocket\r\nConnection: Upgrade");
}

// Case B19.
#[test]
fn what_comes_back_of_a_request_is_harmless() {
    let app = App::start();
    for id in ["<script>alert(1)</script>", "a b", "a\"b", "a;b=c", "$(id)"] {
        for path in ["/v1/rerank", "/nowhere"] {
            let answer = app.post_with(path, BODY, &format!("x-request-id: {id}\r\n"));
            assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 32), "{id}: {answer:?}");
        }
    }
    assert_eq!(
        app.post_with("/v1/rerank", BODY, "x-request-id: a/B-1_2.3:4\r\n").header("x-request-id"),
        Some("a/B-1_2.3:4")
    );
    let model = app.post("/v1/rerank", r#"{"model":"<script>","query":"q","documents":["a"]}"#);
    assert_eq!((model.status, model.header("content-type")), (404, Some("application/json")));
    assert_eq!(model.header("x-content-type-options"), Some("nosniff"));
}

// Case B20.
#[test]
fn the_parts_of_a_requests_time_are_no_more_than_the_whole() {
    let app = App::start();
    // Many passes on two workers.
    let documents: Vec<String> = (0..24).map(|n| format!("=slow {}", "x".repeat(n + 1))).collect();
    let body = serde_json::json!({"query": "q", "documents": documents}).to_string();
    let answer = app.post("/v1/rerank", body);
    assert_eq!(answer.status, 200);
    let of = |name: &str| {
        answer.header(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("{name}"))
    };
    let parts = of("x-tokenization-time") + of("x-queue-time") + of("x-inference-time");
    assert!(parts <= of("x-total-time"), "{parts} of {}", of("x-total-time"));
    assert!(of("x-inference-time") > 0);
    let timing = answer.header("server-timing").expect("times");
    let spent = |name: &str| {
        let stage = timing.split(", ").find_map(|stage| stage.strip_prefix(name)?.strip_prefix(";dur="));
        stage.map_or(0.0, |spent| spent.parse::<f64>().expect("a number"))
    };
    let parts: f64 = ["parse", "cache", "tokenise", "queue", "inference", "print"].map(spent).iter().sum();
    assert!(parts <= spent("total") + 0.01, "{timing}");
}

// Case B18.
#[test]
fn figures_come_in_the_format_that_is_asked_for() {
    let app = App::start();
    app.post("/v1/rerank", BODY).ok();
    let ask = |accept: &str| send(&app, "GET /metrics", &format!("host: x\r\n{accept}"), "");
    for accept in ["", "accept: */*\r\n", "accept: text/plain;version=0.0.4\r\n", "accept: text/plain\r\n"] {
        let page = ask(accept);
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"), "{accept}");
        let text = page.text();
        assert!(!text.contains("# EOF") && !text.contains("# UNIT") && !text.contains(" # {"), "{accept}: {text}");
        let mut declared = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(declared.insert(rest.split(' ').next().expect("a name").to_owned()), "{rest} twice");
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let name: String = line.chars().take_while(|c| !matches!(c, '{' | ' ')).collect();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(declared.contains(&name) || base.is_some_and(|base| declared.contains(base)), "{line} has no type");
            assert!(line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()), "{line}");
        }
    }
    let page = ask("accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n");
    assert_eq!(page.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(page.text().ends_with("# EOF\n"));
}

// Cases C2 and C3, over the socket: shown by /info and by a figure.
#[test]
fn keys_that_are_taken_back_let_nobody_in_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, "one\ntwo\n").expect("a file");
    let app = App::with(Setup { api_keys: Some(path.clone()), ..Setup::default() });
    let status = || app.post_with("/v1/rerank", BODY, "authorization: Bearer one\r\n").status;
    assert_eq!((status(), app.get("/info").ok()["api_keys"].as_u64()), (200, Some(2)));
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::fs::remove_file(&path).expect("removed");
    // By time, without a request that names a key.
    until("the figure follows", &|| app.figure("rescored_api_keys") == 0);
    assert_eq!((status(), app.get("/info").ok()["api_keys"].as_u64()), (401, Some(0)));
    assert_eq!(app.get("/readyz").status, 200, "readiness is another matter");
    std::fs::write(&path, "one").expect("a file");
    until("a new file counts", &|| status() == 200);
}
