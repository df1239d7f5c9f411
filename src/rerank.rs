//! The use case: a query and documents in, one score a document out.
//!
//! Owns the way of a request past the cache, past whoever is scoring the same pair already, and through the engine. It
//! must not know HTTP or ONNX Runtime.

mod board;
mod course;
mod fault;
mod flights;
mod stats;

use std::sync::Arc;
use std::time::Instant;

use crate::cache::{Scope, ScoreCache};
use crate::domain::{Cut, Logit, ModelCard, Priority, Scored, Texts};
use crate::engine::{Engine, PairFault, StartError};
use crate::metrics::Metrics;

pub use crate::cache::{Forgotten, Report as CacheReport};
pub use crate::engine::Timeline;
pub use fault::Fault;

use course::{Attempt, Course};
use flights::Flights;
pub use stats::Stats;

/// Characters of an unknown model's name that an error repeats.
const SHOWN_NAME: usize = 64;

/// What a caller wants scored, and on which terms.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The model's id as the caller wrote it; `None`, an empty name or `default` mean the first configured one.
    pub model: Option<&'a str>,
    /// Queries and documents.
    pub texts: &'a Texts<'a>,
    /// How over-long documents are fitted.
    pub cut: Cut,
    /// Fail with [`Fault::TooLong`] instead of cutting.
    pub refuse_cut: bool,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
}

/// Scores of every pair, in the caller's order.
#[derive(Clone, Debug)]
pub struct Answer {
    /// One a pair.
    pub scored: Vec<Scored>,
    /// How many of them were not scored in time, by a caller's leave: their logit is one just below the worst that was
    /// found, so that they stand below it, in the caller's order.
    pub unscored: usize,
    /// Where the time and the work went.
    pub stats: Stats,
}

/// Scores of the pairs that were scored, in the caller's order.
#[derive(Clone, Debug)]
pub struct Part {
    /// One a pair; `None` for those that were not scored in time, or whose text is at fault.
    pub scored: Vec<Option<Scored>>,
    /// Where the time and the work went.
    pub stats: Stats,
}

/// What a pair that is not scored in time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// The request has no answer.
    IsAFault,
    /// The answer lacks that pair; so the first ones, in the caller's order, are scored first.
    IsLeftOut,
}

/// Scores pairs with the configured models: first the cache, then whoever is scoring the pair already, then the engine.
#[derive(Debug)]
pub struct Reranker {
    models: Vec<ModelCard>,
    /// Identities of the models' scores, in their order.
    identities: Vec<String>,
    engine: Engine,
    shelf: Arc<Shelf>,
    metrics: Arc<Metrics>,
}

/// What outlives a request: where finished scores go.
#[derive(Debug)]
struct Shelf {
    cache: ScoreCache,
    flights: Flights,
}

/// Whose scores these models' are, in their order: what a score cache is made for.
///
/// A score is bit-equal only to what the same graph, precision, provider and build of the runtime give on the same kind of
/// processor, whose vector instructions decide the order of sums; so all of that is part of the identity. A score from
/// elsewhere is a miss.
pub fn scopes(models: &[ModelCard]) -> Vec<Scope> {
    let host = host();
    let scope = |model: &ModelCard| {
        let ModelCard { id, fingerprint, precision, provider, runtime, .. } = model;
        Scope { model: id.clone(), identity: format!("{fingerprint} {precision} {provider} {runtime} {host}") }
    };
    models.iter().map(scope).collect()
}

/// The kind of processor, by the instructions that kernels are chosen by.
fn host() -> String {
    let mut host = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, here) in [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        // Processors with this one have AMX, whose own flag has no stable name yet.
        ("avx512fp16", std::is_x86_feature_detected!("avx512fp16")),
    ] {
        if here {
            host.push('+');
            host.push_str(name);
        }
    }
    #[cfg(target_arch = "aarch64")]
    for (name, here) in [
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
    ] {
        if here {
            host.push('+');
            host.push_str(name);
        }
    }
    host
}

impl Reranker {
    /// Puts the parts together. `models` are the engine's, in its order.
    pub fn new(models: Vec<ModelCard>, engine: Engine, cache: ScoreCache, metrics: Arc<Metrics>) -> Self {
        let identities = scopes(&models).into_iter().map(|scope| scope.identity).collect();
        Self { models, identities, engine, shelf: Arc::new(Shelf { cache, flights: Flights::default() }), metrics }
    }

    /// The models served, the default first.
    pub fn models(&self) -> &[ModelCard] {
        &self.models
    }

    /// The model that a request's `model` names.
    ///
    /// # Errors
    /// [`Fault::UnknownModel`] when it is not served here.
    pub fn model(&self, name: Option<&str>) -> Result<&ModelCard, Fault> {
        self.position(name).map(|position| &self.models[position])
    }

