//! Scores of this process: the same engine as `serve`, without its cache, one query at a time.
//!
//! Owns the models that are compared and what they are called. It must not know data sets or measures.

use std::time::{Duration, Instant};

use rescored_cache as cache;
use rescored_core::domain::{Logit, Priority, Texts, Truncation};
use rescored_engine::{self as engine, StartError};
use rescored_runtime::options::{Graphs, Options, Precision};
use rescored_runtime::{Model, open::OpenError};
use rescored_server::app::Core;
use rescored_server::rerank::{Request, RerankError};

use super::system::{Judge, Step};

/// How long one query may take before the evaluation is given up.
const PATIENCE: Duration = Duration::from_hours(1);

/// A model as it is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its id, or the path of its folder.
    pub id: String,
    /// The arithmetic asked for.
    pub precision: Precision,
    /// Which of its graphs.
    pub graphs: Graphs,
}

/// Models under comparison, loaded and warm.
#[derive(Debug)]
pub struct Local {
    core: Core,
    names: Vec<String>,
    runtime: tokio::runtime::Runtime,
}

/// Why models could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A model or the runtime library.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system.
    #[error("the system refused a thread")]
    Thread(#[from] std::io::Error),
    /// A model that could not run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A query could not be scored.
    #[error("a query could not be scored")]
    RerankError(#[from] RerankError),
}

impl Local {
    /// Loads every contender into one engine. Contenders that come to the same graph share it.
    ///
    /// # Errors
    /// The first one that cannot be loaded.
    pub fn start(contenders: &[Contender], base: &Options, engine: &engine::Options) -> Result<Self, LocalError> {
        let (mut models, mut names) = (Vec::new(), Vec::new());
        for contender in contenders {
            let options = Options {
                ids: vec![contender.id.clone()],
                precision: contender.precision,
                graphs: contender.graphs,
                ..base.clone()
            };
            for mut model in Model::open_all(&options)? {
                let graph = if contender.graphs == Graphs::Source { "/source" } else { "" };
                model.card.id = format!("{}@{}{graph}", model.card.id, model.card.precision);
                names.push(model.card.id.clone());
                if !models.iter().any(|known: &Model| known.card.id == model.card.id) {
                    models.push(model);
                }
            }
        }
        let core = Core::start(models, engine, &cache::Options { bytes: 0, weights: Vec::new(), ttl: None })?;
        core.reranker.wait_until_warm()?;
        core.health.warmed();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { core, names, runtime })
    }

    /// What the contenders are called, in their order: id, precision, and `/source` where the model's own graph runs.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Judge for Local {
    type Error = LocalError;

    fn score(&mut self, query: &str, documents: &[&str], step: Step) -> Result<(Vec<Logit>, u64), LocalError> {
        if documents.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let texts = Texts::one_query(query, documents.iter().map(|&document| document.into()));
        let request = Request {
            model: self.names.get(step.model).map(String::as_str),
            texts: &texts,
            cut: Truncation { long_documents: step.long_documents, ..Truncation::MODEL },
            refuse_cut: false,
            empty: rescored_core::domain::EmptyDocuments::Last,
            deadline: Instant::now() + PATIENCE,
            priority: Priority::Live,
            memory: None,
        };
        let answer = self.runtime.block_on(self.core.reranker.score(request))?;
        Ok((answer.scored.iter().map(|scored| scored.logit).collect(), answer.stats.tokens))
    }
}
