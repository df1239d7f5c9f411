//! The models' repository over HTTP, in the words of KServe's and Triton's repository extension:
//! `POST /v2/repository/index`, `POST /v2/repository/models/{model}/load` and `…/unload`.
//!
//! Owns the routes and who may use them: nobody unless a setting allows it; then holders of a key, and where there
//! are no keys, this host alone. It must not know how a model is loaded.

use std::sync::Arc;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::access::Arrival;
use super::answer::wrong_method;
use super::caught::caught;
use super::describe::{content, parameters, refusal};
use super::error::{ApiError, Unchanged};
use super::record::{InFlight, Record};
use super::state::AppState;
use super::{body, json, outgoing};
use crate::repository::{ChangeError, Changed, Repository, State, Wanted, error_chain};

/// The name in logs and metrics.
const NAME: &str = "repository";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Index,
    Load,
    Unload,
}

/// What may be asked where.
const ROUTES: [(&str, Asked); 3] = [
    ("/v2/repository/index", Asked::Index),
    ("/v2/repository/models/{model}/load", Asked::Load),
    ("/v2/repository/models/{model}/unload", Asked::Unload),
];

/// Adds the routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    for (path, asked) in ROUTES {
        let handler = web::post().to(move |request, payload| answer(asked, request, payload));
        let wrong = web::to(|request, payload| wrong_method(request, payload, "POST"));
        config.service(web::resource(path).route(handler).default_service(wrong));
    }
}

/// What `/openapi.json` says of them.
pub(super) fn paths() -> impl Iterator<Item = (&'static str, Value)> {
    ROUTES.into_iter().map(|(path, asked)| {
        let word = json!({"type": "string"});
        let model =
            json!({"type": "object", "properties": {"name": word, "state": word}, "required": ["name", "state"]});
        let (summary, id, schema) = match asked {
            Asked::Index => {
                ("models that are known, and their states", "index", json!({"type": "array", "items": model}))
            }
            Asked::Load => {
                ("have a model answer by its files as they are now, once they have proved themselves", "load", model)
            }
            Asked::Unload => ("give a model up; its requests are refused from then on", "unload", model),
        };
        let mut responses = json!({
            "200": content("what came of it", &schema),
            "401": refusal("keys are set and none of them was sent"),
            "403": refusal("RESCORED_MODEL_CONTROL is off, or the caller is on another host and no keys are set, or the \
                            request is for a host, or comes from a page, that is not ours"),
            "415": refusal("the body is said to be something else than json"),
        });
        if asked != Asked::Index {
            responses["404"] = refusal("no model of this name is served or configured");
            responses["409"] = refusal("it was not changed, and serves as before: the message says why");
            responses["503"] = refusal("as many changes wait as may, or the process is stopping");
        }
        let operation = json!({
            "tags": ["repository"],
            "summary": summary,
            "operationId": format!("post_v2_repository_{id}"),
            "parameters": parameters(path),
            "responses": responses,
        });
        (path, json!({"post": operation}))
    })
}

async fn answer(asked: Asked, request: HttpRequest, payload: Payload) -> HttpResponse {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return ApiError::Internal.response();
    };
    let _in_flight = InFlight::enter(&state.metrics);
    let record = Record::new(NAME, request.headers());
    let outcome = caught(changed(asked, &request, &state)).await.unwrap_or(Err(ApiError::Internal));
    let response = record.finish(outcome, &state.metrics);
    outgoing::after(response, &request, payload).await
}

async fn changed(asked: Asked, request: &HttpRequest, state: &AppState) -> Result<HttpResponse, ApiError> {
    let repository = admitted(request, state)?;
    if body::is_announced(request.headers()) {
        body::admit_type(request.headers(), body::is_json, "content-type: application/json")?;
    }
    let name = request.match_info().get("model").unwrap_or_default().to_owned();
    if asked == Asked::Index {
        return printed(&index(&repository));
    }
    let wanted = if asked == Asked::Unload { Wanted::Unloaded } else { Wanted::Loaded };
    let (reported, outcome) = oneshot::channel();
    // No thread waits here. A client that goes away drops this, and with it what it asked for.
    let change = repository.ask(wanted, &name, move |outcome| drop(reported.send(outcome)));
    let _change = change.map_err(|error| ApiError::from(&error))?;
    let changed = outcome.await.map_err(|_| ApiError::Internal)?.map_err(|error| ApiError::from(&error))?;
    printed(&match wanted {
        Wanted::Unloaded => json!({"name": name, "state": State::Unavailable.word()}),
        Wanted::Loaded => json!({"name": name, "state": State::Ready.word(), "changed": changed == Changed::Loaded}),
    })
}

/// The repository, once it is sure that the caller may change it.
fn admitted(request: &HttpRequest, state: &AppState) -> Result<Arc<Repository>, ApiError> {
    let Some(repository) = &state.repository else {
        return Err(ApiError::Forbidden { what: "models are not changed over http; set RESCORED_MODEL_CONTROL=on" });
    };
    state.keys.admit(request.headers())?;
    let by_file = request.conn_data::<Arrival>() == Some(&Arrival::Unix);
    let here = by_file || request.peer_addr().is_some_and(|address| address.ip().to_canonical().is_loopback());
    if !here && !state.keys.are_asked_for() {
        let what = "without keys, models are changed from this host only; name keys by RESCORED_API_KEYS_FILE";
        return Err(ApiError::Forbidden { what });
    }
    Ok(Arc::clone(repository))
}

fn index(repository: &Repository) -> Vec<Value> {
    let listed = repository.list().into_iter();
    listed.map(|one| json!({"name": one.id, "version": "1", "state": one.state.word(), "reason": one.reason})).collect()
}

fn printed(value: &impl serde::Serialize) -> Result<HttpResponse, ApiError> {
    let text = json::text(value).ok_or(ApiError::Internal)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

impl From<&ChangeError> for ApiError {
    fn from(error: &ChangeError) -> Self {
        match error {
            ChangeError::Unknown { .. } => Self::Change { kind: Unchanged::Unknown, reported: error_chain(error) },
            ChangeError::Default(_)
            | ChangeError::Open { .. }
            | ChangeError::Start { .. }
            | ChangeError::Unproved { .. }
            | ChangeError::GivenUp { .. } => Self::Change { kind: Unchanged::Kept, reported: error_chain(error) },
            ChangeError::Busy { .. } | ChangeError::Clogged(_) | ChangeError::Closed => {
                Self::Change { kind: Unchanged::Busy, reported: error_chain(error) }
            }
        }
    }
}
