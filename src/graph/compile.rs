//! The use case behind `rescored compile`: a source model in, a written graph that has proved itself out.
//!
//! Owns the proof: the fp32 graph of the same arrangement gives the source's logits on real pairs, pairs that share a
//! forward give the bits that they give alone, and the distance of coarser arithmetic is measured. The runner that
//! executes graphs is injected; this module knows no runtime.

use std::error::Error as StdError;

use super::feeds::in_order;
pub use super::feeds::{Feed, Sample, causal, packed, padded, paged, ragged};
use super::{
    Activations, CrossEncoder, Layout, Origin, Precision, Provenance, Runnable, Target, Unfit, Unread, Written,
    target::Ranges,
};

/// The largest difference in logits that rounding in fp32 explains.
pub const FP32_TOLERANCE: f32 = 1e-4;
/// A graph in coarser arithmetic that is further off than this on average is broken rather than coarse.
pub const COARSE_TOLERANCE: f32 = 0.5;

/// How far sharing a pass may move a pair's logit on GPUs, whose kernels round in other places for other sizes.
pub const COMPANY_TOLERANCE: f32 = 0.02;
/// Pairs that share a forward in that comparison.
const COMPANY: usize = 32;
/// The arrangement that proves the reading of a source where the target's own runs on a device only.
const PORTABLE: Layout = Layout::Packed { slots: 4 };

/// Executes graphs.
pub trait Runner {
    /// Why a graph did not run.
    type Error: StdError + Send + Sync + 'static;

    /// Loads a graph and runs it once a feed; answers with the values of one named output a run. A feed that the graph has
    /// no input for is left out.
    ///
    /// # Errors
    /// When the graph does not load or a run fails.
    fn run(&mut self, graph: &Runnable<'_>, runs: &[Vec<Feed>], output: &str) -> Result<Vec<Vec<f32>>, Self::Error>;
}

/// A written graph and what is known about it.
#[derive(Clone, Debug)]
pub struct Compiled<'m> {
    /// The graph.
    pub graph: Written<'m>,
    /// The target as written; observed ranges are filled in.
    pub target: Target,
    /// Distance of the fp32 graph's logits to the source's float arithmetic.
    pub proof: Distance,
    /// Distance of the written graph's logits to the fp32 graph's; zero for fp32 itself.
    pub loss: Distance,
    /// Distance between a pair's logit alone and in a batch; zero but for GPUs.
    pub company: Distance,
}

/// Differences of logits over the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distance {
    /// The largest.
    pub max: f32,
    /// The mean.
    pub mean: f32,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The source is not of a kind that can be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The target does not suit it.
    #[error("the target does not suit the model")]
    Unfit(#[from] Unfit),
    /// A graph did not run.
    #[error("the {what} graph did not run")]
    Run {
        /// Which graph.
        what: &'static str,
        /// What the runner said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Logits are not the source's.
    #[error("logits differ by {distance} at {what}, the limit is {limit}; the model runs as it is")]
    Differs {
        /// Which comparison.
        what: &'static str,
        /// The difference found.
        distance: f32,
        /// The largest allowed.
        limit: f32,
    },
    /// There is nothing to check on, or a sample does not fit the model.
    #[error("samples: {reason}")]
    Samples {
        /// What is missing.
        reason: String,
    },
}

/// Writes a model for a target and proves the result on samples; the judge is the source that the model was read from.
///
/// Static ranges that are empty are observed on the samples first. A graph of fewer layers cannot be compared with its
/// source: then the same arrangement with all layers is what proves itself.
///
/// # Errors
/// [`Refused`]; the source then runs as it is.
pub fn compile<'m, R: Runner>(
    (source, model): (&Origin, &'m CrossEncoder),
    (target, provenance): (&Target, &Provenance),
    samples: &[Sample],
    runner: &mut R,
) -> Result<Compiled<'m>, Refused> {
    check_samples(model, samples)?;
    let samples = &with_padding_inside(model, samples);
    let whole = Target { layers: None, ..target.clone() };
    let layout = if whole.layout == Layout::Ragged { PORTABLE } else { whole.layout };
    let exact = Target { precision: Precision::Fp32, layout, ..whole.clone() };

    let padded: Vec<Vec<Feed>> = samples.iter().map(padded).collect();
    let wanted = run(runner, ("source", &source.floats(model)?), &padded)?;
    let mut bench = Bench { runner, samples, is_causal: model.is_causal() };
    let (floats, _) = bench.logits("fp32", super::emit(model, &exact, provenance)?, exact.layout)?;
    let proof = distance(&wanted, &floats);
    within("fp32 against the source", proof.max, FP32_TOLERANCE)?;

    let whole = bench.with_ranges(model, whole, provenance)?;
    let (logits, company) = if whole == exact {
        (floats.clone(), Distance::default())
    } else {
        bench.logits("target", super::emit(model, &whole, provenance)?, whole.layout)?
    };
    let loss = distance(&floats, &logits);
    within("the target against fp32, on average", loss.mean, COARSE_TOLERANCE)?;
    let target = Target { layers: target.layers, ..whole };
    let graph = super::emit(model, &target, provenance)?;
    Ok(Compiled { graph, target, proof, loss, company })
}

