//! Sequences of one forward pass that share a beginning (a prefix): each beginning is computed once.
//!
//! In a causal model the rows of a beginning do not depend on later tokens, so a pass computes them once for all
//! sequences that share it. The prompts of one request differ only from the document on. Pure: owns the choice of what
//! is shared.

/// The slots of a pass are a multiple of this.
const ROWS: usize = 4;

/// Minimum tokens of a beginning that gets a slot of its own.
const LEAST: usize = 16;

/// Sequences as a packed graph of a causal model reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arranged {
    /// Token ids of all slots, one after the other, `[tokens]`.
    pub ids: Vec<i64>,
    /// Tokens of each slot, `[slots]`.
    pub lengths: Vec<i64>,
    /// For each slot, the slot that holds its beginning, or the slot itself if there is none, `[slots]`.
    pub beginnings: Vec<i64>,
    /// The slot of each sequence, in order; the other slots are shared beginnings, whose results are meaningless.
    pub slots: Vec<usize>,
}

impl Arranged {
    /// Arranges sequences: neighbours that begin alike share their beginning if that saves tokens. The last token of
    /// each sequence is never shared. The number of slots is a multiple of four, filled up with free slots of one token
    /// each: ONNX Runtime's products on CPUs sum a single row, and those that are left of four rows of a product with one
    /// column, in another order.
    pub fn new(sequences: &[&[i64]]) -> Self {
        let mut arranged = Self::in_units(sequences, 1);
        while !arranged.lengths.len().is_multiple_of(ROWS) {
            arranged.push(&[0], None);
        }
        arranged
    }

    /// The same with beginnings whose length is a multiple of `unit` tokens; the rest belongs to the sequences.
    pub fn in_units(sequences: &[&[i64]], unit: usize) -> Self {
        let mut arranged = Self::default();
        let mut rest = sequences;
        while !rest.is_empty() {
            let (count, shared) = group(rest, unit.max(1));
            let (these, others) = rest.split_at(count);
            rest = others;
            let beginning = match these.first().and_then(|first| first.get(..shared)) {
                Some(tokens) if count > 1 => Some(arranged.push(tokens, None)),
                Some(_) | None => None,
            };
            for sequence in these {
                let own = if beginning.is_some() { sequence.get(shared..).unwrap_or_default() } else { sequence };
                let slot = arranged.push(own, beginning);
                arranged.slots.push(slot);
            }
        }
        arranged
    }

    /// Adds a slot and returns its index.
    fn push(&mut self, tokens: &[i64], beginning: Option<usize>) -> usize {
        let slot = self.lengths.len();
        self.ids.extend_from_slice(tokens);
        self.lengths.push(as_int(tokens.len()));
        self.beginnings.push(as_int(beginning.unwrap_or(slot)));
        slot
    }
}

/// How many of the first sequences share a beginning, and its length in tokens. A sequence joins if the group then
/// saves at least as many tokens as before.
fn group(sequences: &[&[i64]], unit: usize) -> (usize, usize) {
    let Some((first, others)) = sequences.split_first() else { return (0, 0) };
    let whole = |tokens: usize| tokens / unit * unit;
    let (mut count, mut shared) = (1, whole(first.len().saturating_sub(1)));
    for other in others {
        let most = shared.min(other.len().saturating_sub(1));
        let alike = whole(first.iter().zip(*other).take(most).take_while(|(a, b)| a == b).count());
        if alike < LEAST || count * alike < (count - 1) * shared {
            break;
        }
        (count, shared) = (count + 1, alike);
    }
    (count, shared)
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tokens of a slot, its beginning's first.
    fn whole(arranged: &Arranged, slot: usize) -> Vec<i64> {
        let start = |slot: usize| arranged.lengths[..slot].iter().sum::<i64>();
        let own = |slot: usize| {
            let range = start(slot)..start(slot) + arranged.lengths[slot];
            arranged.ids[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
        };
        let beginning = usize::try_from(arranged.beginnings[slot]).unwrap();
        if beginning == slot { own(slot) } else { [own(beginning), own(slot)].concat() }
    }

    fn sequences() -> impl Strategy<Value = Vec<Vec<i64>>> {
        let beginning = prop::sample::select(vec![0_usize, 5, 15, 16, 17, 40]);
        let end = prop::collection::vec(0_i64..3, 1..20);
        prop::collection::vec((beginning, 0_i64..3, end), 0..9).prop_map(|all| {
            let one = |(length, seed, end): (usize, i64, Vec<i64>)| [vec![seed + 7; length], end].concat();
            all.into_iter().map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn every_sequence_is_there_whole_and_nothing_grows(sequences in sequences()) {
            let all: Vec<&[i64]> = sequences.iter().map(Vec::as_slice).collect();
            let arranged = Arranged::new(&all);
            prop_assert_eq!(arranged.slots.len(), sequences.len());
            for (sequence, &slot) in sequences.iter().zip(&arranged.slots) {
                prop_assert_eq!(&whole(&arranged, slot), sequence);
                prop_assert!(arranged.lengths[slot] >= 1, "the last token is its own");
            }
            let tokens: usize = sequences.iter().map(Vec::len).sum();
            prop_assert!(arranged.ids.len() < tokens + ROWS, "free slots have one token each");
            for (slot, &beginning) in arranged.beginnings.iter().enumerate() {
                let beginning = usize::try_from(beginning).unwrap();
                prop_assert!(beginning <= slot && usize::try_from(arranged.beginnings[beginning]) == Ok(beginning));
            }
        }
    }

    #[test]
    fn slots_are_filled_up_to_a_multiple_of_four() {
        let arranged = Arranged::new(&[&[5, 6, 7]]);
        let expected = (vec![3, 1, 1, 1], vec![0, 1, 2, 3], vec![0]);
        assert_eq!((arranged.lengths, arranged.beginnings, arranged.slots), expected);
        assert_eq!(Arranged::new(&[]), Arranged::default());
    }

    #[test]
    fn a_requests_prompts_share_what_stands_before_their_documents() {
        let prompt = |document: i64| [vec![1; 40], vec![document; 10]].concat();
        let (prompts, other) = ([prompt(2), prompt(3), prompt(4)], vec![9; 30]);
        let all: Vec<&[i64]> = prompts.iter().chain([&other]).map(Vec::as_slice).collect();
        let arranged = Arranged::new(&all);
        assert_eq!(arranged.lengths, [40, 10, 10, 10, 30, 1, 1, 1]);
        assert_eq!(arranged.beginnings, [0, 0, 0, 0, 4, 5, 6, 7]);
        assert_eq!(arranged.slots, [1, 2, 3, 4]);
    }

    #[test]
    fn two_requests_do_not_give_up_their_beginnings_for_the_little_that_both_share() {
        let prompt = |query: i64, document: i64| [vec![1; 20], vec![query; 60], vec![document; 10]].concat();
        let prompts = [prompt(2, 5), prompt(2, 6), prompt(3, 5), prompt(3, 6)];
        let all: Vec<&[i64]> = prompts.iter().map(Vec::as_slice).collect();
        assert_eq!(Arranged::new(&all).lengths, [80, 10, 10, 80, 10, 10, 1, 1]);
    }
}
