//! What probes and operators see, before and after the model is warm, and while the process goes down.

use crate::support::{App, Setup};

const READINESS: [&str; 11] = [
    "/",
    "/readyz",
    "/ready",
    "/health",
    "/ping",
    "/v1/health/ready",
    "/v2/health/ready",
    "/.well-known/ready",
    "/weaviate/.well-known/ready",
    "/tei/health",
    "/v2/models/fake/ready",
];

const DESCRIPTIONS: [&str; 5] = ["/info", "/meta", "/v1/models", "/weaviate/meta", "/tei/info"];

#[test]
fn readiness_follows_the_state_and_liveness_does_not() {
    let app = App::with(Setup { warm: false, ..Setup::default() });
    let expect = |ready: bool, described: bool, when: &str| {
        for path in READINESS {
            let status = app.get(path).status;
            let good = if path.ends_with(".well-known/ready") { 204 } else { 200 };
            assert_eq!(status, if ready { good } else { 503 }, "{path} {when}");
        }
        for path in DESCRIPTIONS {
            assert_eq!(app.get(path).status, if described { 200 } else { 503 }, "{path} {when}");
        }
        for path in ["/livez", "/.well-known/live", "/v2/health/live", "/metrics", "/v2"] {
            assert_eq!(app.get(path).status, 200, "{path} {when}");
        }
    };
    expect(false, false, "before the warm-up");
    let refused = app.post("/v1/rerank", r#"{"query":"q","documents":["a"]}"#);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    app.health.warmed();
    expect(true, true, "when warm");
    app.health.worker_died();
    expect(false, true, "when a worker died");
    app.health.worker_returned();
    app.health.drain();
    expect(false, true, "when draining");
    app.post("/v1/rerank", r#"{"query":"q","documents":["a"]}"#).ok();
}

#[test]
fn the_description_names_models_and_limits() {
    let app = App::with(Setup { max_documents: 77, ..Setup::default() });
    let info = app.get("/info").ok();
    assert_eq!(info["model_id"], "tests/fake");
    assert!(info["model_type"]["reranker"].is_object(), "{info}");
    assert_eq!(info["max_client_batch_size"], 77);
    assert_eq!(info["models"][1]["id"], "other");
    assert_eq!(app.get("/v1/models").ok()["data"][0]["id"], "fake");
    assert!(app.get("/meta").ok().is_object());
    assert_eq!(app.get("/v2/models/other").ok()["name"], "other");
    assert_eq!(app.get("/v2/models/nobody").status, 404);
}

#[test]
fn metrics_count_by_face_and_status() {
    let app = App::start();
    app.post("/rerank", r#"{"query":"q","texts":["a"]}"#).ok();
    app.post("/rerank", "{");
    let page = app.get("/metrics");
    let text = page.text();
    for line in [
        r#"rescored_requests_total{dialect="tei",face="tei",status="200"} 1"#,
        r#"rescored_requests_total{dialect="rerank",face="rerank",status="400"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(text.contains("rescored_requests_in_flight 0"), "{text}");
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let app = App::start();
    let mut connection = app.connect();
    connection.write("HEAD /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut line = String::new();
    connection.line(&mut line);
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
}
