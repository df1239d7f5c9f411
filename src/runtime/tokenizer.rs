//! Texts into encodings: token ids of a pair, fitted into the model's length.
//!
//! Owns the truncation policy and the only use of the `tokenizers` crate. A query is tokenised once for all its
//! documents; pairs are assembled from the parts and equal, id for id, what the library gives for the whole pair. Of a
//! text no more is read than can enter the model, from the end that is kept. A decoder's pair is its whole prompt, of which
//! the texts alone are cut. It must not know batches or graphs.

mod blanks;
mod error;
mod layout;
mod reading;
mod share;
mod template;

use std::path::Path;

use tokenizers::Tokenizer;

use crate::prompt::{Prompt, VerdictToken};
use blanks::Blanks;
pub use error::{EncodeError, TokenizerError};
use layout::Readers;
use reading::{Read, Reader};
use rescored_core::domain::{CutSide, LongDocuments, Truncation};
use rescored_process::files;
use share::{most_of_query, most_read, shares, spans};
use template::{Template, Unknown};

/// Number of the rules by which texts become encodings. It is part of a model's fingerprint: scores made by other rules
/// are other scores.
pub const RULES: u32 = 2;

/// The token ids of one pair: query and document with their special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    ids: Box<[u32]>,
    document_starts: u32,
    document_type: u32,
}

impl Encoding {
    /// An encoding from its parts: all ids, the index of the first token of the second segment, and that segment's type.
    pub fn new(ids: impl Into<Box<[u32]>>, document_starts: u32, document_type: u32) -> Self {
        Self { ids: ids.into(), document_starts, document_type }
    }

    /// Token ids, specials included.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Number of tokens, specials included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all; no template makes such an encoding.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Index of the first token of the second segment.
    pub const fn document_starts(&self) -> usize {
        self.document_starts as usize
    }

    /// Type id of the second segment; the first has 0.
    pub const fn document_type(&self) -> u32 {
        self.document_type
    }
}

/// A query's token ids, without special tokens: all that can enter the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryIds {
    /// What stands before it: special tokens, or a prompt's beginning with the request's instruction.
    head: Box<[u32]>,
    ids: Box<[u32]>,
    /// Some of its text was not read, and is missing whatever the document is.
    unread: bool,
}

/// One pair, fitted: one encoding, or several windows of a long document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// At least one.
    pub windows: Vec<Encoding>,
    /// Whether some of the document or of the query was given up.
    pub cut: bool,
}

/// Bytes of a `tokenizer.json` at most; the largest vocabularies have a tenth of it.
pub(super) const TOKENIZER_BYTES: u64 = 512 << 20;

/// Tokenises queries and documents of one model and joins them into encodings.
#[derive(Debug)]
pub struct PairTokenizer {
    tokenizer: Tokenizer,
    template: Template,
    blanks: Blanks,
    max_length: usize,
}

impl PairTokenizer {
    /// Loads `tokenizer.json` of a decoder, whose pairs are prompts.
    ///
    /// # Errors
    /// [`TokenizerError`] when the file cannot be read, or the prompt cannot be made by it.
    pub fn open_prompted(path: &Path, max_length: u32, prompt: &Prompt) -> Result<Self, TokenizerError> {
        let readers = Readers::new(load(path)?, &prompt.parts);
        let template = Template::of_prompt(&readers, prompt)?;
        let tokens = template.constant(template.head().len()) + template.least_room();
        if tokens > max_length as usize {
            return Err(TokenizerError::LongPrompt {
                path: prompt.file.display().to_string(),
                tokens,
                limit: max_length,
            });
        }
        let tokenizer = readers.texts;
        let blanks = Blanks::probe(&tokenizer);
        Ok(Self { tokenizer, template, blanks, max_length: max_length as usize })
    }

    /// Loads `tokenizer.json`. Padding and truncation that the file itself asks for are turned off: this module cuts,
    /// and nothing is padded before it is batched.
    ///
    /// # Errors
    /// [`TokenizerError`] when the file cannot be read or its pair template is not known.
    pub fn open(path: &Path, max_length: u32) -> Result<Self, TokenizerError> {
        let shown = || path.display().to_string();
        let tokenizer = load(path)?;
        let template = Template::probe(&tokenizer).map_err(|unknown| match unknown {
            Unknown::NoSeparator => TokenizerError::NoSeparator { path: shown() },
            Unknown::Other(reason) => TokenizerError::Template { path: shown(), reason },
        })?;
        let blanks = Blanks::probe(&tokenizer);
        Ok(Self { tokenizer, template, blanks, max_length: max_length as usize })
    }

