//! Engine results over HTTP: `POST /rescore/<engine>`.
//!
//! Owns the way of such a request from body to rewritten body; what is read and rewritten is [`crate::rescore`]'s. It
//! must not know any engine's format.

pub(super) mod docs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use rescored_core::domain::{Priority, Scored, Truncation};
use rescored_core::json::unread::Unread;
use rescored_process::budget::Reservation;
use tokio::sync::SemaphorePermit;

use super::answer;
use super::body::{self, Body};
use super::caught::caught;
use super::dialect::Partial;
use super::error::{ApiError, RequestError};
use super::record::{InFlight, Record};
use super::state::AppState;
use super::{cost, outgoing};
use crate::rerank::{Generation, Request, Stats};
use crate::rescore::{Counters, Engine, Job, Malformed, Options, Output, SearchAfter, StageRequest};

/// Bytes of a hit's `sort` that a header repeats; of a longer one the hit's place is reported alone.
const LONGEST_SORT: usize = 4096;

/// One engine's path.
#[derive(Debug)]
pub(super) struct Route {
    /// The name in logs and metrics.
    pub(super) name: &'static str,
    /// Its path.
    pub(super) path: &'static str,
    engine: Engine,
}

/// Every engine whose results are taken in.
pub(super) static ROUTES: &[Route] = &[
    Route { name: "rescore_opensearch", path: "/rescore/opensearch", engine: Engine::OpenSearch },
    Route { name: "rescore_vespa", path: "/rescore/vespa", engine: Engine::Vespa },
];

/// A rewritten response and what is reported about it.
struct Rescored {
    bytes: Vec<u8>,
    counters: Counters,
    search_after: Option<SearchAfter>,
    stats: Stats,
    model: String,
    pairs: usize,
    unread: Unread,
    parsed: Instant,
    written: (Instant, Instant),
}

/// What a job needs beside its body.
struct RescoreHandler {
    state: web::Data<AppState>,
    engine: Engine,
    started: Instant,
    header_timeout: Option<Duration>,
}

/// Answers one request.
pub(super) async fn rescore(route: &'static Route, request: HttpRequest, mut payload: Payload) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return ApiError::Internal.response();
    };
    let _in_flight = InFlight::enter(&state.metrics);
    let mut record = Record::of_scores(route.name, &request, &state);
    let handler =
        RescoreHandler { state: state.clone(), engine: route.engine, started: record.laps.begun, header_timeout: None };
    let outcome = caught(handler.answer(&request, &mut payload, &mut record)).await;
    let outcome = outcome.unwrap_or(Err(ApiError::Internal));
    let begun = record.laps.begun;
    let response = record.finish(outcome, &state.metrics);
    state.live.count(response.status(), begun.elapsed());
    outgoing::after(response, &request, payload).await
}

impl RescoreHandler {
    async fn answer(
        mut self,
        request: &HttpRequest,
        payload: &mut Payload,
        record: &mut Record,
    ) -> Result<HttpResponse, ApiError> {
        self.state.keys.admit(request.headers())?;
        answer::admit(self.state.health.readiness())?;
        self.header_timeout = answer::header_timeout(request.headers())?;
        let patience = self.header_timeout.unwrap_or(self.state.deadline);
        let state = self.state.clone();
        let terms = state.body(patience, body::Reading::Rewritten);
        let Body { bytes, memory } = body::collect(request, payload, terms).await?;
        let (rescored, memory) = if bytes.len() > body::INLINE_BYTES {
            self.elsewhere(bytes, memory).await?
        } else {
            self.run(&bytes, memory).await?
        };
        record.pairs = rescored.pairs;
        record.model = rescored.model;
        record.unread = rescored.unread;
        (record.stats, record.work) = (Some(rescored.stats), rescored.stats);
        (record.laps.parsed, record.laps.printed) = (Some(rescored.parsed), Some(rescored.written));
        let mut response = HttpResponse::Ok();
        response.content_type("application/json");
        for (name, value) in [
            ("x-rescored-hits", rescored.counters.rescored),
            ("x-rescored-missing-fields", rescored.counters.missing_fields),
        ] {
            response.insert_header((name, value.to_string()));
        }
        if rescored.counters.outweighed > 0 {
            response.insert_header(("x-rescored-outweighed", rescored.counters.outweighed.to_string()));
        }
        if let Some(SearchAfter { hit, sort }) = rescored.search_after {
            response.insert_header(("x-rescored-search-after-hit", hit.to_string()));
            if sort.len() <= LONGEST_SORT {
                response.insert_header(("x-rescored-search-after", sort));
            }
        }
        if rescored.counters.unsettled > 0 {
            let Counters { rescored: scored, unsettled, .. } = rescored.counters;
            record.partial = Some(Partial { scored, documents: scored + unsettled });
        }
        Ok(response.body(outgoing::body(rescored.bytes, memory)))
    }

