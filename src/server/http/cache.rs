//! The score cache's operations: `GET /v1/cache`, `DELETE /v1/cache`, `POST /v1/cache/warm`.
//!
//! Owns their routes and the form of their answers. It must not know how scores are kept.

#![expect(single_use_lifetimes, reason = "the derive of `ToSchema` repeats them")]

mod docs;
mod lines;
mod progress;
mod warm;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, guard, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{self, wrong_method};
use super::body;
use super::error::{ApiError, RequestError};
use super::json;
use super::state::AppState;
use crate::rerank::{CacheReport, Forgotten};

pub(super) use docs::paths;

/// What may stand behind the question mark of a `DELETE`. An unknown name is refused: a mistyped `model` must not empty
/// the whole cache.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    model: Option<String>,
}

/// The cache, as `GET /v1/cache` reports it.
#[derive(Serialize, ToSchema)]
struct Body<'r> {
    /// Scores held.
    entries: u64,
    /// Estimated bytes that they take.
    bytes: u64,
    /// Bytes that they may take.
    budget_bytes: u64,
    /// Pairs answered from any tier since the start.
    hits: u64,
    /// Pairs that no tier held since the start.
    misses: u64,
    hit_share: Option<f64>,
    uptime_seconds: u64,
    /// Age after which a score is computed anew.
    ttl_seconds: Option<u64>,
    /// How old scores are, by a sample of them.
    #[schema(inline)]
    age: Option<Age>,
    #[schema(inline)]
    models: Vec<Part<'r>>,
    /// The tiers that there are, nearest first.
    #[schema(inline)]
    tiers: Vec<Layer>,
}

#[derive(Serialize, ToSchema)]
struct Age {
    median_seconds: u64,
    oldest_seconds: u64,
}

#[derive(Serialize, ToSchema)]
struct Part<'r> {
    model: &'r str,
    entries: u64,
    bytes: u64,
    budget_bytes: u64,
    hits: u64,
    misses: u64,
    hit_share: Option<f64>,
}

/// One tier; what is not said of it does not apply.
#[derive(Default, Serialize, ToSchema)]
struct Layer {
    /// `memory`, `shared` or `snapshot`.
    tier: &'static str,
    /// Whether the shared tier is asked at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<bool>,
    /// Pairs that the shared tier held, of those that the first one did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_share: Option<f64>,
    /// Scores written to the shared tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    /// Scores not written to it, because it was down or slower than they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    /// Entries that the snapshot brought at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<u64>,
    /// Entries of the last snapshot written.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    /// How long ago it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    /// Another process keeps the snapshot's file, so this one does not write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    /// The last snapshot that was due could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<bool>,
}

/// The answer of `DELETE /v1/cache`.
#[derive(Serialize, ToSchema)]
struct Gone {
    /// Scores that this process held.
    forgotten: u64,
    /// The shared tier forgets in the background: `under way`, or `not reached` while it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    shared: Option<&'static str>,
}

/// Adds the routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    let reading = guard::Any(guard::Get()).or(guard::Head());
    let show = web::route().guard(reading).to(|request, payload| answer::plain("cache", request, payload, show));
    let forget = web::delete().to(|request, payload| answer::plain("cache", request, payload, forget));
    let wrong = |allowed: &'static str| web::to(move |request, payload| wrong_method(request, payload, allowed));
    config.service(web::resource("/v1/cache").route(show).route(forget).default_service(wrong("GET, HEAD, DELETE")));
    let warm = web::post().to(warm::warm);
    config.service(web::resource("/v1/cache/warm").route(warm).default_service(wrong("POST")));
}

fn show(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    state.keys.admit(request.headers())?;
    if !request.query_string().is_empty() {
        return Err(RequestError::field("query string", "not understood; send nothing: every model is reported").into());
    }
    let report = state.reranker.cache();
    let text = json::text(&Body::of(&report)).ok_or(ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

fn forget(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    state.keys.admit(request.headers())?;
    let chosen = web::Query::<Chosen>::from_query(request.query_string());
    let wrong = |_| RequestError::field("query string", "not understood; send nothing, or `model=` and a model's id");
    let Chosen { model } = chosen.map_err(wrong)?.into_inner();
    // What was meant for one model must not take the scores of all.
    if model.as_deref().is_some_and(|model| model.trim().is_empty()) {
        return Err(RequestError::field(
            "query string",
            "`model=` names none; leave it out to forget the scores of all",
        )
        .into());
    }
    if body::is_announced(request.headers()) {
        return Err(RequestError::field("body", "not read here; name a model by `?model=`, and send no body").into());
    }
    let Forgotten { entries, shared: asked } = state.reranker.forget(model.as_deref())?;
    let shared_tier = asked.map(|asked| if asked { "under way" } else { "not reached" });
    let text = json::text(&Gone { forgotten: entries, shared: shared_tier }).ok_or(ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

impl<'r> Body<'r> {
    fn of(report: &'r CacheReport) -> Self {
        let models = report.models.iter().map(|model| Part {
            model: &model.model,
            entries: model.entries,
            bytes: model.bytes,
            budget_bytes: model.budget,
            hits: model.hits,
            misses: model.misses,
            hit_share: share(model.hits, model.misses),
        });
        let models: Vec<Part<'_>> = models.collect();
        let sum = |of: fn(&Part<'_>) -> u64| models.iter().map(of).sum();
        let (hits, misses) = (sum(|model| model.hits), sum(|model| model.misses));
        Self {
            entries: sum(|model| model.entries),
            bytes: sum(|model| model.bytes),
            budget_bytes: sum(|model| model.budget_bytes),
            hits,
            misses,
            hit_share: share(hits, misses),
            uptime_seconds: report.uptime.as_secs(),
            ttl_seconds: report.ttl.map(|ttl| ttl.as_secs()),
            age: report
                .age
                .map(|age| Age { median_seconds: age.median.as_secs(), oldest_seconds: age.oldest.as_secs() }),
            tiers: tiers(report),
            models,
        }
    }
}

fn tiers(report: &CacheReport) -> Vec<Layer> {
    let mut tiers = vec![Layer { tier: "memory", ..Layer::default() }];
    tiers.extend(report.shared.map(|shared| Layer {
        tier: "shared",
        up: Some(shared.up),
        hits: Some(shared.hits),
        misses: Some(shared.misses),
        hit_share: share(shared.hits, shared.misses),
        written: Some(shared.written),
        dropped: Some(shared.dropped),
        ..Layer::default()
    }));
    tiers.extend(report.snapshot.map(|snapshot| Layer {
        tier: "snapshot",
        restored: Some(snapshot.restored),
        entries: Some(snapshot.entries),
        age_seconds: snapshot.age.as_ref().map(Duration::as_secs),
        locked: Some(snapshot.locked),
        failed: Some(snapshot.failed),
        ..Layer::default()
    }));
    tiers
}

fn share(hits: u64, misses: u64) -> Option<f64> {
    let all = hits + misses;
    (all > 0).then(|| hits as f64 / all as f64)
}
