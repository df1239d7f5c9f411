//! From token ids to the inputs of a written graph.
//!
//! Pure. Owns what an empty place holds: the embedding of token 0, never zeros, because a norm of zeros may be no number
//! and no number times nothing is none. A pair attends to its own tokens; what it is kept from weighs exactly nothing. It must
//! not know sessions.

use std::ops::Range;

use rescored_graph::coreml::Shape;

use super::plan::Run;
use crate::Batch;

/// Added to the score of a token that is not to be seen. Its share is `exp` of this less the best, which is 0 in 32 and in
/// 16 bits alike, and the sum stays within the range of a half.
const UNSEEN: f32 = -10_000.0;

/// Sums the embeddings of a token: word, position and type.
pub trait Embed: Send + Sync + std::fmt::Debug {
    /// Values of a row.
    fn width(&self) -> usize;
    /// The word whose tokens have position 0 and count for none, if there is one; others count from 1 then.
    fn padding(&self) -> Option<usize> {
        None
    }
    /// Writes the sum of the rows of `[word, position, type]`.
    fn embed(&self, token: [usize; 3], row: &mut [f32]);
}

/// The inputs of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// The shape that they have.
    pub shape: Shape,
    /// Values of an embedding.
    pub width: usize,
    /// `[places, width]`.
    pub rows: Vec<f32>,
    /// `[batch, 1, queries, length]`.
    pub mask: Vec<f32>,
    /// `[batch, slots, length]`.
    pub first: Vec<f32>,
    /// `[batch, 1, slots, length]`.
    pub first_mask: Vec<f32>,
}

/// The pairs of a batch, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<usize>,
    types: Vec<usize>,
    spans: Vec<Range<usize>>,
}

impl Tokens {
    /// Takes the pairs of a batch, packed or padded, without what fills it up.
    pub fn of(batch: &Batch) -> Self {
        let index = |&value: &i64| usize::try_from(value).unwrap_or(0);
        let longest = match batch.shape() {
            [_, longest] => Some(*longest),
            _ => None,
        };
        let mut tokens = Self::default();
        let mut start = 0;
        for (pair, length) in batch.lengths().iter().map(index).take(batch.pairs()).enumerate() {
            let from = longest.map_or(start, |longest| pair * longest);
            tokens.push(
                batch.ids()[from..from + length].iter().map(index),
                batch.types()[from..from + length].iter().map(index),
            );
            start += length;
        }
        tokens
    }

    /// Adds a pair.
    pub fn push(&mut self, ids: impl Iterator<Item = usize>, types: impl Iterator<Item = usize>) {
        let start = self.ids.len();
        self.ids.extend(ids);
        self.types.extend(types);
        self.spans.push(start..self.ids.len());
    }

    /// Tokens of each pair.
    pub fn lengths(&self) -> Vec<usize> {
        self.spans.iter().map(Range::len).collect()
    }
}

impl Feed {
    /// Inputs of a shape, not filled yet.
    pub fn new(shape: Shape, width: usize) -> Self {
        let Shape { batch, length, slots } = shape;
        Self {
            shape,
            width,
            rows: vec![0.0; shape.places() * width],
            mask: vec![0.0; batch * shape.queries() * length],
            first: vec![0.0; batch * slots * length],
            first_mask: vec![0.0; batch * slots * length],
        }
    }

    /// Fills everything anew with the pairs of a run.
    pub fn fill(&mut self, run: &Run, tokens: &Tokens, embed: &dyn Embed) {
        self.mask.fill(UNSEEN);
        self.first.fill(0.0);
        self.first_mask.fill(UNSEEN);
        for row in 0..self.shape.batch {
            let pairs = run.rows.get(row).map(Vec::as_slice).unwrap_or_default();
            let mut start = 0;
            for (slot, &pair) in pairs.iter().enumerate() {
                let span = tokens.spans.get(pair).cloned().unwrap_or_default();
                let mut passed = 0;
                for (offset, at) in span.clone().enumerate() {
                    let place = row * self.shape.length + start + offset;
                    let word = tokens.ids[at];
                    let position = match embed.padding() {
                        None => offset,
                        Some(padding) if padding == word => {
                            passed += 1;
                            0
                        }
                        Some(_) => offset + 1 - passed,
                    };
                    self.place([word, position, tokens.types[at]], place, embed);
                }
                self.show((row, slot), start..start + span.len());
                start += span.len();
            }
            for place in start..self.shape.length {
                self.place([0, place, 0], row * self.shape.length + place, embed);
            }
        }
    }

