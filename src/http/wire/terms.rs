//! The terms on which a request wants its scores, whatever its dialect calls them.
//!
//! Owns the reading of those keys into a [`Call`]. It must not know where the texts come from.

use super::lenient::{Flag, Millis, Side, Truncate, Whole};
use super::text::Text;
use crate::domain::{Cut, CutSide, LongDocuments, Texts};
use crate::http::face::{Call, Dialect, Scores};

/// What all dialects can ask for, under one name each.
#[derive(Debug, Default)]
pub(in crate::http) struct Terms<'a> {
    pub(in crate::http) model: Option<Text<'a>>,
    pub(in crate::http) raw_scores: Option<Flag>,
    pub(in crate::http) use_activation: Option<Flag>,
    pub(in crate::http) truncate: Option<Truncate>,
    pub(in crate::http) side: Option<Side>,
    pub(in crate::http) pair_tokens: Option<Whole>,
    pub(in crate::http) document_tokens: Option<Whole>,
    pub(in crate::http) windows: Option<Whole>,
    pub(in crate::http) timeout: Option<Millis>,
    pub(in crate::http) allow_partial: Option<Flag>,
}

impl<'a> Terms<'a> {
    /// The call that asks for these texts on these terms.
    pub(in crate::http) fn into_call(self, dialect: &'static Dialect, texts: Texts<'a>) -> Call<'a> {
        let (side, refuse_cut) = match self.truncate {
            Some(Truncate::Refuse) => (None, true),
            Some(Truncate::At(side)) => (Some(side), false),
            Some(Truncate::Allow) | None => (None, false),
        };
        let side = self.side.map(|Side(side)| side).or(side).unwrap_or_default();
        let raw = self.raw_scores == Some(Flag(true)) || self.use_activation == Some(Flag(false));
        Call {
            texts,
            model: self.model.map(|Text(model)| model),
            scores: if raw { Scores::Raw } else { Scores::Activated },
            cut: cut(side, [self.pair_tokens, self.document_tokens, self.windows]),
            refuse_cut,
            timeout: self.timeout.map(|Millis(timeout)| timeout),
            allow_partial: self.allow_partial == Some(Flag(true)),
            ..Call::new(dialect)
        }
    }
}

/// How over-long documents are fitted, from the keys of all dialects: tokens of the pair, tokens of the document, and
/// windows of the document. Zero and negative numbers mean the server's own choice.
fn cut(side: CutSide, [pair_tokens, document_tokens, windows]: [Option<Whole>; 3]) -> Cut {
    let tokens = |number: Option<Whole>| number.and_then(positive).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let long_documents = match windows.and_then(positive) {
        None | Some(1) => LongDocuments::Truncate,
        Some(n) => LongDocuments::MaxPassage { windows: u16::try_from(n).unwrap_or(u16::MAX) },
    };
    Cut { max_length: tokens(pair_tokens), max_document: tokens(document_tokens), side, long_documents }
}

/// A positive number; zero and less mean "no limit" in every dialect.
pub(in crate::http) fn positive(Whole(number): Whole) -> Option<usize> {
    usize::try_from(number).ok().filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_zero_and_less_are_the_servers_choice() {
        for number in [0, -1, i64::MIN] {
            assert_eq!(cut(CutSide::Right, [Some(Whole(number)); 3]), Cut::MODEL);
        }
    }

    #[test]
    fn several_chunks_are_windows_and_one_is_a_cut() {
        let windows = |n| cut(CutSide::Left, [None, Some(Whole(7)), Some(Whole(n))]).long_documents;
        assert_eq!(windows(1), LongDocuments::Truncate);
        assert_eq!(windows(4), LongDocuments::MaxPassage { windows: 4 });
        assert_eq!(windows(i64::MAX), LongDocuments::MaxPassage { windows: u16::MAX });
    }
}
