//! The terms on which a request wants its scores, whatever its dialect calls them.
//!
//! Owns the reading of those keys into a [`RerankRequest`], and the rule that none of them is ignored in silence: what
//! does not count, because another key says it otherwise or because the number makes no sense, is noted as unread. It
//! must not know where the texts come from.

use rescored_core::domain::{CutSide, LongDocuments, Texts, Truncation};
use rescored_core::json::unread::Unread;

use super::lenient::{Flag, Millis, Side, Truncate, Whole};
use super::text::Text;
use crate::http::dialect::{RerankRequest, ResponseFormat, Scores};

/// What all dialects can ask for, under the names that they have for it.
#[derive(Debug, Default)]
pub(in crate::http) struct Terms<'a> {
    pub(in crate::http) model: Option<Text<'a>>,
    pub(in crate::http) raw_scores: Option<Flag>,
    pub(in crate::http) use_activation: Option<Flag>,
    pub(in crate::http) truncate: Option<Truncate>,
    pub(in crate::http) truncation: Option<Truncate>,
    pub(in crate::http) truncation_direction: Option<Side>,
    pub(in crate::http) truncation_side: Option<Side>,
    pub(in crate::http) truncate_prompt_tokens: Option<Whole>,
    pub(in crate::http) max_tokens_per_doc: Option<Whole>,
    pub(in crate::http) max_chunks_per_doc: Option<Whole>,
    pub(in crate::http) instruction: Option<Text<'a>>,
    pub(in crate::http) instruct: Option<Text<'a>>,
    pub(in crate::http) timeout_ms: Option<Millis>,
    pub(in crate::http) allow_partial: Option<Flag>,
    /// Logits are given whatever is asked for.
    pub(in crate::http) scores: Scores,
}

impl<'a> Terms<'a> {
    /// The request that asks for these texts on these terms.
    pub(in crate::http) fn into_call(
        self,
        format: &'static ResponseFormat,
        texts: Texts<'a>,
        mut unread: Unread,
    ) -> RerankRequest<'a> {
        let fit = one_of(&mut unread, self.truncate, "truncation", self.truncation);
        let (side, refuse_cut) = match fit {
            Some(Truncate::Refuse) => (None, true),
            Some(Truncate::At(side)) => (Some(side), false),
            Some(Truncate::Allow) | None => (None, false),
        };
        let end = one_of(&mut unread, self.truncation_direction, "truncation_side", self.truncation_side);
        let side = end.map(|Side(side)| side).or(side).unwrap_or_default();
        let raw = self.raw_scores.map(|Flag(raw)| raw);
        let activated = if raw.is_some() { "raw_scores" } else { "use_activation" };
        let not_activated = self.use_activation.map(|Flag(activated)| !activated);
        let raw = one_of(&mut unread, raw, "use_activation", not_activated).unwrap_or(self.scores == Scores::Raw);
        let instruction_key = if self.instruction.is_some() { "instruction" } else { "instruct" };
        let instruction = one_of(&mut unread, self.instruction, "instruct", self.instruct);
        // An empty one is what clients send that have none.
        let instruction = instruction.map(|Text(text)| text).filter(|text| !text.is_empty());
        let numbers = [self.truncate_prompt_tokens, self.max_tokens_per_doc, self.max_chunks_per_doc];
        let below = |number: Option<Whole>, least: i64| number.is_some_and(|Whole(number)| number < least);
        unread.note_any([
            (!raw && self.scores == Scores::Raw).then_some(activated),
            // vLLM's -1 is the model's own limit.
            below(numbers[0], -1).then_some("truncate_prompt_tokens"),
            below(numbers[1], 0).then_some("max_tokens_per_doc"),
            below(numbers[2], 0).then_some("max_chunks_per_doc"),
        ]);
        RerankRequest {
            texts: Texts { instruction, ..texts },
            instruction_key,
            model: self.model.map(|Text(model)| model),
            scores: if raw { Scores::Raw } else { self.scores },
            cut: cut(side, numbers),
            refuse_cut,
            timeout: self.timeout_ms.map(|Millis(timeout)| timeout),
            allow_partial: self.allow_partial == Some(Flag(true)),
            unread,
            ..RerankRequest::new(format)
        }
    }
}

/// The value of a key that has two names. Where both are there and say different things, the first one counts and the
/// second, which is `name`, is noted.
pub(super) fn one_of<T: PartialEq>(
    unread: &mut Unread,
    first: Option<T>,
    name: &'static str,
    second: Option<T>,
) -> Option<T> {
    match (first, second) {
        (Some(first), Some(second)) => {
            unread.note_any([(first != second).then_some(name)]);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

/// How over-long documents are fitted, from the keys of all dialects: tokens of the pair, tokens of the document, and
/// windows of the document. Zero and negative numbers mean the server's own choice.
fn cut(side: CutSide, [pair_tokens, document_tokens, windows]: [Option<Whole>; 3]) -> Truncation {
    let tokens = |number: Option<Whole>| number.and_then(positive).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let long_documents = match windows.and_then(positive) {
        None | Some(1) => LongDocuments::Truncate,
        Some(n) => LongDocuments::MaxPassage { windows: u16::try_from(n).unwrap_or(u16::MAX) },
    };
    Truncation { max_length: tokens(pair_tokens), max_document: tokens(document_tokens), side, long_documents }
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
            assert_eq!(cut(CutSide::Right, [Some(Whole(number)); 3]), Truncation::MODEL);
        }
    }

    #[test]
    fn several_chunks_are_windows_and_one_is_a_cut() {
        let windows = |n| cut(CutSide::Left, [None, Some(Whole(7)), Some(Whole(n))]).long_documents;
        assert_eq!(windows(1), LongDocuments::Truncate);
        assert_eq!(windows(4), LongDocuments::MaxPassage { windows: 4 });
        assert_eq!(windows(i64::MAX), LongDocuments::MaxPassage { windows: u16::MAX });
    }

    // Case B6.
    #[test]
    fn of_two_names_that_contradict_each_other_the_second_is_noted() {
        for (first, second, value, noted) in [
            (Some(1), None, Some(1), ""),
            (None, Some(2), Some(2), ""),
            (Some(1), Some(1), Some(1), ""),
            (Some(1), Some(2), Some(1), "b"),
        ] {
            let mut unread = Unread::default();
            assert_eq!(one_of(&mut unread, first, "b", second), value);
            assert_eq!(unread.header(), noted);
        }
    }
}
