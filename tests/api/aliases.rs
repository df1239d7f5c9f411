//! What requests may call a model: its id, its repository, and names that an operator gave it.

use serde_json::json;

use crate::support::{App, Nature, Pace, Setup, version};

/// A client's fixed name, one with signs that paths and addresses use, and a name of the first model.
const ALIASES: [(&str, &str); 3] =
    [("rerank-v3.5", "other"), ("arn:aws:bedrock::model/cohere.rerank-v3-5:0", "other"), ("first", "fake")];

/// Every name of the model `other`; that of its repository is the fake's.
const NAMES: [&str; 4] = ["other", "rerank-v3.5", "arn:aws:bedrock::model/cohere.rerank-v3-5:0", "tests/other"];

fn start() -> App {
    App::with(Setup { aliases: ALIASES.to_vec(), ..Setup::default() })
}

/// Requests that `other` has answered.
fn answered(app: &App) -> u64 {
    app.figure(r#"rescored_model_requests_total{model="other"}"#)
}

// Case D9.
#[test]
fn a_model_answers_to_its_id_its_aliases_and_its_repository_in_every_dialect() {
    let app = start();
    let documents = json!({"query": "q", "documents": ["=1 a", "=2 b"]});
    let bodies = [
        ("/v1/rerank", documents.clone()),
        ("/v2/rerank", documents.clone()),
        ("/jina/v1/rerank", documents.clone()),
        ("/vllm/rerank", documents.clone()),
        ("/infinity/rerank", documents.clone()),
        ("/voyage/v1/rerank", documents),
        ("/score", json!({"text_1": "q", "text_2": ["=1 a"]})),
        ("/v1/ranking", json!({"query": {"text": "q"}, "passages": [{"text": "=1 a"}]})),
        (
            "/rescore/opensearch",
            json!({"query": "q", "fields": ["t"],
                "response": {"hits": {"hits": [{"_id": "1", "_score": 1.0, "_source": {"t": "=1 a"}}]}}}),
        ),
    ];
    for (path, body) in bodies {
        for name in NAMES {
            let before = answered(&app);
            let mut body = body.clone();
            body["model"] = json!(name);
            let answer = app.post(path, body.to_string());
            assert_eq!(answer.status, 200, "{path}: {name}: {answer:?}");
            assert_eq!(answered(&app), before + 1, "{path}: {name}");
            // As always, the answer names the model by its id, where the dialect names it at all.
            let named = &answer.json()["model"];
            assert!(named.is_null() || named == "other", "{path}: {name}: {named}");
        }
    }
}

// Case D9.
#[test]
fn a_name_with_a_slash_is_one_part_of_a_path_where_it_is_encoded() {
    let app = start();
    let body = r#"{"inputs":[{"name":"query","data":["q"]},{"name":"passage","data":["=1 a"]}]}"#;
    for name in ["other", "rerank-v3.5", "tests%2Fother", "arn:aws:bedrock::model%2fcohere.rerank-v3-5:0"] {
        let before = answered(&app);
        assert_eq!(app.post(&format!("/v2/models/{name}/infer"), body).ok()["model_name"], "other", "{name}");
        assert_eq!(answered(&app), before + 1, "{name}");
        assert_eq!(app.get(&format!("/v2/models/{name}")).ok()["name"], "other", "{name}");
        assert_eq!(app.get(&format!("/v2/models/{name}/ready")).ok()["ready"], true, "{name}");
    }
}

// Case D9.
#[test]
fn what_is_no_name_is_refused_with_those_that_are_served_and_where_others_are_given() {
    let app = start();
    for name in ["rerank-v3", "tests/", "tests", "OTHER"] {
        let refused = app.post("/v1/rerank", json!({"model": name, "query": "q", "documents": ["a"]}).to_string());
        assert_eq!(refused.status, 404, "{name}: {refused:?}");
        let sentence = refused.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(sentence.contains("served: fake, other") && sentence.contains("RESCORED_ALIASES"), "{sentence}");
    }
}

// Case D9.
#[test]
fn aliases_are_reported_with_their_models() {
    let info = start().get("/info").ok();
    assert_eq!(info["models"][0]["aliases"], json!(["first"]));
    assert_eq!(info["models"][1]["aliases"], json!(["rerank-v3.5", "arn:aws:bedrock::model/cohere.rerank-v3-5:0"]));
    assert!(App::start().get("/info").ok()["models"][0].get("aliases").is_none(), "a model without aliases lists none");
}

/// New files of every model, of other scores.
struct Other;

impl rescored_server::repository::Opener for Other {
    fn open(
        &self,
        id: &str,
    ) -> Result<
        (rescored_runtime::Model, Vec<rescored_runtime::golden::Golden>),
        Box<dyn std::error::Error + Send + Sync>,
    > {
        Ok((version(id, Pace::default(), Nature::Shifted(1.0)), Vec::new()))
    }
}

// Case D9.
#[test]
fn an_alias_means_what_answers_by_its_models_id_after_a_swap_and_nothing_while_that_is_unloaded() {
    let app = App::with(Setup { aliases: ALIASES.to_vec(), opener: Some(Box::new(Other)), ..Setup::default() });
    let ask = |model: &str| {
        let body = json!({"model": model, "query": "q", "documents": ["=1 a"], "raw_scores": true});
        app.post("/v1/rerank", body.to_string())
    };
    let score = |model: &str| ask(model).ok()["results"][0]["relevance_score"].clone();
    assert_eq!(score("rerank-v3.5"), json!(1.0));
    app.post("/v2/repository/models/other/load", "{}").ok();
    for name in NAMES {
        assert_eq!(score(name), json!(2.0), "{name}");
    }
    assert_eq!(app.get("/info").ok()["models"][1]["aliases"][0], "rerank-v3.5");
    app.post("/v2/repository/models/other/unload", "{}").ok();
    for name in NAMES {
        assert_eq!(ask(name).status, 404, "{name}");
    }
    app.post("/v2/repository/models/other/load", "{}").ok();
    assert_eq!(score("rerank-v3.5"), json!(2.0));
}
