//! Every wrong request is answered at once with a clear 4xx and the one error body, quotes no text, and leaves the
//! server as it was.

use std::time::{Duration, Instant};

use crate::support::{App, Response, Setup};

/// A word that every wrong request carries where a text would stand, and no answer may repeat.
const SECRET: &str = "zanzibar";

fn assert_is_refusal(response: &Response, status: u16, words: &str, why: &str) {
    assert_eq!(response.status, status, "{why}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{why}");
    assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()), "{why}: no x-request-id");
    let body = response.json();
    for key in ["error", "error_type", "message", "detail"] {
        assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{why}: `{key}` must be a text: {response:?}");
    }
    let text = response.text();
    assert!(text.contains(words), "{why}: `{words}` is not in {response:?}");
    assert!(!text.contains(SECRET), "{why}: text leaked: {response:?}");
    assert!(!text.contains('\n') && text.len() < 1000, "{why}: not one short line: {response:?}");
}

#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
fn bodies() -> Vec<(&'static str, String, u16, &'static str, &'static str)> {
    let s = SECRET;
    let deep = format!("{{\"query\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("/v1/rerank", String::new(), 400, "empty", "no body"),
        ("/v1/rerank", "   ".into(), 400, "empty", "blank body"),
        ("/v1/rerank", format!("{{\"query\":\"{s}\""), 400, "line 1 column", "cut off"),
        ("/v1/rerank", format!("{{\"query\":\"{s}\",}}"), 400, "line 1 column", "trailing comma"),
        ("/v1/rerank", s.into(), 400, "json object", "no JSON at all"),
        ("/v1/rerank", format!("[\"{s}\"]"), 400, "json object", "an array"),
        (
            "/v1/rerank",
            format!("{{\"query\":\"{s}\",\"documents\":[\"a\"]}} x"),
            400,
            "trailing",
            "more after the object",
        ),
        ("/v1/rerank", format!("{{\"documents\":[\"{s}\"]}}"), 400, "query: missing", "no query"),
        ("/v1/rerank", format!("{{\"query\":\"{s}\"}}"), 400, "documents: missing", "no documents"),
        ("/rerank", format!("{{\"query\":\"{s}\"}}"), 400, "documents: missing", "no documents and no texts"),
        ("/rerank", format!("{{\"query\":\"{s}\",\"texts\":[]}}"), 400, "texts: the list is empty", "empty texts"),
        (
            "/v2/rerank",
            format!("{{\"query\":\"{s}\",\"documents\":[]}}"),
            400,
            "documents: the list is empty",
            "empty documents",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":7,\"documents\":[\"{s}\"]}}"),
            400,
            "query: expected a string",
            "query a number",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":[\"{s}\"],\"documents\":[\"a\"]}}"),
            400,
            "query: expected a string",
            "query a list",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":\"{s}\"}}"),
            400,
            "documents: expected a list",
            "documents a string",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":[\"{s}\",null]}}"),
            400,
            "documents[1]: expected a string",
            "a null document",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":[[\"{s}\"]]}}"),
            400,
            "documents[0]: expected a string",
            "a list as document",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":\"{s}\"}}"),
            400,
            "top_n: expected a whole number",
            "top_n a word",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":[\"a\"],\"return_documents\":\"{s}\"}}"),
            400,
            "return_documents: expected true or false",
            "flag a word",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"q\",\"documents\":[\"a\"],\"model\":[\"{s}\"]}}"),
            400,
            "model: expected a string",
            "model a list",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"{s}\",\"documents\":[\"a\"],\"timeout_ms\":0}}"),
            400,
            "timeout_ms: expected a positive number",
            "no time at all",
        ),
        (
            "/v1/rerank",
            format!("{{\"query\":\"{s}\",\"documents\":[\"a\"],\"model\":\"nobody\"}}"),
            404,
            "nobody",
            "unknown model",
        ),
        (
            "/rerank",
            format!("{{\"query\":\"{s}\",\"texts\":[\"a\"],\"truncation_direction\":\"up\"}}"),
            400,
            "truncation_direction: expected",
            "no such side",
        ),
        (
            "/rerank",
            format!("{{\"query\":\"a\nb\",\"texts\":[\"{s}\"]}}"),
            400,
            "control character",
            "bare line feed in a string",
        ),
        ("/rerank", deep.clone(), 400, "query: expected a string", "100,000 brackets as query"),
        ("/rerank", deep.replace("query", "documents"), 400, "documents[0]: expected", "100,000 brackets as documents"),
        ("/rerank", "{\"a\":".repeat(100_000), 400, "body", "100,000 unclosed objects"),
    ]
}