    /// Reading and rewriting megabytes is no work for a connection's thread. The job borrows the body, so the whole of it
    /// goes to another thread, which waits for the scores there, until this future is dropped because its caller is gone.
    async fn elsewhere(self, bytes: Bytes, memory: Reservation) -> Result<(Rescored, Reservation), ApiError> {
        let (_here, gone) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    rescored = self.run(&bytes, memory) => rescored,
                    // Nobody reads this.
                    _ = gone => Err(ApiError::Internal),
                }
            })
        };
        web::block(work).await.map_err(|_| ApiError::Internal)?
    }

    async fn run(&self, bytes: &Bytes, mut memory: Reservation) -> Result<(Rescored, Reservation), ApiError> {
        let cut = Truncation { long_documents: self.state.long_documents, ..Truncation::MODEL };
        let options = Options { cut, max_hits: self.state.limits.max_documents };
        let permit = self.large_body_permit(bytes).await;
        let mut job = Job::parse(self.engine, bytes, &options).map_err(RequestError::from)?;
        self.state.admit_unread(job.unread())?;
        let unread = job.unread().clone();
        drop(permit);
        let parsed = Instant::now();
        let timeout = self.header_timeout.or(job.terms().timeout).unwrap_or(self.state.deadline);
        let deadline = self.started + timeout.min(answer::LONGEST_TIMEOUT);
        let (mut stats, mut pairs, mut model) = (Stats::default(), 0, String::new());
        let now = self.state.reranker.now();
        while let Some(stage) = job.next_stage() {
            pairs += stage.texts.pairs.len();
            // What is written anew is as large as what came, beside a line for each hit; by then the texts are gone.
            let (body, work) = (bytes.len() as u64, cost::of_work(&stage.texts));
            cost::settle(&mut memory, body + work + body.max(stage.texts.bytes() as u64), deadline).await?;
            let engines = Arc::new(memory.split(work));
            let card = now.model(stage.model.as_deref())?;
            model.clone_from(&card.id);
            let cut = answer::within(job.terms().cut, card.max_length);
            let (activation, part) = (card.activation, self.stage(&now, &stage, engines, &job, cut, deadline).await?);
            stats += part.1;
            job.settle(&part.0, activation).map_err(|_| ApiError::Internal)?;
        }
        let _permit = self.large_body_permit(bytes).await;
        let begun = Instant::now();
        let output = job.finish();
        let written = (begun, Instant::now());
        let Output { bytes, counters, search_after } = output;
        let rescored = Rescored { bytes, counters, search_after, stats, model, pairs, unread, parsed, written };
        Ok((rescored, memory))
    }

    /// A place to read or write a large body at; small ones need none.
    async fn large_body_permit(&self, bytes: &Bytes) -> Option<SemaphorePermit<'_>> {
        if bytes.len() > body::INLINE_BYTES { self.state.large_body_permits.acquire().await.ok() } else { None }
    }

    async fn stage(
        &self,
        now: &Generation,
        stage: &StageRequest<'_>,
        memory: Arc<Reservation>,
        job: &Job<'_>,
        cut: Truncation,
        deadline: Instant,
    ) -> Result<(Vec<Option<Scored>>, Stats), ApiError> {
        let request = Request {
            model: stage.model.as_deref(),
            texts: &stage.texts,
            cut,
            refuse_cut: job.terms().refuse_cut,
            deadline,
            priority: Priority::Live,
            memory: Some(memory),
            empty: self.state.leniency.empty_documents,
        };
        if job.terms().allow_partial {
            let part = now.score_in_time(request).await?;
            return Ok((part.scored, part.stats));
        }
        let answer = now.score(request).await?;
        Ok((answer.scored.into_iter().map(Some).collect(), answer.stats))
    }
}

impl From<Malformed> for RequestError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooMany { path, what, limit, hint } => {
                let hint = if what.contains("hit") { "send fewer or raise RESCORED_MAX_DOCUMENTS" } else { hint };
                Self::TooMany { path, what, limit, hint }
            }
            Malformed::Encoding { .. } | Malformed::Json(_) | Malformed::Value { .. } | Malformed::Refused { .. } => {
                Self::Engine(malformed)
            }
        }
    }
}