/// Puts samples of one forward pass side by side as a layout wants them.
type Arrange<'a> = &'a dyn Fn(&[&Sample]) -> (Vec<Feed>, Vec<usize>);

/// A runner and the samples that every graph is run on.
struct Bench<'a, R> {
    runner: &'a mut R,
    samples: &'a [Sample],
    /// Whether the model's pairs may share their beginnings.
    is_causal: bool,
}

impl<R: Runner> Bench<'_, R> {
    /// A graph's logits, each sample alone, and how far they are from those in a batch: where pairs may share a
    /// forward, sharing must not change a bit, on GPUs no more than rounding explains.
    fn logits(
        &mut self,
        what: &'static str,
        graph: Written<'_>,
        layout: Layout,
    ) -> Result<(Vec<f32>, Distance), Refused> {
        let graph = &Runnable::Written(graph);
        let (group, limit, arrange): (_, _, Arrange<'_>) = match layout {
            Layout::Padded => {
                let runs: Vec<Vec<Feed>> = self.samples.iter().map(padded).collect();
                return Ok((run(self.runner, (what, graph), &runs)?, Distance::default()));
            }
            // All prompts begin alike, so these share their beginnings, too.
            Layout::Packed { slots } if self.is_causal => (slots, 0.0, &|samples| causal(samples)),
            Layout::Packed { slots } => (slots, 0.0, &move |samples| in_order(packed(samples, slots), samples)),
            Layout::Ragged if self.is_causal => {
                (COMPANY, COMPANY_TOLERANCE, &|samples| in_order(paged(samples), samples))
            }
            Layout::Ragged => (COMPANY, COMPANY_TOLERANCE, &|samples| in_order(ragged(samples), samples)),
        };
        let samples: Vec<&Sample> = self.samples.iter().collect();
        let alone = samples.chunks(1).map(arrange);
        let (runs, rows): (Vec<Vec<Feed>>, Vec<Vec<usize>>) = alone.chain(samples.chunks(group).map(arrange)).unzip();
        let answers = run_all(self.runner, (what, graph), &runs, "logits")?;
        let read =
            answers.iter().zip(&rows).map(|(logits, rows)| rows.iter().filter_map(|&row| logits.get(row).copied()));
        let read: Vec<Vec<f32>> = read.map(Iterator::collect).collect();
        let (alone, shared) = read.split_at(self.samples.len());
        let (alone, shared) = (alone.concat(), shared.concat());
        let company = distance(&alone, &shared);
        within("pairs that share a forward", company.max, limit)?;
        Ok((alone, company))
    }

    /// The target with ranges observed on the samples, where it wants some and has none.
    fn with_ranges(
        &mut self,
        model: &CrossEncoder,
        target: Target,
        provenance: &Provenance,
    ) -> Result<Target, Refused> {
        let Precision::Int8 { weights, activations: Activations::Static(ranges) } = &target.precision else {
            return Ok(target);
        };
        if !ranges.layers.is_empty() {
            return Ok(target);
        }
        let layout = Layout::Packed { slots: 1 };
        let observer = Target { layout, precision: Precision::Fp32, layers: None };
        let observer = Runnable::Written(super::emit_observer(model, &observer, provenance)?);
        let runs: Vec<Vec<Feed>> = self.samples.iter().map(|sample| packed(&[sample], 1)).collect();
        let mut ranges = Ranges::default();
        for extremes in run_all(self.runner, ("observing", &observer), &runs, "ranges")? {
            ranges.widen(&extremes);
        }
        let precision = Precision::Int8 { weights: *weights, activations: Activations::Static(ranges) };
        Ok(Target { precision, ..target })
    }
}

