//! What operators and probes ask: alive, ready, which models, how much work.
//!
//! Owns THE table of operations. All of them answer at once, from memory. It must not know how readiness comes about.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use rescored_core::domain::ModelCard;
use rescored_process::health::Readiness;
use serde::Serialize;
use serde_json::{Value, json};

use super::card::Card;
use super::error::ApiError;
use super::figures::{self, FORMATS};
use super::state::AppState;
use super::{json, named};

/// Every operation served, but for those that describe the others.
pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        name: "live",
        paths: &["/livez", "/.well-known/live", "/weaviate/.well-known/live"],
        summary: "the process runs",
        gives: Gives::Json,
        answer: live,
    },
    Operation {
        name: "live",
        paths: &["/v2/health/live"],
        summary: "the process runs, in KServe's words",
        gives: Gives::Json,
        answer: kserve_live,
    },
    Operation {
        name: "ready",
        paths: &["/", "/readyz", "/ready", "/health", "/ping", "/v1/health/ready"],
        summary: "work is taken",
        gives: Gives::Json,
        answer: ready,
    },
    Operation {
        name: "ready",
        paths: &["/tei/health", "/nim/v1/health/ready", "/vllm/health"],
        summary: "work is taken",
        gives: Gives::Json,
        answer: ready,
    },
    Operation {
        name: "ready",
        paths: &["/.well-known/ready", "/weaviate/.well-known/ready"],
        summary: "work is taken; no body",
        gives: Gives::Nothing,
        answer: ready_silently,
    },
    Operation {
        name: "ready",
        paths: &["/v2/health/ready"],
        summary: "work is taken, in KServe's words",
        gives: Gives::Json,
        answer: kserve_ready,
    },
    Operation {
        name: "ready",
        paths: &["/v2/models/{model}/ready"],
        summary: "the model takes work",
        gives: Gives::Json,
        answer: kserve_model_ready,
    },
    Operation {
        name: "info",
        paths: &["/info", "/tei/info"],
        summary: "the models and their limits, with TEI's keys",
        gives: Gives::Json,
        answer: info,
    },
    Operation {
        name: "info",
        paths: &["/meta", "/weaviate/meta"],
        summary: "the default model",
        gives: Gives::Json,
        answer: meta,
    },
    Operation {
        name: "info",
        paths: &["/v1/models", "/models", "/nim/v1/models"],
        summary: "the models served",
        gives: Gives::Json,
        answer: models,
    },
    Operation {
        name: "info",
        paths: &["/v2"],
        summary: "the server, in KServe's words",
        gives: Gives::Json,
        answer: kserve_server,
    },
    Operation {
        name: "info",
        paths: &["/v2/models/{model}"],
        summary: "the model's tensors, in KServe's words",
        gives: Gives::Json,
        answer: kserve_model,
    },
    Operation {
        name: "metrics",
        paths: &["/metrics"],
        summary: "figures for Prometheus",
        gives: Gives::Text(&[FORMATS[0].kind, FORMATS[1].kind]),
        answer: figures::show,
    },
];

/// One thing that can be asked with `GET`.
#[derive(Debug)]
pub(super) struct Operation {
    /// The name in logs and metrics.
    pub(super) name: &'static str,
    /// Paths; `{model}` stands for a model's name.
    pub(super) paths: &'static [&'static str],
    /// One sentence for the interface's description.
    pub(super) summary: &'static str,
    /// What a success looks like.
    pub(super) gives: Gives,
    /// Answers.
    pub(super) answer: fn(&AppState, &HttpRequest) -> Result<HttpResponse, ApiError>,
}

/// What a success looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// A JSON object.
    Json,
    /// 204, no body.
    Nothing,
    /// Text of one of these types.
    Text(&'static [&'static str]),
}

/// TEI's description of the default model, and ours of all of them.
#[derive(Serialize)]
struct Info<'s> {
    model_id: &'s str,
    model_sha: &'s str,
    model_dtype: &'s str,
    served_model_name: &'s str,
    model_type: Value,
    max_input_length: u32,
    max_client_batch_size: usize,
    auto_truncate: bool,
    version: &'static str,
    readiness: &'static str,
    /// How many API keys are in force; absent where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_keys: Option<usize>,
    memory_budget: rescored_process::budget::Report,
    connections: super::connections::Report,
    models: Vec<Card<'s>>,
    snapshot: Option<Value>,
}

