//! The shapes that a model's programs have.
//!
//! Pure. Each shape is compiled for itself by Apple's framework, in seconds and with weights of its own, so they are few:
//! lengths double, and rows come one, a few or many at a time.

use rescored_graph::coreml::{LARGEST_DIMENSION, Shape};

/// Places for tokens in one run at most: 32 pairs of 128 tokens, the usual request's worth.
pub const PLACES: usize = 4096;

/// The shortest row; below it a run's overhead outweighs its arithmetic.
const SHORTEST: usize = 32;

/// Rows of a run.
const BATCHES: [usize; 3] = [1, 8, 32];

/// Pairs of a packed row at most: those of 32 tokens fill the longest row.
const SLOTS: usize = 16;

/// The length of packed rows: attention over it costs 18 % of a row's arithmetic, and what is left over at a row's end is
/// small against it.
const PACKED_LENGTH: usize = 512;

/// All shapes for pairs of up to `max_length` tokens, small ones first.
pub fn shapes(max_length: usize) -> Vec<Shape> {
    let longest = max_length.clamp(SHORTEST, LARGEST_DIMENSION);
    let mut lengths: Vec<usize> = std::iter::successors(Some(SHORTEST), |length| length.checked_mul(2))
        .take_while(|&length| length < longest)
        .collect();
    lengths.push(longest);
    let fits = |batch: &usize, length: usize| *batch == 1 || batch * length <= PLACES;
    let mut shapes: Vec<Shape> = lengths
        .into_iter()
        .flat_map(|length| {
            BATCHES.into_iter().filter(move |batch| fits(batch, length)).map(move |batch| Shape::padded(batch, length))
        })
        .collect();
    if longest >= PACKED_LENGTH {
        let packed = BATCHES.into_iter().filter(|batch| fits(batch, PACKED_LENGTH));
        shapes.extend(packed.map(|batch| Shape { batch, length: PACKED_LENGTH, slots: SLOTS }));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_pair_that_the_model_takes_fits_some_shape(max_length in 8_usize..9000, tokens in 1_usize..9000) {
            let tokens = tokens.min(max_length);
            let shapes = shapes(max_length);
            prop_assert!(shapes.iter().any(|shape| shape.length >= tokens && shape.batch == 1));
            for shape in &shapes {
                prop_assert!(shape.batch == 1 || shape.places() <= PLACES);
                for input in ["rows", "mask", "first", "first_mask"] {
                    prop_assert!(shape.dims(input, 384).into_iter().all(|dim| dim <= LARGEST_DIMENSION));
                }
            }
        }
    }

    #[test]
    fn the_usual_model_has_fifteen_shapes() {
        let shapes: Vec<String> = shapes(512).iter().map(ToString::to_string).collect();
        assert_eq!(
            shapes.join(" "),
            "1x32 8x32 32x32 1x64 8x64 32x64 1x128 8x128 32x128 1x256 8x256 1x512 8x512 1x512p16 8x512p16"
        );
    }
}
