//! Whether a program gives the right scores.
//!
//! CoreML gave wrong ones on a release of macOS, silently. So every program runs pairs whose logits `compile` wrote down
//! before it runs a caller's: once in full batches, once each alone. Pure over whoever runs it. It must not know
//! program threads.

use rescored_graph::coreml::{Arithmetic, Shape};
use serde::{Deserialize, Serialize};

use super::feed::{Embed, Feed, Tokens};
use super::plan::Run;

/// Largest distance that rounding explains. In 16 bits the proofs on the CPU stay within a tenth of it.
const fn tolerance(arithmetic: Arithmetic) -> f32 {
    match arithmetic {
        Arithmetic::Fp32 => 0.005,
        Arithmetic::Fp16 => 0.15,
    }
}

/// Pairs that are run alone as well.
const ALONE: usize = 2;

/// A pair and its right logit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Where the document's tokens begin.
    pub document_starts: u32,
    /// Their type.
    pub document_type: u32,
    /// The logit of the source's float arithmetic.
    pub logit: f32,
}

/// How near a program's logits are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Largest distance to the right logits.
    pub most: f32,
    /// Mean distance.
    pub mean: f32,
    /// Largest distance between a pair's logits alone and in a batch.
    pub company: f32,
}

/// Why a program is not used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// A logit is no number.
    #[error("wrong scores: one is no number")]
    NonFinite,
    /// A logit is too far off.
    #[error("wrong scores: off by {most} in logits, at most {limit} is rounding")]
    Off {
        /// The largest distance.
        most: f32,
        /// The limit.
        limit: f32,
    },
    /// There are fewer logits than pairs.
    #[error("wrong scores: there are fewer than pairs")]
    Missing,
}

/// Runs a program on samples and judges it. With no sample that fits its shape there is nothing to judge by, and nothing
/// is known.
///
/// # Errors
/// What `run` said, or [`Wrong`].
pub(super) fn check<E: From<Wrong>>(
    shape: Shape,
    arithmetic: Arithmetic,
    (samples, embed): (&[Sample], &dyn Embed),
    mut run: impl FnMut(Feed) -> Result<Vec<f32>, E>,
) -> Result<Agreement, E> {
    let fitting: Vec<&Sample> = samples.iter().filter(|sample| sample.ids.len() <= shape.length).collect();
    if fitting.is_empty() {
        return Ok(Agreement::default());
    }
    let tokens = tokens(&fitting);
    let mut score = |rows: Vec<Vec<usize>>| -> Result<Vec<(usize, f32)>, E> {
        let plan = Run { shape, rows };
        let mut feed = Feed::new(shape, embed.width());
        feed.fill(&plan, &tokens, embed);
        let output = run(feed)?;
        Feed::answers(&plan, &output).map(|(pair, logit)| Ok((pair, logit.ok_or(Wrong::Missing)?))).collect()
    };
    let together = score(company(shape, &fitting))?;
    let mut alone = Vec::new();
    for pair in 0..ALONE.min(fitting.len()) {
        alone.extend(score(vec![vec![pair]])?);
    }
    Ok(judge(&fitting, &together, &alone, tolerance(arithmetic))?)
}

/// Every row filled with samples, in turn.
pub(super) fn company(shape: Shape, samples: &[&Sample]) -> Vec<Vec<usize>> {
    let mut next = 0;
    let row = |_| {
        let (mut room, mut pairs) = (shape.length, Vec::new());
        while pairs.len() < shape.slots && samples[next % samples.len()].ids.len() <= room {
            room -= samples[next % samples.len()].ids.len();
            pairs.push(next % samples.len());
            next += 1;
        }
        pairs
    };
    (0..shape.batch).map(row).collect()
}

pub(super) fn tokens(samples: &[&Sample]) -> Tokens {
    let mut tokens = Tokens::default();
    for sample in samples {
        let types = (0..sample.ids.len())
            .map(|at| if at < sample.document_starts as usize { 0 } else { sample.document_type as usize });
        tokens.push(sample.ids.iter().map(|&id| id as usize), types);
    }
    tokens
}

fn judge(
    samples: &[&Sample],
    together: &[(usize, f32)],
    alone: &[(usize, f32)],
    limit: f32,
) -> Result<Agreement, Wrong> {
    let all = || together.iter().chain(alone);
    if all().any(|(_, logit)| !logit.is_finite()) {
        return Err(Wrong::NonFinite);
    }
    let gaps: Vec<f32> = all().map(|&(pair, logit)| (logit - samples[pair].logit).abs()).collect();
    let most = gaps.iter().copied().fold(0.0, f32::max);
    if most > limit {
        return Err(Wrong::Off { most, limit });
    }
    let apart = alone.iter().flat_map(|&(pair, logit)| {
        together.iter().filter(move |(other, _)| *other == pair).map(move |(_, other)| (other - logit).abs())
    });
    let company = apart.fold(0.0, f32::max);
    Ok(Agreement { most, mean: gaps.iter().sum::<f32>() / gaps.len() as f32, company })
}