#[test]
fn wrong_bodies_are_refused_quickly_and_name_the_field() {
    let app = App::start();
    let mut slowest = (Duration::ZERO, "");
    for (path, body, status, words, why) in bodies() {
        // The best of three, because the machine may be busy with other tests.
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let mut connection = app.connect();
            let started = Instant::now();
            let response = connection.post(path, &body, "");
            best = best.min(started.elapsed());
            assert_is_refusal(&response, status, words, why);
        }
        slowest = slowest.max((best, why));
    }
    assert!(slowest.0 < Duration::from_millis(50), "{} took {:?}", slowest.1, slowest.0);
    app.post("/v1/rerank", r#"{"query":"q","documents":["a"]}"#).ok();
}

#[test]
fn bytes_that_are_no_utf8_are_refused() {
    let app = App::start();
    let body = [&b"{\"query\":\"q\",\"documents\":[\"zanzibar "[..], &[0xff, 0xfe], b"\"]}"].concat();
    assert_is_refusal(&app.post("/v1/rerank", body), 400, "unicode", "invalid UTF-8");
}

#[test]
fn wrong_paths_methods_and_types_are_refused() {
    let app = App::start();
    let body = "{\"query\":\"zanzibar\",\"documents\":[\"a\"]}";
    let request = |line: &str, headers: &str| {
        let length = body.len();
        app.connect().send(format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}"))
    };
    let cases = [
        ("POST /nowhere", "", 404, "/nowhere", "unknown path"),
        ("POST /v1/rerank/", "", 404, "/v1/rerank/", "trailing slash"),
        ("GET /v1/rerank", "", 405, "use POST", "reading a dialect"),
        ("PUT /rerank", "", 405, "use POST", "putting to a dialect"),
        ("POST /info", "", 405, "use GET, HEAD", "posting to an operation"),
        (
            "POST /v1/rerank",
            "content-type: application/x-www-form-urlencoded\r\n",
            415,
            "content-type: application/json",
            "what curl -d sends",
        ),
        ("POST /v1/rerank", "content-type: text/plain\r\n", 415, "content-type: application/json", "plain text"),
        ("POST /v1/rerank", "content-encoding: gzip\r\n", 415, "content-encoding", "compressed"),
        ("POST /v1/rerank", "x-request-timeout-ms: soon\r\n", 400, "x-request-timeout-ms", "a deadline in words"),
        ("POST /v1/rerank", "x-request-timeout-ms: 0\r\n", 400, "x-request-timeout-ms", "no time at all"),
    ];
    for (line, headers, status, words, why) in cases {
        let response = request(line, headers);
        assert_is_refusal(&response, status, words, why);
        assert_eq!(response.header("allow").is_some(), status == 405, "{why}");
    }
    for (headers, why) in [("", "no type"), ("content-type: application/vnd.x+json; charset=utf-8\r\n", "another JSON")]
    {
        assert_eq!(request("POST /v1/rerank", headers).status, 200, "{why}");
    }
}