    fn position(&self, name: Option<&str>) -> Result<usize, Fault> {
        match name {
            // The last is what Infinity's own client writes when its caller names no model.
            None | Some("" | "default" | "default/not-specified") => Ok(0),
            Some(name) => self.models.iter().position(|model| model.id == name).ok_or_else(|| Fault::UnknownModel {
                name: name.chars().filter(char::is_ascii_graphic).take(SHOWN_NAME).collect(),
                served: self.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// What there is to tell of the cache.
    pub fn cache(&self) -> CacheReport {
        self.shelf.cache.report()
    }

    /// Has the cache forget every score, or those of one model, wherever they are kept.
    ///
    /// # Errors
    /// [`Fault::UnknownModel`].
    pub fn forget(&self, model: Option<&str>) -> Result<Forgotten, Fault> {
        let scope = model.map(|name| self.position(Some(name))).transpose()?;
        let forgotten = self.shelf.cache.forget(scope);
        self.shelf.cache.show();
        Ok(forgotten)
    }

    /// Blocks until every worker is warm.
    ///
    /// # Errors
    /// The first worker's failure to load or to run its model.
    pub fn wait_until_warm(&self) -> Result<(), StartError> {
        self.engine.wait_until_warm()
    }

    /// Scores every pair of a request.
    ///
    /// # Errors
    /// The [`Fault`] that kept the request from a whole answer.
    pub async fn score(&self, request: Request<'_>) -> Result<Answer, Fault> {
        self.score_noting(request, &mut Stats::default()).await
    }

    /// As [`Reranker::score`]; what was done so far is noted also when it comes to nothing.
    ///
    /// # Errors
    /// As [`Reranker::score`].
    pub async fn score_noting(&self, request: Request<'_>, notes: &mut Stats) -> Result<Answer, Fault> {
        let scored = self.run(&request, Late::IsAFault, notes).await?;
        Ok(Answer { scored: scored.into_iter().flatten().collect(), unscored: 0, stats: *notes })
    }

    /// As [`Reranker::score_noting`], but pairs that were not scored in time, or whose own text is at fault, are kept below the
    /// others.
    ///
    /// # Errors
    /// The [`Fault`] that kept the request from any score.
    pub async fn score_what_it_can(&self, request: Request<'_>, notes: &mut Stats) -> Result<Answer, Fault> {
        let pairs = request.texts.pairs.len();
        let scored = self.run(&request, Late::IsLeftOut, notes).await?;
        let stats = *notes;
        let worst = scored.iter().flatten().map(|scored| scored.logit).min();
        let floor = worst.and_then(|worst| Logit::new(worst.get().next_down()).or(Some(worst)));
        let unscored = scored.iter().filter(|scored| scored.is_none()).count();
        let logit = match floor {
            Some(logit) => logit,
            None if pairs == 0 => return Ok(Answer { scored: Vec::new(), unscored, stats }),
            None => return Err(Fault::Deadline { scored: 0, pairs }),
        };
        let below = Scored { logit, tokens: 0, cut: false };
        Ok(Answer { scored: scored.into_iter().map(|scored| scored.unwrap_or(below)).collect(), unscored, stats })
    }

    /// Scores the pairs of a request as far as time allows, in the caller's order. A pair that was not scored in time,
    /// or whose own text is at fault, is `None`.
    ///
    /// # Errors
    /// The [`Fault`] that kept the request from any answer.
    pub async fn score_in_time(&self, request: Request<'_>) -> Result<Part, Fault> {
        let mut stats = Stats::default();
        let scored = self.run(&request, Late::IsLeftOut, &mut stats).await?;
        Ok(Part { scored, stats })
    }

    async fn run(&self, request: &Request<'_>, late: Late, stats: &mut Stats) -> Result<Vec<Option<Scored>>, Fault> {
        let model = self.position(request.model)?;
        let pairs = request.texts.pairs.len();
        let begun = Instant::now();
        let mut course = Course::new(self, model, request, late);
        self.metrics.pairs.inc_by(pairs as u64);
        let mut scored: Vec<Option<Scored>> = vec![None; pairs];
        let mut missing: Vec<usize> = (0..pairs).collect();
        course.look_up().await;
        stats.looked_up = Some((begun, Instant::now()));
        // Once, nearly always. Again only for pairs that somebody else led and gave up.
        while !missing.is_empty() {
            let attempt = match course.begin(&missing) {
                // What the cache holds is served even when nothing else is.
                Err(refused) if late == Late::IsLeftOut && course.found().iter().any(Option::is_some) => {
                    tracing::debug!(%refused, "answered from the cache alone");
                    scored.copy_from_slice(course.found());
                    stats.cached += course.found().iter().flatten().count();
                    break;
                }
                other => other?,
            };
            let in_time = tokio::time::timeout_at(request.deadline.into(), attempt.board().filled()).await.is_ok();
            stats.add(&attempt);
            let Gathered { fault, again } = gather(&attempt, &missing, &mut scored);
            let over = !in_time || (!again.is_empty() && Instant::now() >= request.deadline);
            match (late, fault) {
                (Late::IsAFault, Some((index, fault))) => return Err(fault.of(index)),
                (Late::IsAFault, None) if over => {
                    return Err(Fault::Deadline { scored: scored.iter().flatten().count(), pairs });
                }
                (Late::IsLeftOut, _) if over => break,
                (Late::IsAFault | Late::IsLeftOut, _) => missing = again,
            }
        }
        self.shelf.cache.show();
        stats.tokens = scored.iter().flatten().map(|scored| u64::from(scored.tokens)).sum();
        stats.cut = scored.iter().flatten().filter(|scored| scored.cut).count();
        Ok(scored)
    }
}

/// What one attempt brought.
struct Gathered {
    /// The first pair, by the caller's index, that is itself at fault.
    fault: Option<(usize, PairFault)>,
    /// Pairs that somebody else led and gave up: worth another try.
    again: Vec<usize>,
}

fn gather(attempt: &Attempt, missing: &[usize], scored: &mut [Option<Scored>]) -> Gathered {
    let mut gathered = Gathered { fault: None, again: Vec::new() };
    for (slot, &index) in missing.iter().enumerate() {
        match attempt.board().get(slot) {
            Some(Ok(done)) => scored[index] = Some(done),
            Some(Err(fault)) if fault.is_anothers() => gathered.again.push(index),
            Some(Err(fault)) => gathered.fault = gathered.fault.or(Some((index, fault))),
            None => {}
        }
    }
    gathered
}
