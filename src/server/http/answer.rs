//! The way of one request: limits, reading, scoring, printing, headers, one log line, metrics.
//!
//! Owns that order for every dialect. It must not know what any dialect looks like, or how scores are made.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use rescored_core::domain::{LongDocuments, ModelCard, Priority, Texts, Truncation};
use rescored_core::json::unread::Unread;
use rescored_process::budget::Reservation;
use rescored_process::health::Readiness;
use rescored_process::metrics::{self, Metrics};
use rescored_process::telemetry::traces::Trace;

use super::body::Body;
use super::caught::caught;
use super::dialect::{Dialect, Partial, RerankRequest, RerankResponse};
use super::error::{ApiError, RequestError};
use super::server::AppState;
use super::timing::{Laps, Parts};
use super::wire::lenient::Millis;
use super::{body, cost, named, outgoing, request_id, spans, wire};
use crate::rerank::{Answer, Request, Stats};

/// Bodies up to this size are read and answered on the connection's own thread: that takes less than the way to another
/// one and back. Larger ones would hold up the other connections of the thread.
pub(super) const INLINE_BYTES: usize = 256 * 1024;

/// A caller that waits longer than this waits for ever; it also keeps instants from overflowing.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);

/// Cut documents whose indexes a header tells; `X-Rescored-Truncated` counts all.
const CUT_TOLD: usize = 100;

/// What is reported about one request when it is over.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) dialect: &'static str,
    /// The path's pattern, of requests for scores.
    pub(super) route: String,
    pub(super) model: String,
    pub(super) pairs: usize,
    /// Set by an answer; what was done before a refusal is in `work`.
    pub(super) stats: Option<Stats>,
    /// How much of the answer is scored, when that is not all.
    pub(super) partial: Option<Partial>,
    pub(super) work: Stats,
    /// The caller's indexes of documents that were cut.
    cut: Vec<usize>,
    /// Keys of the request that nobody read.
    pub(super) unread: Unread,
    /// Fields that were named and are not there, and members of documents that were not read.
    fields: (usize, usize),
    pub(super) laps: Laps,
    trace: Option<Trace>,
}

/// Counts a request for as long as it is worked on, however it ends.
pub(super) struct InFlight<'m>(&'m Metrics);

impl<'m> InFlight<'m> {
    pub(super) fn enter(metrics: &'m Metrics) -> Self {
        metrics.requests_in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.requests_in_flight.dec();
    }
}

/// Answers a request to one of the dialects.
pub(super) async fn dialect(dialect: &'static Dialect, request: HttpRequest, mut payload: Payload) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return ApiError::Internal.response();
    };
    let _in_flight = InFlight::enter(&state.metrics);
    let mut record = Record::of_scores(dialect.name, &request, &state);
    let outcome = caught(scored(dialect, &request, &mut payload, &mut record)).await.unwrap_or(Err(ApiError::Internal));
    let begun = record.laps.begun;
    let response = record.finish(outcome, &state.metrics);
    state.live.count(response.status(), begun.elapsed());
    outgoing::after((response, &request), payload).await
}

/// Answers a request that no dialect is asked for: an operation, or a refusal.
pub(super) async fn plain(
    name: &'static str,
    (request, payload): (HttpRequest, Payload),
    outcome: impl Fn(&AppState, &HttpRequest) -> Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>() else {
        return ApiError::Internal.response();
    };
    let record = Record::new(name, request.headers());
    let outcome = caught(async { outcome(state, &request) }).await.unwrap_or(Err(ApiError::Internal));
    let response = record.finish(outcome, &state.metrics);
    outgoing::after((response, &request), payload).await
}

