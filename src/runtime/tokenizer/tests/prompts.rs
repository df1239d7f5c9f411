//! Prompts laid out for a decoder's tokenizer, against the library's ids of the rendered prompt.

use std::sync::LazyLock;

use proptest::prelude::*;
use rescored_core::domain::{CutSide, LongDocuments, Truncation};

use super::{SCRIPTS, qwen};
use crate::prompt::Verdict;
use crate::tokenizer::*;

/// A prompt in a tokenizer, and the library's ids of its parts: special tokens in what is ours, none in what is others'.
struct Laid {
    name: &'static str,
    ours: PairTokenizer,
    parts: fn(&str, &str, &str) -> Vec<(bool, String)>,
    special: Tokenizer,
    plain: Tokenizer,
}

const SYSTEM: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";
const TASK: &str = "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:";

fn qwen_parts(instruction: &str, query: &str, document: &str) -> Vec<(bool, String)> {
    let instruction = if instruction.is_empty() { INSTRUCTION } else { instruction };
    vec![
        (true, SYSTEM.into()),
        (false, format!("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}")),
        (true, SUFFIX.into()),
    ]
}

fn mxbai_parts(instruction: &str, query: &str, document: &str) -> Vec<(bool, String)> {
    let asked = if instruction.is_empty() { String::new() } else { format!("instruction: {instruction}\n") };
    vec![
        (true, "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n".into()),
        (false, format!("{asked}query: {query}")),
        (false, "\n".into()),
        (false, format!("document: {document}")),
        (false, "\n".into()),
        (false, TASK.into()),
        (true, "<|im_end|>\n<|im_start|>assistant\n".into()),
    ]
}

/// One text from the first word to the last, as a chat template renders it.
fn chat_parts(_: &str, query: &str, document: &str) -> Vec<(bool, String)> {
    vec![
        (true, "<|im_start|>".into()),
        (false, format!("user\nquestion: {query} \n \n passage: {document}\nIs it relevant?")),
        (true, "<|im_end|>\n<|im_start|>assistant\n".into()),
    ]
}

static LAID: LazyLock<Vec<Laid>> = LazyLock::new(|| {
    let special: Tokenizer = qwen().to_string().parse().expect("a tokenizer");
    // `<think>` is text where the prompt has one of its own, as special tokens always are.
    let plain = |parts: Vec<(bool, String)>| {
        let mut json = qwen();
        for token in json["added_tokens"].as_array_mut().expect("tokens") {
            let word = token["content"].as_str().expect("a word").to_owned();
            let is_used = parts.iter().any(|(is_ours, text)| *is_ours && text.contains(&word));
            token["special"] = (is_used || token["special"] == true).into();
        }
        let mut plain: Tokenizer = json.to_string().parse().expect("a tokenizer");
        plain.set_encode_special_tokens(true);
        plain
    };
    let chat = r#"{"parts":["<|im_start|>user\nquestion: {query} \n \n passage: {document}\nIs it relevant?<|im_end|>\n<|im_start|>assistant\n"],"yes":"yes"}"#;
    let known = |name| Prompt::known(name).expect("a prompt").expect("a known name");
    [
        ("qwen3", known("Qwen3-Reranker-0.6B"), qwen_parts as fn(&str, &str, &str) -> _),
        ("mxbai", known("mxbai-rerank-base-v2"), mxbai_parts),
        ("chat", Prompt::from_text(chat).expect("a prompt"), chat_parts),
    ]
    .map(|(name, prompt, parts)| {
        let ours = open(&prompt, 512).expect("a tokenizer for prompts");
        Laid { name, ours, parts, special: special.clone(), plain: plain(parts("", "", "")) }
    })
    .into()
});

fn open(prompt: &Prompt, max_length: u32) -> Result<PairTokenizer, TokenizerError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, qwen().to_string()).expect("a file");
    PairTokenizer::open_prompted(&path, max_length, prompt)
}

impl Laid {
    fn library(&self, instruction: &str, query: &str, document: &str) -> Vec<u32> {
        let ids = |(is_ours, text): &(bool, String)| {
            let tokenizer = if *is_ours { &self.special } else { &self.plain };
            tokenizer.encode_fast(text.as_str(), false).expect("ids").get_ids().to_vec()
        };
        (self.parts)(instruction, query, document).iter().flat_map(ids).collect()
    }

    fn ours(&self, instruction: &str, query: &str, document: &str, cut: &Truncation) -> Fitted {
        let instruction = (!instruction.is_empty() && self.ours.takes_instruction()).then_some(instruction);
        let query = self.ours.query_with(query, instruction).expect("a query");
        self.ours.pair(&query, document, cut).expect("a pair")
    }

    /// The ids of everything that is constant, before and behind the texts.
    fn constants(&self) -> (&[u32], &[u32]) {
        (&self.ours.template.start, &self.ours.template.after)
    }
}

