//! What sentence-transformers wrote beside a `CrossEncoder`: its activation, its longest sequence, its prompts.
//!
//! Owns the layouts of that library, the newest first. From 5.4 on `config_sentence_transformers.json` has the activation,
//! with `modules.json` and `sentence_bert_config.json` beside it; before that it stood in `config.json`, under
//! `sentence_transformers`, and before 4.0 under a key of its own. The library looks in this order, and so does this: the
//! first place that names an activation decides, whatever the others say. What would change scores and is not served is
//! refused by its name. It must not know graphs.

use rescored_core::domain::Activation;
use serde_json::Value;

use super::ManifestError;
use super::local::Description;

/// The library's own description, from 5.4 on.
pub(super) const OWN: &str = "config_sentence_transformers.json";

/// The description of its first module, which reads texts.
pub(super) const READER: &str = "sentence_bert_config.json";

/// Where the name of an activation may stand, in the order in which the library looks.
const PLACES: [&str; 2] = ["/sentence_transformers/activation_fn", "/sbert_ce_default_activation_function"];

/// What turns logits into scores: sigmoid, as in the library, when nothing names it.
///
/// # Errors
/// When what is named is not served.
pub(super) fn activation(own: &Description, config: &Description, id: &str) -> Result<Activation, ManifestError> {
    let older = PLACES.into_iter().map(|place| (config, place));
    for (description, place) in std::iter::once((own, "/activation_fn")).chain(older) {
        match description.value.pointer(place) {
            // The library writes null where it leaves the choice to its default.
            None | Some(Value::Null) => {}
            Some(Value::String(name)) => {
                return named(name).ok_or_else(|| unserved(description, id, name));
            }
            Some(other) => return Err(unserved(description, id, &other.to_string())),
        }
    }
    Ok(Activation::default())
}

/// The activation of this name. The library writes the full path of a class of torch's; a class of anybody else's may
/// compute anything, whatever it is called.
fn named(name: &str) -> Option<Activation> {
    let (path, class) = name.rsplit_once('.').unwrap_or(("torch", name));
    if path != "torch" && !path.starts_with("torch.") {
        return None;
    }
    match class {
        "Sigmoid" | "sigmoid" => Some(Activation::Sigmoid),
        "Identity" => Some(Activation::Identity),
        _ => None,
    }
}

/// Refuses a prompt that the library would put before every pair.
///
/// # Errors
/// When there is one.
pub(super) fn refuse_prompts(own: &Description, id: &str) -> Result<(), ManifestError> {
    let name = own.value.get("default_prompt_name").and_then(Value::as_str);
    let prompt = name.and_then(|name| own.value.get("prompts")?.get(name)?.as_str());
    match (name, prompt) {
        (Some(name), Some(prompt)) if !prompt.is_empty() => Err(ManifestError::Unsupported {
            id: id.into(),
            path: own.path.clone(),
            field: "default_prompt_name",
            value: shown(name),
            expected: "prompts are not put before texts here: set it to null if the model scores well without",
        }),
        _ => Ok(()),
    }
}

/// Refuses a reader that makes texts lower case before they reach a tokenizer that does not.
///
/// # Errors
/// When it does.
pub(super) fn refuse_lower_case(reader: &Description, tokenizer: &str, id: &str) -> Result<(), ManifestError> {
    let wanted = reader.value.get("do_lower_case").and_then(Value::as_bool) == Some(true);
    if !wanted || lowers(tokenizer) {
        return Ok(());
    }
    Err(ManifestError::Unsupported {
        id: id.into(),
        path: reader.path.clone(),
        field: "do_lower_case",
        value: "true".into(),
        expected: "let the normalizer of tokenizer.json do it",
    })
}

/// Whether a tokenizer's normalizer makes texts lower case.
fn lowers(tokenizer: &str) -> bool {
    fn within(normalizer: &Value) -> bool {
        let kind = normalizer.get("type").and_then(Value::as_str).unwrap_or_default();
        kind == "Lowercase"
            || normalizer.get("lowercase").and_then(Value::as_bool) == Some(true)
            || normalizer.get("normalizers").and_then(Value::as_array).is_some_and(|all| all.iter().any(within))
    }
    serde_json::from_str::<Value>(tokenizer).is_ok_and(|value| value.get("normalizer").is_some_and(within))
}

fn unserved(description: &Description, id: &str, name: &str) -> ManifestError {
    ManifestError::Unsupported {
        id: id.into(),
        path: description.path.clone(),
        field: "activation_fn",
        value: shown(name),
        expected: "torch's Sigmoid and Identity are",
    }
}