async fn scored(
    dialect: &'static Dialect,
    request: &HttpRequest,
    payload: &mut Payload,
    record: &mut Record,
) -> Result<HttpResponse, ApiError> {
    let state = request.app_data::<web::Data<AppState>>().ok_or(ApiError::Internal)?;
    state.keys.admit(request.headers())?;
    admit(state.health.readiness())?;
    let header_timeout = header_timeout(request.headers())?;
    let patience = header_timeout.unwrap_or(state.deadline);
    let terms = state.body(patience, body::Reading::Copied);
    let Body { bytes, mut memory } = body::collect(request, payload, terms).await?;
    let large = bytes.len() > INLINE_BYTES;
    // Texts are borrowed from a small body; a large one goes once it is read.
    let (small, mut spare) = (if large { Bytes::new() } else { bytes.clone() }, Vec::new());
    let mut rerank_request = if large {
        read_elsewhere(dialect, bytes, state).await?
    } else {
        wire::forgiving(&small, &mut spare, |body| (dialect.read)(body, state.limits))?
    };
    if let Some(model) = named::model(request) {
        rerank_request.model = Some(model.into_owned().into());
    }
    rerank_request.timeout = header_timeout.or(rerank_request.timeout);
    record.laps.parsed = Some(Instant::now());
    record.unread.clone_from(&rerank_request.unread);
    record.fields = (rerank_request.missing_fields, rerank_request.left_out_fields);
    state.admit_unread(&rerank_request.unread)?;
    let timeout = rerank_request.timeout.unwrap_or(state.deadline).min(LONGEST_TIMEOUT);
    let deadline = record.laps.begun + timeout;
    let work = cost::of_work(&rerank_request.texts);
    cost::settle(&mut memory, small.len() as u64 + work + cost::of_answer(&rerank_request), deadline).await?;
    let engines = Arc::new(memory.split(work));
    let (answer, card) = score(&mut rerank_request, (state, engines), record).await?;
    let id = record.id.clone();
    let begun = Instant::now();
    let body = if large {
        let rerank_request = rerank_request.into_owned();
        let _desk = state.large_body_permits.acquire().await;
        web::block(move || print(&rerank_request, &answer, &card, &id)).await.ok().flatten()
    } else {
        print(&rerank_request, &answer, &card, &id)
    };
    record.laps.printed = Some((begun, Instant::now()));
    let body = outgoing::body(body.ok_or(ApiError::Internal)?, memory);
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// Work is taken while the process is up, even when a worker is missing or a stop was asked for: what arrived on an
/// open connection is finished.
pub(super) fn admit(readiness: Readiness) -> Result<(), ApiError> {
    match readiness {
        Readiness::Starting => Err(ApiError::NotReady { word: readiness.word() }),
        Readiness::Ready | Readiness::Degraded | Readiness::Draining => Ok(()),
    }
}

/// Only the beginning of a text enters the model, but some ways of cutting read all of it.
fn admit_texts(texts: &Texts<'_>, limit: usize) -> Result<(), RequestError> {
    let queries = texts.queries.iter().enumerate().map(|(at, query)| ("queries", at, query.len()));
    let documents = texts.pairs.iter().enumerate().map(|(at, pair)| ("documents", at, pair.document.len()));
    match queries.chain(documents).find(|(.., bytes)| *bytes > limit) {
        Some((list, at, found)) => Err(RequestError::TextTooLong { field: format!("{list}[{at}]"), found, limit }),
        None => Ok(()),
    }
}

async fn read_elsewhere(
    dialect: &'static Dialect,
    bytes: Bytes,
    state: &AppState,
) -> Result<RerankRequest<'static>, ApiError> {
    let limits = state.limits;
    let _desk = state.large_body_permits.acquire().await;
    let read = move || {
        let mut spare = Vec::new();
        wire::forgiving(&bytes, &mut spare, |body| (dialect.read)(body, limits)).map(RerankRequest::into_owned)
    };
    let rerank_request = web::block(read).await;
    Ok(rerank_request.map_err(|_| ApiError::Internal)??)
}

async fn score(
    rerank_request: &mut RerankRequest<'_>,
    (state, memory): (&AppState, Arc<Reservation>),
    record: &mut Record,
) -> Result<(Answer, ModelCard), ApiError> {
    record.dialect = rerank_request.format.name;
    record.pairs = rerank_request.texts.pairs.len();
    admit_texts(&rerank_request.texts, state.max_text)?;
    let now = state.reranker.now();
    let card = now.model(rerank_request.model.as_deref())?.clone();
    record.model.clone_from(&card.id);
    if rerank_request.cut.long_documents == LongDocuments::Truncate && !rerank_request.refuse_cut {
        rerank_request.cut.long_documents = state.long_documents;
    }
    rerank_request.cut = within(rerank_request.cut, card.max_length);
    let timeout = rerank_request.timeout.unwrap_or(state.deadline).min(LONGEST_TIMEOUT);
    let request = Request {
        model: rerank_request.model.as_deref(),
        texts: &rerank_request.texts,
        cut: rerank_request.cut,
        refuse_cut: rerank_request.refuse_cut,
        deadline: record.laps.begun + timeout,
        priority: Priority::Live,
        memory: Some(memory),
        empty: state.leniency.empty_documents,
    };
    let answer = if rerank_request.allow_partial {
        now.score_what_it_can(request, &mut record.work).await?
    } else {
        now.score_noting(request, &mut record.work).await?
    };
    record.partial = Partial::of(&answer);
    record.stats = Some(answer.stats);
    record.cut = cut_ones(&answer);
    Ok((answer, card))
}

