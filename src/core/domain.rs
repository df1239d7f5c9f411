//! What is scored and what comes of it, in the field's own terms.
//!
//! Owns the vocabulary that every other module shares: texts to score, how over-long ones are cut, logits, scores and
//! their order. It must not know HTTP, ONNX Runtime, caches or threads; it uses the standard library only.

use std::borrow::Cow;

pub mod accelerator;
pub mod blank;
pub mod card;
pub mod ranking;
pub mod score;
pub mod window;

pub use blank::EmptyDocuments;
pub use card::{Execution, Graph, ModelCard, Nodes, PassedOver, PromptCard, Sizing};
pub use score::{Activation, Logit};

/// One (query, document) pair of a request; the unit of work and of caching.
///
/// Pairs are addressed by their position in [`Texts::pairs`], which is the order the caller sent its documents in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Which of [`Texts::queries`] this document is scored against.
    pub query: usize,
    /// The document's text as the caller sent it; it may be empty.
    pub document: Cow<'a, str>,
}

/// The texts of one request: its queries, and every document with the query it belongs to.
///
/// A search engine sends one query and many documents; a pair-scoring client sends as many queries as documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts<'a> {
    /// The distinct queries.
    pub queries: Vec<Cow<'a, str>>,
    /// Every pair, in the caller's order.
    pub pairs: Vec<Pair<'a>>,
    /// What the model is told to look for, where it takes that and the caller says it; the model's own default else.
    pub instruction: Option<Cow<'a, str>>,
}

impl<'a> Texts<'a> {
    /// One query against many documents, in the caller's order.
    pub fn one_query(query: impl Into<Cow<'a, str>>, documents: impl IntoIterator<Item = Cow<'a, str>>) -> Self {
        let pairs = documents.into_iter().map(|document| Pair { query: 0, document }).collect();
        Self { queries: vec![query.into()], pairs, instruction: None }
    }

    /// Bytes of all texts, each query and the instruction counted once.
    pub fn bytes(&self) -> usize {
        let queries: usize = self.queries.iter().map(|query| query.len()).sum();
        let instruction = self.instruction.as_ref().map_or(0, |text| text.len());
        instruction + queries + self.pairs.iter().map(|pair| pair.document.len()).sum::<usize>()
    }
}

/// Which end of an over-long document is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CutSide {
    /// The end goes, the beginning is read: the usual choice.
    #[default]
    Right,
    /// The beginning goes, the end is read.
    Left,
}

/// What to do with a document that does not fit beside its query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LongDocuments {
    /// Read as many tokens as fit, from the side that [`Truncation::side`] keeps.
    #[default]
    Truncate,
    /// Read the document in overlapping windows, and let the best window speak for it; at most this many windows.
    MaxPassage {
        /// Upper bound on the windows of one document, at least 1.
        windows: u16,
    },
}

/// How the texts of a request are fitted into the model's length. Part of a score's identity: it is hashed into cache
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Truncation {
    /// Tokens of a pair, specials included; `None` means the model's own limit. A larger value is lowered to it.
    pub max_length: Option<u32>,
    /// Tokens of the document alone, when the caller bounds them.
    pub max_document: Option<u32>,
    /// The side that is given up.
    pub side: CutSide,
    /// Cut once, or read in windows.
    pub long_documents: LongDocuments,
}

impl Truncation {
    /// The model's own length, the end of the document given up.
    pub const MODEL: Self =
        Self { max_length: None, max_document: None, side: CutSide::Right, long_documents: LongDocuments::Truncate };
}

impl Default for Truncation {
    fn default() -> Self {
        Self::MODEL
    }
}

/// One scored pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The model's raw output.
    pub logit: Logit,
    /// Tokens that entered the model, specials included, over all windows.
    pub tokens: u32,
    /// Whether some of the document (or of an over-long query) was given up.
    pub cut: bool,
}

/// Who waits for the scores. Warm-up work runs only while no live work is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// A search is waiting.
    #[default]
    Live,
    /// A batch job that fills the cache.
    WarmUp,
}
