//! Texts into encodings: token ids of a pair, fitted into the model's length.
//!
//! Owns the truncation policy and the only use of the `tokenizers` crate. A query is tokenised once for all its
//! documents; pairs are assembled from the parts and equal, id for id, what the library gives for the whole pair.
//! It must not know batches or graphs.

mod template;

use std::path::Path;

use tokenizers::Tokenizer;

use crate::domain::{Cut, CutSide, LongDocuments};
use template::Template;

/// Windows of a long document overlap by this share of their room: a sentence that one window cuts stands whole in the
/// next.
const WINDOW_OVERLAP: usize = 4;

/// Bytes of a document read at first, for each token that may enter the model. English takes 4 to 5 bytes a token; four
/// times as much nearly always holds enough tokens, and a document of megabytes is not read to its end in vain.
const BYTES_READ_PER_TOKEN: usize = 16;

/// Tokens beyond the limit that the part read must hold before the rest is left unread, so that whatever the cut did to
/// the last word cannot reach a token that is kept.
const UNREAD_MARGIN: usize = 16;

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

/// A query's token ids, without special tokens.
pub type QueryIds = Box<[u32]>;

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
        /// Tokens of the whole pair (for a very long document: of the part read).
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The tokenizer refused the text.
    #[error("the tokenizer refused the text")]
    Refused,
}

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
}

/// Tokenises queries and documents of one model and joins them into encodings.
#[derive(Debug)]
pub struct PairTokenizer {
    tokenizer: Tokenizer,
    template: Template,
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
        let mut tokenizer =
            Tokenizer::from_file(path).map_err(|source| TokenizerError::File { path: shown(), source })?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|source| TokenizerError::File { path: shown(), source })?;
        let template =
            Template::probe(&tokenizer).map_err(|reason| TokenizerError::Template { path: shown(), reason })?;
        Ok(Self { tokenizer, template, max_length: max_length as usize })
    }

    /// The model's limit in tokens of a pair.
    pub const fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokenises a query, once for all its documents. Of one that is longer than the model takes, no more is read than can
    /// enter it.
    ///
    /// # Errors
    /// [`EncodeError::Refused`].
    pub fn query(&self, text: &str) -> Result<QueryIds, EncodeError> {
        self.document(text, &Cut::MODEL).map(Vec::into_boxed_slice)
    }

    /// Tokenises a document and joins it to its query.
    ///
    /// The query keeps its tokens and the document is cut. Only where the query leaves the document no room are both
    /// cut, the longer first, as Hugging Face's `longest_first` does.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn pair(&self, query: &[u32], document: &str, cut: &Cut) -> Result<Fitted, EncodeError> {
        let document = self.document(document, cut)?;
        Ok(self.fit(query, &document, cut))
    }

    /// As [`PairTokenizer::pair`], but a pair that does not fit is an error.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when it does not fit, and [`EncodeError::Refused`].
    pub fn whole_pair(&self, query: &[u32], document: &str, cut: &Cut) -> Result<Fitted, EncodeError> {
        let ids = self.document(document, cut)?;
        let fitted = self.fit(query, &ids, cut);
        if fitted.cut {
            let limit = self.limit(cut);
            let tokens = self.template.specials() + query.len() + ids.len();
            return Err(EncodeError::TooLong { tokens: saturate(tokens), limit: saturate(limit) });
        }
        Ok(fitted)
    }

    fn limit(&self, cut: &Cut) -> usize {
        let asked = cut.max_length.map_or(self.max_length, |length| length as usize);
        // Two texts of one token each is the least that a pair can be cut to.
        asked.min(self.max_length).max(self.template.specials() + 2)
    }

    /// Token ids of a document, all of them or enough of its beginning to fill the limit.
    fn document(&self, text: &str, cut: &Cut) -> Result<Vec<u32>, EncodeError> {
        let limit = self.limit(cut);
        let beginning_suffices = cut.side == CutSide::Right && cut.long_documents == LongDocuments::Truncate;
        let mut read = limit * BYTES_READ_PER_TOKEN;
        while beginning_suffices && read < text.len() {
            let Some(end) = text.as_bytes()[read..].iter().position(u8::is_ascii_whitespace) else { break };
            // A byte below 128 is a character of its own, so this is a boundary.
            let Some(head) = text.get(..read + end) else { break };
            let ids = self.ids(head)?;
            if ids.len() >= limit + UNREAD_MARGIN {
                return Ok(ids);
            }
            read *= 4;
        }
        self.ids(text)
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|_| EncodeError::Refused)?;
        Ok(encoding.get_ids().to_vec())
    }

    fn fit(&self, query: &[u32], document: &[u32], cut: &Cut) -> Fitted {
        let room = self.limit(cut) - self.template.specials();
        if query.len() >= room && query.len() + document.len() > room {
            return self.fit_longest_first(query, document, room);
        }
        let room = room - query.len();
        let read = match cut.max_document {
            Some(max) if (max as usize) < document.len() => keep(document, (max as usize).max(1), cut.side),
            _ => document,
        };
        let whole = read.len() == document.len();
        if read.len() <= room {
            return Fitted { windows: vec![self.template.join(query, read)], cut: !whole };
        }
        match cut.long_documents {
            LongDocuments::Truncate => {
                Fitted { windows: vec![self.template.join(query, keep(read, room, cut.side))], cut: true }
            }
            LongDocuments::MaxPassage { windows } => {
                let spans = spans(read.len(), room, windows.into());
                let covered = spans.last().is_some_and(|span| span.end == read.len());
                let windows = spans.into_iter().map(|span| self.template.join(query, &read[span])).collect();
                Fitted { windows, cut: !(whole && covered) }
            }
        }
    }

    fn fit_longest_first(&self, query: &[u32], document: &[u32], room: usize) -> Fitted {
        let (query_room, document_room) = longest_first(query.len(), document.len(), room);
        let joined = self.template.join(&query[..query_room], &document[..document_room]);
        Fitted { windows: vec![joined], cut: true }
    }
}