#[test]
fn bodies_beyond_the_limit_are_refused_with_and_without_a_length() {
    let app = App::with(Setup { max_body: 100_000, ..Setup::default() });
    let body = format!("{{\"query\":\"q\",\"documents\":[\"{}\"]}}", "x".repeat(120_000));
    let response = app.post("/v1/rerank", &body);
    assert_is_refusal(&response, 413, "RESCORED_MAX_BODY", "declared length");
    assert!(response.text().contains("100000"), "{response:?}");
    let mut connection = app.connect();
    connection.write("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(10_000) {
        connection.write(format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
    }
    connection.write("0\r\n\r\n");
    assert_is_refusal(&connection.read(), 413, "RESCORED_MAX_BODY", "chunked");
    let fits = format!("{{\"query\":\"q\",\"documents\":[\"{}\"]}}", "x".repeat(90_000));
    app.post("/v1/rerank", fits).ok();
}

#[test]
fn more_documents_than_the_limit_are_refused_and_the_limit_named() {
    let app = App::with(Setup { max_documents: 5, ..Setup::default() });
    let body = |n: usize| format!("{{\"query\":\"q\",\"documents\":{:?}}}", vec!["zanzibar"; n]);
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        app.post(path, body(5)).ok();
        let response = app.post(path, body(6));
        assert_is_refusal(&response, 413, "documents: 6 documents, the limit is 5", path);
        assert!(response.text().contains("RESCORED_MAX_DOCUMENTS"), "{response:?}");
    }
}

#[test]
fn a_text_beyond_the_limit_is_refused_and_named() {
    let app = App::start();
    let (fits, too_long) = ("w ".repeat(1 << 19), "w ".repeat((1 << 19) + 1));
    app.post("/v1/rerank", format!("{{\"query\":\"q\",\"documents\":[\"{fits}\"]}}")).ok();
    for (body, field) in [
        (format!("{{\"query\":\"q\",\"documents\":[\"a\",\"{too_long}\"]}}"), "documents[1]: 1048578 bytes"),
        (format!("{{\"query\":\"{too_long}\",\"documents\":[\"a\"]}}"), "queries[0]: 1048578 bytes"),
    ] {
        let response = app.post("/v1/rerank", body);
        assert_is_refusal(&response, 413, field, field);
        assert!(response.text().contains("the limit of one text is 1048576"), "{response:?}");
    }
}

#[test]
fn strange_texts_are_scored() {
    let app = App::start();
    let huge = "w".repeat(100_000);
    let cases = [
        (r#"[""]"#.to_owned(), "an empty document alone"),
        (r#"["a","","b"]"#.to_owned(), "an empty document among others"),
        (r#"["\u0000\u0001\u001f","\u007f"]"#.to_owned(), "NUL and control characters"),
        (format!("[\"{huge}\"]"), "a word of 100 kB"),
        (r#"["\ud83d\ude00 \u00e9 \ufffd"]"#.to_owned(), "surrogate pairs"),
        (r#"["[CLS] [SEP] [PAD]"]"#.to_owned(), "names of special tokens"),
        (r#"[{"text":""},{}]"#.to_owned(), "objects without text"),
    ];
    for (documents, why) in cases {
        for query in ["q", "", "\\u0000", huge.as_str()] {
            let count = serde_json::from_str::<Vec<serde_json::Value>>(&documents).unwrap().len();
            let answer = app.post("/v1/rerank", format!("{{\"query\":\"{query}\",\"documents\":{documents}}}")).ok();
            assert_eq!(answer["results"].as_array().unwrap().len(), count, "{why}");
        }
    }
}

#[test]
fn an_output_that_is_no_number_is_an_error_of_its_document() {
    let app = App::start();
    let response = app.post("/v1/rerank", r#"{"query":"q","documents":["=1.0","=nan zanzibar"]}"#);
    assert_is_refusal(&response, 424, "documents[1]", "NaN");
    app.post("/v1/rerank", r#"{"query":"q","documents":["=1.0"]}"#).ok();
}
