//! `GET /ui/live`: the last minutes, for the page.
//!
//! Owns the form of the answer. Behind the key when keys are set, because the page is. It must not know how samples are
//! taken, nor what is drawn of them.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::http::error::{ApiError, RequestError};
use crate::http::json;
use crate::http::live::{COLUMNS, EVERY, KEPT, Row};
use crate::http::state::AppState;

/// What may stand behind the question mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The number of the last sample that the caller has.
    after: Option<u64>,
}

/// The answer.
#[derive(Serialize)]
struct Body<'r> {
    every_ms: u64,
    kept: usize,
    uptime_seconds: u64,
    readiness: &'static str,
    queue_limit_tokens: i64,
    cache_entries: i64,
    cache_bytes: i64,
    version: &'static str,
    columns: &'static [&'static str],
    /// The number of the last row.
    last: u64,
    rows: &'r [Row],
}

/// `GET /ui/live`.
pub(super) fn show(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    state.keys.admit(request.headers())?;
    let wanted = web::Query::<Wanted>::from_query(request.query_string())
        .map_err(|_| RequestError::field("after", "expected the number of a sample, and nothing beside it"))?;
    let (live, metrics) = (&state.live, &state.metrics);
    let (rows, last) = live.after(wanted.after.unwrap_or(0));
    let body = Body {
        every_ms: u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX),
        kept: KEPT,
        uptime_seconds: live.started.elapsed().as_secs(),
        readiness: state.health.readiness().word(),
        queue_limit_tokens: metrics.queue_limit_tokens.get(),
        cache_entries: metrics.cache_entries.get(),
        cache_bytes: metrics.cache_bytes.get(),
        version: env!("CARGO_PKG_VERSION"),
        columns: &COLUMNS,
        last,
        rows: &rows,
    };
    let text = json::text(&body).ok_or(ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").insert_header((CACHE_CONTROL, "no-store")).body(text))
}
