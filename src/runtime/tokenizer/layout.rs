//! A prompt laid out for one tokenizer: which of its tokens are constant, and what is tokenised with each text.
//!
//! The ids of a prompt must be those of the rendered text, and the first and last tokens of a text may extend into the
//! prompt beside it: `: ` and `what` become `:` and ` what`. So on each side of a text there is a stable token
//! boundary, a position at which the tokenizer always splits, found by probing. What lies beyond it is constant and
//! tokenised once; what lies between it and the text is tokenised with the text. Both ends of a special token are
//! stable boundaries.
//!
//! Owns that search, and the rule that special tokens spelled in a text are plain text. It must not know truncation.

use std::collections::HashSet;

use tokenizers::{AddedToken, Tokenizer};

use super::TokenizerError;
use super::template::{InstructionSlot, Slot, Template};
use crate::prompt::{Piece, Prompt};

/// Probes: text before and after a possible token boundary. Letters, digits, punctuation, blanks and line breaks,
/// scripts without blanks, marks that combine with the character before them.
const NEIGHBOURS: [&str; 23] = [
    "a",
    "the",
    "ing",
    "x.",
    "5",
    "?",
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "é",
    "日本",
    "ภาษา",
    "🙂",
    "👩‍👩‍👧",
    "\u{301}",
    ")",
    "'s",
    "…",
    "_",
    "://",
    "\u{200d}",
];

/// Queries and documents that check the finished layout against the library's ids of the whole prompt.
const PAIRS: [(&str, &str); 4] = [
    ("how many people live in berlin", "Berlin has 3,520,031 registered inhabitants."),
    ("what?", ""),
    ("x ", "\n7 日本語"),
    ("Ünï-cödé", " (a) 🙂"),
];

/// Two copies of a tokenizer: one for the prompt's own text, one for the texts of callers.
pub(super) struct Readers {
    /// Recognises special tokens.
    prompt: Tokenizer,
    /// Reads special tokens, and every added token that the prompt uses, as plain text.
    pub(super) texts: Tokenizer,
}

/// A constant text, the id of an added token, which never merges with its neighbours, or a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Text(String),
    Id(u32),
    /// The end of a part of the prompt, or of the whole: nothing is tokenised across it.
    End,
    Instruction,
    Query,
    Document,
}

/// A slot, and the constant tokens after it.
struct Around {
    slot: Slot,
    after: Vec<u32>,
}

impl Readers {
    /// Builds both from a tokenizer that neither pads nor truncates.
    pub(super) fn new(prompt: Tokenizer, parts: &[Vec<Piece>]) -> Self {
        let mut texts = prompt.clone();
        let used: HashSet<u32> = parts
            .iter()
            .flatten()
            .filter_map(|piece| match piece {
                Piece::Text(text) => prompt.encode_fast(text.as_str(), false).ok(),
                Piece::Instruction | Piece::Query | Piece::Document => None,
            })
            .flat_map(|encoding| encoding.get_ids().to_vec())
            .collect();
        // `<think>` is not a special token of its tokenizer; a text that spells it must not end the model's thinking.
        let added = prompt.get_added_tokens_decoder();
        let marked: Vec<AddedToken> = added
            .into_iter()
            .filter(|(id, token)| !token.special && used.contains(id))
            .map(|(_, token)| AddedToken { special: true, ..token })
            .collect();
        // This fails only if the normalizer fails on a token's text; encoding the prompt has shown that it does not.
        let _known = texts.add_special_tokens(marked);
        texts.set_encode_special_tokens(true);
        Self { prompt, texts }
    }

    /// Ids of a text in which special tokens are plain text.
    fn ids(&self, text: &str) -> Option<Vec<u32>> {
        self.texts.encode_fast(text, false).ok().map(|encoding| encoding.get_ids().to_vec())
    }

