//! The way of one request: limits, reading, scoring, printing, headers, one log line, metrics.
//!
//! Owns that order for every face. It must not know any dialect, or how scores are made.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use rescored_core::domain::{Cut, LongDocuments, ModelCard, Priority, Texts};
use rescored_core::json::unread::Unread;
use rescored_process::budget::Reservation;
use rescored_process::health::Readiness;
use rescored_process::metrics::{self, Metrics};
use rescored_process::telemetry::traces::Trace;

use super::body::Body;
use super::caught::caught;
use super::error::{Refusal, Reject};
use super::face::{Call, Face, Partial, Reply};
use super::server::Shared;
use super::timing::{Laps, Parts};
use super::wire::lenient::Millis;
use super::{body, cost, outgoing, request_id, spans, wire};
use crate::rerank::{Answer, Request, Stats};

/// Bodies up to this size are read and answered on the connection's own thread: that takes less than the way to another
/// one and back. Larger ones would hold up the other connections of the thread.
pub(super) const INLINE_BYTES: usize = 256 * 1024;

/// A caller that waits longer than this waits for ever; it also keeps instants from overflowing.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);

/// Cut documents whose indexes a header tells; `X-Rescored-Truncated` counts all.
const CUT_TOLD: usize = 100;

/// What is told of one request when it is over.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) face: &'static str,
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

/// Answers a request to one of the faces.
pub(super) async fn face(face: &'static Face, request: HttpRequest, mut payload: Payload) -> HttpResponse {
    let Some(shared) = request.app_data::<web::Data<Shared>>().cloned() else {
        return Refusal::Internal.response();
    };
    let _in_flight = InFlight::enter(&shared.metrics);
    let mut record = Record::of_scores(face.name, &request, &shared);
    let outcome = caught(scored(face, &request, &mut payload, &mut record)).await.unwrap_or(Err(Refusal::Internal));
    let begun = record.laps.begun;
    let response = record.finish(outcome, &shared.metrics);
    shared.live.count(response.status(), begun.elapsed());
    outgoing::after((response, &request), payload).await
}

/// Answers a request that no face is asked for: an operation, or a refusal.
pub(super) async fn plain(
    name: &'static str,
    (request, payload): (HttpRequest, Payload),
    outcome: impl Fn(&Shared, &HttpRequest) -> Result<HttpResponse, Refusal>,
) -> HttpResponse {
    let Some(shared) = request.app_data::<web::Data<Shared>>() else {
        return Refusal::Internal.response();
    };
    let record = Record::new(name, request.headers());
    let outcome = caught(async { outcome(shared, &request) }).await.unwrap_or(Err(Refusal::Internal));
    let response = record.finish(outcome, &shared.metrics);
    outgoing::after((response, &request), payload).await
}

