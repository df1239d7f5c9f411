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
use super::error::Refusal;
use super::figures::{self, FORMATS};
use super::server::Shared;
use super::{json, openapi};

/// Every operation served.
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
        answer: figures::tell,
    },
    Operation {
        name: "docs",
        paths: &["/openapi.json"],
        summary: "this description",
        gives: Gives::Json,
        answer: openapi::json,
    },
    Operation {
        name: "docs",
        paths: &["/docs"],
        summary: "this description, to read",
        gives: Gives::Text(&["text/html"]),
        answer: openapi::page,
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
    pub(super) answer: fn(&Shared, &HttpRequest) -> Result<HttpResponse, Refusal>,
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

fn body(value: &impl Serialize) -> Result<HttpResponse, Refusal> {
    let answer = |text| HttpResponse::Ok().content_type("application/json").body(text);
    json::text(value).map(answer).ok_or(Refusal::Internal)
}

/// A process that cannot mend itself asks to be restarted.
fn require_alive(shared: &Shared) -> Result<(), Refusal> {
    if shared.health.is_alive() { Ok(()) } else { Err(Refusal::NotReady { word: "hopeless" }) }
}

fn require_ready(shared: &Shared) -> Result<(), Refusal> {
    match shared.health.readiness() {
        Readiness::Ready => Ok(()),
        Readiness::Starting => Err(starting(shared)),
        other @ (Readiness::Degraded | Readiness::Draining) => Err(Refusal::NotReady { word: other.word() }),
    }
}

/// Why the process is not ready yet, as far as that is known.
fn starting(shared: &Shared) -> Refusal {
    let (word, why) = (Readiness::Starting.word(), shared.health.trouble());
    if why.is_empty() { Refusal::NotReady { word } } else { Refusal::Trouble { word, why } }
}

/// What describes the models is there as soon as they are warm, and stays when a worker is missing.
fn require_started(shared: &Shared) -> Result<(), Refusal> {
    match shared.health.readiness() {
        Readiness::Starting => Err(starting(shared)),
        Readiness::Ready | Readiness::Degraded | Readiness::Draining => Ok(()),
    }
}

fn live(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_alive(shared).and_then(|()| body(&json!({"status": "alive"})))
}

fn ready(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_ready(shared)?;
    body(&json!({"status": "ready", "unix": super::face::unix_seconds()}))
}

fn ready_silently(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_ready(shared)?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}

fn kserve_live(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_alive(shared).and_then(|()| body(&json!({"live": true})))
}

fn kserve_ready(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_ready(shared)?;
    body(&json!({"ready": true}))
}

fn kserve_model_ready(shared: &Shared, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    let now = shared.reranker.now();
    let card = now.model(request.match_info().get("model"))?;
    require_ready(shared)?;
    body(&json!({"name": card.id, "ready": true}))
}

fn kserve_server(_: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    body(&json!({"name": rescored_core::NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": []}))
}

fn kserve_model(shared: &Shared, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    let now = shared.reranker.now();
    let card = now.model(request.match_info().get("model"))?;
    let texts = |name| json!({"name": name, "datatype": "BYTES", "shape": [-1, 1]});
    body(&json!({
        "name": card.id,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [texts("query"), texts("passage")],
        "outputs": [{"name": "logit", "datatype": "FP32", "shape": [-1, 1]}],
    }))
}

fn info(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_started(shared)?;
    let now = shared.reranker.now();
    let card = now.model(None)?;
    body(&Info {
        model_id: if card.source.is_empty() { &card.id } else { &card.source },
        model_sha: &card.fingerprint,
        model_dtype: &card.precision,
        served_model_name: &card.id,
        model_type: json!({"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}),
        max_input_length: card.max_length,
        max_client_batch_size: shared.scene.max_documents,
        auto_truncate: true,
        version: env!("CARGO_PKG_VERSION"),
        readiness: shared.health.readiness().word(),
        api_keys: shared.keys.count(),
        memory_budget: shared.budget.report(),
        connections: shared.connections.report(),
        models: Card::all(&now).collect(),
        snapshot: shared.reranker.snapshot().map(|one| json!({"locked": one.locked, "failed": one.failed})),
    })
}

fn meta(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_started(shared)?;
    let now = shared.reranker.now();
    body(&Card::all(&now).next())
}

fn models(shared: &Shared, _: &HttpRequest) -> Result<HttpResponse, Refusal> {
    require_started(shared)?;
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
    let data: Vec<Value> = shared.reranker.now().models().iter().map(model).collect();
    body(&json!({"object": "list", "data": data}))
}
