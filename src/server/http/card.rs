//! A model as `/info` and `/meta` describe it.
//!
//! Owns the names of the fields. It must not know how a model is run.

use std::collections::BTreeMap;

use rescored_core::domain::accelerator::{Accelerator, Program, Refused, State};
use rescored_core::domain::{Activation, Graph, ModelCard, PassedOver, PromptCard, Sizing};
use serde::Serialize;
use serde_json::{Value, json};

use crate::rerank::{Generation, Quota};

/// Stands beside everything that is reported of CoreML, until a run of the workflow on an Apple machine has been published.
const UNMEASURED: &str = "no figures of Apple hardware are published: .github/workflows/macos.yml has not run yet";

/// What `/info` says of a model.
#[derive(Serialize)]
pub(super) struct Card<'s> {
    id: &'s str,
    source: &'s str,
    /// Further names that requests may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<&'s str>,
    licence: &'s str,
    fingerprint: &'s str,
    precision: &'s str,
    provider: &'s str,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    devices: &'s [u32],
    /// Nodes of the graph by the runtime's provider that runs them.
    nodes: BTreeMap<&'s str, usize>,
    passed_over: Vec<Value>,
    /// The accelerator that was lost, where the CPU answers in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<Value>,
    runtime: &'s str,
    /// The graph that runs, and what would make it faster.
    graph: Value,
    /// How it is run, and whether that was measured.
    sizing: Value,
    max_length: u32,
    /// A decoder's prompt: its tokens, and the instruction that requests may replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Value>,
    activation: &'static str,
    /// Its share of workers and queue beside other models.
    weight: u32,
    /// Estimated tokens of it that may wait before more is refused.
    queue_tokens: u64,
}

impl<'s> Card<'s> {
    /// Every model, the default first.
    pub(super) fn all(now: &'s Generation) -> impl Iterator<Item = Self> {
        now.models().iter().zip(now.quotas()).map(|(card, quota)| Self::of(card, now.aliases(&card.id), *quota))
    }

    fn of(card: &'s ModelCard, aliases: Vec<&'s str>, quota: Quota) -> Self {
        let nodes = card.execution.nodes.get().into_iter().flatten();
        let passed_over = |one: &PassedOver| json!({"provider": one.provider, "reason": one.reason});
        Self {
            id: &card.id,
            source: &card.source,
            aliases,
            licence: &card.licence,
            fingerprint: &card.fingerprint,
            precision: &card.precision,
            provider: &card.provider,
            devices: &card.execution.devices,
            nodes: nodes.map(|(provider, count)| (provider.as_str(), *count)).collect(),
            passed_over: card.execution.passed_over.iter().map(passed_over).collect(),
            moved_from: card.execution.moved_from,
            accelerator: card.execution.accelerator.as_deref().map(accelerator),
            runtime: &card.runtime,
            graph: graph(&card.execution.graph),
            sizing: sizing(&card.execution.sizing),
            max_length: card.max_length,
            prompt: card.prompt.as_ref().map(prompt),
            activation: match card.activation {
                Activation::Sigmoid => "sigmoid",
                Activation::Identity => "identity",
            },
            weight: quota.weight,
            queue_tokens: quota.queue_tokens,
        }
    }
}

fn prompt(prompt: &PromptCard) -> Value {
    let PromptCard { tokens, takes_instruction, instruction } = prompt;
    json!({"tokens": tokens, "takes_instruction": takes_instruction, "instruction": instruction})
}

/// What runs where now, and what is not used.
fn accelerator(accelerator: &dyn Accelerator) -> Value {
    let State { programs, refused, detours } = accelerator.state();
    let program = |program: Program| {
        json!({
            "shape": program.shape,
            "way": program.way,
            "milliseconds": program.milliseconds,
            "loaded": program.loaded,
            "distance": program.most,
            "distance_in_company": program.company,
        })
    };
    let refusal = |one: Refused| json!({"way": one.way, "shape": one.shape, "reason": one.reason});
    json!({
        "note": UNMEASURED,
        "programs": programs.into_iter().map(program).collect::<Vec<_>>(),
        "refused": refused.into_iter().map(refusal).collect::<Vec<_>>(),
        "detours": detours,
    })
}

fn graph(graph: &Graph) -> Value {
    let Graph { file, advice } = graph;
    if advice.is_empty() { json!({"file": file}) } else { json!({"file": file, "warning": advice}) }
}

fn sizing(sizing: &Sizing) -> Value {
    let Sizing { workers, threads, batch_tokens, batch_wait, tuning } = sizing;
    json!({
        "workers": workers,
        "threads": threads,
        "batch_tokens": batch_tokens,
        "batch_wait_ms": batch_wait.as_secs_f64() * 1000.0,
        "tuning": tuning,
    })
}