fn shown(value: &str) -> String {
    value.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(text: &str) -> Description {
        Description { path: "x.json".into(), value: serde_json::from_str(text).unwrap() }
    }

    // Case B12.
    #[test]
    fn activations_are_read_in_the_librarys_order_and_unknown_ones_are_refused_by_name() {
        use Activation::{Identity, Sigmoid};
        let identity = "torch.nn.modules.linear.Identity";
        let now = |name: &str| format!(r#"{{"activation_fn":"{name}"}}"#);
        let four = |name: &str| format!(r#"{{"sentence_transformers":{{"activation_fn":"{name}"}}}}"#);
        let three = |name: &str| format!(r#"{{"sbert_ce_default_activation_function":"{name}"}}"#);
        let all = |four: &str, three: &str| {
            format!(
                r#"{{"sentence_transformers":{{"activation_fn":"{four}"}},"sbert_ce_default_activation_function":"{three}"}}"#
            )
        };
        let sigmoid = "torch.nn.modules.activation.Sigmoid";
        let tanh = "torch.nn.modules.activation.Tanh";
        for (why, own, config, expected) in [
            ("nothing is said", "null".into(), "null".into(), Ok(Sigmoid)),
            ("5.4 and later", now(identity), "{}".into(), Ok(Identity)),
            ("5.4 and later, the other one", now(sigmoid), "{}".into(), Ok(Sigmoid)),
            ("the public name of the class", now("torch.nn.Identity"), "{}".into(), Ok(Identity)),
            ("4.0 to 5.3", "null".into(), four(identity), Ok(Identity)),
            ("before 4.0", "null".into(), three(identity), Ok(Identity)),
            ("the newest place decides", now(identity), all(sigmoid, sigmoid), Ok(Identity)),
            ("then the middle one", "{}".into(), all(identity, sigmoid), Ok(Identity)),
            ("null decides nothing", r#"{"activation_fn":null}"#.into(), three(identity), Ok(Identity)),
            (
                "the file of another kind of model",
                r#"{"similarity_fn_name":"cosine"}"#.into(),
                three(identity),
                Ok(Identity),
            ),
            ("one that is not served", now(tanh), "{}".into(), Err(tanh)),
            ("and not served wins too", now(tanh), all(identity, identity), Err(tanh)),
            (
                "softmax over one label is always 1",
                now("torch.nn.modules.activation.Softmax"),
                "{}".into(),
                Err("Softmax"),
            ),
            ("a class of somebody's own", now("mine.layers.Sigmoid"), "{}".into(), Err("mine.layers.Sigmoid")),
            ("a package that begins alike", now("torchlike.Sigmoid"), "{}".into(), Err("torchlike.Sigmoid")),
            ("no name at all", r#"{"activation_fn":7}"#.into(), "{}".into(), Err("`7`")),
            ("nor here", "null".into(), r#"{"sbert_ce_default_activation_function":[]}"#.into(), Err("`[]`")),
        ] {
            let found = activation(&description(&own), &description(&config), "m").map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{why}"),
                Err(named) => {
                    assert!(found.as_ref().is_err_and(|reported| reported.contains(named)), "{why}: {found:?}");
                }
            }
        }
    }

    // Case B12.
    #[test]
    fn a_prompt_before_every_text_is_refused_and_one_that_nobody_asks_for_is_not() {
        for (own, refused) in [
            (r#"{"prompts":{},"default_prompt_name":null}"#, false),
            (r#"{"prompts":{"query":"Rank: "},"default_prompt_name":null}"#, false),
            (r#"{"prompts":{"query":""},"default_prompt_name":"query"}"#, false),
            (r#"{"prompts":{"query":"Rank: "},"default_prompt_name":"query"}"#, true),
        ] {
            assert_eq!(refuse_prompts(&description(own), "m").is_err(), refused, "{own}");
        }
    }

    #[test]
    fn lower_case_is_left_to_the_tokenizer() {
        let wanted = r#"{"do_lower_case":true}"#;
        for (reader, tokenizer, refused) in [
            (r#"{"do_lower_case":false}"#, "{}", false),
            ("null", "{}", false),
            (wanted, r#"{"normalizer":{"type":"BertNormalizer","lowercase":true}}"#, false),
            (
                wanted,
                r#"{"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]}}"#,
                false,
            ),
            (wanted, r#"{"normalizer":{"type":"BertNormalizer","lowercase":false}}"#, true),
            (wanted, r#"{"normalizer":null}"#, true),
        ] {
            assert_eq!(
                refuse_lower_case(&description(reader), tokenizer, "m").is_err(),
                refused,
                "{reader} {tokenizer}"
            );
        }
    }
}