fn body(value: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let answer = |text| HttpResponse::Ok().content_type("application/json").body(text);
    json::text(value).map(answer).ok_or(ApiError::Internal)
}

/// A process that cannot repair itself asks to be restarted.
fn require_alive(state: &AppState) -> Result<(), ApiError> {
    if state.health.is_alive() { Ok(()) } else { Err(ApiError::NotReady { word: "hopeless" }) }
}

fn require_ready(state: &AppState) -> Result<(), ApiError> {
    match state.health.readiness() {
        Readiness::Ready => Ok(()),
        Readiness::Starting => Err(starting(state)),
        other @ (Readiness::Degraded | Readiness::Draining) => Err(ApiError::NotReady { word: other.word() }),
    }
}

/// Why the process is not ready yet, as far as that is known.
fn starting(state: &AppState) -> ApiError {
    let (word, why) = (Readiness::Starting.word(), state.health.trouble());
    if why.is_empty() { ApiError::NotReady { word } } else { ApiError::Trouble { word, why } }
}

/// What describes the models is there as soon as they are warm, and stays when a worker is missing.
fn require_started(state: &AppState) -> Result<(), ApiError> {
    match state.health.readiness() {
        Readiness::Starting => Err(starting(state)),
        Readiness::Ready | Readiness::Degraded | Readiness::Draining => Ok(()),
    }
}

fn live(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_alive(state).and_then(|()| body(&json!({"status": "alive"})))
}

fn ready(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_ready(state)?;
    body(&json!({"status": "ready", "unix": super::dialect::unix_seconds()}))
}

fn ready_silently(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_ready(state)?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}

fn kserve_live(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_alive(state).and_then(|()| body(&json!({"live": true})))
}

fn kserve_ready(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_ready(state)?;
    body(&json!({"ready": true}))
}

fn kserve_model_ready(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let now = state.reranker.now();
    let card = now.model(named::model(request).as_deref())?;
    require_ready(state)?;
    body(&json!({"name": card.id, "ready": true}))
}

fn kserve_server(_: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    body(&json!({"name": rescored_core::NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
}

fn kserve_model(state: &AppState, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let now = state.reranker.now();
    let card = now.model(named::model(request).as_deref())?;
    let texts = |name| json!({"name": name, "datatype": "BYTES", "shape": [-1, 1]});
    body(&json!({
        "name": card.id,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [texts("query"), texts("passage")],
        "outputs": [{"name": "logit", "datatype": "FP32", "shape": [-1, 1]}],
    }))
}

fn info(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_started(state)?;
    let now = state.reranker.now();
    let card = now.model(None)?;
    body(&Info {
        model_id: if card.source.is_empty() { &card.id } else { &card.source },
        model_sha: &card.fingerprint,
        model_dtype: &card.precision,
        served_model_name: &card.id,
        model_type: json!({"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}),
        max_input_length: card.max_length,
        max_client_batch_size: state.limits.max_documents,
        auto_truncate: true,
        version: env!("CARGO_PKG_VERSION"),
        readiness: state.health.readiness().word(),
        api_keys: state.keys.count(),
        memory_budget: state.budget.report(),
        connections: state.connections.report(),
        models: Card::all(&now).collect(),
        snapshot: state.reranker.snapshot().map(|one| json!({"locked": one.locked, "failed": one.failed})),
    })
}

fn meta(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_started(state)?;
    let now = state.reranker.now();
    body(&Card::all(&now).next())
}

fn models(state: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    require_started(state)?;
    let model = |card: &ModelCard| {
        json!({
            "id": card.id,
            "object": "model",
            "created": 0,
            "owned_by": rescored_core::NAME,
            "root": card.source,
            "max_model_len": card.max_length,
        })
    };
    let data: Vec<Value> = state.reranker.now().models().iter().map(model).collect();
    body(&json!({"object": "list", "data": data}))
}
