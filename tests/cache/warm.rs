//! Warm-up streams and the cache's own operations, over a socket.

use std::fmt::Write as _;
use std::time::Duration;

use rescored_cli::warm::first_stage::{FirstStage, Terms};
use rescored_cli::warm::input::Input;
use rescored_cli::warm::{self, Observer, Options, Totals};
use rescored_core::domain::Priority;
use serde_json::{Value, json};

use crate::client::Connection;
use crate::support::{Server, core, documents, score_as, thread};

/// Posts a stream in chunks and reads the lines of the answer.
fn stream_to(server: &Server, target: &str, stream: &str) -> Vec<Value> {
    let mut connection = server.connect();
    let mut request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    // Cut without regard to lines.
    for piece in stream.as_bytes().chunks(100) {
        let text = std::str::from_utf8(piece).expect("ASCII");
        write!(request, "{:x}\r\n{text}\r\n", piece.len()).expect("a string grows");
    }
    request.push_str("0\r\n\r\n");
    connection.write(request);
    let mut lines = Vec::new();
    let mut line = String::new();
    connection.line(&mut line);
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "0\r\n" {
        line.clear();
        connection.line(&mut line);
        if line.starts_with('{') {
            lines.push(serde_json::from_str(&line).expect("a JSON object a line"));
        }
    }
    lines
}

fn line(query: &str, documents: &[String]) -> String {
    json!({"query": query, "documents": documents}).to_string() + "\n"
}

#[test]
fn a_warmed_request_is_a_full_hit_and_a_line_at_fault_stops_nothing() {
    let core = core();
    let server = Server::start(&core);
    let stream = format!(
        "{}this is no json\n \t\n{}{}",
        line("one", &documents("a", 30)),
        line("two", &documents("b", 20)),
        line("three", &[]),
    );
    let reported = stream_to(&server, "/v1/cache/warm", &stream);
    let faults: Vec<u64> = reported.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert!(faults.contains(&2) && faults.contains(&5) && faults.len() == 2, "{reported:?}");
    let last = reported.last().expect("a summary");
    let figures = ["done", "complete", "lines", "pairs", "hits", "failed"].map(|name| &last[name]);
    assert_eq!(json!(figures), json!([true, true, 5, 50, 0, 2]), "{last}");
    let body = json!({"query": "two", "documents": documents("b", 20)}).to_string();
    assert_eq!(server.connect().post("/v1/rerank", body, "").header("x-rescored-cache-hits"), Some("20"));
    let again = stream_to(&server, "/v1/cache/warm?skip=1", &stream);
    let last = again.last().expect("a summary");
    assert_eq!(json!([last["skipped"], last["pairs"], last["hits"]]), json!([1, 20, 20]), "{last}");
}

