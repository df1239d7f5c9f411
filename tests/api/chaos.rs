//! A model that panics, fails, answers nonsense or hangs, as documents ask it to: what others and probes see of that.

use std::time::{Duration, Instant};

use rescored_core::random::Seeded;

use crate::support::{App, Setup};

fn app() -> App {
    App::with(Setup { stuck_after: Duration::from_millis(60), ..Setup::default() })
}

/// `documents` as the body of a request that forbids the cache no answer: its query is its own.
fn body(query: &str, documents: &[String], partial: bool) -> String {
    serde_json::json!({"query": query, "documents": documents, "raw_scores": true, "allow_partial": partial})
        .to_string()
}

/// Waits until a path answers with this status.
fn comes(app: &App, path: &str, status: u16) {
    let until = Instant::now() + Duration::from_secs(10);
    while app.get(path).status != status {
        assert!(Instant::now() < until, "{path} has not come to {status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_document_that_breaks_the_model_fails_alone() {
    let app = app();
    let good: Vec<String> = (0..15).map(|n| format!("={n} good")).collect();
    for (fault, metric) in [
        ("panic", "rescored_worker_faults_total{reason=\"panic\"}"),
        ("error", "rescored_worker_faults_total{reason=\"error\"}"),
        ("short", "rescored_worker_faults_total{reason=\"wrong_length\"}"),
        ("nan", "rescored_pair_failures_total{reason=\"non_finite\"}"),
        ("hang", "rescored_worker_faults_total{reason=\"stuck\"}"),
    ] {
        let mut documents = good.clone();
        documents.insert(7, format!("={fault}"));
        // Of one length, so that they share a forward pass.
        let longest = documents.iter().map(String::len).max().expect("documents");
        let documents: Vec<String> = documents.iter().map(|text| format!("{text:longest$}")).collect();
        let answer = app.post("/v1/rerank", body(fault, &documents, false));
        assert_eq!(answer.status, 424, "{fault}: {answer:?}");
        assert!(answer.text().contains("documents[7]: "), "{fault}: {answer:?}");
        let part = app.post("/v1/rerank", body(fault, &documents, true));
        assert_eq!(part.header("x-rescored-partial"), Some("15/16"), "{fault}: {part:?}");
        let answer = part.ok();
        assert_eq!(answer["usage"]["partial"], serde_json::json!({"scored": 15, "documents": 16}), "{fault}");
        let order: Vec<u64> = answer["results"]
            .as_array()
            .expect("results")
            .iter()
            .map(|item| item["index"].as_u64().expect("one"))
            .collect();
        let right: Vec<u64> = (0..16).rev().filter(|index| *index != 7).chain([7]).collect();
        assert_eq!(order, right, "{fault}: best first, the one at fault below");
        assert!(app.figure(metric) > 0, "{fault}: {metric}");
        comes(&app, "/readyz", 200);
    }
    assert_eq!(app.get("/livez").status, 200);
    assert_eq!(app.figure("rescored_queue_tokens"), 0);
    assert_eq!(app.figure("rescored_workers_alive"), 2);
}

#[test]
fn readiness_reports_a_stuck_pass_and_its_end() {
    let app = App::with(Setup { stuck_after: Duration::from_millis(300), ..Setup::default() });
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| app.post("/v1/rerank", body("q", &["=deaf".into()], false)));
        comes(&app, "/readyz", 503);
        assert_eq!(app.get("/livez").status, 200, "one worker of two can be replaced");
        let other = app.post("/v1/rerank", body("q", &["=2".into()], false)).ok();
        assert_eq!(other["results"][0]["relevance_score"], 2.0, "others go on");
        comes(&app, "/readyz", 200);
        let answer = stuck.join().expect("an answer");
        assert_eq!(answer.status, 424, "{answer:?}");
        assert!(answer.text().contains("did not end"), "{answer:?}");
    });
    assert_eq!(app.figure("rescored_worker_faults_total{reason=\"lost\"}"), 1);
    assert_eq!(app.figure("rescored_workers_left_behind"), 1);
    let another = app.post("/v1/rerank", body("q", &["=deaf 2".into()], false));
    assert_eq!(another.status, 424, "{another:?}");
    comes(&app, "/livez", 503);
}

#[test]
fn a_document_that_took_workers_down_twice_is_refused_without_a_pass() {
    let app = app();
    for _ in 0..2 {
        assert_eq!(app.post("/v1/rerank", body("q", &["=panic".into()], false)).status, 424);
    }
    comes(&app, "/readyz", 200);
    let panics = app.figure("rescored_worker_faults_total{reason=\"panic\"}");
    assert_eq!(app.post("/v1/rerank", body("q", &["=panic".into()], false)).status, 424);
    assert_eq!(app.figure("rescored_worker_faults_total{reason=\"panic\"}"), panics);
}

/// Faults in a row.
const FAULTS: u64 = 1000;

#[test]
fn a_thousand_random_faults_leave_no_request_hanging_and_no_score_wrong() {
    let app = app();
    let kinds = ["panic", "error", "short", "nan", "panic", "error", "short", "nan", "error", "hang"];
    let clients = 8;
    std::thread::scope(|scope| {
        for client in 0..clients {
            let app = &app;
            scope.spawn(move || {
                let mut connection = app.connect();
                let mut random = Seeded::new(client);
                for number in 0..FAULTS / clients {
                    let kind = kinds[random.below(kinds.len())];
                    let place = random.below(5);
                    let mut documents: Vec<String> = (0..4).map(|n| format!("={n} {client} {number}")).collect();
                    documents.insert(place, format!("={kind} {client} {number}"));
                    let started = Instant::now();
                    let answer = connection.post("/v1/rerank", body("q", &documents, true), "");
                    assert!(started.elapsed() < Duration::from_secs(20), "{kind}: {:?}", started.elapsed());
                    let answer = answer.ok();
                    let results = answer["results"].as_array().expect("results");
                    let scores: Vec<f64> =
                        results.iter().map(|item| item["relevance_score"].as_f64().expect("one")).collect();
                    assert_eq!(&scores[..4], [3.0, 2.0, 1.0, 0.0], "{kind} at {place}");
                    assert_eq!(results[4]["index"], place, "{kind}");
                }
            });
        }
    });
    comes(&app, "/readyz", 200);
    assert_eq!(app.get("/livez").status, 200);
    assert_eq!(app.figure("rescored_queue_tokens"), 0);
    assert_eq!(app.figure("rescored_requests_in_flight"), 0);
    assert_eq!(app.figure("rescored_workers_left_behind"), 0);
}
