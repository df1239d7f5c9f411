//! Pairs whose document has no text: taken out before anything is hashed, looked up or scored, and put back below all
//! others.
//!
//! Their score depends on nothing but that, so none of it is cached. Owns the places of the others. It must not know how
//! these are scored.

use std::borrow::Cow;

use rescored_core::domain::blank::is_blank;
use rescored_core::domain::{EmptyDocuments, Logit, Pair, Scored, Texts};

use super::{Request, RerankError};

/// What a document without text gets.
pub(super) const NO_TEXT: Scored = Scored { logit: Logit::NO_TEXT, tokens: 0, cut: false };

/// The pairs of a request that have text.
#[derive(Debug)]
pub(super) struct WithText<'a> {
    pub(super) texts: Texts<'a>,
    /// Their places among all pairs.
    places: Vec<usize>,
    pairs: usize,
}

impl<'a> WithText<'a> {
    /// The pairs to be scored; `None` when they are all of them.
    pub(super) fn of(request: &Request<'a>) -> Option<Self> {
        let pairs = &request.texts.pairs;
        if request.empty == EmptyDocuments::Score || !pairs.iter().any(|pair| is_blank(&pair.document)) {
            return None;
        }
        let places: Vec<usize> = (0..pairs.len()).filter(|&place| !is_blank(&pairs[place].document)).collect();
        let borrowed = |text: &'a Cow<'_, str>| Cow::Borrowed(text.as_ref());
        let pair = |&place: &usize| Pair { query: pairs[place].query, document: borrowed(&pairs[place].document) };
        let texts = Texts {
            queries: request.texts.queries.iter().map(borrowed).collect(),
            pairs: places.iter().map(pair).collect(),
            instruction: request.texts.instruction.as_ref().map(borrowed),
        };
        Some(Self { texts, places, pairs: pairs.len() })
    }

    /// Documents without text.
    pub(super) fn blank(&self) -> usize {
        self.pairs - self.places.len()
    }

    /// The scores of all pairs from those of the pairs with text.
    pub(super) fn merge(&self, scored: Vec<Option<Scored>>) -> Vec<Option<Scored>> {
        let mut all = vec![Some(NO_TEXT); self.pairs];
        for (&place, scored) in self.places.iter().zip(scored) {
            all[place] = scored;
        }
        all
    }

    /// A fault by the caller's indexes.
    pub(super) fn fault(&self, fault: RerankError) -> RerankError {
        let place = |index: usize| self.places.get(index).copied().unwrap_or(index);
        match fault {
            RerankError::TooLong { index, tokens, limit } => {
                RerankError::TooLong { index: place(index), tokens, limit }
            }
            RerankError::Document { index, reason } => RerankError::Document { index: place(index), reason },
            RerankError::Deadline { scored, .. } => {
                RerankError::Deadline { scored: scored + self.blank(), pairs: self.pairs }
            }
            other @ (RerankError::UnknownModel { .. }
            | RerankError::LongInstruction { .. }
            | RerankError::Overloaded { .. }
            | RerankError::Crowded { .. }
            | RerankError::Memory
            | RerankError::Unavailable { .. }) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use rescored_core::domain::{Priority, Truncation};

    fn with_text(documents: &[&'static str], empty: EmptyDocuments) -> Option<(Vec<String>, Vec<usize>, usize)> {
        let texts = Texts::one_query("q", documents.iter().map(|&document| document.into()));
        let request = Request {
            model: None,
            texts: &texts,
            cut: Truncation::MODEL,
            refuse_cut: false,
            deadline: Instant::now(),
            priority: Priority::Live,
            memory: None,
            empty,
        };
        let rest = WithText::of(&request)?;
        Some((
            rest.texts.pairs.iter().map(|pair| pair.document.to_string()).collect(),
            rest.places.clone(),
            rest.blank(),
        ))
    }

    // Case B2.
    #[test]
    fn documents_without_text_are_taken_out_and_put_back() {
        let rest = with_text(&["a", "", "b", " \u{200b}"], EmptyDocuments::Last).expect("some are blank");
        assert_eq!(rest, (vec!["a".to_owned(), "b".to_owned()], vec![0, 2], 2));
        assert_eq!(with_text(&["a", "b"], EmptyDocuments::Last), None);
        assert_eq!(with_text(&["a", ""], EmptyDocuments::Score), None);
        let rest = WithText { texts: Texts::default(), places: vec![0, 2], pairs: 4 };
        let score = |value| Some(Scored { logit: Logit::new(value).expect("finite"), tokens: 1, cut: false });
        assert_eq!(rest.merge(vec![score(1.0), None]), [score(1.0), Some(NO_TEXT), None, Some(NO_TEXT)]);
        let fault = rest.fault(RerankError::Document { index: 1, reason: "x" });
        assert!(matches!(fault, RerankError::Document { index: 2, .. }), "{fault:?}");
    }
}