#[test]
fn more_streams_than_there_are_places_for_are_asked_to_come_back() {
    let core = core();
    let server = Server::start(&core);
    let open = "POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut held: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
    for connection in &mut held {
        connection.write(open);
        let mut line = String::new();
        connection.line(&mut line);
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    }
    let refused = server.connect().post("/v1/cache/warm", "", "");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{refused:?}");
    drop(held);
    crate::support::eventually("the places are free again", || {
        let mut connection = server.connect();
        connection.write(format!("{open}0\r\n\r\n"));
        let mut line = String::new();
        connection.line(&mut line);
        line.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn the_cache_reports_on_itself_and_forgets_on_demand() {
    let core = core();
    let server = Server::start(&core);
    let mut connection = server.connect();
    for model in ["fake", "other"] {
        let body = json!({"query": "q", "documents": documents("d", 10), "model": model}).to_string();
        connection.post("/v1/rerank", &body, "").ok();
        connection.post("/v1/rerank", &body, "").ok();
    }
    core.cache.forget(Some(9));
    let reported = connection.send("GET /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    assert_eq!(
        json!([reported["hits"], reported["misses"], reported["hit_share"]]),
        json!([20, 20, 0.5]),
        "{reported}"
    );
    assert_eq!(reported["tiers"], json!([{"tier": "memory"}]));
    let delete = |target: &str| server.connect().send(format!("DELETE {target} HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert_eq!(delete("/v1/cache?modle=other").status, 400, "a mistyped name forgets nothing");
    assert_eq!(delete("/v1/cache?model=nobody").status, 404);
    // Case B6: what is not served is refused before it does more than was asked for.
    assert_eq!(delete("/v1/cache?model=").status, 400, "a name that is missing forgets nothing");
    let body = "{\"model\":\"other\"}";
    for framing in [
        format!("content-length: {}\r\n\r\n{body}", body.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let answer = server.connect().send(format!("DELETE /v1/cache HTTP/1.1\r\nhost: x\r\n{framing}"));
        assert!(answer.status == 400 && answer.text().contains("?model="), "{answer:?}");
    }
    let asked = server.connect().send("GET /v1/cache?model=other HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(asked.status, 400, "nor are figures of all given as those of one");
    assert_eq!(delete("/v1/cache?model=other").ok()["forgotten"], 10);
    assert_eq!(delete("/v1/cache").ok()["forgotten"], 10);
    assert_eq!(connection.send("GET /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").ok()["entries"], 0);
    assert_eq!(server.connect().send("PUT /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").status, 405);
}

#[test]
fn with_keys_set_the_cache_is_reported_warmed_and_emptied_for_their_holders_alone() {
    let core = core();
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), "opensesame\n").expect("a key");
    let server = Server::keyed(&core, Some(keys.path().to_owned()));
    score_as(&core, "q", &documents("kept", 7), Priority::Live).expect("scored");
    let ask = |method: &str, header: &str| {
        let (method, path) = method.split_once(' ').expect("a method and a path");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{header}content-length: 0\r\n\r\n");
        server.connect().send(request)
    };
    for header in ["", "authorization: Bearer wrong\r\n", "authorization: opensesame\r\n"] {
        for method in ["GET /v1/cache", "DELETE /v1/cache", "DELETE /v1/cache?model=fake", "POST /v1/cache/warm"] {
            let refused = ask(method, header);
            assert_eq!(refused.status, 401, "{method} with `{}`", header.trim());
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
    }
    let key = "authorization: Bearer opensesame\r\n";
    assert_eq!(ask("GET /v1/cache", key).ok()["entries"], 7, "who has no key has emptied nothing");
    assert_eq!(ask("DELETE /v1/cache?model=other", key).ok()["forgotten"], 0);
    assert_eq!(ask("DELETE /v1/cache", key).ok()["forgotten"], 7);
    assert_eq!(ask("GET /v1/cache", key).ok()["entries"], 0);
}

#[test]
fn warm_up_work_fills_the_cache_for_searches() {
    let core = core();
    let documents = documents("later", 10);
    score_as(&core, "q", &documents, Priority::WarmUp).expect("scored");
    let answer = score_as(&core, "q", &documents, Priority::Live).expect("scored");
    assert_eq!(answer.stats.cached, 10);
}

/// A search engine of the test's own: answers every search with the same hits.
fn engine(hits: &'static str) -> String {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread("engine", move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", hits.len());
            // A client that hung up is the test's failure elsewhere.
            drop(stream.write_all(format!("{head}{hits}").as_bytes()));
        }
    });
    format!("http://{address}")
}

struct Silent;

impl Observer for Silent {
    fn advance(&self, _: &Totals, _: u64) {}
    fn fault(&self, line: u64, error: &str) {
        eprintln!("line {line}: {error}");
    }
    fn note(&self, what: &str) {
        eprintln!("{what}");
    }
}

fn options(server: &Server) -> Options {
    Options {
        url: format!("http://{}", server.address),
        key: None,
        at_once: 4,
        patience: Duration::from_secs(30),
        checkpoint: None,
        first_stage: None,
    }
}

#[test]
fn the_client_warms_from_a_file_and_goes_on_where_it_was_stopped() {
    let core = core();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, note) = (folder.path().join("requests"), folder.path().join("note"));
    let mut text: String = (0..300).map(|n| line(&format!("query {n}"), &documents("d", 5))).collect();
    text.push_str("not a request\n");
    std::fs::write(&file, &text).expect("a file");
    let server = Server::start(&core);
    let options = Options { checkpoint: Some(note.clone()), ..options(&server) };
    let totals = warm::run(Input::files(vec![file.clone()]).expect("there"), &options, &Silent).expect("warmed");
    assert_eq!((totals.lines, totals.pairs, totals.hits, totals.failed), (301, 1500, 0, 1));
    assert!(!note.exists(), "a job that is done leaves no note");
    let input = || Input::files(vec![file.clone()]).expect("there");
    let name = input().identity().expect("read");
    std::fs::write(&note, json!({"input": name, "lines": 290}).to_string()).expect("a note");
    let totals = warm::run(input(), &options, &Silent).expect("warmed");
    assert_eq!((totals.resumed, totals.lines, totals.pairs, totals.hits), (290, 11, 50, 50));
    std::fs::write(&note, json!({"input": name, "lines": 290}).to_string()).expect("a note");
    std::fs::write(&file, line("today's query", &documents("d", 5))).expect("a new file of the same name");
    let totals = warm::run(input(), &options, &Silent).expect("warmed");
    assert_eq!((totals.resumed, totals.lines), (0, 1), "yesterday's note says nothing of it");
}

#[test]
fn queries_of_a_log_get_their_documents_from_the_search_engine() {
    let core = core();
    let server = Server::start(&core);
    let opensearch = engine(
        r#"{"hits":{"hits":[{"_id":"1","_score":2.0,"_source":{"title":"one","text":"first"}},{"_id":"2","_score":1.0,"_source":{"title":"two"}}]}}"#,
    );
    let vespa = engine(
        r#"{"root":{"id":"toplevel","relevance":1.0,"children":[{"id":"a","relevance":0.5,"fields":{"title":"three"}}]}}"#,
    );
    let fields = || Terms { fields: vec!["title".to_owned(), "text".to_owned()], size: 10, ..Terms::default() };
    for (first_stage, expected, passages) in [
        (FirstStage::opensearch(&opensearch, "books", fields()), 4, vec!["one\nfirst", "two"]),
        (FirstStage::vespa(&vespa, fields()), 2, vec!["three"]),
    ] {
        let log = "a query as it is\n{\"query\":\"one in an object\"}\n";
        let options = Options { first_stage: Some(first_stage), ..options(&server) };
        let input = Input::stream("a log", log.as_bytes()).expect("read");
        let totals = warm::run(input, &options, &Silent).expect("warmed");
        assert_eq!((totals.lines, totals.pairs, totals.failed), (2, expected, 0));
        let body = json!({"query": "one in an object", "documents": passages}).to_string();
        let hits = server.connect().post("/v1/rerank", body, "");
        assert_eq!(hits.header("x-rescored-cache-hits"), Some(passages.len().to_string().as_str()));
    }
}
