//! What a request takes in memory while it is scored and answered, estimated from above.
//!
//! Owns the estimates, and taking what they say. It must not know what else memory is taken for.

use std::time::Instant;

use rescored_core::domain::Texts;
use rescored_process::budget::{BudgetError, Class, Reservation};

use super::dialect::RerankRequest;

/// Bytes that are kept of each pair beside its texts, from look-up to answer: its key, its place in the table of pairs in
/// flight, its ticket, its places in the planner's lists, its score. Seven requests of 10,000 documents of a few bytes
/// each, all in work, raised resident memory by 760 bytes a pair at first and by 970 in the end, the runtime's growth
/// included; with [`LINE_BYTES`] twice, 1,042 are taken.
const PAIR_BYTES: u64 = 768;

/// Bytes of a line of an answer, a document's text aside.
const LINE_BYTES: u64 = 128;

/// A large request: one that takes more than this, whatever its body's size.
const LARGE_BYTES: u64 = 1 << 20;

/// What the engine holds of pairs: their texts, and what is kept of each.
pub(super) fn of_work(texts: &Texts<'_>) -> u64 {
    texts.bytes() as u64 + (texts.pairs.len() + texts.queries.len()) as u64 * PAIR_BYTES
}

/// What is held of a request until it is answered, beside the engine's part: its texts, and the answer, whose room
/// doubles as it grows.
pub(super) fn of_answer(rerank_request: &RerankRequest<'_>) -> u64 {
    let echoed: u64 = if rerank_request.echo {
        rerank_request.texts.pairs.iter().map(|pair| printed(&pair.document)).sum()
    } else {
        0
    };
    rerank_request.texts.bytes() as u64 + 2 * (echoed + rerank_request.texts.pairs.len() as u64 * LINE_BYTES)
}

/// Takes the memory that a request turned out to need, or gives back what it does not; waits until its deadline at most.
pub(super) async fn settle(memory: &mut Reservation, bytes: u64, deadline: Instant) -> Result<(), BudgetError> {
    if bytes > LARGE_BYTES {
        memory.reclass(Class::Large);
    }
    let needed = bytes.saturating_sub(memory.bytes());
    tokio::time::timeout_at(deadline.into(), memory.resize(bytes)).await.unwrap_or(Err(BudgetError::Full { needed }))
}

/// Bytes of a text as JSON in ASCII: six for whatever is not printable ASCII, and for each half of a surrogate pair.
fn printed(text: &str) -> u64 {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | 0x7f => 2,
        0x00..=0x1f | 0xc0..=0xef => 6,
        0xf0..=0xff => 12,
        // The rest of a character that was counted by its first byte.
        0x80..=0xbf => 0,
        _ => 1,
    });
    bytes.sum::<u64>() + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    #[test]
    fn printed_texts_are_never_longer_than_estimated() {
        for text in ["", "plain", "quo\"te\\", "Größe", "北京", "😀😀", "\u{1}\n\t\u{7f}", "a\u{301}"] {
            let exact = json::text(&text).unwrap().len() as u64;
            assert!(printed(text) >= exact && printed(text) <= 3 * exact, "{text}: {} for {exact}", printed(text));
        }
    }

    #[test]
    fn many_small_pairs_cost_more_than_their_bytes() {
        let texts = Texts::one_query("q", (0..1000).map(|_| "".into()));
        assert!(of_work(&texts) > 600 * 1000);
    }
}
