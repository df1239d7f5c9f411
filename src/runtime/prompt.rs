//! The prompt of a decoder reranker: the text around query and document, and the tokens whose logits are its verdict.
//!
//! Owns `prompt.json`, the file format of prompts, and the prompts of models that are recognised by name (`known/`, in
//! the same format). `chat` builds a prompt from a chat template. A decoder has no special token that separates query
//! and document. Without its prompt its scores are nonsense, so a decoder without a prompt is refused. It must not know
//! tokenizers or graphs.

use std::path::{Path, PathBuf};

use rescored_core::domain::Activation;
use rescored_process::files;
use serde::Deserialize;

use crate::catalogue::ActivationName;

pub(crate) mod chat;

/// Name of the file in a model's folder.
pub const FILE: &str = "prompt.json";

/// Maximum bytes of `prompt.json`.
const FILE_BYTES: u64 = 1 << 20;

/// Placeholders of a prompt, and the slots that they stand for.
const SLOTS: [(&str, Piece); 3] =
    [("{instruction}", Piece::Instruction), ("{query}", Piece::Query), ("{document}", Piece::Document)];

/// Prompts by the beginning of the model's name, in lower case. Sources: the model card of Qwen3-Reranker (prefix,
/// `format_instruction`, suffix) and `mxbai_rerank_v2.py` of mixedbread-ai/mxbai-rerank (parts that are tokenised
/// separately).
const KNOWN: [(&str, &str); 3] = [
    ("qwen3-reranker-", include_str!("prompt/known/qwen3-reranker.json")),
    ("mxbai-rerank-base-v2", include_str!("prompt/known/mxbai-rerank-v2.json")),
    ("mxbai-rerank-large-v2", include_str!("prompt/known/mxbai-rerank-v2.json")),
];

/// The prompt of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Parts that are tokenised separately, so that no token spans two of them; each holds texts and slots. The
    /// document has one slot, the query has one before it, and the instruction has at most one before both.
    pub(crate) parts: Vec<Vec<Piece>>,
    /// The default instruction, for requests without one.
    pub(crate) instruction: Option<String>,
    /// The text before and after an instruction in its slot; without an instruction the slot is empty.
    pub(crate) instruction_format: Option<(String, String)>,
    /// The verdict tokens; `None` for a checkpoint with a head of its own.
    pub verdict: Option<Verdict>,
    /// The activation that turns logits into scores, if the prompt sets one.
    pub activation: Option<Activation>,
    /// Maximum tokens of the whole prompt, if the prompt sets it.
    pub max_length: Option<u32>,
    /// The file that it was read from.
    pub file: PathBuf,
}

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Constant text; special tokens spelled in it are read as special tokens.
    Text(String),
    /// Where the request's instruction goes.
    Instruction,
    /// Where the query goes.
    Query,
    /// Where the document goes.
    Document,
}

/// Which logits at the last position give the score: `yes - no`, or `yes` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The token that means relevant.
    pub yes: VerdictToken,
    /// The token that means not relevant; `None` if the score is the logit of `yes` alone.
    pub no: Option<VerdictToken>,
}

/// A token, given by its text, its id, or both, which must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictToken {
    /// Text that is one token.
    pub text: Option<String>,
    /// Its id.
    pub id: Option<u32>,
}