/// Bounds that the model's own limit makes void are taken out: they would make another cache key of the same score.
pub(super) fn within(cut: Truncation, max_length: u32) -> Truncation {
    let below = |tokens: &u32| *tokens < max_length;
    Truncation { max_length: cut.max_length.filter(below), max_document: cut.max_document.filter(below), ..cut }
}

/// Which documents were cut, as far as a header tells.
fn cut_ones(answer: &Answer) -> Vec<usize> {
    if answer.stats.cut == 0 {
        return Vec::new();
    }
    let all = answer.scored.iter().enumerate().filter(|(_, scored)| scored.cut);
    all.map(|(index, _)| index).take(CUT_TOLD).collect()
}

fn print(rerank_request: &RerankRequest<'_>, answer: &Answer, card: &ModelCard, id: &str) -> Option<Vec<u8>> {
    (rerank_request.format.write)(&RerankResponse { request: rerank_request, answer, card, id })
}

/// The deadline that a caller names in a header.
pub(super) fn header_timeout(headers: &HeaderMap) -> Result<Option<Duration>, RequestError> {
    const NAME: &str = "x-request-timeout-ms";
    let mut found = None;
    for value in headers.get_all(NAME) {
        let Some(Millis(timeout)) = value.to_str().ok().and_then(Millis::parse) else {
            return Err(RequestError::field(NAME, format!("expected {}", Millis::EXPECTED)));
        };
        if found.is_some_and(|before| before != timeout) {
            return Err(RequestError::field(NAME, "sent twice with different values; send it once"));
        }
        found = Some(timeout);
    }
    Ok(found)
}

impl Record {
    pub(super) fn new(dialect: &'static str, headers: &HeaderMap) -> Self {
        let id = request_id::of(headers.get("x-request-id").map(HeaderValue::as_bytes));
        let (stats, partial, work) = (None, None, Stats::default());
        let (model, route, cut) = (String::new(), String::new(), Vec::new());
        let (unread, fields) = (Unread::default(), (0, 0));
        let laps = Laps::begin();
        Self { id, dialect, route, model, pairs: 0, stats, partial, work, cut, unread, fields, laps, trace: None }
    }

    /// The record of a request for scores, which may be traced.
    pub(super) fn of_scores(dialect: &'static str, request: &HttpRequest, state: &AppState) -> Self {
        let record = Self::new(dialect, request.headers());
        let trace = spans::begin(&state.traces, request.headers(), record.laps.begun);
        Self { route: request.match_pattern().unwrap_or_default(), trace, ..record }
    }

    /// Adds the headers, counts, writes the log line, ends the trace.
    pub(super) fn finish(mut self, outcome: Result<HttpResponse, ApiError>, metrics: &Metrics) -> HttpResponse {
        let refusal = outcome.as_ref().err().cloned();
        let mut response = outcome.unwrap_or_else(|refusal| refusal.response());
        let total = self.laps.begun.elapsed();
        self.headers(response.headers_mut(), total);
        let status = response.status().as_u16();
        metrics.answers_partial.inc_by(u64::from(self.partial.is_some()));
        metrics.requests_warned.inc_by(u64::from(!self.unread.is_empty()));
        metrics.requests.get_or_create(&metrics::Answered { face: self.dialect, status }).inc();
        let traced = self.trace.as_ref().map(|trace| metrics::Traced { trace_id: trace.id() });
        let at = traced.is_some().then(SystemTime::now);
        let latencies = metrics.request_seconds.get_or_create(&metrics::Dialect { face: self.dialect });
        latencies.observe(total.as_secs_f64(), traced, at);
        drop(latencies);
        self.log(status, refusal.as_ref(), total);
        if let Some(trace) = self.trace.take() {
            spans::finish(trace, &self, (status, refusal.as_ref()));
        }
        response
    }

