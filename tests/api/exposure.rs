//! Who can connect and how: TLS, other listeners, sockets' permissions, and clients that hold connections for nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_server::http::{Exposure, Listen, Patience, Tls};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{App, Connection, Setup};

const BODY: &str = r#"{"query":"q","documents":["a"]}"#;

/// Writes a fresh certificate for `localhost` and its key.
fn certify(files: &Tls) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&files.certificates, made.cert.pem()).expect("a file");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().clone()
}

/// The answer to one request by a client that trusts this certificate alone.
fn ask(app: &App, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = StreamOwned::new(session, TcpStream::connect(app.address)?);
    let length = BODY.len();
    write!(
        stream,
        "POST /v1/rerank HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{BODY}"
    )?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // The server closes the connection after its answer.
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

#[test]
fn tls_shows_the_certificate_of_its_files_and_a_new_one_when_they_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Tls { certificates: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let first = certify(&files);
    let exposure = Exposure { tls: Some(files.clone()), ..Exposure::default() };
    let app = App::with(Setup { exposure, ..Setup::default() });
    let answer = ask(&app, &first).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("relevance_score"), "{answer}");
    let plain = TcpStream::connect(app.address).and_then(|mut stream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    });
    assert!(!plain.unwrap_or_default().starts_with(b"HTTP/1.1 200"), "no plain text on a TLS address");
    std::thread::sleep(Duration::from_millis(1100));
    // Case C3: with the times of the former files, as `cp -p` keeps them.
    let times =
        [&files.certificates, &files.key].map(|path| std::fs::metadata(path).and_then(|facts| facts.modified()));
    let second = certify(&files);
    for (path, time) in [&files.certificates, &files.key].into_iter().zip(times) {
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(time.expect("a time")).expect("set");
    }
    assert!(ask(&app, &second).expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(ask(&app, &first).is_err(), "the old one is not shown any more");
    std::thread::sleep(Duration::from_millis(1100));
    std::fs::write(&files.certificates, "nonsense").expect("a file");
    assert!(ask(&app, &second).is_ok(), "the last good pair stays");
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Tls { certificates: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let others = Tls { certificates: folder.path().join("cert2.pem"), key: folder.path().join("key2.pem") };
    certify(&files);
    certify(&others);
    for (case, tls) in [
        ("a missing file", Tls { certificates: folder.path().join("none.pem"), ..files.clone() }),
        ("a key of another certificate", Tls { key: others.key, ..files }),
    ] {
        let refused =
            App::try_with(Setup { exposure: Exposure { tls: Some(tls), ..Exposure::default() }, ..Setup::default() });
        let sentence = refused.err().unwrap_or_else(|| panic!("{case} was taken")).to_string();
        assert!(sentence.starts_with("RESCORED_TLS_CERT, RESCORED_TLS_KEY: "), "{case}: {sentence}");
    }
}

#[test]
fn operations_may_have_an_address_of_their_own() {
    let operations = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    let exposure = Exposure { operations, ..Exposure::default() };
    let app = App::with(Setup { exposure, ..Setup::default() });
    let Some(&Listen::Tcp(apart)) = app.addresses.last() else { panic!("the last address is TCP") };
    let ask = |at, path: &str| Connection::open(at).send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).status;
    for path in ["/metrics", "/livez", "/readyz", "/health", "/openapi.json"] {
        assert_eq!(ask(apart, path), 200, "{path}");
    }
    assert_eq!(ask(app.address, "/metrics"), 404, "figures are not for everybody then");
    assert_eq!(ask(app.address, "/readyz"), 200);
    assert_eq!(Connection::open(apart).post("/v1/rerank", BODY, "").status, 404, "scores are not served there");
    assert_eq!(app.post("/v1/rerank", BODY).status, 200);
}

// Case C7.
#[test]
fn a_file_that_is_no_socket_is_never_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("precious");
    std::fs::write(&path, "precious").expect("a file");
    let refused = App::try_with(Setup { sockets: vec![path.clone()], ..Setup::default() });
    assert!(refused.err().is_some_and(|error| error.to_string().starts_with("RESCORED_LISTEN: ")));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "precious");
}

#[test]
fn a_sockets_permissions_are_those_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let exposure = Exposure { socket_mode: Some(0o600), ..Exposure::default() };
    let _app = App::with(Setup { sockets: vec![path.clone()], exposure, ..Setup::default() });
    let mode = std::fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(Connection::open_unix(Path::new(&path)).post("/v1/rerank", BODY, "").status, 200);
}

fn impatient(connections: usize) -> App {
    // Long enough that a busy machine is not taken for a slow client.
    let short = Duration::from_secs(1);
    App::with(Setup { patience: Patience { connections, keep_alive: short, client: short }, ..Setup::default() })
}

