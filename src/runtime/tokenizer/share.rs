//! How many tokens of a query and of a document enter one window.
//!
//! Pure arithmetic: owns the floor of a document, the overlap of windows and how many tokens can matter at all. It must
//! not know texts or tokenizers.

use std::ops::Range;

use rescored_core::domain::{LongDocuments, Truncation};

/// A document keeps this many tokens before its query is cut, or a fifth of the room where that is more. Never more than
/// it has, and never more than half of the room.
const LEAST_DOCUMENT: usize = 64;

/// See [`LEAST_DOCUMENT`].
const LEAST_SHARE: usize = 5;

/// Windows of a long document overlap by this share of their room: a sentence that one window cuts stands whole in the
/// next.
const WINDOW_OVERLAP: usize = 4;

/// Tokens that query and document keep of theirs in a room that they share.
///
/// The query keeps its tokens as long as the document keeps its floor. A query that is longer than the whole room gives
/// up, for each token that it has beyond it, one more to the document, until both have half: what Hugging Face's
/// `longest_first` gives two texts that are both long. So no token more in a query takes more than one from the document.
pub(super) fn shares(query: usize, document: usize, room: usize) -> (usize, usize) {
    let kept = most_of_document(query, room).min(document);
    (query.min(room - kept), kept)
}

/// Tokens that a document without an end keeps beside a query.
pub(super) fn most_of_document(query: usize, room: usize) -> usize {
    let floor = LEAST_DOCUMENT.max(room / LEAST_SHARE).min(room / 2);
    let half = room - room / 2;
    let grown = floor.saturating_add(query.saturating_sub(room)).min(half);
    room.saturating_sub(query).max(grown)
}

/// Tokens of a query that can decide what is kept of both.
pub(super) const fn most_of_query(room: usize) -> usize {
    room + room / 2
}

/// Tokens of a document that can enter the model, over all its windows.
pub(super) fn most_read(query: usize, room: usize, cut: &Truncation) -> usize {
    let window = most_of_document(query, room);
    let read = match cut.long_documents {
        LongDocuments::Truncate => window,
        LongDocuments::MaxPassage { windows } => {
            let further = usize::from(windows.max(1)) - 1;
            window.saturating_add(further.saturating_mul(step(window)))
        }
    };
    cut.max_document.map_or(read, |most| read.min((most as usize).max(1)))
}

/// Windows of at most `room` tokens over `length` tokens, at most `most` of them, each overlapping the one before.
pub(super) fn spans(length: usize, room: usize, most: usize) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    while spans.len() < most.max(1) {
        let end = (start + room).min(length);
        spans.push(start..end);
        if end == length {
            break;
        }
        start += step(room);
    }
    spans
}

fn step(room: usize) -> usize {
    (room - room / WINDOW_OVERLAP).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rescored_core::domain::CutSide;

    #[test]
    fn shares_of_a_window_of_512() {
        for (why, query, document, kept) in [
            ("both fit", 300, 209, (300, 209)),
            ("the document is cut", 300, 4000, (300, 209)),
            ("to its floor, a fifth", 408, 4000, (408, 101)),
            ("the query is cut before the floor is", 409, 4000, (408, 101)),
            ("case B8: 500 tokens of query", 500, 4000, (408, 101)),
            ("case B8: 508 tokens of query", 508, 4000, (408, 101)),
            ("a short document keeps all it has", 508, 8, (501, 8)),
            ("an empty one needs nothing", 600, 0, (509, 0)),
            ("longer than the room: the document gains what it has beyond", 519, 4000, (398, 111)),
            ("up to half", 1098, 4602, (254, 255)),
            ("without end", usize::MAX, usize::MAX, (254, 255)),
        ] {
            assert_eq!(shares(query, document, 509), kept, "{why}");
        }
        assert_eq!(shares(100, 100, 2), (1, 1), "the least room has one token of each");
        assert_eq!(shares(100, 100, 61), (30, 31), "a small room is halved");
    }

    proptest! {
        // Case B8.
        #[test]
        fn a_document_keeps_its_floor_and_no_query_makes_it_fall_at_once(
            query in 0usize..1500, document in 0usize..1500, room in 2usize..1200,
        ) {
            let (of_query, of_document) = shares(query, document, room);
            prop_assert!(of_query <= query && of_document <= document && of_query + of_document <= room);
            prop_assert!(of_document >= document.min(64.max(room / 5)).min(room / 2), "the floor");
            prop_assert!(of_query >= query.min(room / 2), "a query keeps half of the room if it needs it");
            let whole = (query, document);
            prop_assert_eq!(query + document <= room, (of_query, of_document) == whole, "nothing is cut in vain");
            prop_assert!(query + document < room || of_query + of_document == room, "no room is left");
            let next = shares(query + 1, document, room).1;
            prop_assert!(next.abs_diff(of_document) <= 1, "from {} to {}", of_document, next);
        }

        #[test]
        fn tokens_beyond_those_that_are_read_change_nothing(
            query in 0usize..900, room in 2usize..600, windows in 1u16..9, beyond in 1usize..500,
        ) {
            let long_documents = LongDocuments::MaxPassage { windows };
            let cut = Truncation { max_length: None, max_document: None, side: CutSide::Right, long_documents };
            let read = most_read(query, room, &cut);
            let all = |length: usize| {
                let of_query = shares(query, length, room).0;
                (of_query, spans(length, room - of_query, windows.into()))
            };
            prop_assert_eq!(all(read), all(read + beyond));
            let known = query.min(most_of_query(room));
            prop_assert_eq!(shares(known, read, room), shares(query, read, room));
        }

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
    }
}