    fn headers(&self, headers: &mut HeaderMap, total: Duration) {
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        if let Some(Partial { scored, documents }) = self.partial
            && let Ok(value) = HeaderValue::from_str(&format!("{scored}/{documents}"))
        {
            headers.insert(HeaderName::from_static("x-rescored-partial"), value);
        }
        if let Some(trace) = &self.trace
            && let Ok(value) = HeaderValue::try_from(trace.response())
        {
            headers.insert(HeaderName::from_static("traceresponse"), value);
        }
        if let Some(value) = HeaderValue::try_from(self.unread.header()).ok().filter(|value| !value.is_empty()) {
            headers.insert(HeaderName::from_static("x-rescored-warnings"), value);
        }
        let Some(stats) = self.stats else { return };
        for (name, count) in [
            ("x-rescored-empty-documents", stats.empty),
            ("x-rescored-missing-fields", self.fields.0),
            ("x-rescored-left-out-fields", self.fields.1),
        ] {
            if count > 0 {
                headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
            }
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let parts = Parts::of(&stats);
        for (name, value) in [
            ("x-rescored-cache-hits", stats.cached as u64),
            ("x-rescored-truncated", stats.cut as u64),
            // The rest are TEI's names and units; times are parts of the total by the clock on the wall.
            ("x-compute-tokens", stats.tokens),
            ("x-total-time", millis(total)),
            ("x-tokenization-time", millis(parts.tokenise.unwrap_or_default())),
            ("x-queue-time", millis(parts.queue.unwrap_or_default())),
            ("x-inference-time", millis(parts.inference.unwrap_or_default())),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        if let Some(provider) = stats.moved_from {
            headers.insert(HeaderName::from_static("x-rescored-moved-from"), HeaderValue::from_static(provider));
        }
        let cut = self.cut.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let timing = self.laps.header(&stats, total);
        for (name, value) in [("x-rescored-truncated-documents", cut), ("server-timing", timing)] {
            if let Some(value) = HeaderValue::try_from(value).ok().filter(|value| !value.is_empty()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    fn log(&self, status: u16, refusal: Option<&ApiError>, total: Duration) {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let work = self.stats.unwrap_or_default();
        let parts = Parts::of(&work);
        let (id, dialect) = (self.id.as_str(), self.dialect);
        let trace = self.trace.as_ref().map(Trace::id);
        let trace = trace.as_deref();
        match refusal {
            None if self.stats.is_none() => {
                tracing::debug!(request.id = id, face = dialect, status, total_ms = millis(total), "answered");
            }
            None => tracing::info!(
                request.id = id,
                trace.id = trace,
                face = dialect,
                model.id = self.model,
                pairs.count = self.pairs,
                pairs.cached = work.cached,
                pairs.cut = work.cut,
                pairs.empty = work.empty,
                tokens = work.tokens,
                tokenise_ms = millis(parts.tokenise.unwrap_or_default()),
                queue_ms = millis(parts.queue.unwrap_or_default()),
                inference_ms = millis(parts.inference.unwrap_or_default()),
                // Summed over threads, so that they may be more than the total.
                tokenise_work_ms = millis(work.tokenise),
                inference_work_ms = millis(work.inference),
                total_ms = millis(total),
                status,
                "answered"
            ),
            Some(refusal) => {
                let (model, pairs, total_ms) = (self.model.as_str(), self.pairs, millis(total));
                if status >= 500 {
                    tracing::warn!(request.id = id, trace.id = trace, face = dialect, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
                } else {
                    tracing::info!(request.id = id, trace.id = trace, face = dialect, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_bounds_leave_the_cache_key_alone() {
        let cut = Truncation { max_document: Some(4096), max_length: Some(512), ..Truncation::MODEL };
        assert_eq!(within(cut, 512), Truncation::MODEL);
        let cut = Truncation { max_document: Some(100), max_length: Some(511), ..Truncation::MODEL };
        assert_eq!(within(cut, 512), cut);
    }

    #[test]
    fn the_deadline_header_is_a_positive_number() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("x-request-timeout-ms"), HeaderValue::from_static(value));
            header_timeout(&headers)
        };
        assert_eq!(read("250"), Ok(Some(Duration::from_millis(250))));
        for bad in ["0", "-1", "soon", "", "nan", "inf"] {
            let sentence = read(bad).unwrap_err().to_string();
            assert_eq!(sentence, "x-request-timeout-ms: expected a positive number of milliseconds", "{bad}");
        }
    }

    // Case C9: no value of a header is passed over.
    #[test]
    fn deadlines_that_contradict_each_other_are_refused() {
        for (values, expected) in [
            (["250", "250.0"], Ok(Some(Duration::from_millis(250)))),
            (["250", "50"], Err("x-request-timeout-ms: sent twice with different values; send it once".to_owned())),
            (["250", "soon"], Err("x-request-timeout-ms: expected a positive number of milliseconds".to_owned())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HeaderName::from_static("x-request-timeout-ms"), HeaderValue::from_static(value));
            }
            assert_eq!(header_timeout(&headers).map_err(|error| error.to_string()), expected, "{values:?}");
        }
    }
}
