//! Texts into encodings: token ids of a pair, fitted into the model's length.
//!
//! Owns the truncation policy and the only use of the `tokenizers` crate. A query is tokenised once for all its
//! documents; pairs are assembled from the parts and equal, id for id, what the library gives for the whole pair. Of a
//! text no more is read than can enter the model, from the end that is kept. It must not know batches or graphs.

mod blanks;
mod reading;
mod share;
mod template;

use std::path::Path;

use tokenizers::Tokenizer;

use blanks::Blanks;
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

/// Why a text could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It does not fit and cutting was forbidden.
    #[error("{tokens} tokens do not fit into {limit}")]
    TooLong {
        /// Tokens of the whole pair; of a text that was not read to its end, those that were read, and one more at least.
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The tokenizer refused the text.
    #[error("the tokenizer refused the text")]
    Refused,
    /// The document makes no token, whatever characters it has.
    #[error("nothing of the document is a token")]
    NoToken {
        /// Whether some of it was not read.
        cut: bool,
    },
    /// The caller said so meanwhile.
    #[error("nobody waits for the text any more")]
    Stopped,
}

/// Bytes of a `tokenizer.json` at most; the largest vocabularies have a tenth of it.
pub(super) const TOKENIZER_BYTES: u64 = 512 << 20;

/// Why a tokenizer could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is missing or is no tokenizer.
    #[error("tokenizer: `{path}` cannot be read; run `rescored fetch` or put the model's tokenizer.json there")]
    File {
        /// The file.
        path: String,
        /// What the library said.
        #[source]
        source: tokenizers::Error,
    },
    /// Its post-processor does more than put special tokens around two texts.
    #[error("tokenizer: `{path}` joins pairs in a way that is not known: {reason}")]
    Template {
        /// The file.
        path: String,
        /// What was found.
        reason: &'static str,
    },
    /// Its pairs are two texts one after the other: a model could not tell where the document begins.
    #[error(
        "tokenizer: `{path}` puts no special token between query and document, as a decoder's does not: they would be read as one text; give its `post_processor` a template for pairs that parts them, or serve a cross-encoder that has one"
    )]
    NoSeparator {
        /// The file.
        path: String,
    },
}

/// Tokenises queries and documents of one model and joins them into encodings.
#[derive(Debug)]
pub struct PairTokenizer {
    tokenizer: Tokenizer,
    template: Template,
    blanks: Blanks,
    max_length: usize,
}

impl PairTokenizer {
    /// Loads `tokenizer.json`. Padding and truncation that the file itself asks for are turned off: this module cuts,
    /// and nothing is padded before it is batched.
    ///
    /// # Errors
    /// [`TokenizerError`] when the file cannot be read or its pair template is not known.
    pub fn open(path: &Path, max_length: u32) -> Result<Self, TokenizerError> {
        let shown = || path.display().to_string();
        let unusable = |source| TokenizerError::File { path: shown(), source };
        let content = files::read(path, TOKENIZER_BYTES).map_err(|source| unusable(source.into()))?;
        let mut tokenizer = Tokenizer::from_bytes(content).map_err(unusable)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(unusable)?;
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

    /// Tokenises a query, once for all its documents. Of one that is longer than the model takes, no more is read than can
    /// decide what enters it.
    ///
    /// # Errors
    /// [`EncodeError::Refused`].
    pub fn query(&self, text: &str) -> Result<QueryIds, EncodeError> {
        let most = most_of_query(self.max_length);
        let Read { mut ids, unread } = self.reader(&|| true).beginning(text, most)?;
        ids.truncate(most);
        Ok(QueryIds { ids: ids.into(), unread })
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
        let (fitted, tokens) = self.read_and_fit(pair, cut, keep_going)?;
        if fitted.cut {
            let limit = self.limit(cut);
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
        let room = self.limit(cut) - self.template.specials();
        let most = most_read(query.ids.len(), room, cut);
        let reader = self.reader(keep_going);
        let Read { ids, unread } = match cut.side {
            // One token more shows whether the document is truncated.
            CutSide::Right => reader.beginning(document, most.saturating_add(1))?,
            CutSide::Left => reader.end(document, most.saturating_add(1))?,
        };
        let mut fitted = self.fit(&query.ids, keep(&ids, most, cut.side), (room, cut));
        fitted.cut |= query.unread || unread || ids.len() > most;
        Ok((fitted, self.template.specials() + query.ids.len() + ids.len()))
    }

    /// Whether a document made no token, so that the model would see the query alone.
    pub fn lacks_document(&self, fitted: &Fitted) -> bool {
        let end = self.template.after();
        fitted.windows.iter().all(|window| window.document_starts() + end == window.len())
    }

    fn reader<'a>(&'a self, keep_going: &'a dyn Fn() -> bool) -> Reader<'a> {
        Reader { tokenizer: &self.tokenizer, blanks: &self.blanks, keep_going }
    }

    fn limit(&self, cut: &Truncation) -> usize {
        let asked = cut.max_length.map_or(self.max_length, |length| length as usize);
        // Two texts of one token each is the least that a pair can be cut to.
        asked.min(self.max_length).max(self.template.specials() + 2)
    }

    /// Of the document there is no more than can enter the model.
    fn fit(&self, query: &[u32], document: &[u32], (room, cut): (usize, &Truncation)) -> Fitted {
        let (of_query, of_document) = shares(query.len(), document.len(), room);
        let kept = &query[..of_query];
        let windows = match cut.long_documents {
            LongDocuments::Truncate => vec![self.template.join(kept, keep(document, of_document, cut.side))],
            LongDocuments::MaxPassage { windows } => spans(document.len(), room - of_query, windows.into())
                .into_iter()
                .map(|span| self.template.join(kept, &document[span]))
                .collect(),
        };
        let is_read = match cut.long_documents {
            LongDocuments::Truncate => of_document == document.len(),
            LongDocuments::MaxPassage { .. } => true,
        };
        Fitted { windows, cut: of_query < query.len() || !is_read }
    }
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
