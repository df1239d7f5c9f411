//! The interface's description against the real answers.

use std::process::Command;

use serde_json::Value;

use crate::support::App;

/// Why a value does not fit a schema; enough of JSON Schema for what the description uses.
fn misfit(value: &Value, schema: &Value) -> Option<String> {
    if let Some(options) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let misfits: Vec<String> = options.iter().filter_map(|option| misfit(value, option)).collect();
        return (misfits.len() == options.len()).then(|| misfits.join("; "));
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
        return Some(format!("{value} is not {kinds:?}"));
    }
    let missing = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|key| value.get(key).is_none());
    if let Some(key) = missing {
        return Some(format!("{key} is missing in {value}"));
    }
    let undescribed = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .find(|key| schema["properties"].get(key.as_str()).is_none());
    if let Some(key) = undescribed.filter(|_| schema["properties"].is_object()) {
        return Some(format!("{key} is not described"));
    }
    let mut properties = schema["properties"].as_object().into_iter().flatten();
    let inner = properties.find_map(|(key, schema)| misfit(value.get(key)?, schema));
    inner.or_else(|| value.as_array().into_iter().flatten().find_map(|item| misfit(item, &schema["items"])))
}

#[test]
fn every_example_is_answered_as_described() {
    let app = App::start();
    let document = app.get("/openapi.json").ok();
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let Some(post) = methods.get("post") else { continue };
        let example = &post["requestBody"]["content"]["application/json"]["example"];
        let request = &post["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(misfit(example, request).filter(|why| !why.contains("not described")), None, "{path}: its example");
        let path = path.replace("{model}", "fake").replace("{version}", "1");
        let answer = app.post(&path, example.to_string()).ok();
        let schema = &post["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(misfit(&answer, schema), None, "{path}: its answer");
        let refusal = app.post(&path, "{").json();
        assert_eq!(misfit(&refusal, &document["components"]["schemas"]["Error"]), None, "{path}: its refusal");
        checked += 1;
    }
    assert!(checked > 10, "only {checked} faces are described");
}

#[test]
fn the_page_is_served() {
    let page = App::start().get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("/v2/rerank"));
}

/// Generated requests, right and wrong ones, against every endpoint. Wants `schemathesis` (PyPI) on the path.
#[test]
fn schemathesis_finds_nothing() {
    if Command::new("schemathesis").arg("--version").output().is_err() {
        eprintln!("skipped: schemathesis is not on the path; `pip install schemathesis` brings it");
        return;
    }
    let app = App::start();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml");
    let folder = tempfile::tempdir().expect("a folder");
    let run = Command::new("schemathesis")
        .current_dir(folder.path())
        .args(["--config-file", config, "run", "--max-examples", "20", "--workers", "2", "--no-color"])
        .arg(format!("http://{}/openapi.json", app.address))
        .output()
        .expect("schemathesis runs");
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
