//! `rescored eval` from outside: the real model on a small set of its own, and the built-in first stage on real texts.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use rescored_lab::eval::data::{Choice, Dataset};
use serde_json::Value;

use crate::lab::lab;
use crate::support::models;
use crate::xquad;

/// Questions, a sentence that answers each, and one that only shares its subject: the run of this set lists the latter first.
const FACTS: [(&str, &str, &str); 6] = [
    (
        "how many people live in berlin",
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Berlin is well known for its museums.",
    ),
    (
        "what do pandas eat",
        "The giant panda's diet is almost entirely bamboo; pandas eat 10 to 40 kilograms of it a day.",
        "A panda was born in the zoo last week.",
    ),
    (
        "who wrote hamlet",
        "Hamlet is a tragedy written by William Shakespeare between 1599 and 1601.",
        "Hamlet will be shown in the town's theatre next Friday.",
    ),
    (
        "when did the titanic sink",
        "The Titanic sank in the North Atlantic Ocean on 15 April 1912.",
        "The Titanic was built in Belfast.",
    ),
    (
        "why is the sky blue",
        "The sky is blue because air scatters the short wavelengths of sunlight more than the long ones.",
        "The blue sky was painted by many artists.",
    ),
    (
        "how tall is mount everest",
        "Mount Everest is 8,849 metres tall, which makes it the highest mountain above sea level.",
        "Mount Everest draws many climbers every year.",
    ),
];

fn set(folder: &Path) {
    let (mut corpus, mut queries, mut qrels) =
        (String::new(), String::new(), "query-id\tcorpus-id\tscore\n".to_owned());
    for (number, (question, answer, other)) in FACTS.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(corpus, r#"{{"_id":"other{number}","title":"","text":"{other}"}}"#);
        let _ = writeln!(corpus, r#"{{"_id":"answer{number}","title":"","text":"{answer}"}}"#);
        let _ = writeln!(queries, r#"{{"_id":"q{number}","text":"{question}"}}"#);
        let _ = writeln!(qrels, "q{number}\tanswer{number}\t1");
    }
    let mut run = String::new();
    for query in 0..FACTS.len() {
        for (place, document) in (0..FACTS.len()).map(|n| (query + n) % FACTS.len()).enumerate() {
            let score = 20 - 2 * place;
            let _ = writeln!(run, "q{query}\tother{document}\t1\t{score}");
            let _ = writeln!(run, "q{query}\tanswer{document}\t2\t{}.5", score - 1);
        }
    }
    for (name, content) in
        [("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", qrels), ("run.tsv", run)]
    {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
}

fn eval(data: &Path, flags: &[&str]) -> Output {
    lab();
    let dir = models().display().to_string();
    Command::new(env!("CARGO_BIN_EXE_rescored"))
        .env_clear()
        .envs([("RESCORED_MODEL_DIR", dir.as_str()), ("RESCORED_GRAPH", "source"), ("RESCORED_LOG", "error")])
        .args(["eval", "--data", &data.display().to_string()])
        .args(flags)
        .output()
        .expect("the program runs")
}

#[test]
fn reranking_is_shown_to_help_where_the_first_stage_is_wrong() {
    let data = tempfile::tempdir().expect("a folder");
    set(data.path());
    let out = data.path().join("report");
    let out_flag = out.display().to_string();
    let flags = ["--windows", "12,2", "--draws", "1000", "--format", "json", "--out", &out_flag];
    let Output { status, stdout, stderr } = eval(data.path(), &flags);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let report: Value = serde_json::from_slice(&stdout).expect("JSON");
    let systems = report["systems"].as_array().expect("systems");
    let names: Vec<&str> = systems.iter().map(|system| system["name"].as_str().expect("a name")).collect();
    let model = "ms-marco-MiniLM-L-12-v2@int8/source";
    assert_eq!(names, ["run.tsv", &format!("{model} top 12"), &format!("{model} top 2")]);
    let ndcg = |system: usize| systems[system]["ndcg_at_10"].as_f64().expect("a number");
    assert!((ndcg(0) - 1.0 / 3f64.log2()).abs() < 1e-9, "every answer stands second: {}", ndcg(0));
    assert!(ndcg(1) > 0.9, "the model finds the answers: {report}");
    let compared = &systems[1]["against_first_stage"];
    assert_eq!(compared["losses"], 0, "{compared}");
    assert!(compared["p"].as_f64().expect("a number") < 0.05, "{compared}");
    assert_eq!(systems[1]["queries"].as_array().expect("queries").len(), FACTS.len());
    let page = std::fs::read_to_string(out.join("report.md")).expect("a report");
    assert!(page.contains("Reranking helps"), "{page}");
    let drawn = std::fs::read_to_string(out.join("quality.svg")).expect("a chart");
    assert!(drawn.starts_with("<svg") && drawn.contains("top 12"), "{drawn}");
    let written: Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).expect("a report")).expect("JSON");
    assert_eq!(written["systems"], report["systems"], "what is printed is what is written");
}

#[test]
fn a_loss_beyond_what_is_allowed_is_an_exit_code_of_its_own() {
    let data = tempfile::tempdir().expect("a folder");
    set(data.path());
    // Rescoring one document changes no order: it loses what the first system gained.
    let flags = ["--windows", "12,1", "--max-loss", "5", "--draws", "100"];
    let Output { status, stderr, .. } = eval(data.path(), &flags);
    assert_eq!(status.code(), Some(2), "{}", String::from_utf8_lossy(&stderr));
    assert!(String::from_utf8_lossy(&stderr).contains("top 1` loses"), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn a_set_that_is_not_there_and_a_cascade_of_nothing_are_reported() {
    let data = tempfile::tempdir().expect("a folder");
    for (case, flags, code, hint) in [
        ("an empty folder", &[][..], 1, "expected corpus.jsonl, queries.jsonl and qrels.tsv"),
        ("a window of nothing", &["--windows", "0"], 64, "--windows"),
        ("a cascade without a number", &["--cascade", "m"], 64, "MODEL:K"),
    ] {
        let Output { status, stderr, .. } = eval(data.path(), flags);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(code) && said.contains(hint), "{case}: {status}: {said}");
    }
}

#[test]
fn the_built_in_first_stage_finds_what_a_run_of_bm25_holds() {
    let open = |run: bool| {
        let bare = tempfile::tempdir().expect("a folder");
        let files = ["corpus.jsonl", "queries.jsonl", "qrels.tsv"];
        for file in files.into_iter().chain(run.then_some("run.tsv")) {
            std::fs::write(bare.path().join(file), xquad::file(file)).expect("written");
        }
        let dir = bare.path().to_owned();
        let choice = Choice { dir, split: "test".into(), run: None, queries: Some(400), depth: 50 };
        Dataset::open(&choice).expect("a data set")
    };
    let (theirs, ours) = (open(true), open(false));
    assert_eq!((theirs.first_stage.as_str(), ours.first_stage.as_str()), ("run.tsv", "BM25"));
    assert_eq!((theirs.queries.len(), ours.queries.len()), (400, 400));
    for (theirs_query, ours_query) in theirs.queries.iter().zip(&ours.queries) {
        let texts = |data: &Dataset, query: &rescored_lab::eval::data::Query| {
            query.candidates.iter().map(|&document| data.documents[document].clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&theirs, theirs_query), texts(&ours, ours_query), "{}", ours_query.id);
    }
}
