//! What is reported of one request when it is over: headers, one log line, metrics, the end of its trace.
//!
//! Owns the names of these headers and of the line's fields. It must not know how a request is answered.

use std::time::{Duration, SystemTime};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use rescored_core::json::unread::Unread;
use rescored_process::metrics::{self, Metrics};
use rescored_process::telemetry::traces::Trace;

use super::dialect::Partial;
use super::error::ApiError;
use super::request_id;
use super::spans::{self, Outline};
use super::state::AppState;
use super::timing::{Laps, Parts};
use crate::rerank::Stats;

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
    pub(super) cut: Vec<usize>,
    /// Keys of the request that nobody read.
    pub(super) unread: Unread,
    /// Fields that were named and are not there, and members of documents that were not read.
    pub(super) fields: (usize, usize),
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
        metrics.requests.get_or_create(&metrics::Answered::new(self.dialect, status)).inc();
        let traced = self.trace.as_ref().map(|trace| metrics::Traced { trace_id: trace.id() });
        let at = traced.is_some().then(SystemTime::now);
        let latencies = metrics.request_seconds.get_or_create(&metrics::Dialect::new(self.dialect));
        latencies.observe(total.as_secs_f64(), traced, at);
        drop(latencies);
        self.log(status, refusal.as_ref(), total);
        if let Some(trace) = self.trace.take() {
            spans::finish(trace, &self.outline(), status, refusal.as_ref());
        }
        response
    }

    /// What a trace says of it.
    fn outline(&self) -> Outline<'_> {
        Outline {
            id: &self.id,
            dialect: self.dialect,
            route: &self.route,
            model: &self.model,
            pairs: self.pairs,
            is_partial: self.partial.is_some(),
            work: &self.work,
            laps: &self.laps,
        }
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
                tracing::debug!(request.id = id, dialect, status, total_ms = millis(total), "answered");
            }
            None => tracing::info!(
                request.id = id,
                trace.id = trace,
                dialect,
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
                    tracing::warn!(request.id = id, trace.id = trace, dialect, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
                } else {
                    tracing::info!(request.id = id, trace.id = trace, dialect, model.id = model, pairs.count = pairs, total_ms, status, error = %refusal, "refused");
                }
            }
        }
    }
}
