//! The dashboard and the alert rules against the real `/metrics`: every name and every label in their queries exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rescored_process::metrics::{Metrics, Reason};
use rescored_process::telemetry::TraceOptions;
use serde_json::Value;

use crate::support::{App, Setup};

const DASHBOARD: &str = include_str!("../../docker/observability/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../docker/observability/alerts.yaml");

/// What Prometheus itself adds to every series.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// Series that are Prometheus's own.
const FOREIGN: [&str; 1] = ["up"];

/// Names in a query, each with the labels that it is matched by, and the labels that results are grouped by.
#[derive(Debug, Default, PartialEq)]
struct Used {
    metrics: BTreeMap<String, BTreeSet<String>>,
    groups: BTreeSet<String>,
}

/// Words of the query language that are no metric: functions, keywords.
const WORDS: [&str; 19] = [
    "sum",
    "min",
    "max",
    "rate",
    "increase",
    "histogram_quantile",
    "max_over_time",
    "absent",
    "label_values",
    "by",
    "on",
    "and",
    "or",
    "unless",
    "avg",
    "count",
    "ignoring",
    "without",
    "offset",
];

/// Reads the names out of a query. Strings are passed over, and so are durations in brackets.
fn read(query: &str) -> Used {
    let mut used = Used::default();
    let mut rest = query;
    let mut grouping = false;
    while let Some(first) = rest.chars().next() {
        let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect();
        if word.is_empty() || first.is_ascii_digit() {
            match first {
                '"' => rest = rest.splitn(3, '"').nth(2).unwrap_or_default(),
                '[' => rest = rest.split_once(']').map_or("", |(_, after)| after),
                _ => rest = rest.get(first.len_utf8().max(word.len())..).unwrap_or_default(),
            }
            grouping &= first != ')';
            continue;
        }
        rest = rest.get(word.len()..).unwrap_or_default();
        if grouping {
            used.groups.insert(word);
        } else if matches!(word.as_str(), "by" | "on" | "without" | "ignoring") {
            grouping = true;
        } else if !WORDS.contains(&word.as_str()) {
            let labels = used.metrics.entry(word).or_default();
            if let Some((matchers, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                let names = matchers
                    .split('"')
                    .step_by(2)
                    .map(|part| part.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
                labels.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
                rest = after;
            }
        }
    }
    used
}

/// Queries of the dashboard's panels, and of its variables.
fn dashboard() -> Vec<String> {
    let board: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = board["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut queries: Vec<String> = targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect();
    let variables = board["templating"]["list"].as_array().expect("variables").iter();
    queries.extend(
        variables
            .filter(|one| one["type"] == "query")
            .map(|one| one["query"].as_str().expect("a query").replace(", instance", "")),
    );
    queries
}

/// Expressions of the alert rules: `expr: …` on one line, or folded below `expr: >`.
fn alerts() -> Vec<String> {
    let mut queries = Vec::new();
    let mut lines = ALERTS.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim_start().strip_prefix("expr: ") else { continue };
        if expression != ">" {
            queries.push(expression.to_owned());
            continue;
        }
        let mut folded = String::new();
        while let Some(more) = lines.next_if(|next| !next.trim_start().starts_with("for:")) {
            folded.push_str(more.trim());
            folded.push(' ');
        }
        queries.push(folded);
    }
    queries
}

/// Series of a page of metrics: each name with its labels.
fn series(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::<String, BTreeSet<String>>::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name: String = line.chars().take_while(|c| !matches!(c, '{' | ' ')).collect();
        let labels = line
            .strip_prefix(name.as_str())
            .and_then(|rest| rest.strip_prefix('{'))
            .and_then(|rest| rest.split_once('}'))
            .map_or("", |(inner, _)| inner);
        let names = labels.split("\",").filter_map(|one| one.split_once('=')).map(|(name, _)| name.to_owned());
        known.entry(name).or_default().extend(names);
    }
    known
}

/// A page on which every labelled family that the queries use has a value.
fn page() -> String {
    let traces = TraceOptions { endpoint: Some("http://127.0.0.1:9".into()), percent: 100 };
    let app = App::with(Setup { queue_tokens: 150, traces, ..Setup::default() });
    app.post("/v1/rerank", r#"{"query":"q","documents":["=nan"]}"#);
    // A request that holds the queue, and others beside it until one is refused; again where the holder was through before.
    // Other documents each time: what was scored once is in the cache and takes no place.
    let begun = std::time::Instant::now();
    let mut turns = 0_u64..;
    let mut refused = false;
    while !refused {
        assert!(begun.elapsed() < Duration::from_secs(30), "the queue fills");
        let first = turns.next().unwrap_or_default() * 1000;
        let slow: Vec<String> = (first..first + 40).map(|n| format!("=slow {n}")).collect();
        let body = serde_json::json!({"query": "q", "documents": slow}).to_string();
        let address = app.address;
        let holder = std::thread::Builder::new()
            .spawn(move || {
                crate::support::Connection::open(address)
                    .post("/v1/rerank", body, "x-request-timeout-ms: 900\r\n")
                    .status
            })
            .expect("a thread");
        while !refused && !holder.is_finished() {
            let document = format!("{} {}", turns.next().unwrap_or_default(), "x".repeat(4000));
            let body = serde_json::json!({"query": "q", "documents": [document]}).to_string();
            refused = app.post("/v1/rerank", body).status == 429;
            std::thread::sleep(Duration::from_millis(5));
        }
        holder.join().expect("an answer");
    }
    app.traces.stop(Duration::from_secs(5));
    app.get("/metrics").text().to_owned()
}

/// Families that have no series before something breaks that no test breaks on the way: as they are declared.
fn rare() -> String {
    let metrics = Metrics::new();
    let reason = Reason { reason: "any" };
    for family in [&metrics.cache_shared_failures, &metrics.worker_faults] {
        family.get_or_create(&reason).inc();
    }
    metrics.render()
}

#[test]
fn every_name_and_label_in_the_dashboard_and_the_rules_exists() {
    let page = page();
    let mut known = series(&page);
    for (name, labels) in series(&rare()) {
        known.entry(name).or_default().extend(labels);
    }
    let (board, rules) = (dashboard(), alerts());
    assert!(board.len() > 25 && rules.len() > 8, "queries are read: {} and {}", board.len(), rules.len());
    let mut grouped = BTreeSet::new();
    for query in board.iter().chain(&rules) {
        let used = read(query);
        assert!(!used.metrics.is_empty(), "{query}");
        let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
        for (name, matched) in used.metrics.iter().filter(|(name, _)| !FOREIGN.contains(&name.as_str())) {
            assert!(known.contains_key(name), "{name} is not on the page: {query}");
            labels.extend(known.get(name).into_iter().flatten().cloned());
            let strange: Vec<_> = matched.difference(&labels).collect();
            assert!(strange.is_empty(), "{name} has no label {strange:?}: {query}");
        }
        let strange: Vec<_> = used
            .groups
            .difference(&labels)
            .filter(|_| used.metrics.keys().any(|name| known.contains_key(name)))
            .collect();
        assert!(strange.is_empty(), "nothing is grouped by {strange:?}: {query}");
        grouped.extend(used.groups);
    }
    for label in ["dialect", "status", "reason", "outcome"] {
        assert!(grouped.contains(label), "{label} is used, and so was checked");
    }
}

#[test]
fn queries_are_read_as_they_are_meant() {
    let used = read(
        r#"sum by (face, le) (rate(a_total{status=~"4..",b!="x, y"}[5m])) / max_over_time(c[1h]) > 0.01 or absent(up)"#,
    );
    let metrics: Vec<(&str, Vec<&str>)> = used
        .metrics
        .iter()
        .map(|(name, labels)| (name.as_str(), labels.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(metrics, [("a_total", vec!["b", "status"]), ("c", vec![]), ("up", vec![])]);
    assert_eq!(used.groups.iter().map(String::as_str).collect::<Vec<_>>(), ["face", "le"]);
}

#[test]
fn prometheus_reads_the_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/observability/alerts.yaml");
    let run = Command::new("promtool").args(["check", "rules"]).arg(&rules).output();
    let run = run.expect("promtool is on the path; Debian's package prometheus brings it");
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let queries = dashboard();
    // The tool reads expressions in rules only: each of the dashboard's becomes one.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dashboard.yaml");
    let rules: Vec<Value> = queries
        .iter()
        .filter(|query| query.contains('('))
        .filter(|query| !query.starts_with("label_values"))
        .enumerate()
        .map(|(at, query)| serde_json::json!({"record": format!("panel:{at}"), "expr": query.replace("$__rate_interval", "5m")}))
        .collect();
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).expect("a file");
    let run = Command::new("promtool").args(["check", "rules"]).arg(&file).output().expect("promtool runs");
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
