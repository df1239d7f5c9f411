//! The main job through the front door: a query and documents in, a ranking out.

use std::time::{Duration, Instant};

use rescored_core::domain::LongDocuments;
use serde_json::{Value, json};

use crate::support::{App, Setup};

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Logits by index, read off a ranked answer with raw scores.
fn by_index(answer: &Value) -> Vec<f64> {
    let results = answer["results"].as_array().unwrap();
    let mut logits = vec![f64::NAN; results.len()];
    for item in results {
        logits[usize::try_from(item["index"].as_u64().unwrap()).unwrap()] = item["relevance_score"].as_f64().unwrap();
    }
    logits
}

#[test]
fn documents_come_back_ranked_with_their_scores() {
    let app = App::start();
    let body = r#"{"query":"q","documents":["=-4.5 b","=9.25 a","=-4.5 c"],"raw_scores":true}"#;
    for path in ["/v1/rerank", "/v2/rerank", "/rerank", "/cohere/v2/rerank", "/jina/v1/rerank"] {
        let answer = app.post(path, body).ok();
        let expected = json!([
            {"index": 1, "relevance_score": 9.25}, {"index": 0, "relevance_score": -4.5}, {"index": 2, "relevance_score": -4.5},
        ]);
        assert_eq!(answer["results"], expected, "{path}");
        assert_eq!(answer["model"], "fake");
    }
}