    /// The highest token id that a text can have.
    pub fn highest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or_default()
    }

    /// The model's limit in tokens of a pair.
    pub const fn max_length(&self) -> usize {
        self.max_length
    }

    /// Whether requests may bring an instruction.
    pub const fn takes_instruction(&self) -> bool {
        self.template.instruction.is_some()
    }

    /// Tokens that stand around the texts of a pair without an instruction of its own.
    pub fn constant_tokens(&self) -> usize {
        self.template.constant(self.template.head().len())
    }

    /// The id of a token of a prompt's verdict.
    ///
    /// # Errors
    /// [`TokenizerError::Verdict`] when it is none, several, or another than the prompt says.
    pub fn verdict_id(&self, token: &VerdictToken, prompt: &Prompt) -> Result<u32, TokenizerError> {
        let fault = |word: String, found: String| TokenizerError::Verdict {
            path: prompt.file.display().to_string(),
            word,
            found,
        };
        let of_text = |text: &String| {
            let ids = self.reader(&|| true).beginning(text, usize::MAX).map(|read| read.ids).unwrap_or_default();
            match ids.as_slice() {
                &[id] => Ok(id),
                ids => Err(fault(text.clone(), format!("the tokenizer makes {} of it", ids.len()))),
            }
        };
        match (&token.text, token.id) {
            (Some(text), None) => of_text(text),
            (Some(text), Some(id)) => match of_text(text)? {
                found if found == id => Ok(id),
                found => Err(fault(text.clone(), format!("its id is {found}, and the prompt says {id}"))),
            },
            (None, Some(id)) if self.tokenizer.id_to_token(id).is_some() => Ok(id),
            (None, id) => {
                let word = id.map_or_else(String::new, |id| id.to_string());
                Err(fault(word, "the tokenizer has no token of this id".to_owned()))
            }
        }
    }

    /// Tokenises a query, once for all its documents. Of one that is longer than the model takes, no more is read than can
    /// decide what enters it.
    ///
    /// # Errors
    /// [`EncodeError::Refused`].
    pub fn query(&self, text: &str) -> Result<QueryIds, EncodeError> {
        self.query_with(text, None)
    }

    /// As [`PairTokenizer::query`], of a request with an instruction of its own.
    ///
    /// # Errors
    /// [`EncodeError::InstructionTooLong`], and [`EncodeError::Refused`], also where no instruction is taken.
    pub fn query_with(&self, text: &str, instruction: Option<&str>) -> Result<QueryIds, EncodeError> {
        let head = match instruction {
            Some(instruction) => self.head_with(instruction)?,
            None => self.template.head(),
        };
        let most = most_of_query(self.max_length);
        let text = self.template.query.around(text);
        let Read { mut ids, unread } = self.reader(&|| true).beginning(&text, most)?;
        ids.truncate(most);
        Ok(QueryIds { head, ids: ids.into(), unread })
    }

    /// Tokens before the query with this instruction.
    fn head_with(&self, instruction: &str) -> Result<Box<[u32]>, EncodeError> {
        let slot = self.template.instruction.as_ref().ok_or(EncodeError::Refused)?;
        let Read { ids, unread } = self.reader(&|| true).beginning(&slot.slot.around(instruction), self.max_length)?;
        let head = self.template.head_with(&ids)?;
        let others = self.template.constant(head.len() - ids.len()) + self.template.least_room();
        let limit = self.max_length.saturating_sub(others);
        if unread || ids.len() > limit {
            return Err(EncodeError::InstructionTooLong { tokens: saturate(ids.len()), limit: saturate(limit) });
        }
        Ok(head)
    }

    /// Tokenises a document and joins it to its query.
    ///
    /// The query keeps its tokens and the document is cut, down to a floor: 64 tokens or a fifth of the room that the two
    /// share. Beyond that the query is cut.
    ///
    /// # Errors
    /// [`EncodeError::Refused`].
    pub fn pair(&self, query: &QueryIds, document: &str, cut: &Truncation) -> Result<Fitted, EncodeError> {
        self.pair_while((query, document), cut, &|| true)
    }

    /// As [`PairTokenizer::pair`], for as long as it is wanted: `keep_going` is asked every few KiB of the document.
    ///
    /// # Errors
    /// [`EncodeError::Stopped`] when it says no, and [`EncodeError::Refused`].
    pub fn pair_while(
        &self,
        pair: (&QueryIds, &str),
        cut: &Truncation,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Fitted, EncodeError> {
        self.read_and_fit(pair, cut, keep_going).map(|(fitted, _)| fitted)
    }

    /// As [`PairTokenizer::pair`], but a pair that does not fit is an error.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when it does not fit, and [`EncodeError::Refused`].
    pub fn whole_pair(&self, query: &QueryIds, document: &str, cut: &Truncation) -> Result<Fitted, EncodeError> {
        self.whole_pair_while((query, document), cut, &|| true)
    }

    /// As [`PairTokenizer::whole_pair`], for as long as it is wanted.
    ///
    /// # Errors
    /// Those of [`PairTokenizer::whole_pair`], and [`EncodeError::Stopped`].
    pub fn whole_pair_while(
        &self,
        pair: (&QueryIds, &str),
        cut: &Truncation,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Fitted, EncodeError> {
        let query_head = pair.0.head.len();
        let (fitted, tokens) = self.read_and_fit(pair, cut, keep_going)?;
        if fitted.cut {
            let limit = self.limit(self.template.constant(query_head), cut);
            return Err(EncodeError::TooLong { tokens: saturate(tokens.max(limit + 1)), limit: saturate(limit) });
        }
        Ok(fitted)
    }

    /// The pair as it enters the model, and its tokens as far as they were read.
    fn read_and_fit(
        &self,
        (query, document): (&QueryIds, &str),
        cut: &Truncation,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<(Fitted, usize), EncodeError> {
        let constant = self.template.constant(query.head.len());
        let room = self.limit(constant, cut) - constant;
        let most = most_read(query.ids.len(), room, cut);
        let reader = self.reader(keep_going);
        let text = self.template.document.around(document);
        let Read { ids, unread } = match cut.side {
            // One token more shows whether the document is truncated.
            CutSide::Right => reader.beginning(&text, most.saturating_add(1))?,
            CutSide::Left => reader.end(&text, most.saturating_add(1))?,
        };
        let is_whole = !unread && ids.len() <= most;
        let mut fitted = self.fit(query, (keep(&ids, most, cut.side), is_whole), (room, cut));
        fitted.cut |= query.unread || !is_whole;
        Ok((fitted, constant + query.ids.len() + ids.len()))
    }

    /// Whether a document made no token, so that the model would see the query alone.
    pub fn lacks_document(&self, fitted: &Fitted) -> bool {
        fitted.windows.iter().all(|window| *self.template.document_of(window) == *self.template.no_document)
    }

    fn reader<'a>(&'a self, keep_going: &'a dyn Fn() -> bool) -> Reader<'a> {
        Reader { tokenizer: &self.tokenizer, blanks: &self.blanks, keep_going }
    }

    /// Tokens of a pair, of which so many are constant.
    fn limit(&self, constant: usize, cut: &Truncation) -> usize {
        let asked = cut.max_length.map_or(self.max_length, |length| length as usize);
        asked.min(self.max_length).max(constant + self.template.least_room())
    }

    /// Of the document there is no more than can enter the model; it is whole, or some of it was not read.
    fn fit(&self, query: &QueryIds, (document, is_whole): (&[u32], bool), (room, cut): (usize, &Truncation)) -> Fitted {
        let (of_query, of_document) = shares(query.ids.len(), document.len(), room);
        let (kept, place) = (self.cut_query(&query.ids, of_query), &self.template.document);
        let fits = is_whole && of_document == document.len();
        if fits {
            let windows = vec![self.template.join(&query.head, &kept, document)];
            return Fitted { windows, cut: of_query < query.ids.len() };
        }
        let reserved = place.reserved();
        let mut is_read = false;
        let windows = match cut.long_documents {
            LongDocuments::Truncate => {
                let part = keep(document, of_document.saturating_sub(reserved).max(1), cut.side);
                // What is read of a document is at the end that is kept.
                let ends = (cut.side == CutSide::Right, cut.side == CutSide::Left);
                vec![self.template.join(&query.head, &kept, &place.part(part, ends))]
            }
            LongDocuments::MaxPassage { windows } => {
                let width = (room - of_query).saturating_sub(reserved).max(1);
                let (begins, ends) = (is_whole || cut.side == CutSide::Right, is_whole || cut.side == CutSide::Left);
                let spans = spans(document.len(), width, windows.into());
                is_read = is_whole && spans.last().is_some_and(|span| span.end == document.len());
                spans
                    .into_iter()
                    .map(|span| {
                        let ends = (begins && span.start == 0, ends && span.end == document.len());
                        self.template.join(&query.head, &kept, &place.part(&document[span], ends))
                    })
                    .collect()
            }
        };
        Fitted { windows, cut: of_query < query.ids.len() || !is_read }
    }

    /// The query's tokens when so many are kept: its end is given up, and what closes it is put back.
    fn cut_query(&self, ids: &[u32], kept: usize) -> Vec<u32> {
        if kept >= ids.len() {
            return ids.to_vec();
        }
        let place = &self.template.query;
        let part = kept.saturating_sub(place.closing_ids.len()).max(1);
        place.part(ids.get(..part).unwrap_or(ids), (true, false))
    }
}

/// Reads a tokenizer that neither pads nor truncates.
fn load(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let unusable = |source| TokenizerError::File { path: path.display().to_string(), source };
    let content = files::read(path, TOKENIZER_BYTES).map_err(|source| unusable(source.into()))?;
    let mut tokenizer = Tokenizer::from_bytes(content).map_err(unusable)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(unusable)?;
    Ok(tokenizer)
}

/// The part of `ids` that stays when `room` tokens fit.
fn keep(ids: &[u32], room: usize, side: CutSide) -> &[u32] {
    match side {
        CutSide::Right => &ids[..room.min(ids.len())],
        CutSide::Left => &ids[ids.len() - room.min(ids.len())..],
    }
}

fn saturate(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
