//! What the engine is asked: texts, how they are fitted, until when and in which order.
//!
//! Owns the estimate of tokens from bytes, by which work is admitted before it is tokenised. It must not know who asks.

use std::time::Instant;

use crate::domain::{Cut, LongDocuments, Priority};

/// Bytes of text that make one token, for estimates before tokenisation. English WordPiece takes 4 to 5.
const BYTES_PER_TOKEN: u64 = 4;

/// What is to be scored: every document against its query. Owned, because it outlives the caller's body.
#[derive(Debug)]
pub struct Work {
    /// Which of the engine's models.
    pub model: usize,
    /// The distinct queries.
    pub queries: Vec<Box<str>>,
    /// Every pair: its query's position, and the document.
    pub documents: Vec<(u32, Box<str>)>,
    /// How over-long documents are fitted.
    pub cut: Cut,
    /// Fail an over-long pair instead of cutting it.
    pub refuse_cut: bool,
    /// Work past this instant is not started.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
    /// Which of its pairs go first.
    pub order: Order,
}

/// Which pairs of a request go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The longest, so that all workers finish together: the quickest way to a whole answer.
    #[default]
    LongestFirst,
    /// As given, so that whatever the deadline leaves undone is the end of the list.
    AsGiven,
}

impl Work {
    /// Tokens that one pair can become at most with a model of this length.
    pub(super) fn most_tokens(&self, length: u32) -> u64 {
        let length = self.cut.max_length.map_or(length, |asked| asked.min(length));
        let windows = match self.cut.long_documents {
            LongDocuments::Truncate => 1,
            LongDocuments::MaxPassage { windows } => windows,
        };
        u64::from(length) * u64::from(windows)
    }

    /// Tokens that the whole work is expected to be, from its bytes; of each pair at most `most`.
    pub(super) fn estimated_tokens(&self, most: u64) -> u64 {
        self.documents.iter().map(|(query, document)| self.estimate((*query, document), most)).sum()
    }

    pub(super) fn estimate(&self, (query, document): (u32, &str), most: u64) -> u64 {
        let query = self.queries.get(query as usize).map_or(0, |query| query.len());
        (1 + (query + document.len()) as u64 / BYTES_PER_TOKEN).min(most)
    }
}
