//! Models that are told what to look for: a decoder's prompt has a place for it.

use serde_json::{Value, json};

use rescored_server::http::{Leniency, Strict};

use crate::documents::DIALECTS;
use crate::support::{App, Nature, Setup};

fn prompted() -> App {
    App::with(Setup { nature: Nature::Prompted, ..Setup::default() })
}

fn score(app: &App, extra: &[(&str, Value)]) -> f64 {
    let mut body = json!({"query": "q", "documents": ["a"], "raw_scores": true});
    for (key, value) in extra {
        body[*key] = value.clone();
    }
    app.post("/v1/rerank", body.to_string()).ok()["results"][0]["relevance_score"].as_f64().expect("a number")
}

#[test]
fn an_instruction_is_part_of_what_is_scored_under_both_of_its_names() {
    let app = prompted();
    let (plain, asked) = (score(&app, &[]), score(&app, &[("instruction", json!("find lakes"))]));
    assert!((plain - asked).abs() > 1e-3, "{plain} and {asked}");
    for (why, extra, expected) in [
        ("its other name", vec![("instruct", json!("find lakes"))], asked),
        ("both names, alike", vec![("instruct", json!("find lakes")), ("instruction", json!("find lakes"))], asked),
        (
            "both names, apart: the first counts",
            vec![("instruct", json!("x")), ("instruction", json!("find lakes"))],
            asked,
        ),
        ("the model's own", vec![("instruction", json!("rank"))], plain),
        ("an empty one is none", vec![("instruction", json!(""))], plain),
        ("null is none", vec![("instruction", Value::Null)], plain),
    ] {
        assert!((score(&app, &extra) - expected).abs() < 1e-9, "{why}");
    }
    let pair = json!({"text_1": "q", "text_2": "a", "use_activation": false, "instruct": "find lakes"}).to_string();
    let scored = app.post("/score", pair).ok()["data"][0]["score"].as_f64().expect("a number");
    assert!((scored - asked).abs() < 1e-9, "vLLM's score");
}

#[test]
fn scores_of_different_instructions_do_not_answer_for_one_another() {
    let app = prompted();
    let hits = |extra: Value| {
        let mut body = json!({"query": "q", "documents": ["a", "b"]});
        if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
            body.extend(extra.clone());
        }
        let answer = app.post("/v1/rerank", body.to_string());
        answer.ok();
        answer.header("x-rescored-cache-hits").expect("a header").to_owned()
    };
    for (extra, expected) in [
        (json!({}), "0"),
        (json!({"instruction": "find lakes"}), "0"),
        (json!({"instruction": "find lakes"}), "2"),
        (json!({"instruction": "find"}), "0"),
        (json!({"instruction": "rank"}), "2"),
        (json!({}), "2"),
    ] {
        assert_eq!(hits(extra.clone()), expected, "{extra}");
    }
}

#[test]
fn a_model_says_what_it_can_be_told_and_one_that_takes_nothing_says_so() {
    let card = prompted().get("/info").ok()["models"][0]["prompt"].clone();
    assert_eq!((&card["takes_instruction"], &card["instruction"]), (&json!(true), &json!("rank")), "{card}");
    let plain = App::start();
    assert!(plain.get("/info").ok()["models"][0].get("prompt").is_none());
    for (path, body) in DIALECTS {
        let body = body("\"q\"", &["\"a\""]).replacen('{', "{\"instruct\":\"find lakes\",", 1);
        let answer = plain.post(path, body);
        answer.ok();
        let noted = answer.header("x-rescored-warnings").unwrap_or_default();
        assert!(noted.contains("instruct"), "{path}: {answer:?}");
    }
}

#[test]
fn in_strict_mode_an_instruction_is_served_where_it_can_be() {
    let leniency = Leniency { strict: Strict::On, ..Leniency::default() };
    let app = App::with(Setup { nature: Nature::Prompted, leniency, ..Setup::default() });
    assert!((score(&app, &[("instruction", json!("find lakes"))]) - score(&app, &[])).abs() > 1e-3);
}

#[test]
fn what_is_no_instruction_is_refused_and_none_of_it_comes_back() {
    let app = prompted();
    let many = "zanzibar ".repeat(60);
    let long = "zanzibar ".repeat(4000);
    for (why, instruction, status, expected) in [
        ("a number", json!(7), 400, "instruction"),
        ("a list", json!(["find"]), 400, "instruction"),
        ("more tokens than fit", json!(many), 422, "fit beside the model's prompt and both texts; shorten it"),
        ("more bytes than any has", json!(long), 413, "instruction: 36000 bytes, the limit"),
    ] {
        let body = json!({"query": "q", "documents": ["a", "b"], "instruction": instruction});
        let answer = app.post("/v1/rerank", body.to_string());
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        assert!(answer.text().contains(expected) && !answer.text().contains("zanzibar"), "{why}: {answer:?}");
    }
    assert!(score(&app, &[]).is_finite(), "the next request is answered");
}