/// Why a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file cannot be read.
    #[error("`{}` cannot be read; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not JSON in this format.
    #[error("`{}` cannot be parsed; its keys are `parts` (or `prefix`, `body`, `suffix`), `instruction`, `instruction_format`, `yes`, `no`, `activation` and `max_length`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A key is missing or has an invalid value.
    #[error("`{}`: `{field}`: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key.
        field: &'static str,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// A chat template cannot be rendered.
    #[error("`{}`: the chat template does not render with a message of role `query` and one of role `document`; write the prompt into prompt.json beside it", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The contents of `prompt.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    parts: Option<Vec<String>>,
    prefix: Option<String>,
    body: Option<String>,
    suffix: Option<String>,
    instruction: Option<String>,
    instruction_format: Option<String>,
    yes: Option<String>,
    yes_id: Option<u32>,
    no: Option<String>,
    no_id: Option<u32>,
    activation: Option<ActivationName>,
    max_length: Option<u32>,
    // Comments for readers of the file; ignored here.
    #[serde(rename = "score")]
    _score: Option<String>,
    #[serde(rename = "cut")]
    _cut: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl Prompt {
    /// Reads `prompt.json` from a model's folder; `None` if the file does not exist.
    ///
    /// # Errors
    /// [`PromptError`] when the file exists but is not a usable prompt.
    pub fn read(folder: &Path) -> Result<Option<Self>, PromptError> {
        let path = folder.join(FILE);
        match files::read_text(&path, FILE_BYTES) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PromptError::Unreadable { path, source }),
        }
    }

    /// The built-in prompt for a model, by the name of its repository or folder; `None` if the name is not known.
    ///
    /// # Errors
    /// Never: the built-in prompts are tested.
    pub fn known(name: &str) -> Result<Option<Self>, PromptError> {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let known = KNOWN.iter().find(|(beginning, _)| name.starts_with(beginning));
        known.map(|(beginning, text)| Self::parse(text, Path::new(beginning))).transpose()
    }

    /// Parses the text of a `prompt.json`.
    ///
    /// # Errors
    /// As [`Prompt::read`].
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Result<Self, PromptError> {
        Self::parse(text, Path::new(FILE))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, PromptError> {
        let written: Written =
            serde_json::from_str(text).map_err(|source| PromptError::Malformed { path: path.to_owned(), source })?;
        let invalid = |field, problem| PromptError::Invalid { path: path.to_owned(), field, problem };
        let own = [&written.prefix, &written.body, &written.suffix].into_iter().flatten();
        let parts: Vec<String> = match (written.parts, own.cloned().collect::<Vec<_>>()) {
            (Some(parts), own) if own.is_empty() => parts,
            (None, own) if written.body.is_some() => own,
            (Some(_), _) => {
                return Err(invalid("parts", "it stands beside `prefix`, `body` or `suffix`; use one form only"));
            }
            (None, _) => return Err(invalid("body", "missing; write the text around {query} and {document}")),
        };
        let instruction_format = match written
            .instruction_format
            .as_deref()
            .map(|text| text.split_once("{instruction}"))
        {
            Some(Some((before, after))) => Some((before.to_owned(), after.to_owned())),
            Some(None) => {
                return Err(invalid("instruction_format", "it has no {instruction}; write where the instruction goes"));
            }
            None => None,
        };
        let prompt = Self {
            parts: parts.iter().map(|part| pieces(part)).collect(),
            instruction: written.instruction,
            instruction_format,
            verdict: verdict((written.yes, written.yes_id), (written.no, written.no_id))
                .map_err(|problem| invalid("no", problem))?,
            activation: written.activation.map(Into::into),
            max_length: written.max_length,
            file: path.to_owned(),
        };
        prompt.check().map_err(|(field, problem)| invalid(field, problem))?;
        Ok(prompt)
    }

    /// Everything in the prompt that can change a score.
    pub(crate) fn identity(&self) -> String {
        let Self { parts, instruction, instruction_format, verdict, activation: _, max_length: _, file: _ } = self;
        format!("{parts:?} {instruction:?} {instruction_format:?} {verdict:?}")
    }

    /// Whether a request may have an instruction.
    pub fn takes_instruction(&self) -> bool {
        self.parts.iter().flatten().any(|piece| *piece == Piece::Instruction)
    }

    /// The instruction for requests without one.
    pub fn default_instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// Refuses a prompt whose slots are missing, repeated or out of order, and an instruction without a slot or a slot
    /// without an instruction.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let count = |slot: &Piece| self.parts.iter().flatten().filter(|piece| *piece == slot).count();
        match (count(&Piece::Instruction), count(&Piece::Query), count(&Piece::Document)) {
            (_, _, 0) => return Err(("body", "it has no {document}; write where the document goes")),
            (_, 0, _) => return Err(("body", "it has no {query}; write where the query goes")),
            (0 | 1, 1, 1) => {}
            _ => return Err(("body", "a slot appears in it twice; write {instruction}, {query} and {document} once")),
        }
        let mut order = self.parts.iter().flatten().filter(|piece| !matches!(piece, Piece::Text(_)));
        let first_two = (order.next(), order.next());
        match (self.takes_instruction(), first_two) {
            (true, (Some(Piece::Instruction), Some(Piece::Query))) | (false, (Some(Piece::Query), _)) => {}
            _ => {
                return Err((
                    "body",
                    "its slots are in another order than {instruction}, {query}, {document}; use this order",
                ));
            }
        }
        if !self.takes_instruction() && (self.instruction.is_some() || self.instruction_format.is_some()) {
            return Err(("instruction", "the body has no {instruction}; add it to the body, or remove this key"));
        }
        if self.takes_instruction() && self.instruction.is_none() && self.instruction_format.is_none() {
            return Err(("instruction", "missing; write the instruction for requests without one"));
        }
        Ok(())
    }
}

