//! `GET /metrics`: the figures, in the format that is asked for.
//!
//! Owns the choice between the formats. It must not know any figure but those that are read when somebody looks.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::accept::{Offer, preferred};
use super::error::ApiError;
use super::state::AppState;

/// What figures are given in: the first unless the other one is asked for.
pub(super) const FORMATS: [Offer; 2] = [
    Offer { kind: "text/plain", versions: &["0.0.4", "1.0.0"] },
    Offer { kind: "application/openmetrics-text", versions: &["1.0.0", "0.0.1"] },
];

#[expect(clippy::unnecessary_wraps, reason = "the signature of every operation")]
pub(super) fn show(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let now = state.reranker.now();
    let states = || now.models().iter().filter_map(|card| Some(card.execution.accelerator.as_ref()?.state()));
    let level = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    state.metrics.accelerator_detours.set(level(states().map(|state| state.detours).sum()));
    state.metrics.accelerator_refused.set(level(states().map(|state| state.refused.len() as u64).sum()));
    let mut response = HttpResponse::Ok();
    // A cache between must not hand one scraper the other's format.
    response.insert_header((header::VARY, "accept"));
    Ok(if preferred(request.headers(), &FORMATS) == 0 {
        response.content_type("text/plain; version=0.0.4; charset=utf-8").body(state.metrics.render_text())
    } else {
        response.content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(state.metrics.render())
    })
}
