//! A device that runs out of memory or is lost, as documents ask of the fake model: what callers and probes see of that.

use std::error::Error;
use std::time::{Duration, Instant};

use rescored_runtime::Model;
use rescored_runtime::golden::Golden;
use rescored_server::repository::Opener;
use serde_json::Value;

use crate::support::{ACCELERATED, App, Nature, Pace, Response, Setup, version};

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

/// Opens models on the CPU, or cannot.
struct Folder {
    has_cpu_graph: bool,
}

impl Opener for Folder {
    fn open(&self, id: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>> {
        Ok((version(id, Pace::default(), Nature::Accelerated), Vec::new()))
    }

    fn open_on_cpu(&self, id: &str, lost: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>> {
        assert_eq!(lost, "cuda");
        if self.has_cpu_graph {
            Ok((version(id, Pace::default(), Nature::Moved), Vec::new()))
        } else {
            Err("none".into())
        }
    }
}

fn accelerated(guarded: bool, has_cpu_graph: bool) -> App {
    App::with(Setup {
        nature: Nature::Accelerated,
        guarded,
        opener: Some(Box::new(Folder { has_cpu_graph })),
        stuck_after: Duration::from_millis(60),
        ..Setup::default()
    })
}

/// The logit that a model gives `=1 good`; `None` when it gives none, and then clearly.
fn probe(app: &App, model: &str, query: &str) -> (Option<f64>, Response) {
    let body = serde_json::json!({"model": model, "query": query, "documents": ["=1 good"], "raw_scores": true});
    let answer = app.post("/v1/rerank", body.to_string());
    let logit = match answer.status {
        200 => answer.json()["results"][0]["relevance_score"].as_f64(),
        424 | 503 => None,
        other => panic!("{other}: {answer:?}"),
    };
    (logit, answer)
}

/// Asks until models answer from the CPU: every answer before that is the accelerator's or a clear refusal.
fn moves(app: &App) {
    let until = Instant::now() + Duration::from_secs(30);
    for number in 0.. {
        let (logit, answer) = probe(app, "fake", &format!("query {number}"));
        let moved = answer.header("x-rescored-moved-from");
        match logit {
            Some(logit) if moved == Some("cuda") => {
                assert_eq!(Some(logit), Some(1.0), "the CPU's own score");
                return;
            }
            Some(logit) => {
                assert_eq!((logit, moved), (1.0 + f64::from(ACCELERATED), None), "the accelerator's own score");
            }
            None => assert!(answer.text().contains("error"), "{answer:?}"),
        }
        assert!(Instant::now() < until, "the models never move");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn models_of_a_lost_device_move_to_the_cpu_where_that_is_wanted_and_nothing_is_mixed() {
    for (sentence, documents) in [
        ("a device that is gone", &["=dead"][..]),
        ("one whose memory is full", &["=full"][..]),
        ("one that hangs every worker", &["=deaf a", "=deaf b"][..]),
    ] {
        let app = accelerated(true, true);
        assert_eq!(probe(&app, "fake", "cached").0, Some(1.0 + f64::from(ACCELERATED)), "{sentence}");
        let before = app.get("/info").ok();
        assert_eq!(
            (&before["models"][0]["provider"], &before["models"][0]["moved_from"]),
            (&"cuda".into(), &Value::Null)
        );
        std::thread::scope(|scope| {
            for document in documents {
                let app = &app;
                scope.spawn(move || assert_eq!(app.post("/v1/rerank", body("loss", &[document])).status, 424));
            }
        });
        moves(&app);
        // The cache holds the accelerator's score of this very pair.
        let (logit, answer) = probe(&app, "fake", "cached");
        assert_eq!((logit, answer.header("x-rescored-cache-hits")), (Some(1.0), Some("0")), "{sentence}: {answer:?}");
        let (logit, answer) = probe(&app, "other", "cached");
        assert_eq!(
            (logit, answer.header("x-rescored-moved-from")),
            (Some(1.0), Some("cuda")),
            "{sentence}: every model moves"
        );
        let after = app.get("/info").ok();
        for model in after["models"].as_array().expect("models") {
            assert_eq!((&model["provider"], &model["precision"]), (&"cpu".into(), &"fp32".into()), "{sentence}");
            assert_eq!(model["moved_from"], "cuda", "{sentence}");
        }
        assert_ne!(after["models"][0]["fingerprint"], before["models"][0]["fingerprint"], "{sentence}");
        assert_eq!(app.figure("rescored_models_moved"), 2, "{sentence}");
        assert_eq!(app.figure("rescored_model_changes_total{reason=\"moved_to_cpu\"}"), 1, "{sentence}: once");
        let until = Instant::now() + Duration::from_secs(20);
        while app.get("/readyz").status != 200 {
            assert!(Instant::now() < until, "{sentence}: readiness does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(app.get("/livez").status, 200, "{sentence}: a restart would change nothing");
        // An operator who has repaired the device loads the model again.
        let loaded = app.post("/v2/repository/models/fake/load", "{}");
        assert_eq!(loaded.status, 200, "{loaded:?}");
        let (logit, answer) = probe(&app, "fake", "cached");
        assert_eq!(
            (logit, answer.header("x-rescored-moved-from")),
            (Some(1.0 + f64::from(ACCELERATED)), None),
            "{sentence}"
        );
        assert_eq!(app.figure("rescored_models_moved"), 1, "{sentence}: the other one is still there");
    }
}

#[test]
fn models_of_a_lost_device_stay_where_that_is_wanted_or_there_is_nowhere_to_go() {
    for (sentence, guarded, has_cpu_graph) in [("meant to fail", false, true), ("no graph for the cpu", true, false)] {
        let app = accelerated(guarded, has_cpu_graph);
        assert_eq!(app.post("/v1/rerank", body("loss", &["=dead"])).status, 424, "{sentence}");
        let until = Instant::now() + Duration::from_secs(30);
        for number in 0.. {
            let (logit, answer) = probe(&app, "fake", &format!("query {number}"));
            assert_eq!((logit, answer.header("x-rescored-moved-from")), (None, None), "{sentence}: {answer:?}");
            let tried = app.figure("rescored_model_changes_total{reason=\"failed\"}") > 0;
            if app.figure("rescored_worker_faults_total{reason=\"device_lost\"}") > 0 && tried == guarded {
                break;
            }
            assert!(Instant::now() < until, "{sentence}: nobody says that the device is lost");
        }
        assert_eq!(app.figure("rescored_models_moved"), 0, "{sentence}");
        assert_eq!(app.get("/info").ok()["models"][0]["provider"], "cuda", "{sentence}");
        assert_eq!(app.get("/readyz").status, 503, "{sentence}");
    }
}
