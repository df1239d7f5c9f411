//! What new files must show before they answer anybody.
//!
//! Owns the checks: every score finite, a pair's score the same bits alone and in company, different pairs scored
//! differently, and the golden pairs within their bounds. It must not know files.

use std::time::{Duration, Instant};

use crate::domain::Scored;
use crate::model::golden::Golden;
use crate::rerank::{Fault, Generation};

/// How long the proof may take as a whole.
const PATIENCE: Duration = Duration::from_mins(2);

/// Copies of each pair in company: those of one length share a forward pass whatever the graph.
const COPIES: usize = 4;

/// Pairs of any subject and length, for checks that need no known score.
const PAIRS: [(&str, &str); 5] = [
    ("how many people live in berlin", "Berlin had a population of 3,520,031 registered inhabitants in 2015."),
    ("how many people live in berlin", "New York City is famous for the Metropolitan Museum of Art."),
    ("what is a cross-encoder", "A cross-encoder reads a query and a document together and gives one score."),
    ("what is a cross-encoder", "Bread is baked from flour, water, salt and yeast."),
    ("a", ""),
];

/// Why files did not prove themselves.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// A pair has no score.
    #[error("a pair could not be scored")]
    Fault(#[from] Fault),
    /// A pair's score depends on its neighbours.
    #[error("a pair scores {alone} alone and {together} among others; a score must depend on its pair only")]
    Company {
        /// Its score alone.
        alone: f32,
        /// Its score in company.
        together: f32,
    },
    /// All pairs score the same.
    #[error("pairs of all kinds score the same ({0}); the weights are not those of a reranker")]
    Constant(f32),
    /// A golden pair scores otherwise.
    #[error("golden pair {number} scores {found}, expected {expected} within {within}")]
    Golden {
        /// Its line, from 1.
        number: usize,
        /// Its score.
        found: f32,
        /// The noted one.
        expected: f32,
        /// How far from it the score may lie.
        within: f32,
    },
}

/// Has a generation prove one of its models.
pub(super) fn prove(generation: &Generation, model: &str, golden: &[Golden]) -> Result<(), Unproved> {
    let deadline = Instant::now() + PATIENCE;
    let score = |pairs: &[(&str, &str)]| -> Result<Vec<f32>, Fault> {
        let scored = generation.trial(model, pairs, deadline)?;
        Ok(scored.iter().map(|Scored { logit, .. }| logit.get()).collect())
    };
    let together = score(&PAIRS.repeat(COPIES))?;
    for (place, pair) in PAIRS.iter().enumerate() {
        let alone = score(&[*pair])?.first().copied().unwrap_or(f32::NAN);
        let mut copies = together.iter().skip(place).step_by(PAIRS.len());
        if let Some(&together) = copies.find(|together| together.to_bits() != alone.to_bits()) {
            return Err(Unproved::Company { alone, together });
        }
    }
    if let Some(&first) = together.first().filter(|first| together.iter().all(|one| one.to_bits() == first.to_bits())) {
        return Err(Unproved::Constant(first));
    }
    let pairs: Vec<(&str, &str)> = golden.iter().map(|pair| (pair.query.as_str(), pair.document.as_str())).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    for (place, (pair, found)) in golden.iter().zip(score(&pairs)?).enumerate() {
        // A difference that is no number is no agreement.
        if (found - pair.logit).abs() <= pair.within {
            continue;
        }
        return Err(Unproved::Golden { number: place + 1, found, expected: pair.logit, within: pair.within });
    }
    Ok(())
}