#[test]
fn the_default_score_is_the_sigmoid_of_the_logit() {
    let app = App::start();
    let answer = app.post("/v1/rerank", r#"{"query":"q","documents":["=-4.5","=9.25","=0"]}"#).ok();
    for (score, logit) in by_index(&answer).into_iter().zip([-4.5, 9.25, 0.0]) {
        assert!((score - sigmoid(logit)).abs() < 1e-6, "{score} is not the sigmoid of {logit}");
    }
}

#[test]
fn a_repeated_request_is_answered_from_the_cache_with_equal_scores() {
    let app = App::start();
    let body = r#"{"query":"cached","documents":["one","two","three"],"raw_scores":true}"#;
    let fresh = app.post("/v1/rerank", body);
    let again = app.post("/v1/rerank", body);
    assert_eq!(fresh.header("x-rescored-cache-hits"), Some("0"));
    assert_eq!(again.header("x-rescored-cache-hits"), Some("3"));
    assert_eq!(fresh.ok()["results"], again.ok()["results"]);
    let partly = app.post("/rerank", r#"{"query":"cached","texts":["two","four"]}"#);
    assert_eq!(partly.header("x-rescored-cache-hits"), Some("1"));
}

#[test]
fn a_cut_document_is_scored_and_counted_or_refused_when_the_caller_says_so() {
    let app = App::start();
    let long = "x".repeat(1000);
    let body = |extra: &str| format!(r#"{{"query":"q","texts":["{long}","short"]{extra}}}"#);
    for extra in ["", r#","truncate":true"#, r#","truncate":null"#] {
        let response = app.post("/rerank", body(extra));
        assert_eq!(response.status, 200, "{extra}: {response:?}");
        assert_eq!(response.header("x-rescored-truncated"), Some("1"), "{extra}");
    }
    let refused = app.post("/rerank", body(r#","truncate":false"#));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.text().contains("[0]"), "names the document: {refused:?}");
}

#[test]
fn another_model_is_named_by_its_id() {
    let app = App::start();
    for (model, served_by) in [("", "fake"), ("default", "fake"), ("fake", "fake"), ("other", "other")] {
        let body = format!(r#"{{"query":"q","documents":["a"],"model":"{model}"}}"#);
        assert_eq!(app.post("/v1/rerank", body).ok()["model"], served_by, "{model:?}");
    }
}

#[test]
fn ten_thousand_documents_of_two_kilobytes_pass() {
    let app = App::start();
    let documents: Vec<String> = (0..10_000).map(|i| format!("={}.0 {}", i % 100, "y".repeat(2000))).collect();
    let body = serde_json::to_vec(&json!({"query": "q", "documents": documents, "raw_scores": true})).unwrap();
    assert!(body.len() > 20_000_000);
    let response = app.post("/v1/rerank", body);
    assert!(response.body.len() < 50_000_000);
    let answer = response.ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(results[0], json!({"index": 99, "relevance_score": 99.0}), "the best, and of equals the first");
}

#[test]
fn a_deadline_that_passes_is_answered_in_time() {
    let app = App::start();
    let body =
        format!(r#"{{"query":"q","documents":{:?}}}"#, (0..20).map(|i| format!("=slow {i}")).collect::<Vec<_>>());
    let by_body = body.replacen('{', r#"{"timeout_ms":150,"#, 1);
    for (body, header) in [(body.as_str(), "x-request-timeout-ms: 150\r\n"), (by_body.as_str(), "")] {
        let started = Instant::now();
        let response = app.post_with("/v1/rerank", body, header);
        let waited = started.elapsed();
        assert_eq!(response.status, 504, "{response:?}");
        assert!(waited > Duration::from_millis(140) && waited < Duration::from_millis(400), "{waited:?}");
    }
}

#[test]
fn overload_is_refused_at_once_and_passes() {
    let app = App::with(Setup { queue_tokens: 50, ..Setup::default() });
    let slow = format!(r#"{{"query":"q","documents":{:?}}}"#, (0..8).map(|i| format!("=slow {i}")).collect::<Vec<_>>());
    let mut busy = app.connect();
    let head = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{slow}", slow.len());
    busy.write(head);
    std::thread::sleep(Duration::from_millis(100));
    let text = "z".repeat(400);
    let body = format!(r#"{{"query":"q","documents":["{text}"]}}"#);
    let started = Instant::now();
    let refused = app.post("/v1/rerank", &body);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    assert!(refused.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok()).is_some_and(|s| s >= 1));
    assert_eq!(busy.read().status, 200);
    assert_eq!(app.post("/v1/rerank", &body).status, 200, "the same request passes when there is room");
}

/// The fake tokenizer makes one token of every byte, so what the far end of a document says is seen by windows only.
#[test]
fn long_documents_are_read_to_their_end_in_windows_when_the_server_is_set_to() {
    let document = format!("{} =9.5 here", "x".repeat(600));
    let body = json!({"query": "q", "documents": [document, "short"], "raw_scores": true}).to_string();
    let cut = App::start().post("/v1/rerank", &body);
    assert_eq!(cut.header("x-rescored-truncated"), Some("1"));
    let long_documents = LongDocuments::MaxPassage { windows: 64 };
    let app = App::with(Setup { long_documents, ..Setup::default() });
    let read = app.post("/v1/rerank", &body);
    assert_eq!(read.header("x-rescored-truncated"), Some("0"), "nothing is given up");
    let tokens = |answer: &crate::support::Response| answer.ok()["usage"]["total_tokens"].as_u64().unwrap();
    assert!(tokens(&read) > tokens(&cut) + 256, "several windows entered the model");
}

#[test]
fn a_pass_that_waits_for_company_is_shared_by_requests_that_come_meanwhile() {
    let app = App::with(Setup { batch_wait: Some(Duration::from_millis(900)), ..Setup::default() });
    let passes = || {
        let answer = app.get("/metrics");
        let line = answer.text().lines().find(|line| line.starts_with("rescored_forwards_total ")).expect("a counter");
        line.rsplit(' ').next().and_then(|count| count.parse::<u32>().ok()).expect("a number")
    };
    let before = passes();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for document in ["=1.5 a", "=2.5 b", "=3.5 c"] {
            let app = &app;
            scope.spawn(move || {
                let body = json!({"query": "q", "documents": [document], "raw_scores": true}).to_string();
                let answer = app.post("/v1/rerank", body).ok();
                let wanted: f64 = document.get(1..4).unwrap().parse().unwrap();
                assert!((by_index(&answer)[0] - wanted).abs() < 1e-6, "each gets its own score: {answer}");
            });
        }
    });
    assert_eq!(passes() - before, 1, "three requests, one pass");
    assert!(started.elapsed() >= Duration::from_millis(850), "it waited");
}
