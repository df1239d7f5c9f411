//! Traces as a real receiver gets them: spans, their times, their context, and what becomes of them when it fails.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rescored_process::telemetry::TraceOptions;

use crate::support::{App, Pace, Setup};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const BODY: &str = r#"{"query":"secretquery","documents":["secretdocument one","secretdocument two"]}"#;

/// How a receiver answers.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    Fails,
    Hangs,
}

/// A small OTLP receiver: HTTP/1.1, protobuf.
struct Receiver {
    address: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Receiver {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&bodies);
        std::thread::Builder::new()
            .name("receiver".into())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let kept = Arc::clone(&kept);
                    std::thread::Builder::new().spawn(move || receive(&stream, &kept, manner)).expect("a thread");
                }
            })
            .expect("a thread");
        Self { address, bodies }
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().expect("bodies");
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf"));
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn receive(stream: &TcpStream, kept: &Mutex<Vec<Vec<u8>>>, manner: Manner) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        let mut head = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.trim() != "" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head.push_str(&line);
            line.clear();
        }
        if head.is_empty() {
            return;
        }
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/x-protobuf"), "{head}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the whole body");
        let status = match manner {
            Manner::Takes => "200 OK",
            Manner::Fails => "500 Internal Server Error",
            Manner::Hangs => {
                std::thread::sleep(Duration::from_mins(1));
                return;
            }
        };
        kept.lock().expect("bodies").push(body);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn traced(receiver: &Receiver, percent: u32) -> App {
    with(receiver, percent, Pace::default())
}

fn with(receiver: &Receiver, percent: u32, pace: Pace) -> App {
    let traces = TraceOptions { endpoint: Some(receiver.address.clone()), percent };
    App::with(Setup { pace, traces, ..Setup::default() })
}

/// What has been sent once everything was.
fn sent(app: &App, receiver: &Receiver) -> Vec<Span> {
    app.traces.stop(Duration::from_secs(10));
    receiver.spans()
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other @ (Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => {
            format!("{other:?}")
        }
    };
    let value = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        one.value.as_ref().and_then(|any| any.value.as_ref()).map(text).unwrap_or_default()
    };
    span.attributes.iter().map(|one| (one.key.clone(), value(one))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn root(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.name.starts_with("POST ")).expect("the request's own span")
}