fn run_all<R: Runner>(
    runner: &mut R,
    (what, graph): (&'static str, &Runnable<'_>),
    runs: &[Vec<Feed>],
    output: &str,
) -> Result<Vec<Vec<f32>>, Refused> {
    let answers = runner.run(graph, runs, output);
    let answers = answers.map_err(|error| Refused::Run { what, source: Box::new(error) })?;
    if answers.len() == runs.len() && answers.iter().flatten().all(|value| value.is_finite()) {
        return Ok(answers);
    }
    Err(Refused::Run { what, source: "an answer is missing or not finite".into() })
}

fn run<R: Runner>(
    runner: &mut R,
    graph: (&'static str, &Runnable<'_>),
    runs: &[Vec<Feed>],
) -> Result<Vec<f32>, Refused> {
    Ok(run_all(runner, graph, runs, "logits")?.into_iter().flatten().collect())
}

fn distance(a: &[f32], b: &[f32]) -> Distance {
    if a.len() != b.len() {
        return Distance { max: f32::INFINITY, mean: f32::INFINITY };
    }
    let gaps: Vec<f32> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    #[expect(clippy::cast_precision_loss, reason = "samples are few")]
    let count = gaps.len().max(1) as f32;
    Distance { max: gaps.iter().copied().fold(0.0, f32::max), mean: gaps.iter().sum::<f32>() / count }
}

fn within(what: &'static str, distance: f32, limit: f32) -> Result<(), Refused> {
    if distance <= limit { Ok(()) } else { Err(Refused::Differs { what, distance, limit }) }
}

/// The samples, and the longest once more with padding in the middle where that moves what follows: a text may spell it.
fn with_padding_inside(model: &CrossEncoder, samples: &[Sample]) -> Vec<Sample> {
    let mut samples = samples.to_vec();
    if let (Some(padding), Some(longest)) =
        (model.embeddings.padding, samples.iter().max_by_key(|sample| sample.ids.len()))
    {
        let mut spelled = longest.clone();
        let middle = spelled.ids.len() / 2;
        spelled.ids.iter_mut().skip(middle).take(2).for_each(|id| *id = i64::try_from(padding).unwrap_or(i64::MAX));
        samples.push(spelled);
    }
    samples
}

fn check_samples(model: &CrossEncoder, samples: &[Sample]) -> Result<(), Refused> {
    let (words, limit) = (model.embeddings.words.rows, model.max_length());
    let types = model.embeddings.types.as_ref().map_or(usize::MAX, |table| table.rows);
    let below = |values: &[i64], limit| values.iter().all(|&id| usize::try_from(id).is_ok_and(|id| id < limit));
    let fits = |sample: &Sample| {
        let length = sample.ids.len();
        (1..=limit).contains(&length)
            && sample.types.len() == length
            && below(&sample.ids, words)
            && below(&sample.types, types)
    };
    match samples.iter().position(|sample| !fits(sample)) {
        _ if samples.is_empty() => {
            Err(Refused::Samples { reason: "none were given, so nothing can be checked".into() })
        }
        None => Ok(()),
        Some(at) => Err(Refused::Samples {
            reason: format!("number {at} does not fit the model: 1 to {limit} tokens below {words}, a type for each"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_of_different_counts_is_no_distance_at_all() {
        assert!(distance(&[1.0], &[]).max.is_infinite());
        assert_eq!(distance(&[1.0, 2.0], &[1.5, 2.0]), Distance { max: 0.5, mean: 0.25 });
        assert!(within("x", f32::NAN, 1.0).is_err(), "what is not a number is not within a limit");
    }
}
