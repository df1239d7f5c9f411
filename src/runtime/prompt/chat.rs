//! Builds a prompt from a chat template, the form in which sentence-transformers stores the prompt of a causal
//! reranker.
//!
//! Since version 5.4 that library stores a decoder as two modules: a `Transformer`, whose chat template is rendered
//! with one message of role `query` and one of role `document` (and a `system` message for the instruction), and a
//! `LogitScore`, which names the verdict tokens (`cross_encoder/modules/logit_score.py`, `base/modality.py`). The
//! template is rendered once, with marks in place of the texts; the text around the marks is the prompt. Owns that
//! rendering, and the only use of the template engine. It must not know the format of `prompt.json`.

use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, context};
use rescored_process::files;
use serde_json::{Value, json};

use super::{Piece, Prompt, PromptError, Verdict, VerdictToken, split};

/// Maximum bytes of a JSON file or template.
const FILE_BYTES: u64 = 16 << 20;

/// Maximum steps of one rendering; published templates take some thousands.
const FUEL: u64 = 1_000_000;

/// Marks in place of the texts while a template is rendered, with private use characters, which no template contains.
const MARKS: [(&str, Piece); 3] = [
    ("\u{f8f0}instruction\u{f8f1}", Piece::Instruction),
    ("\u{f8f0}query\u{f8f1}", Piece::Query),
    ("\u{f8f0}document\u{f8f1}", Piece::Document),
];

/// A template and its variables.
struct Template {
    text: String,
    /// Special tokens that templates name (`bos_token`), and options of `apply_chat_template`.
    context: Value,
    path: PathBuf,
}

impl Prompt {
    /// The prompt of a folder that sentence-transformers wrote for a causal reranker; `None` for any other folder.
    ///
    /// # Errors
    /// [`PromptError`] when the folder's modules have a `LogitScore` but no prompt can be built.
    pub(crate) fn of_chat_template(folder: &Path) -> Result<Option<Self>, PromptError> {
        let Some(score) = score_module(folder)? else { return Ok(None) };
        let config = folder.join(score).join("config.json");
        let verdict = verdict(&read(&config)?.unwrap_or_default(), &config)?;
        let template = Template::find(folder)?;
        let own = read(&folder.join("config_sentence_transformers.json"))?.unwrap_or_default();
        let named = own.get("default_prompt_name").and_then(Value::as_str);
        let default = named.and_then(|name| own.get("prompts")?.get(name)?.as_str()).filter(|text| !text.is_empty());
        let (pieces, instruction) = template.pieces(default)?;
        let prompt = Self {
            parts: vec![pieces],
            instruction,
            instruction_format: None,
            verdict: Some(verdict),
            activation: None,
            max_length: None,
            file: template.path.clone(),
        };
        let invalid = |(field, problem)| PromptError::Invalid { path: template.path.clone(), field, problem };
        prompt.check().map_err(invalid)?;
        Ok(Some(prompt))
    }
}

/// The folder of the module that computes the score from logits.
fn score_module(folder: &Path) -> Result<Option<String>, PromptError> {
    let modules = read(&folder.join("modules.json"))?.unwrap_or_default();
    let modules = modules.as_array().into_iter().flatten();
    let mut scores = modules.filter(|module| {
        let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.rsplit('.').next() == Some("LogitScore")
    });
    let path = scores.next().and_then(|module| module.get("path")).and_then(Value::as_str);
    Ok(path.filter(|path| crate::catalogue::is_inner_path(path)).map(str::to_owned))
}

fn verdict(config: &Value, path: &Path) -> Result<Verdict, PromptError> {
    let token = |key: &str| {
        let id = config.get(key).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        id.map(|id| VerdictToken { text: None, id: Some(id) })
    };
    let yes = token("true_token_id").ok_or_else(|| PromptError::Invalid {
        path: path.to_owned(),
        field: "true_token_id",
        problem: "missing or not a token id; its logit is the score",
    })?;
    Ok(Verdict { yes, no: token("false_token_id") })
}

