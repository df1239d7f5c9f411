//! What a model must show before it answers anybody: at the start, and when its files were changed.
//!
//! Owns the checks: every score finite, a pair's score the same bits alone and in a batch, different pairs scored
//! differently, a pair of the greatest length scored at all, and the golden pairs within their bounds. It must not know
//! files.

use std::time::{Duration, Instant};

use rescored_core::domain::Scored;
use rescored_runtime::golden::Golden;

use crate::rerank::{Generation, RerankError};

/// How long the proof may take as a whole.
const PATIENCE: Duration = Duration::from_mins(2);

/// Copies of each pair in a batch: those of one length share a forward pass whatever the graph.
const COPIES: usize = 4;

/// The provider whose kernels round alike in passes of every size.
const CPU: &str = "cpu";

/// How far sharing a pass may move a logit elsewhere: twice what `compile` lets pass on its own samples.
const COMPANY_ON_DEVICES: f32 = 0.04;

/// A pass that fails sooner than this fails for the size of its input, and says so when it is tried with another.
const FAILS_AT_ONCE: Duration = Duration::from_secs(2);

/// Pairs of any subject and length, for checks that need no known score.
const PAIRS: [(&str, &str); 5] = [
    ("how many people live in berlin", "Berlin had a population of 3,520,031 registered inhabitants in 2015."),
    ("how many people live in berlin", "New York City is famous for the Metropolitan Museum of Art."),
    ("what is a cross-encoder", "A cross-encoder reads a query and a document together and gives one score."),
    ("what is a cross-encoder", "Bread is baked from flour, water, salt and yeast."),
    ("a", ""),
];

/// The query of pairs of a wanted length.
const SHORT: &str = "a";

/// A word that every tokenizer makes at least one token of, and its space.
const WORD: &str = "a ";

/// Why a model did not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// A pair has no score.
    #[error("a pair could not be scored")]
    RerankError(#[from] RerankError),
    /// A pair's score depends on its neighbours.
    #[error("a pair scores {alone} alone and {together} among others; a score must depend on its pair only")]
    BatchingPolicy {
        /// Its score alone.
        alone: f32,
        /// Its score in a batch.
        together: f32,
    },
    /// All pairs score the same.
    #[error("pairs of all kinds score the same ({0}); the weights are not those of a reranker")]
    Constant(f32),
    /// It takes shorter pairs than it says.
    #[error(
        "a pair of {length} tokens, which is its limit, could not be scored, and {longest} tokens could; set RESCORED_MAX_LENGTH={longest}, or mend max_position_embeddings of its config.json"
    )]
    Short {
        /// Tokens of a pair at most, as the files and settings have it.
        length: u32,
        /// Tokens of the longest pair that was scored.
        longest: u32,
        /// Why the longer one was not.
        #[source]
        source: RerankError,
    },
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
    /// Nobody waits for the proof any more.
    #[error("the proof was given up")]
    GivenUp,
}

/// A model that is to prove itself, and for how long.
struct Trial<'t> {
    generation: &'t Generation,
    model: &'t str,
    deadline: Instant,
    wanted: &'t dyn Fn() -> bool,
}

impl Trial<'_> {
    fn score(&self, pairs: &[(&str, &str)]) -> Result<Vec<Scored>, Unproved> {
        if !(self.wanted)() {
            return Err(Unproved::GivenUp);
        }
        Ok(self.generation.trial(self.model, pairs, self.deadline)?)
    }

    fn logits(&self, pairs: &[(&str, &str)]) -> Result<Vec<f32>, Unproved> {
        Ok(self.score(pairs)?.iter().map(|Scored { logit, .. }| logit.get()).collect())
    }
}

/// Has a generation prove one of its models, for as long as `wanted` says so.
///
/// # Errors
/// The first check that it fails.
pub fn prove(
    generation: &Generation,
    model: &str,
    golden: &[Golden],
    wanted: &dyn Fn() -> bool,
) -> Result<(), Unproved> {
    let card = generation.model(Some(model))?;
    let trial = Trial { generation, model, deadline: Instant::now() + PATIENCE, wanted };
    let together = trial.logits(&PAIRS.repeat(COPIES))?;
    let may_differ = if card.provider == CPU { 0.0 } else { COMPANY_ON_DEVICES };
    for (place, pair) in PAIRS.iter().enumerate() {
        let alone = trial.logits(&[*pair])?.first().copied().unwrap_or(f32::NAN);
        let alike = |together: f32| together.to_bits() == alone.to_bits() || (together - alone).abs() < may_differ;
        let mut copies = together.iter().skip(place).step_by(PAIRS.len());
        if let Some(&together) = copies.find(|together| !alike(**together)) {
            return Err(Unproved::BatchingPolicy { alone, together });
        }
    }
    if let Some(&first) = together.first().filter(|first| together.iter().all(|one| one.to_bits() == first.to_bits())) {
        return Err(Unproved::Constant(first));
    }
    takes_the_longest(&trial, card.max_length)?;
    scores_as_noted(&trial, golden)
}

/// Has a pair of the greatest length scored; where that fails, finds the greatest that does not.
fn takes_the_longest(trial: &Trial<'_>, length: u32) -> Result<(), Unproved> {
    let tokens = |words: u32| -> Result<u32, Unproved> {
        let document = WORD.repeat(words as usize);
        Ok(trial.score(&[(SHORT, &document)])?.first().map_or(0, |scored| scored.tokens))
    };
    let begun = Instant::now();
    let source = match tokens(length) {
        Ok(_) => return Ok(()),
        Err(Unproved::RerankError(fault @ RerankError::Document { .. })) => fault,
        Err(other) => return Err(other),
    };
    let (mut scored, mut refused, mut longest) = (0, length, 0);
    while refused - scored > 1 && begun.elapsed() < FAILS_AT_ONCE {
        let between = scored.midpoint(refused);
        match tokens(between) {
            Ok(tokens) => (scored, longest) = (between, tokens),
            Err(Unproved::RerankError(RerankError::Document { .. })) => refused = between,
            Err(other) => return Err(other),
        }
    }
    if longest == 0 { Err(source.into()) } else { Err(Unproved::Short { length, longest, source }) }
}

fn scores_as_noted(trial: &Trial<'_>, golden: &[Golden]) -> Result<(), Unproved> {
    let pairs: Vec<(&str, &str)> = golden.iter().map(|pair| (pair.query.as_str(), pair.document.as_str())).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    for (place, (pair, found)) in golden.iter().zip(trial.logits(&pairs)?).enumerate() {
        // A difference that is no number is no agreement.
        if (found - pair.logit).abs() <= pair.within {
            continue;
        }
        return Err(Unproved::Golden { number: place + 1, found, expected: pair.logit, within: pair.within });
    }
    Ok(())
}