/// The part of `ids` that stays when `room` tokens fit.
fn keep(ids: &[u32], room: usize, side: CutSide) -> &[u32] {
    match side {
        CutSide::Right => &ids[..room.min(ids.len())],
        CutSide::Left => &ids[ids.len() - room.min(ids.len())..],
    }
}

/// Lengths of two texts cut to `room` together by Hugging Face's `longest_first`: the shorter one keeps its tokens while
/// they fit into half, the longer one gives up the rest; when both are longer than half, the first gets the smaller half.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (short, long) = (first.min(second), first.max(second));
    let short_kept = short.min(room);
    let (short_kept, long_kept) = if short_kept > room - short_kept.min(room) {
        (room / 2, room - room / 2)
    } else {
        (short_kept, (room - short_kept).min(long))
    };
    if first > second { (long_kept, short_kept) } else { (short_kept, long_kept) }
}

/// Windows of at most `room` tokens over `length` tokens, at most `most` of them, each overlapping the one before.
fn spans(length: usize, room: usize, most: usize) -> Vec<std::ops::Range<usize>> {
    let step = (room - room / WINDOW_OVERLAP).max(1);
    let mut spans = Vec::new();
    let mut start = 0;
    while spans.len() < most.max(1) {
        let end = (start + room).min(length);
        spans.push(start..end);
        if end == length {
            break;
        }
        start += step;
    }
    spans
}

fn saturate(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_cover_the_document_without_gaps(length in 1usize..2000, room in 1usize..300, most in 1usize..12) {
            let spans = spans(length, room, most);
            prop_assert!(spans.len() <= most && spans[0].start == 0);
            for pair in spans.windows(2) {
                prop_assert!(pair[1].start <= pair[0].end && pair[1].start > pair[0].start);
            }
            prop_assert!(spans.iter().all(|span| span.len() <= room && !span.is_empty()));
            let covered = spans.last().unwrap().end == length;
            prop_assert!(covered || spans.len() == most);
        }

        #[test]
        fn longest_first_fills_the_room_exactly(first in 0usize..900, second in 0usize..900, room in 2usize..600) {
            prop_assume!(first + second > room);
            let (a, b) = longest_first(first, second, room);
            prop_assert!(a <= first && b <= second);
            prop_assert_eq!(a + b, room);
        }
    }
}