impl Template {
    /// The template that the library renders: the one that its options give, else the default one.
    fn find(folder: &Path) -> Result<Self, PromptError> {
        let tokenizer = read(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        let reader = read(&folder.join("sentence_bert_config.json"))?.unwrap_or_default();
        let options = reader.pointer("/processing_kwargs/chat_template").cloned().unwrap_or_default();
        let asked = options.get("chat_template").and_then(Value::as_str);
        let context = context_of(&tokenizer, &options);
        let at = |path: PathBuf, text: String| Self { text, context: context.clone(), path };
        if let Some(text) = asked.filter(|text| text.contains("{{") || text.contains("{%")) {
            return Ok(at(folder.join("sentence_bert_config.json"), text.to_owned()));
        }
        let file = match asked.filter(|name| crate::catalogue::is_inner_path(name)) {
            Some(name) => folder.join("additional_chat_templates").join(format!("{name}.jinja")),
            None => folder.join("chat_template.jinja"),
        };
        match files::read_text(&file, FILE_BYTES) {
            Ok(text) => return Ok(at(file, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(PromptError::Unreadable { path: file, source }),
        }
        let path = folder.join("tokenizer_config.json");
        let text = match tokenizer.get("chat_template") {
            Some(Value::String(text)) => Some(text.clone()),
            // Several templates, each with a name.
            Some(Value::Array(all)) => all
                .iter()
                .find(|one| one.get("name").and_then(Value::as_str) == Some(asked.unwrap_or("default")))
                .and_then(|one| one.get("template")?.as_str().map(str::to_owned)),
            _ => None,
        };
        text.map(|text| at(path.clone(), text)).ok_or(PromptError::Invalid {
            path,
            field: "chat_template",
            problem: "missing, but the model's modules require one; write the prompt into prompt.json",
        })
    }

    /// The prompt's pieces, and the default instruction.
    fn pieces(&self, default: Option<&str>) -> Result<(Vec<Piece>, Option<String>), PromptError> {
        let [instruction, ..] = MARKS.map(|(mark, _)| mark);
        let without = self.render(None)?;
        // A template that takes messages by position does not render three messages correctly.
        let with = self.render(Some(instruction)).unwrap_or_default();
        let Some((before, after)) = with.split_once(instruction) else {
            return Ok((split(&without, &MARKS), None));
        };
        let own = without.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        match default.or(own) {
            Some(instruction) => Ok((split(&with, &MARKS), Some(instruction.to_owned()))),
            // The text that the template renders without an instruction is not an instruction: it stays constant text.
            None => Ok((split(&without, &MARKS), None)),
        }
    }

    fn render(&self, instruction: Option<&str>) -> Result<String, PromptError> {
        let [_, (query, _), (document, _)] = MARKS;
        let mut failed = None;
        // Templates expect a message's content as text, or as a list of parts.
        for structured in [false, true] {
            let content = |text: &str| if structured { json!([{"type": "text", "text": text}]) } else { json!(text) };
            let mut messages = Vec::new();
            messages.extend(instruction.map(|text| json!({"role": "system", "content": content(text)})));
            messages.push(json!({"role": "query", "content": content(query)}));
            messages.push(json!({"role": "document", "content": content(document)}));
            match self.render_messages(&messages) {
                Ok(text) if text.contains(query) && text.contains(document) => return Ok(text),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let lost = || "the rendered text does not contain the query and the document".into();
        let source = failed.map_or_else(lost, Into::into);
        Err(PromptError::Template { path: self.path.clone(), source })
    }

    fn render_messages(&self, messages: &[Value]) -> Result<String, minijinja::Error> {
        let mut engine = Environment::new();
        engine.set_trim_blocks(true);
        engine.set_lstrip_blocks(true);
        engine.set_fuel(Some(FUEL));
        engine.set_undefined_behavior(UndefinedBehavior::Lenient);
        engine.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        engine.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
        });
        let template = engine.template_from_str(&self.text)?;
        template.render(context! { messages => messages, ..minijinja::Value::from_serialize(&self.context) })
    }
}

/// The variables of a template, without the messages.
fn context_of(tokenizer: &Value, options: &Value) -> Value {
    let mut context = serde_json::Map::new();
    for key in ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token"] {
        // A token is given as its text, or as an object with its text.
        let token = tokenizer.get(key).and_then(|token| token.get("content").unwrap_or(token).as_str());
        context.extend(token.map(|token| (key.to_owned(), json!(token))));
    }
    for (key, value) in options.as_object().into_iter().flatten() {
        if key != "chat_template" && key != "restore_suffix" {
            context.insert(key.clone(), value.clone());
        }
    }
    Value::Object(context)
}

/// Reads a JSON file; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<Value>, PromptError> {
    match files::read_text(path, FILE_BYTES) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| PromptError::Malformed { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PromptError::Unreadable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORE: &str = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"},
        {"idx":1,"name":"1","path":"1_LogitScore","type":"sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}]"#;

    const YES_NO: &str = r#"{"true_token_id": 7, "false_token_id": 3, "module_input_name": "causal_logits"}"#;

    /// The form of the templates that vLLM's and sentence-transformers' pages show.
    const ROLES: &str = "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\n\
        {%- set system = (messages | selectattr(\"role\", \"eq\", \"system\") | first) %}\n\
        <Instruct>: {{ system.content if system else \"Find passages\" }}\n\
        <Query>: {{ (messages | selectattr(\"role\", \"eq\", \"query\") | first).content }}\n\
        <Document>: {{ (messages | selectattr(\"role\", \"eq\", \"document\") | first).content }}<|im_end|>\n";

    fn open(files: &[(&str, &str)]) -> Result<Option<Prompt>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Prompt::of_chat_template(folder.path()).map_err(|error| error.to_string())
    }

    fn shown(prompt: &Prompt) -> String {
        let shown = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Instruction => "{I}".to_owned(),
            Piece::Query => "{Q}".to_owned(),
            Piece::Document => "{D}".to_owned(),
        };
        prompt.parts.iter().flatten().map(shown).collect()
    }

    #[test]
    fn a_template_with_roles_is_a_prompt_with_its_own_instruction() {
        let prompt =
            open(&[("modules.json", SCORE), ("1_LogitScore/config.json", YES_NO), ("chat_template.jinja", ROLES)]);
        let prompt = prompt.unwrap().unwrap();
        assert!(shown(&prompt).ends_with("<Instruct>: {I}\n<Query>: {Q}\n<Document>: {D}<|im_end|>"), "{prompt:?}");
        assert_eq!(prompt.instruction.as_deref(), Some("Find passages"));
        let ids = prompt.verdict.map(|verdict| (verdict.yes.id, verdict.no.and_then(|no| no.id)));
        assert_eq!(ids, Some((Some(7), Some(3))));
    }

    #[test]
    fn the_librarys_default_prompt_is_the_instruction_and_structured_messages_are_read() {
        let structured =
            ROLES.replace(").content", ").content[0].text").replace("system.content", "system.content[0].text");
        let prompt = open(&[
            ("modules.json", SCORE),
            ("1_LogitScore/config.json", r#"{"true_token_id": 7, "false_token_id": null}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts":{"web":"Search the web"},"default_prompt_name":"web"}"#,
            ),
            ("tokenizer_config.json", &json!({ "chat_template": structured }).to_string()),
        ]);
        let prompt = prompt.unwrap().unwrap();
        assert_eq!(prompt.instruction.as_deref(), Some("Search the web"));
        assert_eq!(prompt.verdict.map(|verdict| verdict.no), Some(None), "one token's logit");
    }

    #[test]
    fn a_template_that_its_options_name_is_taken() {
        let options =
            r#"{"processing_kwargs":{"chat_template":{"chat_template":"reranker","add_generation_prompt":true}}}"#;
        let named = "{{ bos_token }}q: {{ messages[0].content }}\nd: {{ messages[1].content }}\n\
            {% if add_generation_prompt %}Relevance:{% endif %}";
        let prompt = open(&[
            ("modules.json", SCORE),
            ("1_LogitScore/config.json", YES_NO),
            ("sentence_bert_config.json", options),
            ("tokenizer_config.json", r#"{"bos_token":{"content":"<s>"}}"#),
            ("chat_template.jinja", ROLES),
            ("additional_chat_templates/reranker.jinja", named),
        ]);
        assert_eq!(shown(&prompt.unwrap().unwrap()), "<s>q: {Q}\nd: {D}\nRelevance:");
    }

    #[test]
    fn what_is_no_causal_reranker_has_no_prompt_and_what_is_broken_is_named() {
        let all = |template: &'static str| {
            [("modules.json", SCORE), ("1_LogitScore/config.json", YES_NO), ("chat_template.jinja", template)]
        };
        assert_eq!(open(&[]), Ok(None));
        assert_eq!(open(&[("chat_template.jinja", ROLES)]), Ok(None), "a chat model says nothing of rerankers");
        for (files, expected) in [
            (all("{{ messages[0].content }}"), "does not render"),
            (all("{% for x in %}"), "does not render"),
            (
                all("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"),
                "does not render",
            ),
            (all("{{ raise_exception('no') }}"), "does not render"),
        ] {
            let error = open(&files).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error =
            open(&[("modules.json", SCORE), ("1_LogitScore/config.json", "{}"), ("chat_template.jinja", ROLES)]);
        assert!(error.unwrap_err().contains("true_token_id"));
        let error = open(&[("modules.json", SCORE), ("1_LogitScore/config.json", YES_NO)]).unwrap_err();
        assert!(error.contains("chat_template") && error.contains("prompt.json"), "{error}");
    }
}
