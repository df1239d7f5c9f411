//! Which provider runs how many nodes of a graph, read from ONNX Runtime's profile of one run.
//!
//! Pure but for the file it is given. A profile is a JSON list of events; those of category `Node` whose name ends in
//! `_kernel_time` carry the provider that ran the node.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An event, as far as it matters here.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    provider: String,
}

/// Nodes by provider, in ONNX Runtime's names, of a profile of one run; empty when the text is none.
pub fn nodes(profile: &str) -> Vec<(String, usize)> {
    let events: Vec<Event> = serde_json::from_str(profile).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for event in events {
        if event.cat == "Node" && event.name.ends_with("_kernel_time") && !event.args.provider.is_empty() {
            *counts.entry(event.args.provider).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_counted_by_provider_and_other_events_are_not() {
        let profile = r#"[
            {"cat": "Session", "name": "model_run", "ts": 1, "args": {}},
            {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "MatMul"}},
            {"cat": "Node", "name": "a_kernel_time", "args": {"op_name": "MatMul", "provider": "CUDAExecutionProvider"}},
            {"cat": "Node", "name": "b_kernel_time", "args": {"op_name": "Gelu", "provider": "CUDAExecutionProvider"}},
            {"cat": "Node", "name": "c_kernel_time", "args": {"op_name": "Shape", "provider": "CPUExecutionProvider"}}
        ]"#;
        assert_eq!(nodes(profile), [("CPUExecutionProvider".to_owned(), 1), ("CUDAExecutionProvider".to_owned(), 2)]);
        assert!(nodes("half a fi").is_empty());
    }
}