/// What the server says before it closes the connection, and when it does.
fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
    let started = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut said = Vec::new();
    // A reset closes it as well as an end.
    drop(stream.read_to_end(&mut said));
    (String::from_utf8_lossy(&said).into_owned(), started.elapsed())
}

#[test]
fn who_sends_slowly_loses_the_connection_and_others_do_not_notice() {
    let app = impatient(100);
    let whole = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    for (case, sent, says) in [
        ("nothing at all", String::new(), ""),
        ("half a head", "POST /v1/rerank HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned(), "HTTP/1.1 408"),
        (
            "half a body",
            format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n{BODY}"),
            "HTTP/1.1 408",
        ),
        ("half a second head", format!("{whole}POST /v1/rerank HTTP/1.1\r\nhost: x\r\n"), "HTTP/1.1 200"),
    ] {
        let mut stream = TcpStream::connect(app.address).expect("the server listens");
        stream.write_all(sent.as_bytes()).expect("sent");
        let (said, took) = until_closed(&mut stream);
        assert!(said.starts_with(says), "{case}: {said}");
        assert!(took < Duration::from_secs(6), "{case}: {took:?}");
        assert_eq!(app.post("/v1/rerank", BODY).status, 200);
    }
    // A request that takes longer than the connection may be silent is no silence.
    let slow = r#"{"query":"q","documents":["=slow 1","=slow 2","=slow 3"]}"#;
    assert_eq!(app.post("/v1/rerank", slow).status, 200);
}

/// Eight places, and more time than a test takes.
fn eight() -> App {
    let long = Duration::from_mins(1);
    App::with(Setup { patience: Patience { connections: 8, keep_alive: long, client: long }, ..Setup::default() })
}

// Case A2.
#[test]
fn a_connection_without_a_request_makes_room_for_the_next_one() {
    let app = eight();
    let mut held: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(app.address).expect("the server listens")).collect();
    for (number, stream) in held.iter_mut().enumerate().skip(4) {
        // Half a head is no request yet.
        stream.write_all(format!("GET /livez HTTP/1.1\r\nx-half: {number}").as_bytes()).expect("sent");
    }
    std::thread::sleep(Duration::from_millis(600));
    for _ in 0..3 {
        // A connection each: all are served.
        assert_eq!(app.post("/v1/rerank", BODY).status, 200);
    }
    assert!(app.figure("rescored_connections_shut_total{reason=\"room\"}") >= 1);
    // Which of them was accepted first is the system's choice.
    let is_shut = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        match stream.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    };
    let shut = held.iter_mut().map(is_shut).filter(|is_shut| *is_shut).count();
    assert!((1..8).contains(&shut), "{shut} of eight made room");
}

// Case A2.
#[test]
fn connections_beyond_the_limit_are_shut_where_all_have_requests_and_their_places_come_back() {
    let app = eight();
    let begun = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n{BODY}");
    let held: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(app.address).expect("the server listens");
            stream.write_all(begun.as_bytes()).expect("sent");
            stream
        })
        .collect();
    // Until all of them are in work, and long enough that none would be spared for being new.
    std::thread::sleep(Duration::from_secs(1));
    let mut ninth = TcpStream::connect(app.address).expect("the system accepts");
    let (said, took) = until_closed(&mut ninth);
    assert_eq!(said, "");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(held);
    let until = Instant::now() + Duration::from_secs(10);
    let is_served = || {
        let mut stream = TcpStream::connect(app.address).expect("the system accepts");
        let sent = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        sent.is_ok() && until_closed(&mut stream).0.starts_with("HTTP/1.1 200")
    };
    while !is_served() {
        assert!(Instant::now() < until, "places do not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(app.figure("rescored_connections_shut_total{reason=\"too_many\"}") > 0);
    let info = app.get("/info").ok();
    assert_eq!(info["connections"]["limit"], 8, "{info}");
    let open = info["connections"]["open"].as_u64().expect("a number");
    assert!((1..=8).contains(&open), "{info}");
    assert_eq!(info["connections"]["planned_bytes"], open * (64 << 10), "{info}");
    assert_eq!(app.figure("rescored_connections_limit"), 8);
    assert!(app.figure("rescored_memory_connections_bytes") >= 64 << 10);
}

#[test]
fn a_head_beyond_all_measure_is_refused() {
    let app = App::start();
    let huge = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "h".repeat(200 << 10));
    let mut stream = TcpStream::connect(app.address).expect("the server listens");
    // The server may hang up in the middle of it.
    drop(stream.write_all(huge.as_bytes()));
    let (said, took) = until_closed(&mut stream);
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(app.post("/v1/rerank", BODY).status, 200);
}
