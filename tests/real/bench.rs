//! `rescored bench` through the front door: a report of a real run, its comparison, and a server that speaks TEI.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rescored_lab::bench::peers::tei;
use rescored_lab::bench::report::Report;
use rescored_lab::bench::texts::Request;
use serde_json::json;

use crate::support::{REAL, models};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescored"))
        .env_clear()
        .env("RESCORED_MODEL_DIR", models())
        .arg("bench")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

/// A report with this throughput in each of its rounds, on this machine.
fn report(folder: &Path, (name, cpu): (&str, &str), rounds: &[f64]) -> String {
    let report = json!({
        "schema": 1, "title": "t", "command": "c", "started": 0, "took_s": 1.0,
        "machine": [{"name": "cpu", "value": cpu}],
        "sections": [{
            "id": "backends", "title": "", "question": "", "setup": [], "findings": [], "settings": [], "tables": [],
            "charts": [], "notes": [],
            "measures": [{"name": "ours/throughput", "unit": "pairs/s", "better": "higher", "rounds": rounds}],
        }],
    });
    let path = folder.join(name);
    std::fs::write(&path, report.to_string()).expect("written");
    path.display().to_string()
}

#[test]
fn a_run_makes_a_report_that_stands_alone_and_compares_with_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let arguments = ["concurrency", "--clients", "1,2", "--batch", "2", "--rounds", "2", "--minutes", "0.02"];
    let said = bench(&[&arguments[..], &["--out", &out, "--format", "json"]].concat());
    assert_eq!(code(&said), 0, "{}", String::from_utf8_lossy(&said.stderr));
    let printed: Report = serde_json::from_slice(&said.stdout).expect("standard output holds the report alone");
    let kept = std::fs::read(folder.path().join("report.json")).expect("kept");
    assert_eq!(serde_json::from_slice::<Report>(&kept).expect("a report"), printed);
    let section = &printed.sections[0];
    assert!(section.findings[0].starts_with("The knee is at"), "{:?}", section.findings);
    assert!(
        section.measures.iter().all(|measure| measure.rounds.len() == 2 && measure.rounds.iter().all(|v| *v > 0.0))
    );
    assert!(printed.machine.iter().any(|fact| fact.name == "sha256 of model.onnx" && fact.value.len() == 64));
    let page = std::fs::read_to_string(folder.path().join("report.html")).expect("kept");
    assert!(page.contains("<svg") && !page.contains("src="), "the page needs nothing else");
    let log = String::from_utf8_lossy(&said.stderr);
    assert!(log.contains("left"), "the time left of the whole run is named: {log}");
    assert!(folder.path().join("concurrency-throughput.svg").exists() && folder.path().join("report.md").exists());
    let json = folder.path().join("report.json").display().to_string();
    assert_eq!(code(&bench(&["compare", &json, &json])), 0);
}

#[test]
fn the_cache_is_measured_with_a_verdict_on_searches_beside_a_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cache.md");
    let kept = file.display().to_string();
    let small =
        ["--rounds", "1", "--seconds", "1", "--connections", "1", "--documents", "4", "--queries", "6", "--hits", "2"];
    // Short texts: each slice waits until all lines of a job that was given up have been scored.
    let lines = |what: &str, count: usize| -> String {
        (0..count).map(|n| json!({"_id": n.to_string(), "text": format!("{what} {n}")}).to_string() + "\n").collect()
    };
    std::fs::write(folder.path().join("corpus.jsonl"), lines("a town with inhabitants", 60)).expect("written");
    std::fs::write(folder.path().join("queries.jsonl"), lines("how many inhabitants has town", 8)).expect("written");
    let data = folder.path().display().to_string();
    let more = ["--searches", "10", "--live", "6", "--data", &data, "--report", &kept, "--format", "json"];
    let said = bench(&[&["cache"][..], &small, &more].concat());
    assert_eq!(code(&said), 0, "{}", String::from_utf8_lossy(&said.stderr));
    let report: Report = serde_json::from_slice(&said.stdout).expect("a report");
    let beside = report.sections.iter().find(|section| section.id == "cache-beside").expect("searches beside a job");
    let finding = &beside.findings[0];
    for part in ["ms alone", "ms beside the job", "a micro-batch of the job takes", "is kept"] {
        // `is not kept` is a verdict, too: this run is too short to judge.
        assert!(finding.replace("is not kept", "is kept").contains(part), "`{part}` is missing: {finding}");
    }
    let counts = beside.tables[0].rows.iter().map(|row| row.cells[1].parse::<u64>().expect("a number"));
    assert!(counts.clone().count() == 2 && counts.min() >= Some(6), "at least as many searches as were asked for");
    let page = std::fs::read_to_string(&file).expect("kept");
    assert!(page.contains("rescored bench cache") && page.contains(finding.as_str()), "{page}");
}

#[test]
fn a_comparison_says_by_its_exit_code_what_became_worse() {
    let folder = tempfile::tempdir().expect("a folder");
    let fast = [100.0, 101.0, 99.0, 102.0, 98.0];
    let slow = fast.map(|rate| rate * 0.7);
    let old = report(folder.path(), ("old.json", "a"), &fast);
    let cases = [
        ("slower", "a", &slow[..], 2),
        ("the same", "a", &fast[..], 0),
        ("on another machine", "b", &slow[..], 1),
        ("too few rounds to tell", "a", &slow[..1], 0),
    ];
    for (case, cpu, rounds, wanted) in cases {
        let new = report(folder.path(), ("new.json", cpu), rounds);
        let said = bench(&["compare", &old, &new]);
        assert_eq!(code(&said), wanted, "{case}: {}", String::from_utf8_lossy(&said.stdout));
    }
    let elsewhere = report(folder.path(), ("new.json", "b"), &slow);
    assert_eq!(code(&bench(&["compare", &old, &elsewhere, "--any-machine"])), 2);
    assert_eq!(code(&bench(&["compare", &old, "/no/such/report.json"])), 64);
}

#[test]
fn wrong_flags_and_folders_without_texts_are_refused() {
    for arguments in [&["backends", "--rounds", "0"][..], &["all", "--minutes", "soon"], &["backends", "--python", "x"]]
    {
        assert_eq!(code(&bench(arguments)), 64, "{arguments:?}");
    }
    let said = bench(&["concurrency", "--data", "/no/such/folder"]);
    assert_eq!(code(&said), 1);
    assert!(String::from_utf8_lossy(&said.stderr).contains("BEIR"), "the message says what is wanted");
}

#[test]
fn a_server_that_speaks_tei_is_measured_by_its_address() {
    let request = Request {
        query: "how many people live in berlin".to_owned(),
        documents: vec![
            "New York City is famous for its museum of art.".to_owned(),
            "Berlin has 3.5 million registered inhabitants.".to_owned(),
        ],
    };
    let candidate = tei(Some(&format!("http://{}", REAL.address)));
    let logits = candidate.target().expect("it answers").send(&request).expect("scored").logits;
    assert!(logits[1] > 5.0 && logits[0] < -5.0, "raw scores in the request's order: {logits:?}");
    let nowhere = tei(Some("http://127.0.0.1:1"));
    assert!(nowhere.target().is_none(), "who does not answer has a reason instead");
}
