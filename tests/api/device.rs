//! A device that runs out of memory or is lost, as documents tell the fake model to: what callers and probes see of that.

use std::time::{Duration, Instant};

use crate::support::App;

fn body(query: &str, documents: &[&str]) -> String {
    serde_json::json!({"query": query, "documents": documents, "raw_scores": true}).to_string()
}

#[test]
fn a_pass_that_is_too_large_for_the_device_is_cut_until_it_fits() {
    let (app, other) = (App::start(), App::start());
    // Of one length, so that they share a pass.
    let documents = ["=greedy a", "=greedy b", "=greedy c", "=greedy d", "=greedy e"];
    let score = |app: &App, documents: &[&str], at: usize| -> String {
        let answer = app.post("/v1/rerank", body("q", documents)).ok();
        let items = answer["results"].as_array().expect("results").clone();
        let item = items.into_iter().find(|item| item["index"] == at).expect("every document is answered");
        item["relevance_score"].to_string()
    };
    for at in 0..documents.len() {
        assert_eq!(score(&app, &documents, at), score(&other, &documents[at..=at], 0), "document {at}");
    }
    assert!(app.figure("rescored_worker_faults_total{reason=\"error\"}") > 0, "the whole pass failed first");
    assert_eq!(other.figure("rescored_worker_faults_total{reason=\"error\"}"), 0, "alone they fit");
}

#[test]
fn a_device_that_is_lost_fails_requests_clearly_and_the_model_is_built_anew() {
    let app = App::start();
    let lost = app.post("/v1/rerank", body("first", &["=lost"]));
    assert_eq!(lost.status, 424, "{lost:?}");
    let until = Instant::now() + Duration::from_secs(20);
    let mut failed = 0_u32;
    for number in 0.. {
        let answer = app.post("/v1/rerank", body(&format!("query {number}"), &["=1 good"]));
        match answer.status {
            200 => {}
            424 => failed += 1,
            other => panic!("{other}: {answer:?}"),
        }
        if app.figure("rescored_worker_faults_total{reason=\"lost\"}") > 0 {
            break;
        }
        assert!(
            Instant::now() < until,
            "the worker whose device is lost was never built anew; {failed} requests failed"
        );
    }
    assert!(failed >= 1, "its device was lost, so its passes failed");
    while app.get("/readyz").status != 200 {
        assert!(Instant::now() < until, "the worker does not come back");
        std::thread::sleep(Duration::from_millis(5));
    }
    for number in 0..40 {
        let answer = app.post("/v1/rerank", body(&format!("after {number}"), &["=1 good"]));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(app.figure("rescored_workers_alive"), 2);
}
