//! The page at `/ui`: its files, its headers, its figures, and who gets them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rescored_server::http::Ui;

use crate::support::{App, Setup};

const FILES: [(&str, &str); 4] = [
    ("/ui", "text/html; charset=utf-8"),
    ("/ui/style.css", "text/css; charset=utf-8"),
    ("/ui/main.js", "text/javascript; charset=utf-8"),
    ("/ui/icon.svg", "image/svg+xml"),
];

fn keys() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, "secret\n").expect("a file");
    (folder, path)
}

#[test]
fn the_page_may_ask_nobody_but_this_server() {
    let app = App::start();
    for (path, kind) in FILES {
        let file = app.get(path);
        assert_eq!((file.status, file.header("content-type")), (200, Some(kind)), "{path}");
        let policy = file.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")] {
            assert_eq!(file.header(name), Some(value), "{path}");
        }
    }
}

#[test]
fn a_copy_that_is_still_right_is_not_sent_again() {
    let app = App::start();
    let file = app.get("/ui/main.js");
    assert_eq!(file.header("cache-control"), Some("no-cache"));
    let tag = file.header("etag").expect("a tag");
    let ask = |known: &str| {
        app.connect()
            .send(format!("GET /ui/main.js HTTP/1.1\r\nhost: x\r\nif-none-match: {known}\r\nconnection: close\r\n\r\n"))
    };
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let again = ask(&known);
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
    }
    assert_eq!(ask("\"other\"").status, 200);
}

#[test]
fn a_page_that_is_off_is_an_unknown_path() {
    let app = App::with(Setup { ui: Ui::Off, ..Setup::default() });
    for (path, _) in FILES {
        assert_eq!(app.get(path).status, 404, "{path}");
    }
    assert_eq!(app.get("/ui/live").status, 404);
}

#[test]
fn a_trailing_slash_leads_to_the_page() {
    let answer = App::start().get("/ui/");
    assert_eq!((answer.status, answer.header("location")), (308, Some("../ui")));
    assert_eq!(App::start().post("/ui", "{}").status, 405);
}

#[test]
fn figures_of_the_last_minutes_count_scores_and_refusals_only() {
    let app = App::start();
    app.post("/v1/rerank", r#"{"query":"q","documents":["a","b"]}"#).ok();
    assert_eq!(app.post("/v1/rerank", "{").status, 400);
    app.get("/livez").ok();
    let started = Instant::now();
    let reported = loop {
        let reported = app.get("/ui/live").ok();
        if !reported["rows"].as_array().expect("rows").is_empty() {
            break reported;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "no sample came");
        std::thread::sleep(Duration::from_millis(100));
    };
    let columns: Vec<&str> =
        reported["columns"].as_array().expect("columns").iter().filter_map(|name| name.as_str()).collect();
    let value = |name: &str| {
        let at = columns.iter().position(|column| *column == name).expect(name);
        reported["rows"].as_array().expect("rows").iter().filter_map(|row| row[at].as_f64()).sum::<f64>()
    };
    let figures = [("requests", 2.0), ("failed", 1.0), ("refused", 0.0), ("pairs", 2.0), ("scored", 2.0)];
    for (name, expected) in figures {
        assert!((value(name) - expected).abs() < 1e-9, "{name} is {}: {reported}", value(name));
    }
    assert!(value("p50_ms") > 0.0 && value("workers") >= 2.0, "{reported}");
    assert_eq!(reported["queue_limit_tokens"], 50_000_000);
    let later = app.get(&format!("/ui/live?after={}", reported["last"])).ok();
    assert!(later["rows"].as_array().expect("rows").len() <= 1, "what is known is not sent again: {later}");
    assert_eq!(app.get("/ui/live?after=x").status, 400);
}

#[test]
fn the_page_loads_without_a_key_and_its_figures_do_not() {
    let (_folder, path) = keys();
    let app = App::with(Setup { api_keys: Some(path), ..Setup::default() });
    assert_eq!(app.get("/ui").status, 200);
    assert_eq!(app.get("/ui/live").status, 401);
    let with_key = "GET /ui/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n";
    app.connect().send(with_key).ok();
}

#[test]
fn an_answer_reports_where_its_time_went() {
    let app = App::start();
    let body = r#"{"query":"q","documents":["one","two"]}"#;
    let stages = |header: &str| {
        let stages = header.split(", ").map(|part| part.split_once(";dur=").expect("a stage and its time"));
        stages.map(|(name, spent)| (name.to_owned(), spent.parse::<f64>().expect("milliseconds"))).collect::<Vec<_>>()
    };
    let names = |stages: &[(String, f64)]| stages.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let fresh = stages(app.post("/v1/rerank", body).header("server-timing").expect("timings"));
    assert_eq!(names(&fresh), ["parse", "cache", "tokenise", "queue", "inference", "print", "total"]);
    let (total, parts) = fresh.split_last().expect("a total");
    let followed: f64 = parts.iter().filter(|(name, _)| name != "tokenise").map(|(_, spent)| spent).sum();
    assert!(followed <= total.1 + 0.01, "stages follow each other: {fresh:?}");
    let cached = stages(app.post("/v1/rerank", body).header("server-timing").expect("timings"));
    assert_eq!(names(&cached), ["parse", "cache", "print", "total"], "what did not happen is not reported");
    let rescored = app.post(
        "/rescore/opensearch",
        r#"{"query":"q","fields":["t"],"response":{"hits":{"hits":[{"_score":1.0,"_source":{"t":"three"}}]}}}"#,
    );
    assert!(rescored.header("server-timing").is_some_and(|header| header.contains("inference;dur=")), "{rescored:?}");
    assert_eq!(app.post("/v1/rerank", "{").header("server-timing"), None);
}

#[test]
fn the_documents_that_were_cut_are_named() {
    let app = App::start();
    let long = "x".repeat(400);
    let body = serde_json::json!({"query": "q", "documents": ["short", long, "brief", long]});
    let answer = app.post("/v1/rerank", body.to_string());
    assert_eq!(answer.header("x-rescored-truncated"), Some("2"));
    assert_eq!(answer.header("x-rescored-truncated-documents"), Some("1,3"));
    let whole = app.post("/v1/rerank", r#"{"query":"q","documents":["short"]}"#);
    assert_eq!(whole.header("x-rescored-truncated-documents"), None);
}
