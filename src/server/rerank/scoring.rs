//! A request's way through one generation: attempts until every pair is scored, or as much as time allows.
//!
//! Owns the forms of an answer: whole, with what is missing below, or in part. It must not know how one attempt goes, nor
//! how a generation takes the place of another.

use std::time::Instant;

use rescored_core::domain::{Logit, Scored};
use rescored_process::metrics::Served;

use super::blank::WithText;
use super::generation::Generation;
use super::progress::Progress;
use super::task::RerankTask;
use super::{Answer, Late, PartialAnswer, Request, RerankError, Stats};

impl Generation {
    /// Scores every pair of a request.
    ///
    /// # Errors
    /// The [`RerankError`] that kept the request from a whole answer.
    pub async fn score(&self, request: Request<'_>) -> Result<Answer, RerankError> {
        self.score_noting(request, &mut Stats::default()).await
    }

    /// As [`Generation::score`]; what was done so far is noted also when it comes to nothing.
    ///
    /// # Errors
    /// As [`Generation::score`].
    pub async fn score_noting(&self, request: Request<'_>, notes: &mut Stats) -> Result<Answer, RerankError> {
        let scored = self.run(&request, Late::IsAFault, notes).await?;
        Ok(Answer { scored: scored.into_iter().flatten().collect(), unscored: 0, stats: *notes })
    }

    /// As [`Generation::score_noting`], but pairs that were not scored in time, or whose own text is at fault, are kept below the
    /// others.
    ///
    /// # Errors
    /// The [`RerankError`] that kept the request from any score.
    pub async fn score_what_it_can(&self, request: Request<'_>, notes: &mut Stats) -> Result<Answer, RerankError> {
        let pairs = request.texts.pairs.len();
        let scored = self.run(&request, Late::IsLeftOut, notes).await?;
        let stats = *notes;
        let unscored = scored.iter().filter(|scored| scored.is_none()).count();
        if unscored == 0 {
            return Ok(Answer { scored: scored.into_iter().flatten().collect(), unscored, stats });
        }
        // What was not scored may have text, and so stands above what has none.
        let logits = scored.iter().flatten().map(|scored| scored.logit);
        let worst = logits.filter(|logit| *logit > Logit::NO_TEXT).min();
        let floor = worst.and_then(|worst| Logit::new(worst.get().next_down()).or(Some(worst)));
        let logit = floor.ok_or(RerankError::Deadline { scored: pairs - unscored, pairs })?;
        let below = Scored { logit, tokens: 0, cut: false };
        Ok(Answer { scored: scored.into_iter().map(|scored| scored.unwrap_or(below)).collect(), unscored, stats })
    }

    /// Scores the pairs of a request as far as time allows, in the caller's order. A pair that was not scored in time,
    /// or whose own text is at fault, is `None`.
    ///
    /// # Errors
    /// The [`RerankError`] that kept the request from any answer.
    pub async fn score_in_time(&self, request: Request<'_>) -> Result<PartialAnswer, RerankError> {
        let mut stats = Stats::default();
        let scored = self.run(&request, Late::IsLeftOut, &mut stats).await?;
        Ok(PartialAnswer { scored, stats })
    }

    /// Scores the pairs that have text; the others rank below them.
    async fn run(
        &self,
        request: &Request<'_>,
        late: Late,
        stats: &mut Stats,
    ) -> Result<Vec<Option<Scored>>, RerankError> {
        let Some(rest) = WithText::of(request) else { return self.run_all(request, late, stats).await };
        stats.empty += rest.blank();
        self.metrics.documents_empty.inc_by(rest.blank() as u64);
        self.metrics.pairs.inc_by(rest.blank() as u64);
        let request = Request { texts: &rest.texts, ..request.clone() };
        let scored = self.run_all(&request, late, stats).await.map_err(|fault| rest.fault(fault))?;
        Ok(rest.merge(scored))
    }

    async fn run_all(
        &self,
        request: &Request<'_>,
        late: Late,
        stats: &mut Stats,
    ) -> Result<Vec<Option<Scored>>, RerankError> {
        let model = self.position(request.model)?;
        stats.moved_from = self.models.get(model).and_then(|card| card.execution.moved_from);
        let pairs = request.texts.pairs.len();
        let begun = Instant::now();
        let mut task = RerankTask::new(self, model, request, late);
        self.metrics.pairs.inc_by(pairs as u64);
        task.look_up().await;
        stats.looked_up = Some((begun, Instant::now()));
        let mut progress = Progress::new(pairs, late, request.deadline);
        // Once, nearly always. Again only for pairs that somebody else led and gave up.
        while let Some(attempt) = progress.begin(&task, stats, Instant::now())? {
            // What is missing then, missed its time.
            let _ = tokio::time::timeout_at(request.deadline.into(), attempt.collector().filled()).await;
            progress.take(&attempt, stats, Instant::now())?;
        }
        let scored = progress.into_scored();
        self.stores.cache.show();
        stats.tokens = scored.iter().flatten().map(|scored| u64::from(scored.tokens)).sum();
        stats.cut = scored.iter().flatten().filter(|scored| scored.cut).count();
        let without_text = scored.iter().flatten().filter(|scored| scored.logit == Logit::NO_TEXT).count();
        stats.empty += without_text;
        self.metrics.documents_empty.inc_by(without_text as u64);
        self.account(model, pairs, stats);
        Ok(scored)
    }

    /// Counts an answered request by its model.
    fn account(&self, model: usize, pairs: usize, stats: &Stats) {
        let Some(card) = self.models.get(model) else { return };
        let label = Served { model: card.id.clone() };
        let micros = u64::try_from(stats.inference.as_micros()).unwrap_or(u64::MAX);
        self.metrics.model_requests.get_or_create(&label).inc();
        self.metrics.model_pairs.get_or_create(&label).inc_by(pairs as u64);
        self.metrics.model_cached_pairs.get_or_create(&label).inc_by(stats.cached as u64);
        self.metrics.model_tokens.get_or_create(&label).inc_by(stats.tokens);
        self.metrics.model_inference_work_microseconds.get_or_create(&label).inc_by(micros);
    }
}
