//! The score cache's operations: `GET /v1/cache`, `DELETE /v1/cache`, `POST /v1/cache/warm`.
//!
//! Owns their routes and the form of what they tell. It must not know how scores are kept.

mod lines;
mod progress;
mod warm;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, guard, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer;
use super::error::{Refusal, Reject};
use super::json;
use super::routes::wrong_method;
use super::server::Shared;
use crate::rerank::CacheReport;

pub(super) use warm::Places;

/// What may stand behind the question mark of a `DELETE`. An unknown name is refused: a mistyped `model` must not empty
/// the whole cache.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    model: Option<String>,
}

#[derive(Serialize)]
struct Body<'r> {
    entries: u64,
    bytes: u64,
    budget_bytes: u64,
    hits: u64,
    misses: u64,
    hit_share: Option<f64>,
    uptime_seconds: u64,
    ttl_seconds: Option<u64>,
    models: Vec<Part<'r>>,
    tiers: Vec<Value>,
}

#[derive(Serialize)]
struct Part<'r> {
    model: &'r str,
    entries: u64,
    bytes: u64,
    budget_bytes: u64,
    hits: u64,
    misses: u64,
    hit_share: Option<f64>,
}

/// Adds the routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    let reading = guard::Any(guard::Get()).or(guard::Head());
    let tell = web::route().guard(reading).to(|request, payload| answer::plain("cache", (request, payload), tell));
    let forget = web::delete().to(|request, payload| answer::plain("cache", (request, payload), forget));
    let wrong = |allowed: &'static str| web::to(move |request, payload| wrong_method((request, payload), allowed));
    config.service(web::resource("/v1/cache").route(tell).route(forget).default_service(wrong("GET, HEAD, DELETE")));
    let warm = web::post().to(warm::warm);
    config.service(web::resource("/v1/cache/warm").route(warm).default_service(wrong("POST")));
}

fn tell(shared: &Shared, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    shared.keys.admit(request.headers())?;
    let report = shared.reranker.cache();
    let text = json::text(&Body::of(&report)).ok_or(Refusal::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

fn forget(shared: &Shared, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    shared.keys.admit(request.headers())?;
    let chosen = web::Query::<Chosen>::from_query(request.query_string());
    let wrong = |_| Reject::field("query string", "not understood; send nothing, or `model=` and a model's id");
    let Chosen { model } = chosen.map_err(wrong)?.into_inner();
    let forgotten = shared.reranker.forget(model.as_deref())?;
    let text = json::text(&json!({"forgotten": forgotten})).ok_or(Refusal::Internal)?;
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
            tiers: tiers(report),
            models,
        }
    }
}

/// The tiers that there are, nearest first.
fn tiers(report: &CacheReport) -> Vec<Value> {
    let mut tiers = vec![json!({"tier": "memory"})];
    tiers.extend(report.shared.map(|shared| {
        json!({
            "tier": "shared",
            "up": shared.up,
            "hits": shared.hits,
            "misses": shared.misses,
            "hit_share": share(shared.hits, shared.misses),
            "written": shared.written,
            "dropped": shared.dropped,
        })
    }));
    tiers.extend(report.snapshot.map(|snapshot| {
        json!({
            "tier": "snapshot",
            "restored": snapshot.restored,
            "entries": snapshot.entries,
            "age_seconds": snapshot.age.as_ref().map(Duration::as_secs),
        })
    }));
    tiers
}

fn share(hits: u64, misses: u64) -> Option<f64> {
    let all = hits + misses;
    (all > 0).then(|| hits as f64 / all as f64)
}
