//! What the engine is asked: texts, how they are fitted, until when and in which order.
//!
//! Owns the estimate of tokens from bytes, by which work is admitted before it is tokenised. It must not know who asks.

mod estimate;

use std::time::Instant;

use rescored_core::domain::{EmptyDocuments, LongDocuments, Priority, Truncation};

/// Special tokens of a pair: one before the query, one after each text. Templates with one more are estimated low by it.
pub(super) const SPECIAL_TOKENS: u64 = 3;

/// Bytes of a text that are read at most for each token that may enter the model: what the tokenizer bounds itself by.
const BYTES_READ_PER_TOKEN: u64 = 24;

/// What is to be scored: every document against its query. Owned, because it outlives the caller's body.
#[derive(Debug)]
pub struct Work {
    /// Which of the engine's models.
    pub model: usize,
    /// The distinct queries.
    pub queries: Vec<Box<str>>,
    /// Every pair: its query's position, and the document.
    pub documents: Vec<(u32, Box<str>)>,
    /// What the model is told to look for; its own default where there is none.
    pub instruction: Option<Box<str>>,
    /// How over-long documents are fitted.
    pub cut: Truncation,
    /// Fail an over-long pair instead of cutting it.
    pub refuse_cut: bool,
    /// Work past this instant is not started.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
    /// Which of its pairs go first.
    pub order: Order,
    /// What becomes of documents of which no token is left.
    pub empty: EmptyDocuments,
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

/// What is known of a pair before it is tokenised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Bytes of the document that will be read at most.
    pub(super) bytes: u32,
    /// Tokens of the whole pair, estimated: never 0, never more than the model takes.
    pub(super) tokens: u32,
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

    /// What each pair is expected to be, of at most `most` tokens, `around` of which stand around its texts, where texts of
    /// the model have lately turned out to be `scale` times their plain estimate.
    pub(super) fn texts(&self, most: u64, around: u64, scale: f64) -> Vec<Text> {
        let most = most.max(1);
        let bound = most.saturating_mul(BYTES_READ_PER_TOKEN);
        let head = |text: &str| {
            let read = usize::try_from(bound).unwrap_or(usize::MAX).min(text.len());
            (read as u64, scaled(estimate::tokens(&text.as_bytes()[..read]), scale))
        };
        let around = around + self.instruction.as_deref().map_or(0, |text| head(text).1);
        let queries: Vec<u64> = self.queries.iter().map(|query| head(query).1).collect();
        let text = |(query, document): &(u32, Box<str>)| {
            let query = queries.get(*query as usize).copied().unwrap_or(0);
            let (bytes, tokens) = head(document);
            let tokens = (around + query + tokens).min(most);
            Text { bytes: saturated(bytes), tokens: saturated(tokens).max(1) }
        };
        self.documents.iter().map(text).collect()
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive multiple of a count")]
fn scaled(tokens: u64, scale: f64) -> u64 {
    (tokens as f64 * scale).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(query: &str, documents: &[&str], cut: Truncation) -> Work {
        Work {
            model: 0,
            queries: vec![query.into()],
            documents: documents.iter().map(|&document| (0, document.into())).collect(),
            instruction: None,
            cut,
            refuse_cut: false,
            deadline: Instant::now(),
            priority: Priority::Live,
            order: Order::LongestFirst,
            empty: EmptyDocuments::Last,
        }
    }

    /// Case A5.
    #[test]
    fn special_tokens_and_the_query_count_for_every_pair() {
        let work = work("how many people live in berlin", &["a", "a", ""], Truncation::MODEL);
        let tokens: Vec<u32> = work.texts(512, SPECIAL_TOKENS, 1.0).iter().map(|text| text.tokens).collect();
        assert_eq!(tokens, [10, 10, 9]);
    }

    #[test]
    fn nothing_is_expected_to_be_more_than_the_model_takes() {
        let long = "word ".repeat(10_000);
        for (sentence, cut, most) in [
            ("one window", Truncation::MODEL, 512),
            ("a shorter one is asked for", Truncation { max_length: Some(100), ..Truncation::MODEL }, 100),
            (
                "windows",
                Truncation { long_documents: LongDocuments::MaxPassage { windows: 4 }, ..Truncation::MODEL },
                2048,
            ),
        ] {
            let work = work("q", &[&long], cut);
            let text = work.texts(work.most_tokens(512), SPECIAL_TOKENS, 3.0)[0];
            assert_eq!(
                (u64::from(text.tokens), u64::from(text.bytes)),
                (most, most * BYTES_READ_PER_TOKEN),
                "{sentence}"
            );
        }
    }
}
