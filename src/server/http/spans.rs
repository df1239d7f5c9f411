//! What a trace says of a request: one span for the whole, one for each stage.
//!
//! Owns the names of spans and attributes, and the cut between the stages: `parse`, `cache`, `queue` (until a tokenizer
//! thread takes the first text), `batch` (until the first forward pass begins), `forward`, `reply`. Counts and words of
//! ours only, never a text. It must not know where traces go.

use std::time::Instant;

use actix_web::http::header::HeaderMap;
use rescored_process::telemetry::traces::{Carried, Trace, Traces, Value};

use super::error::ApiError;
use super::timing::Laps;
use crate::rerank::Stats;

/// Longer states are not passed on: the standard asks for 512 characters at least.
const LONGEST_STATE: usize = 4096;

/// A request that is over, as far as its trace says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline<'r> {
    pub(super) id: &'r str,
    pub(super) dialect: &'static str,
    /// The path's pattern.
    pub(super) route: &'r str,
    pub(super) model: &'r str,
    pub(super) pairs: usize,
    /// Whether a part of the answer is missing.
    pub(super) is_partial: bool,
    pub(super) work: &'r Stats,
    pub(super) laps: &'r Laps,
}

/// Begins a trace when the request is to be traced.
pub(super) fn begin(traces: &Traces, headers: &HeaderMap, begun: Instant) -> Option<Trace> {
    if !traces.is_on() {
        return None;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Several headers are one list, in their order.
    let states: Vec<&str> = headers.get_all("tracestate").filter_map(|value| value.to_str().ok()).collect();
    let state = Some(states.join(",")).filter(|state| !state.is_empty() && state.len() <= LONGEST_STATE);
    traces.begin(begun, Carried { parent: text("traceparent"), state: state.as_deref() })
}

/// Ends the trace of a request that is over.
pub(super) fn finish(mut trace: Trace, record: &Outline<'_>, status: u16, refusal: Option<&ApiError>) {
    stages(&trace, record);
    let work = record.work;
    let count = |count: usize| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    for (name, value) in [
        ("http.request.method", Value::from("POST")),
        ("http.route", Value::from(record.route.to_owned())),
        ("http.response.status_code", Value::from(i64::from(status))),
        ("rescored.request_id", Value::from(record.id.to_owned())),
        ("rescored.dialect", Value::from(record.dialect)),
        // The attribute's former name.
        ("rescored.face", Value::from(record.dialect)),
        ("rescored.model", Value::from(record.model.to_owned())),
        ("rescored.pairs", count(record.pairs)),
        ("rescored.cached", count(work.cached)),
        ("rescored.tokens", Value::from(i64::try_from(work.tokens).unwrap_or(i64::MAX))),
        ("rescored.cut", count(work.cut)),
        ("rescored.partial", Value::from(record.is_partial)),
    ] {
        trace.note(name, value);
    }
    if let Some(refusal) = refusal {
        trace.note("error.type", refusal.status().1);
    }
    // What the caller did wrong is no failure of ours.
    let failure = refusal.filter(|_| status >= 500).map(ToString::to_string);
    trace.finish(format!("POST {}", record.route), failure);
}

fn stages(trace: &Trace, record: &Outline<'_>) {
    let (laps, work) = (record.laps, record.work);
    let timeline = &work.timeline;
    let number = |number: usize| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    if let Some(parsed) = laps.parsed {
        trace.stage("parse", (laps.begun, parsed), [("rescored.pairs", number(record.pairs))]);
    }
    if let Some(looked_up) = work.looked_up {
        trace.stage("cache", looked_up, [("rescored.cached", number(work.cached))]);
    }
    if let (Some(admitted), Some((taken, _))) = (timeline.admitted, timeline.tokenised) {
        trace.stage("queue", (admitted, taken), []);
    }
    if let (Some((taken, _)), Some((begun, _))) = (timeline.tokenised, timeline.inferred) {
        let tokenised = ("rescored.tokenise_work_ms", Value::from(work.tokenise.as_secs_f64() * 1000.0));
        trace.stage("batch", (taken, begun), [tokenised]);
    }
    if let Some(inferred) = timeline.inferred {
        let spent = ("rescored.inference_work_ms", Value::from(work.inference.as_secs_f64() * 1000.0));
        let passes = ("rescored.forwards", Value::from(i64::from(timeline.forwards)));
        let tokens = ("rescored.tokens", Value::from(i64::try_from(work.tokens).unwrap_or(i64::MAX)));
        trace.stage("forward", inferred, [passes, spent, tokens]);
    }
    if let Some(printed) = laps.printed {
        trace.stage("reply", printed, []);
    }
}
