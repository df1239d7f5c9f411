//! Why an engine did not start.
//!
//! Owns what is reported about it: the model, its file, what to run. It must not know how workers load.

use rescored_runtime::ScorerError;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker could not load a model, or not run it.
    #[error("model `{model}`: {}could not be loaded or run; `rescored doctor` looks at its files", named(file))]
    Model {
        /// The model's id.
        model: String,
        /// The graph's file; empty when the model does not say.
        file: String,
        /// Why.
        #[source]
        source: ScorerError,
    },
    /// A worker's thread ended while it loaded models.
    #[error("a worker died while it was loading models")]
    Died,
    /// Nobody waits for the engine any more, or not as long as it takes.
    #[error("{}", unfinished(models))]
    Unfinished {
        /// Ids of the models that workers were loading, or running for the first time.
        models: Vec<String>,
    },
}

fn named(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!("`{file}` ") }
}

fn unfinished(models: &[String]) -> String {
    match models {
        [] => "the workers have not all started yet".to_owned(),
        models => format!("model `{}`: its first forward pass has not ended yet", models.join("`, `")),
    }
}
