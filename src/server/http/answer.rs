//! The way of one request: limits, reading, scoring, printing; what is reported of it is `record`'s.
//!
//! Owns that order for every dialect. It must not know what any dialect looks like, or how scores are made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderMap;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, web};
use rescored_core::domain::{LongDocuments, ModelCard, Priority, Texts, Truncation};
use rescored_process::budget::Reservation;
use rescored_process::health::Readiness;

use super::body::{Body, INLINE_BYTES};
use super::caught::caught;
use super::dialect::{Dialect, Partial, RerankRequest, RerankResponse};
use super::error::{ApiError, RequestError, printable};
use super::record::{InFlight, Record};
use super::state::AppState;
use super::wire::lenient::Millis;
use super::{body, cost, instruction, named, outgoing, wire};
use crate::rerank::{Answer, Request};

/// A caller that waits longer than this waits for ever; it also keeps instants from overflowing.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);

/// Cut documents whose indexes a header lists; `X-Rescored-Truncated` counts all.
const CUT_LISTED: usize = 100;

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
    outgoing::after(response, &request, payload).await
}

/// Answers a request that no dialect is asked for: an operation, or a refusal.
pub(super) async fn plain(
    name: &'static str,
    request: HttpRequest,
    payload: Payload,
    outcome: impl Fn(&AppState, &HttpRequest) -> Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>() else {
        return ApiError::Internal.response();
    };
    let record = Record::new(name, request.headers());
    let outcome = caught(async { outcome(state, &request) }).await.unwrap_or(Err(ApiError::Internal));
    let response = record.finish(outcome, &state.metrics);
    outgoing::after(response, &request, payload).await
}

/// Answers that a path has other methods.
pub(super) async fn wrong_method(request: HttpRequest, payload: Payload, allowed: &'static str) -> HttpResponse {
    plain("none", request, payload, |_, request| {
        Err(RequestError::Method { method: printable(request.method().as_str()), allowed }.into())
    })
    .await
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
    let (answer, card) = score(&mut rerank_request, state, engines, record).await?;
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
    state: &AppState,
    memory: Arc<Reservation>,
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
    instruction::settle(rerank_request, &card)?;
    record.unread.clone_from(&rerank_request.unread);
    state.admit_unread(&rerank_request.unread)?;
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

/// Which documents were cut, as far as a header lists them.
fn cut_ones(answer: &Answer) -> Vec<usize> {
    if answer.stats.cut == 0 {
        return Vec::new();
    }
    let all = answer.scored.iter().enumerate().filter(|(_, scored)| scored.cut);
    all.map(|(index, _)| index).take(CUT_LISTED).collect()
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

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

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