#[test]
fn a_request_is_a_span_with_its_stages_in_the_callers_trace() {
    let receiver = Receiver::start(Manner::Takes);
    let app = traced(&receiver, 0);
    let context =
        format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=abc,other=1\r\nx-request-id: mine\r\n");
    let answer = app.post_with("/v1/rerank", BODY, &context);
    let response = answer.header("traceresponse").expect("this request's place in the trace").to_owned();
    app.post_with("/v1/rerank", BODY, &context).ok();
    let spans = sent(&app, &receiver);
    let whole = spans.iter().find(|span| response.contains(&hex(&span.span_id))).expect("the request's own span");
    assert_eq!(response, format!("00-{TRACE}-{}-01", hex(&whole.span_id)));
    assert_eq!((hex(&whole.trace_id).as_str(), hex(&whole.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!((whole.name.as_str(), whole.trace_state.as_str()), ("POST /v1/rerank", "vendor=abc,other=1"));
    let reported = attributes(whole);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/rerank"),
        ("http.response.status_code", "200"),
        ("rescored.request_id", "mine"),
        ("rescored.dialect", "cohere"),
        ("rescored.face", "cohere"),
        ("rescored.model", "fake"),
        ("rescored.pairs", "2"),
        ("rescored.cached", "0"),
        ("rescored.cut", "0"),
        ("rescored.partial", "false"),
    ] {
        assert_eq!(reported.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(reported["rescored.tokens"].parse::<u64>().is_ok_and(|tokens| tokens > 20), "{reported:?}");
    let stages: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == whole.span_id).collect();
    let names: Vec<&str> = stages.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["parse", "cache", "queue", "batch", "forward", "reply"]);
    let mut before = whole.start_time_unix_nano;
    for stage in &stages {
        assert!(
            before <= stage.start_time_unix_nano && stage.start_time_unix_nano <= stage.end_time_unix_nano,
            "{names:?}"
        );
        before = stage.end_time_unix_nano;
    }
    assert!(before <= whole.end_time_unix_nano, "stages lie within their request");
    let cached = spans.iter().filter(|span| span.name.starts_with("POST ") && span.span_id != whole.span_id);
    let cached: Vec<&Span> = cached.collect();
    let few: Vec<&str> =
        spans.iter().filter(|span| span.parent_span_id == cached[0].span_id).map(|span| span.name.as_str()).collect();
    assert_eq!(few, ["parse", "cache", "reply"], "an answer from the cache waits for nobody");
}

#[test]
fn no_span_holds_a_text() {
    let receiver = Receiver::start(Manner::Takes);
    let app = traced(&receiver, 100);
    app.post("/v1/rerank", BODY).ok();
    app.post("/v1/rerank", r#"{"query":"secretquery","documents":"secretdocument"}"#);
    app.post(
        "/rescore/opensearch",
        r#"{"query":"secretquery","fields":["t"],"response":{"hits":{"hits":[{"_score":1.0,"_source":{"t":"secretdocument"}}]}}}"#,
    )
    .ok();
    let spans = sent(&app, &receiver);
    assert!(spans.iter().any(|span| span.name == "POST /rescore/opensearch"));
    let bodies = receiver.bodies.lock().expect("bodies").concat();
    assert!(bodies.windows(6).any(|part| part == b"cohere") && !bodies.windows(6).any(|part| part == b"secret"));
}

#[test]
fn the_callers_decision_is_obeyed_and_others_are_sampled() {
    for (percent, context, expected, sentence) in [
        (100, format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n"), false, "the caller does not sample"),
        (0, format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"), true, "the caller samples"),
        (0, String::new(), false, "nobody is sampled"),
        (100, String::new(), true, "everybody is"),
        (100, "traceparent: 00-zz-zz-00\r\n".to_owned(), true, "a context that is none decides nothing"),
        (100, format!("traceparent: 00-{}-{PARENT}-00\r\n", "0".repeat(32)), true, "nor does an empty one"),
    ] {
        let receiver = Receiver::start(Manner::Takes);
        let app = traced(&receiver, percent);
        let answer = app.post_with("/v1/rerank", BODY, &context);
        assert_eq!(answer.header("traceresponse").is_some(), expected, "{sentence}");
        assert_eq!(!sent(&app, &receiver).is_empty(), expected, "{sentence}");
        answer.ok();
    }
    let off = App::start().post_with("/v1/rerank", BODY, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"));
    assert_eq!(off.header("traceresponse"), None, "without a receiver nothing is traced");
}

#[test]
fn refusals_name_their_kind_and_only_ours_are_errors() {
    let receiver = Receiver::start(Manner::Takes);
    let app = with(&receiver, 100, Pace::default());
    app.post("/v1/rerank", "{");
    let late = app.post_with("/v1/rerank", r#"{"query":"q","documents":["=slow a"]}"#, "x-request-timeout-ms: 50\r\n");
    assert_eq!(late.status, 504, "{late:?}");
    let spans = sent(&app, &receiver);
    let of = |status: &str| {
        spans
            .iter()
            .find(|span| attributes(span).get("http.response.status_code").is_some_and(|reported| reported == status))
            .expect(status)
    };
    let code = |span: &Span| span.status.as_ref().map_or(0, |status| status.code);
    assert_eq!((attributes(of("400"))["error.type"].as_str(), code(of("400"))), ("Syntax", 0));
    assert_eq!((attributes(of("504"))["error.type"].as_str(), code(of("504"))), ("Timeout", 2));
    let stages: Vec<&str> =
        spans.iter().filter(|span| span.parent_span_id == of("504").span_id).map(|span| span.name.as_str()).collect();
    assert!(stages.contains(&"queue"), "how far it came is recorded: {stages:?}");
}

#[test]
fn a_caller_that_goes_away_leaves_a_span_that_says_so() {
    let receiver = Receiver::start(Manner::Takes);
    let app = traced(&receiver, 100);
    let mut connection = app.connect();
    let body = r#"{"query":"q","documents":["=slow x"]}"#;
    let length = body.len();
    connection.write(format!(
        "POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    std::thread::sleep(Duration::from_millis(100));
    drop(connection);
    let started = Instant::now();
    while !app.get("/metrics").text().contains("rescored_requests_in_flight 0") {
        assert!(started.elapsed() < Duration::from_secs(20), "the request ends with its caller");
        std::thread::sleep(Duration::from_millis(20));
    }
    let spans = sent(&app, &receiver);
    assert_eq!(attributes(&spans[0])["error.type"], "cancelled");
}

fn outcome(app: &App, outcome: &str) -> u64 {
    let page = app.get("/metrics");
    let name = format!("rescored_trace_spans_total{{outcome=\"{outcome}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_receiver_that_fails_costs_spans_and_no_answer() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = Receiver { address: format!("http://{}", gone.local_addr().unwrap()), bodies: Arc::default() };
    drop(gone);
    for receiver in [Receiver::start(Manner::Fails), nobody] {
        let app = traced(&receiver, 100);
        app.post("/v1/rerank", BODY).ok();
        app.traces.stop(Duration::from_secs(10));
        assert_eq!((outcome(&app, "failed"), outcome(&app, "sent")), (7, 0));
        app.post("/v1/rerank", BODY).ok();
    }
}

#[test]
fn a_receiver_that_hangs_fills_a_bounded_queue_and_delays_nobody() {
    let receiver = Receiver::start(Manner::Hangs);
    let app = traced(&receiver, 100);
    let mut connection = app.connect();
    let mut slowest = Duration::ZERO;
    for _ in 0..1500 {
        let begun = Instant::now();
        connection.post("/v1/rerank", BODY, "").ok();
        slowest = slowest.max(begun.elapsed());
    }
    assert!(outcome(&app, "dropped") > 0, "what there is no room for is dropped, and counted");
    assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
}

#[test]
fn spans_are_sent_while_the_server_runs_and_latencies_name_their_trace() {
    let receiver = Receiver::start(Manner::Takes);
    let app = traced(&receiver, 100);
    app.post("/v1/rerank", BODY).ok();
    let started = Instant::now();
    while outcome(&app, "sent") == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "a second's worth of spans is sent");
        std::thread::sleep(Duration::from_millis(50));
    }
    let spans = receiver.spans();
    let trace = hex(&root(&spans).trace_id);
    let asks = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text\r\n\r\n";
    let page = app.connect().send(asks);
    let exemplar = format!("# {{trace_id=\"{trace}\"}}");
    let line = page.text().lines().find(|line| line.contains(&exemplar)).expect("an exemplar");
    assert!(line.starts_with("rescored_request_seconds_bucket{"), "{line}");
}
