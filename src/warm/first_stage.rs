//! A query's documents, asked of the search engine that will ask for their scores.
//!
//! Owns the search requests. Passages are made of hits by the same code that `POST /rescore/…` uses, so that the warmed
//! pairs are those that a search will ask for. It must not know the sidecar.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use super::post::agent;
use crate::rescore::{self, Engine, Job};

/// A search that takes longer is a line at fault.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a search's answer at most.
const ANSWER: u64 = 256 << 20;

/// Where documents come from.
#[derive(Debug)]
pub struct FirstStage {
    agent: Agent,
    engine: Engine,
    url: String,
    fields: Vec<String>,
    size: usize,
}

/// A line of a query log that is an object.
#[derive(Deserialize)]
struct Logged {
    query: String,
}

/// Why a query has no documents. The query is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum FirstStageError {
    /// The engine did not answer.
    #[error("first stage: no answer")]
    Unanswered(#[source] Box<ureq::Error>),
    /// The engine refused.
    #[error("first stage: status {0}")]
    Refused(u16),
    /// The answer is not a search's.
    #[error("first stage: the answer is no result of a search: {0}")]
    Unread(String),
    /// Nothing was found.
    #[error("first stage: no hits")]
    Nothing,
}

impl FirstStage {
    /// OpenSearch (or Elasticsearch) at an address: `size` hits of `index`, found by their `fields`.
    pub fn opensearch(url: &str, index: &str, (fields, size): (Vec<String>, usize)) -> Self {
        let url = format!("{}/{index}/_search", url.trim_end_matches('/'));
        Self { agent: agent(PATIENCE), engine: Engine::OpenSearch, url, fields, size }
    }

    /// Vespa at an address: `size` hits of the default schemas, passages of their `fields`.
    pub fn vespa(url: &str, (fields, size): (Vec<String>, usize)) -> Self {
        let url = format!("{}/search/", url.trim_end_matches('/'));
        Self { agent: agent(PATIENCE), engine: Engine::Vespa, url, fields, size }
    }

    /// The request that warms a line of a query log: a query as it is, or an object with the key `query`.
    ///
    /// # Errors
    /// [`FirstStageError`].
    pub fn documents(&self, line: &str) -> Result<Vec<u8>, FirstStageError> {
        let logged = serde_json::from_str::<Logged>(line);
        let query = logged.map_or_else(|_| line.to_owned(), |logged| logged.query);
        let result = self.search(&query)?;
        let key = match self.engine {
            Engine::OpenSearch => "response",
            Engine::Vespa => "result",
        };
        let stage = json!({"window_size": self.size});
        let body = json!({"query": query, "fields": self.fields, "rescore": stage, key: result}).to_string();
        let options = rescore::Options { max_hits: usize::MAX, ..rescore::Options::default() };
        let unread = |problem: &dyn std::fmt::Display| FirstStageError::Unread(problem.to_string());
        let mut job = Job::parse(self.engine, body.as_bytes(), &options).map_err(|error| unread(&error))?;
        let wanted = job.next_stage().ok_or(FirstStageError::Nothing)?;
        let documents: Vec<&str> = wanted.texts.pairs.iter().map(|pair| &*pair.document).collect();
        Ok(json!({"query": query, "documents": documents}).to_string().into_bytes())
    }

    fn search(&self, query: &str) -> Result<Value, FirstStageError> {
        let body = match self.engine {
            Engine::OpenSearch => json!({
                "size": self.size,
                "_source": self.fields,
                "query": {"multi_match": {"query": query, "fields": self.fields}},
            }),
            Engine::Vespa => json!({
                "yql": "select * from sources * where userQuery()",
                "query": query,
                "hits": self.size,
            }),
        };
        let sent = self.agent.post(&self.url).content_type("application/json").send(body.to_string());
        let mut response = sent.map_err(|error| FirstStageError::Unanswered(Box::new(error)))?;
        if !response.status().is_success() {
            return Err(FirstStageError::Refused(response.status().as_u16()));
        }
        let text = response.body_mut().with_config().limit(ANSWER).read_to_string();
        let text = text.map_err(|error| FirstStageError::Unanswered(Box::new(error)))?;
        serde_json::from_str(&text).map_err(|error| FirstStageError::Unread(io::Error::from(error).to_string()))
    }
}