/// Words of every script, with what a prompt is made of among them.
fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(SCRIPTS.iter().map(|(_, text)| *text).collect::<Vec<_>>());
    let spelled = prop::sample::select(vec![
        "<|im_end|>",
        "<|im_start|>",
        "</think>",
        "<think>",
        "\n<Document>: ",
        "\n\n",
        " ",
        "  ",
        "\t",
        "",
        ".",
        ":",
        "?\n",
        "yes",
        "\u{200d}",
        "\u{301}",
        "5",
        "'s",
    ]);
    let piece = prop_oneof![
        (word, 0_usize..40, 1_usize..12).prop_map(|(word, skip, take)| word
            .chars()
            .skip(skip)
            .take(take)
            .collect::<String>()),
        spelled.prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_prompt_has_the_librarys_ids_and_texts_that_spell_special_tokens_are_text(
        query in text(), document in text(), instruction in text(),
    ) {
        for laid in LAID.iter() {
            let fitted = laid.ours(&instruction, &query, &document, &Truncation::MODEL);
            prop_assert_eq!((fitted.windows.len(), fitted.cut), (1, false), "{}", laid.name);
            prop_assert_eq!(fitted.windows[0].ids(), laid.library(&instruction, &query, &document), "{}", laid.name);
        }
    }

    #[test]
    fn of_a_long_prompt_the_document_alone_is_cut(
        query in text(), document in text(), repeats in 1_usize..60, side in prop::sample::select(vec![CutSide::Right, CutSide::Left]),
        windows in 0_u16..4,
    ) {
        let document = document.repeat(repeats);
        let long_documents = if windows == 0 { LongDocuments::Truncate } else { LongDocuments::MaxPassage { windows } };
        let cut = Truncation { side, long_documents, ..Truncation::MODEL };
        for laid in LAID.iter() {
            let (start, after) = laid.constants();
            let fitted = laid.ours("", &query, &document, &cut);
            let whole = laid.library("", &query, &document);
            prop_assert_eq!(fitted.cut && windows == 0, whole.len() > 512 && windows == 0, "{} ids in {}", whole.len(), laid.name);
            for window in &fitted.windows {
                prop_assert!(window.len() <= 512 && window.ids().starts_with(start) && window.ids().ends_with(after));
            }
            let ids = fitted.windows[0].ids();
            if whole.len() > 512 && side == CutSide::Right && windows == 0 {
                prop_assert_eq!(ids.len(), 512, "{}", laid.name);
                let kept = 512 - after.len() - laid.ours.template.document.closing_ids.len();
                prop_assert_eq!(&ids[..kept], &whole[..kept], "{}", laid.name);
            }
        }
    }
}

#[test]
fn the_verdicts_tokens_are_found_and_others_are_refused_by_name() {
    let prompt = Prompt::known("Qwen3-Reranker-0.6B").expect("a prompt").expect("known");
    let ours = open(&prompt, 512).expect("a tokenizer");
    let Verdict { yes, no } = prompt.verdict.clone().expect("a verdict");
    // The ids of the stand-in's own prompt.json.
    assert_eq!(ours.verdict_id(&yes, &prompt).expect("an id"), 631);
    assert_eq!(ours.verdict_id(&no.expect("no"), &prompt).expect("an id"), 504);
    let token = |text: Option<&str>, id| VerdictToken { text: text.map(str::to_owned), id };
    for (token, expected) in [
        (token(Some("irrelevantly so"), None), "`irrelevantly so`, whose logit is the verdict"),
        (token(Some("yes"), Some(5)), "its id is 631, and the prompt says 5"),
        (token(None, Some(4_000_000)), "no token of this id"),
        (token(Some(""), None), "makes 0 of it"),
    ] {
        let error = ours.verdict_id(&token, &prompt).expect_err("no token").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_instruction_that_leaves_no_room_is_refused_with_both_numbers() {
    let laid = &LAID[0];
    let long = "find it ".repeat(400);
    let error = laid.ours.query_with("q", Some(&long)).expect_err("too long");
    let EncodeError::InstructionTooLong { tokens, limit } = error else { panic!("{error}") };
    assert!(tokens > limit && limit > 300, "{tokens} of {limit}");
    assert_eq!(LAID[2].ours.query_with("q", Some("i")), Err(EncodeError::Refused), "a prompt without a place for it");
}

#[test]
fn the_place_between_query_and_document_is_part_of_what_is_scored() {
    for laid in LAID.iter() {
        let ids = |query, document| laid.ours("", query, document, &Truncation::MODEL).windows.remove(0);
        assert_ne!(ids("how many live", "in berlin"), ids("how many", "live in berlin"), "{}", laid.name);
    }
}

#[test]
fn a_document_without_a_token_is_known_as_one() {
    for laid in LAID.iter() {
        for (document, lacks) in [("", true), ("x", false)] {
            let fitted = laid.ours("", "what?", document, &Truncation::MODEL);
            assert_eq!(laid.ours.lacks_document(&fitted), lacks, "{} {document:?}", laid.name);
        }
    }
}

#[test]
fn what_cannot_be_laid_out_is_refused() {
    let prompt = |text: &str| Prompt::from_text(text).expect("a prompt");
    for (why, prompt, length, expected) in [
        (
            "tokens of two texts may join",
            prompt(r#"{"body":"{query}{document}"}"#),
            512,
            "no place where tokens always part",
        ),
        (
            "no room",
            prompt(&format!(r#"{{"body":"{} {{query}}\n{{document}}"}}"#, "word ".repeat(600))),
            512,
            "RESCORED_MAX_LENGTH",
        ),
    ] {
        let error = open(&prompt, length).map(|_| why).expect_err("refused").to_string();
        assert!(error.contains(expected), "{why}: {error}");
    }
}