async fn scored(
    face: &'static Face,
    request: &HttpRequest,
    payload: &mut Payload,
    record: &mut Record,
) -> Result<HttpResponse, Refusal> {
    let shared = request.app_data::<web::Data<Shared>>().ok_or(Refusal::Internal)?;
    shared.keys.admit(request.headers())?;
    admit(shared.health.readiness())?;
    let header_timeout = header_timeout(request.headers())?;
    let patience = header_timeout.unwrap_or(shared.deadline);
    let terms = shared.body(patience, body::Reading::Copied);
    let Body { bytes, mut memory } = body::collect(request, payload, terms).await?;
    let large = bytes.len() > INLINE_BYTES;
    // Texts are borrowed from a small body; a large one goes once it is read.
    let (small, mut spare) = (if large { Bytes::new() } else { bytes.clone() }, Vec::new());
    let mut call = if large {
        read_elsewhere(face, bytes, shared).await?
    } else {
        wire::forgiving(&small, &mut spare, |body| (face.read)(body, shared.scene))?
    };
    if let Some(model) = request.match_info().get("model") {
        call.model = Some(model.to_owned().into());
    }
    call.timeout = header_timeout.or(call.timeout);
    record.laps.parsed = Some(Instant::now());
    record.unread.clone_from(&call.unread);
    record.fields = (call.missing_fields, call.left_out_fields);
    shared.admit_unread(&call.unread)?;
    let timeout = call.timeout.unwrap_or(shared.deadline).min(LONGEST_TIMEOUT);
    let deadline = record.laps.begun + timeout;
    let work = cost::of_work(&call.texts);
    cost::settle(&mut memory, small.len() as u64 + work + cost::of_answer(&call), deadline).await?;
    let engines = Arc::new(memory.split(work));
    let (answer, card) = score(&mut call, (shared, engines), record).await?;
    let id = record.id.clone();
    let begun = Instant::now();
    let body = if large {
        let call = call.into_owned();
        let _desk = shared.desks.acquire().await;
        web::block(move || print(&call, &answer, &card, &id)).await.ok().flatten()
    } else {
        print(&call, &answer, &card, &id)
    };
    record.laps.printed = Some((begun, Instant::now()));
    let body = outgoing::body(body.ok_or(Refusal::Internal)?, memory);
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// Work is taken while the process is up, even when a worker is missing or a stop was asked for: what arrived on an
/// open connection is finished.
pub(super) fn admit(readiness: Readiness) -> Result<(), Refusal> {
    match readiness {
        Readiness::Starting => Err(Refusal::NotReady { word: readiness.word() }),
        Readiness::Ready | Readiness::Degraded | Readiness::Draining => Ok(()),
    }
}

/// Only the beginning of a text enters the model, but some ways of cutting read all of it.
fn admit_texts(texts: &Texts<'_>, limit: usize) -> Result<(), Reject> {
    let queries = texts.queries.iter().enumerate().map(|(at, query)| ("queries", at, query.len()));
    let documents = texts.pairs.iter().enumerate().map(|(at, pair)| ("documents", at, pair.document.len()));
    match queries.chain(documents).find(|(.., bytes)| *bytes > limit) {
        Some((list, at, found)) => Err(Reject::TextTooLong { field: format!("{list}[{at}]"), found, limit }),
        None => Ok(()),
    }
}

async fn read_elsewhere(face: &'static Face, bytes: Bytes, shared: &Shared) -> Result<Call<'static>, Refusal> {
    let scene = shared.scene;
    let _desk = shared.desks.acquire().await;
    let read = move || {
        let mut spare = Vec::new();
        wire::forgiving(&bytes, &mut spare, |body| (face.read)(body, scene)).map(Call::into_owned)
    };
    let call = web::block(read).await;
    Ok(call.map_err(|_| Refusal::Internal)??)
}

async fn score(
    call: &mut Call<'_>,
    (shared, memory): (&Shared, Arc<Reservation>),
    record: &mut Record,
) -> Result<(Answer, ModelCard), Refusal> {
    record.face = call.dialect.name;
    record.pairs = call.texts.pairs.len();
    admit_texts(&call.texts, shared.max_text)?;
    let now = shared.reranker.now();
    let card = now.model(call.model.as_deref())?.clone();
    record.model.clone_from(&card.id);
    if call.cut.long_documents == LongDocuments::Truncate && !call.refuse_cut {
        call.cut.long_documents = shared.long_documents;
    }
    call.cut = within(call.cut, card.max_length);
    let timeout = call.timeout.unwrap_or(shared.deadline).min(LONGEST_TIMEOUT);
    let request = Request {
        model: call.model.as_deref(),
        texts: &call.texts,
        cut: call.cut,
        refuse_cut: call.refuse_cut,
        deadline: record.laps.begun + timeout,
        priority: Priority::Live,
        memory: Some(memory),
        empty: shared.leniency.empty_documents,
    };
    let answer = if call.allow_partial {
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
pub(super) fn within(cut: Cut, max_length: u32) -> Cut {
    let below = |tokens: &u32| *tokens < max_length;
    Cut { max_length: cut.max_length.filter(below), max_document: cut.max_document.filter(below), ..cut }
}

/// Which documents were cut, as far as a header tells.
fn cut_ones(answer: &Answer) -> Vec<usize> {
    if answer.stats.cut == 0 {
        return Vec::new();
    }
    let all = answer.scored.iter().enumerate().filter(|(_, scored)| scored.cut);
    all.map(|(index, _)| index).take(CUT_TOLD).collect()
}

fn print(call: &Call<'_>, answer: &Answer, card: &ModelCard, id: &str) -> Option<Vec<u8>> {
    (call.dialect.write)(&Reply { call, answer, card, id })
}

/// The deadline that a caller names in a header.
pub(super) fn header_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Reject> {
    const NAME: &str = "x-request-timeout-ms";
    let mut found = None;
    for value in headers.get_all(NAME) {
        let Some(Millis(timeout)) = value.to_str().ok().and_then(Millis::parse) else {
            return Err(Reject::field(NAME, format!("expected {}", Millis::EXPECTED)));
        };
        if found.is_some_and(|before| before != timeout) {
            return Err(Reject::field(NAME, "sent twice with different values; send it once"));
        }
        found = Some(timeout);
    }
    Ok(found)
}

impl Record {
    pub(super) fn new(face: &'static str, headers: &HeaderMap) -> Self {
        let id = request_id::of(headers.get("x-request-id").map(HeaderValue::as_bytes));
        let (stats, partial, work) = (None, None, Stats::default());
        let (model, route, cut) = (String::new(), String::new(), Vec::new());
        let (unread, fields) = (Unread::default(), (0, 0));
        let laps = Laps::begin();
        Self { id, face, route, model, pairs: 0, stats, partial, work, cut, unread, fields, laps, trace: None }
    }

    /// The record of a request for scores, which may be traced.
    pub(super) fn of_scores(face: &'static str, request: &HttpRequest, shared: &Shared) -> Self {
        let record = Self::new(face, request.headers());
        let trace = spans::begin(&shared.traces, request.headers(), record.laps.begun);
        Self { route: request.match_pattern().unwrap_or_default(), trace, ..record }
    }

    /// Adds the headers, counts, writes the log line, ends the trace.
    pub(super) fn finish(mut self, outcome: Result<HttpResponse, Refusal>, metrics: &Metrics) -> HttpResponse {
        let refusal = outcome.as_ref().err().cloned();
        let mut response = outcome.unwrap_or_else(|refusal| refusal.response());
        let total = self.laps.begun.elapsed();
        self.headers(response.headers_mut(), total);
        let status = response.status().as_u16();
        metrics.answers_partial.inc_by(u64::from(self.partial.is_some()));
        metrics.requests_warned.inc_by(u64::from(!self.unread.is_empty()));
        metrics.requests.get_or_create(&metrics::Answered { face: self.face, status }).inc();
        let traced = self.trace.as_ref().map(|trace| metrics::Traced { trace_id: trace.id() });
        let at = traced.is_some().then(SystemTime::now);
        let latencies = metrics.request_seconds.get_or_create(&metrics::Face { face: self.face });
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

    fn log(&self, status: u16, refusal: Option<&Refusal>, total: Duration) {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let work = self.stats.unwrap_or_default();
        let parts = Parts::of(&work);
        let (id, face) = (self.id.as_str(), self.face);
        let trace = self.trace.as_ref().map(Trace::id);
        let trace = trace.as_deref();
        match refusal {
            None if self.stats.is_none() => {
                tracing::debug!(request.id = id, face, status, total_ms = millis(total), "answered");
            }
            None => tracing::info!(
                request.id = id,
                trace.id = trace,
                face,
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
                    tracing::warn!(request.id = id, trace.id = trace, face, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
                } else {
                    tracing::info!(request.id = id, trace.id = trace, face, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
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
        let cut = Cut { max_document: Some(4096), max_length: Some(512), ..Cut::MODEL };
        assert_eq!(within(cut, 512), Cut::MODEL);
        let cut = Cut { max_document: Some(100), max_length: Some(511), ..Cut::MODEL };
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