    /// Splits a constant text into the ids of added tokens and the text between them.
    fn atoms(&self, text: &str, into: &mut Vec<Atom>) -> Option<()> {
        let encoding = self.prompt.encode(text, false).ok()?;
        let added = self.prompt.get_added_tokens_decoder();
        let mut at = 0;
        for (id, (start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            if added.contains_key(id) && *start >= at {
                into.extend(
                    (*start > at).then(|| text.get(at..*start).map(|text| Atom::Text(text.to_owned()))).flatten(),
                );
                into.push(Atom::Id(*id));
                at = *end;
            }
        }
        into.extend(text.get(at..).filter(|rest| !rest.is_empty()).map(|rest| Atom::Text(rest.to_owned())));
        Some(())
    }
}

impl Template {
    /// Lays out a prompt.
    ///
    /// # Errors
    /// When two of its texts have no stable token boundary between them, or the library gives other ids for the whole.
    pub(super) fn of_prompt(readers: &Readers, prompt: &Prompt) -> Result<Self, TokenizerError> {
        let path = || prompt.file.display().to_string();
        let refused = || TokenizerError::Prompt { path: path(), reason: "the tokenizer refused its text" };
        let given = with_format(prompt, &Piece::Instruction);
        let mut template = Self::laid_out(readers, &given, prompt)?;
        if let Some(slot) = &mut template.instruction {
            if let Some(instruction) = &prompt.instruction {
                let ids = readers.ids(&slot.slot.around(instruction)).ok_or_else(refused)?;
                slot.default = [ids.as_slice(), &slot.after].concat().into();
            } else {
                let none = Self::laid_out(readers, &without_instruction(prompt), prompt)?;
                if none.query != template.query {
                    let reason =
                        "what is tokenised with its query depends on the instruction; set a default `instruction`";
                    return Err(TokenizerError::Prompt { path: path(), reason });
                }
                let common = none.start.iter().zip(&template.start).take_while(|(a, b)| a == b).count();
                slot.default = none.start[common..].into();
                slot.before = template.start[common..].into();
                template.start = template.start[..common].into();
            }
        }
        template.no_document = readers.ids(&template.document.around("")).ok_or_else(refused)?.into();
        template.agrees(readers, prompt).then_some(template).ok_or_else(|| TokenizerError::Prompt {
            path: path(),
            reason: "its parts do not give the tokens of the whole; separate them by special tokens",
        })
    }

    fn laid_out(readers: &Readers, parts: &[Vec<Piece>], prompt: &Prompt) -> Result<Self, TokenizerError> {
        let path = || prompt.file.display().to_string();
        let refused = || TokenizerError::Prompt { path: path(), reason: "the tokenizer refused its text" };
        let mut atoms = Vec::new();
        for part in parts {
            for piece in part {
                match piece {
                    Piece::Text(text) => readers.atoms(text, &mut atoms).ok_or_else(refused)?,
                    Piece::Instruction => atoms.push(Atom::Instruction),
                    Piece::Query => atoms.push(Atom::Query),
                    Piece::Document => atoms.push(Atom::Document),
                }
            }
            atoms.push(Atom::End);
        }
        let apart = || TokenizerError::Prompt {
            path: path(),
            reason: "between two of its texts there is no place where tokens always part; put a line break or a special token there",
        };
        let is_slot = |atom: &Atom| matches!(atom, Atom::Instruction | Atom::Query | Atom::Document);
        let mut runs = atoms.split(is_slot);
        let first = Constant::of(readers, runs.next().unwrap_or_default(), (false, true)).ok_or_else(apart)?;
        let (start, mut lead) = (first.middle, first.lead);
        let mut around = Vec::new();
        let count = atoms.iter().filter(|atom| is_slot(atom)).count();
        for (number, run) in runs.enumerate() {
            let constant = Constant::of(readers, run, (true, number + 1 < count)).ok_or_else(apart)?;
            let slot = Slot::new(readers, std::mem::replace(&mut lead, constant.lead), constant.closing);
            around.push(Around { slot: slot.ok_or_else(refused)?, after: constant.middle });
        }
        let mut around = around.into_iter();
        let takes_instruction = atoms.contains(&Atom::Instruction);
        let instruction = around.by_ref().take(usize::from(takes_instruction)).next();
        let (Some(query), Some(document)) = (around.next(), around.next()) else { return Err(refused()) };
        Ok(Self {
            start: start.into(),
            instruction: instruction.map(|Around { slot, after }| InstructionSlot {
                before: Box::default(),
                slot,
                after: after.into(),
                default: Box::default(),
            }),
            query: query.slot,
            between: query.after.into(),
            document: document.slot,
            after: document.after.into(),
            document_type: 0,
            no_document: Box::default(),
        })
    }

    /// Whether pairs in this layout have the ids that the library gives for each part of the prompt.
    fn agrees(&self, readers: &Readers, prompt: &Prompt) -> bool {
        let parts = match &prompt.instruction {
            Some(_) => with_format(prompt, &Piece::Text(prompt.instruction.clone().unwrap_or_default())),
            None => without_instruction(prompt),
        };
        PAIRS.iter().all(|(query, document)| {
            let rendered = |piece: &Piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Query => (*query).to_owned(),
                Piece::Document => (*document).to_owned(),
                Piece::Instruction => String::new(),
            };
            let whole = parts.iter().map(|part| {
                let text: String = part.iter().map(rendered).collect();
                readers.prompt.encode_fast(text, false).ok().map(|encoding| encoding.get_ids().to_vec())
            });
            let whole: Option<Vec<Vec<u32>>> = whole.collect();
            let texts = readers.ids(&self.query.around(query)).zip(readers.ids(&self.document.around(document)));
            whole.zip(texts).is_some_and(|(whole, (query, document))| {
                self.join(&self.head(), &query, &document).ids() == whole.concat()
            })
        })
    }
}

/// The prompt's parts with `instruction` in its slot, inside the prompt's format for instructions.
fn with_format(prompt: &Prompt, instruction: &Piece) -> Vec<Vec<Piece>> {
    let (before, after) = prompt.instruction_format.clone().unwrap_or_default();
    let wrapped = [Piece::Text(before), instruction.clone(), Piece::Text(after)];
    replaced(prompt, &wrapped)
}