/// Splits one part into texts and slots.
fn pieces(text: &str) -> Vec<Piece> {
    split(text, &SLOTS)
}

/// Splits a text at its marks: the text between marks, and the piece that each mark stands for.
fn split(text: &str, marks: &[(&str, Piece)]) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    let first = |rest: &str| {
        let found = marks.iter().filter_map(|mark| rest.find(mark.0).map(|at| (at, mark)));
        found.min_by_key(|(at, _)| *at).map(|(_, mark)| mark)
    };
    while let Some((mark, slot)) = first(rest)
        && let Some((before, after)) = rest.split_once(mark)
    {
        pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
        pieces.push(slot.clone());
        rest = after;
    }
    pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
    pieces
}

fn verdict(
    yes: (Option<String>, Option<u32>),
    no: (Option<String>, Option<u32>),
) -> Result<Option<Verdict>, &'static str> {
    let token = |(text, id): (Option<String>, Option<u32>)| {
        (text.is_some() || id.is_some()).then_some(VerdictToken { text, id })
    };
    match (token(yes), token(no)) {
        (Some(yes), no) => Ok(Some(Verdict { yes, no })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err("it is set without `yes`; set both, or `yes` alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Prompt, String> {
        Prompt::parse(text, Path::new("prompt.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_known_prompts_are_prompts() {
        for (name, slots) in [
            ("Qwen/Qwen3-Reranker-0.6B", true),
            ("Qwen3-Reranker-4B", true),
            ("tomaarsen/Qwen3-Reranker-0.6B-seq-cls", true),
            ("mixedbread-ai/mxbai-rerank-base-v2", true),
            ("mixedbread-ai/mxbai-rerank-base-v1", false),
            ("cross-encoder/ms-marco-MiniLM-L-6-v2", false),
            ("", false),
        ] {
            let prompt = Prompt::known(name).unwrap();
            assert_eq!(prompt.is_some_and(|prompt| prompt.takes_instruction()), slots, "{name}");
        }
    }

    #[test]
    fn slots_are_found_and_other_braces_are_text() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(pieces("a{query}{document}"), [text("a"), Piece::Query, Piece::Document]);
        assert_eq!(pieces("{x} {{query}}"), [text("{x} {"), Piece::Query, text("}")]);
        assert_eq!(pieces(""), []);
    }

    #[test]
    fn what_makes_no_prompt_is_refused_by_its_key() {
        for (text, expected) in [
            (r#"{"body":"{query} {document}","yes":"yes"}"#, ""),
            (r#"{"prefix":"p","body":"{query} {document}","suffix":"s","score":"yes - no","cut":"the end"}"#, ""),
            (r#"{"parts":["{instruction}{query}","{document}"],"instruction_format":"do: {instruction}\n"}"#, ""),
            (r#"{"prefix":"{query} {document}"}"#, "`body`: missing"),
            (r#"{"parts":["{query} {document}"],"suffix":"s"}"#, "`parts`: it stands beside"),
            (r#"{"body":"{query}"}"#, "no {document}"),
            (r#"{"body":"{document}"}"#, "no {query}"),
            (r#"{"body":"{query} {query} {document}"}"#, "twice"),
            (r#"{"body":"{document} {query}"}"#, "another order"),
            (r#"{"body":"{query} {instruction} {document}","instruction":"i"}"#, "another order"),
            (r#"{"body":"{instruction} {query} {document}"}"#, "`instruction`: missing"),
            (r#"{"body":"{query} {document}","instruction":"i"}"#, "no {instruction}"),
            (r#"{"body":"{instruction} {query} {document}","instruction_format":"x"}"#, "`instruction_format`"),
            (r#"{"body":"{query} {document}","no":"no"}"#, "without `yes`"),
            (r#"{"body":"{query} {document}","template":"x"}"#, "its keys are"),
            ("[]", "its keys are"),
        ] {
            match parse(text) {
                Ok(_) => assert_eq!(expected, "", "{text}"),
                Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{text}: {error}"),
            }
        }
    }
}
