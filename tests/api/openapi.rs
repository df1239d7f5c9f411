//! The interface's description against the real answers.

use serde_json::Value;

use crate::support::App;

/// Why a value does not fit a schema; enough of JSON Schema for examples and answers. What documents may be is held
/// with a whole validator, by tests/clients/documents.py.
fn misfit(value: &Value, schema: &Value, document: &Value) -> Option<String> {
    let misfit = |value: &Value, schema: &Value| misfit(value, schema, document);
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.trim_start_matches('#')).expect("a schema of that name");
        return misfit(value, named);
    }
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
        // A stream of lines is tested where it is read.
        if post["requestBody"]["content"]["application/json"].is_null() {
            continue;
        }
        let example = &post["requestBody"]["content"]["application/json"]["example"];
        let request = &post["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(
            misfit(example, request, &document).filter(|why| !why.contains("not described")),
            None,
            "{path}: its example"
        );
        let path = path.replace("{model}", "fake").replace("{version}", "1");
        let answer = app.post(&path, example.to_string()).ok();
        let schema = &post["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(misfit(&answer, schema, &document), None, "{path}: its answer");
        let refusal = app.post(&path, "{").json();
        assert_eq!(
            misfit(&refusal, &document["components"]["schemas"]["Error"], &document),
            None,
            "{path}: its refusal"
        );
        checked += 1;
    }
    assert!(checked > 10, "only {checked} dialects are described");
    for path in ["/rescore/opensearch", "/rescore/vespa"] {
        assert!(document["paths"][path]["post"]["requestBody"].is_object(), "{path} is described");
    }
}

#[test]
fn the_repository_refuses_as_described() {
    let app = App::start();
    let document = app.get("/openapi.json").ok();
    for path in ["/v2/repository/index", "/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"] {
        let described = &document["paths"][path]["post"]["responses"];
        let answer = app.post(&path.replace("{model}", "fake"), "");
        assert_eq!(answer.status, 403, "{path}: no setting lets models be changed");
        let schema = &described["403"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Error", "{path}");
        assert_eq!(misfit(&answer.json(), &document["components"]["schemas"]["Error"], &document), None, "{path}");
    }
}

#[test]
fn the_cache_answers_as_described() {
    let app = App::start();
    let document = app.get("/openapi.json").ok();
    app.post("/v1/rerank", r#"{"query":"q","documents":["a","b"]}"#).ok();
    let described = &document["paths"]["/v1/cache"];
    let schema = |method: &str| &described[method]["responses"]["200"]["content"]["application/json"]["schema"];
    let reported = app.get("/v1/cache").ok();
    assert_eq!(misfit(&reported, schema("get"), &document), None, "{reported}");
    assert_eq!(
        (&reported["entries"], &reported["age"]["oldest_seconds"].is_u64()),
        (&Value::from(2), &true),
        "{reported}"
    );
    let gone = app.connect().send("DELETE /v1/cache HTTP/1.1\r\nhost: x\r\n\r\n").ok();
    assert_eq!(misfit(&gone, schema("delete"), &document), None, "{gone}");
    let warm = &document["paths"]["/v1/cache/warm"]["post"];
    let example =
        |of: &Value| of["content"]["application/x-ndjson"]["example"].as_str().expect("an example").to_owned();
    let body = example(&warm["requestBody"]);
    let mut connection = app.connect();
    connection
        .write(format!("POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let (mut line, mut last) = (String::new(), String::new());
    while line != "0\r\n" {
        line.clear();
        connection.line(&mut line);
        if line.starts_with('{') {
            last.clone_from(&line);
        }
    }
    let keys = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("an object a line");
        line.as_object().expect("an object").keys().cloned().collect::<Vec<String>>()
    };
    assert_eq!(keys(&last), keys(&example(&warm["responses"]["200"])), "{last}");
}

#[test]
fn the_page_is_served() {
    let page = App::start().get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("/v2/rerank"));
}