fn without_instruction(prompt: &Prompt) -> Vec<Vec<Piece>> {
    replaced(prompt, &[])
}

/// The prompt's parts with these pieces in the instruction's slot; adjacent texts are joined.
fn replaced(prompt: &Prompt, instruction: &[Piece]) -> Vec<Vec<Piece>> {
    let part = |part: &Vec<Piece>| {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in part {
            let these = if *piece == Piece::Instruction { instruction } else { std::slice::from_ref(piece) };
            for piece in these {
                match (pieces.last_mut(), piece) {
                    (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(text),
                    (_, Piece::Text(text)) if text.is_empty() => {}
                    (_, piece) => pieces.push(piece.clone()),
                }
            }
        }
        pieces
    };
    prompt.parts.iter().map(part).collect()
}

/// The prompt between two slots: what is tokenised with the first, what is constant, what is tokenised with the second.
struct Constant {
    closing: String,
    middle: Vec<u32>,
    lead: String,
}

impl Constant {
    /// Splits the prompt between two slots; at the prompt's ends there is a slot on one side only.
    fn of(readers: &Readers, run: &[Atom], (text_before, text_behind): (bool, bool)) -> Option<Self> {
        let Some(first) = run.iter().position(|atom| !matches!(atom, Atom::Text(_))) else {
            // One text between two slots, or nothing.
            let text = joined(run);
            let closing = if text_before { earliest(readers, &text, text_behind)? } else { 0 };
            let lead = if text_behind { latest(readers, &text, text_before, closing)? } else { text.len() };
            let (before, lead) = text.split_at(lead);
            let (closing, middle) = before.split_at(closing);
            return Some(Self { closing: closing.to_owned(), middle: readers.ids(middle)?, lead: lead.to_owned() });
        };
        let last = run.iter().rposition(|atom| !matches!(atom, Atom::Text(_)))?;
        let (head, tail) = (joined(&run[..first]), joined(&run[last + 1..]));
        let closing = if text_before { earliest(readers, &head, false)? } else { 0 };
        let lead = if text_behind { latest(readers, &tail, false, 0)? } else { tail.len() };
        let (closing, begins) = head.split_at(closing);
        let (ends, lead) = tail.split_at(lead);
        let mut middle = readers.ids(begins)?;
        for atom in &run[first..=last] {
            match atom {
                Atom::Id(id) => middle.push(*id),
                Atom::Text(text) => middle.extend(readers.ids(text)?),
                Atom::End | Atom::Instruction | Atom::Query | Atom::Document => {}
            }
        }
        middle.extend(readers.ids(ends)?);
        Some(Self { closing: closing.to_owned(), middle, lead: lead.to_owned() })
    }
}

fn joined(atoms: &[Atom]) -> String {
    let text = |atom: &Atom| match atom {
        Atom::Text(text) => text.clone(),
        Atom::Id(_) | Atom::End | Atom::Instruction | Atom::Query | Atom::Document => String::new(),
    };
    atoms.iter().map(text).collect()
}

impl Slot {
    fn new(readers: &Readers, lead: String, closing: String) -> Option<Self> {
        let lead_ids = if lead.trim().is_empty() { Vec::new() } else { readers.ids(&lead)? };
        let closing_ids = readers.ids(&closing)?;
        Some(Self { lead, closing, lead_ids: lead_ids.into(), closing_ids: closing_ids.into() })
    }
}

/// The first stable token boundary in a constant text, which follows a slot.
fn earliest(readers: &Readers, text: &str, text_behind: bool) -> Option<usize> {
    places(text).find(|&at| parts(readers, text, at, (true, text_behind)))
}

/// The last stable token boundary from `least` on in a constant text, which precedes a slot.
fn latest(readers: &Readers, text: &str, text_before: bool, least: usize) -> Option<usize> {
    let places: Vec<usize> = places(text).filter(|&at| at >= least).collect();
    places.into_iter().rev().find(|&at| parts(readers, text, at, (text_before, true)))
}

fn places(text: &str) -> impl Iterator<Item = usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()])
}

/// Whether the tokenizer splits a constant text at this position, for every probe before and after the text.
fn parts(readers: &Readers, text: &str, at: usize, (text_before, text_behind): (bool, bool)) -> bool {
    let none: &[&str] = &[""];
    let neighbours = |there: bool| if there { &NEIGHBOURS[..] } else { none };
    let (head, tail) = text.split_at(at);
    neighbours(text_before).iter().all(|before| {
        neighbours(text_behind).iter().all(|behind| {
            let whole = readers.ids(&format!("{before}{text}{behind}"));
            let first = readers.ids(&format!("{before}{head}"));
            let second = readers.ids(&format!("{tail}{behind}"));
            whole.is_some() && whole == first.zip(second).map(|(first, second)| [first, second].concat())
        })
    })
}