    /// Writes who of a pair sees whom, and where it begins.
    fn show(&mut self, (row, slot): (usize, usize), seen: Range<usize>) {
        let Shape { length, slots, .. } = self.shape;
        let line = (row * slots + slot) * length;
        self.first[line + seen.start] = 1.0;
        self.first_mask[line + seen.start..line + seen.end].fill(0.0);
        // One line of the mask serves every query of a row with one pair in it.
        let queries = if self.shape.is_packed() { seen.clone() } else { 0..1 };
        for query in queries {
            let line = (row * self.shape.queries() + query) * length;
            self.mask[line + seen.start..line + seen.end].fill(0.0);
        }
    }

    fn place(&mut self, token: [usize; 3], place: usize, embed: &dyn Embed) {
        embed.embed(token, &mut self.rows[place * self.width..(place + 1) * self.width]);
    }

    /// The answers for the pairs of a run, by position in the batch, out of a run's output.
    pub fn answers<'o>(run: &'o Run, output: &'o [f32]) -> impl Iterator<Item = (usize, Option<f32>)> + 'o {
        let slots = run.shape.slots;
        run.rows.iter().enumerate().flat_map(move |(row, pairs)| {
            pairs.iter().enumerate().map(move |(slot, &pair)| (pair, output.get(row * slots + slot).copied()))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Encoding;

    /// Embeds a token as its own three numbers.
    #[derive(Debug)]
    struct Plain;

    impl Embed for Plain {
        fn width(&self) -> usize {
            3
        }

        fn embed(&self, token: [usize; 3], row: &mut [f32]) {
            for (value, part) in row.iter_mut().zip(token) {
                *value = part as f32;
            }
        }
    }

    fn tokens(lengths: &[usize]) -> Tokens {
        let mut tokens = Tokens::default();
        for (pair, &length) in lengths.iter().enumerate() {
            tokens.push((0..length).map(|at| 100 * (pair + 1) + at), (0..length).map(|at| usize::from(at > 1)));
        }
        tokens
    }

    proptest! {
        #[test]
        fn packed_pairs_see_their_own_tokens_and_no_others(lengths in prop::collection::vec(1_usize..8, 1..4)) {
            let shape = Shape { batch: 2, length: 24, slots: 4 };
            let run = Run { shape, rows: vec![(0..lengths.len()).collect()] };
            let mut feed = Feed::new(shape, 3);
            feed.fill(&run, &tokens(&lengths), &Plain);
            let owner = |place: usize| {
                let mut end = 0;
                lengths.iter().position(|&length| { end += length; place < end })
            };
            for query in 0..24 {
                for key in 0..24 {
                    let sees = feed.mask[query * 24 + key] == 0.0;
                    prop_assert_eq!(sees, owner(query).is_some() && owner(query) == owner(key), "{} {}", query, key);
                }
            }
            for slot in 0..4 {
                let line = &feed.first[slot * 24..(slot + 1) * 24];
                let chosen: Vec<usize> = (0..24).filter(|&place| line[place] != 0.0).collect();
                let expected: Vec<usize> = (slot < lengths.len()).then(|| lengths[..slot].iter().sum()).into_iter().collect();
                prop_assert_eq!(&chosen, &expected);
                let mask = &feed.first_mask[slot * 24..(slot + 1) * 24];
                prop_assert!((0..24).all(|key| (mask[key] == 0.0) == (owner(key) == Some(slot) && slot < lengths.len())));
            }
            prop_assert!(feed.mask[24 * 24..].iter().all(|&value| value < 0.0), "an empty row sees nothing");
        }
    }

    #[test]
    fn positions_restart_in_every_pair_and_empty_places_hold_a_token() {
        let shape = Shape { batch: 2, length: 6, slots: 2 };
        let run = Run { shape, rows: vec![vec![1, 0]] };
        let mut feed = Feed::new(shape, 3);
        feed.fill(&run, &tokens(&[2, 3]), &Plain);
        let places: Vec<&[f32]> = feed.rows.chunks(3).collect();
        assert_eq!(places[0], [200.0, 0.0, 0.0]);
        assert_eq!(places[2], [202.0, 2.0, 1.0]);
        assert_eq!(places[3], [100.0, 0.0, 0.0], "the second pair begins at position 0");
        assert_eq!(places[5], [0.0, 5.0, 0.0], "what is left of the row");
        assert_eq!(places[6], [0.0, 0.0, 0.0], "a row without pairs");
    }

    // Case B14.
    #[test]
    fn padding_within_a_pair_has_the_first_position_and_counts_for_none() {
        #[derive(Debug)]
        struct Skips;
        impl Embed for Skips {
            fn width(&self) -> usize {
                3
            }
            fn padding(&self) -> Option<usize> {
                Some(9)
            }
            fn embed(&self, token: [usize; 3], row: &mut [f32]) {
                Plain.embed(token, row);
            }
        }
        let shape = Shape { batch: 1, length: 8, slots: 2 };
        let run = Run { shape, rows: vec![vec![0, 1]] };
        let mut tokens = Tokens::default();
        tokens.push([5, 9, 9, 6].into_iter(), [0; 4].into_iter());
        tokens.push([9, 7].into_iter(), [0; 2].into_iter());
        let mut feed = Feed::new(shape, 3);
        feed.fill(&run, &tokens, &Skips);
        let positions: Vec<f32> = feed.rows.chunks(3).map(|row| row[1]).take(6).collect();
        assert_eq!(positions, [1.0, 0.0, 0.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn a_feed_that_is_filled_again_forgets_its_former_pairs() {
        let shape = Shape::padded(2, 6);
        let runs = [vec![vec![0], vec![1]], vec![vec![2]]].map(|rows| Run { shape, rows });
        let tokens = tokens(&[6, 5, 2]);
        let (mut used, mut fresh) = (Feed::new(shape, 3), Feed::new(shape, 3));
        used.fill(&runs[0], &tokens, &Plain);
        used.fill(&runs[1], &tokens, &Plain);
        fresh.fill(&runs[1], &tokens, &Plain);
        assert_eq!(used, fresh);
    }

    #[test]
    fn a_batch_gives_the_same_tokens_packed_and_padded() {
        let pairs = [Encoding::new(vec![1, 2, 3], 2, 1), Encoding::new(vec![4, 5], 1, 1)];
        let pairs: Vec<&Encoding> = pairs.iter().collect();
        let (mut packed, mut padded) = (Batch::default(), Batch::default());
        packed.pack(&pairs, 4);
        padded.pad(&pairs);
        let tokens = Tokens::of(&packed);
        assert_eq!(tokens, Tokens::of(&padded));
        assert_eq!(tokens.lengths(), [3, 2]);
    }

    #[test]
    fn answers_go_back_to_the_pairs_that_they_are_of() {
        let run = Run { shape: Shape { batch: 2, length: 8, slots: 2 }, rows: vec![vec![2, 0], vec![1]] };
        let answers: Vec<_> = Feed::answers(&run, &[0.5, 1.5, 2.5]).collect();
        assert_eq!(answers, [(2, Some(0.5)), (0, Some(1.5)), (1, Some(2.5))]);
        assert_eq!(Feed::answers(&run, &[0.5]).last(), Some((1, None)), "an output that is too short");
    }
}
