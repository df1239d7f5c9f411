//! A query's documents, asked of the search engine that will ask for their scores.
//!
//! Owns the search requests. Passages are made of hits by the same code that `POST /rescore/…` uses, so that the warmed
//! pairs are those that a search will ask for. It must not know the sidecar.

use std::io;
use std::time::Duration;

use rescored_server::rescore::{self, Engine, Job};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::StatusCode;

use super::post::{Secret, agent, is_passing};

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
    terms: Terms,
}

/// What is asked of a search engine, whichever it is.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Fields that make a passage.
    pub fields: Vec<String>,
    /// Hits of a query, where the search has no body of its own.
    pub size: usize,
    /// The search's body, in which `{{query}}` stands for the query; `None` for a plain search.
    pub body: Option<Value>,
    /// The engine's `Authorization` header.
    pub authorization: Option<Secret>,
    /// The model that the sidecar shall score with; `None` for its default.
    pub model: Option<String>,
}

/// What a search's body says where the query belongs.
const PLACE: &str = "{{query}}";

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
    #[error("first stage: status {}", .0.as_u16())]
    Refused(StatusCode),
    /// The answer is not a search's.
    #[error("first stage: the answer is no result of a search: {0}")]
    Unread(String),
    /// Nothing was found.
    #[error("first stage: no hits")]
    Nothing,
}

impl FirstStage {
    /// OpenSearch (or Elasticsearch) at an address: hits of `index`, found by their fields.
    pub fn opensearch(url: &str, index: &str, terms: Terms) -> Self {
        let url = format!("{}/{index}/_search", url.trim_end_matches('/'));
        Self { agent: agent(PATIENCE), engine: Engine::OpenSearch, url, terms }
    }

    /// Vespa at an address: hits of all its sources.
    pub fn vespa(url: &str, terms: Terms) -> Self {
        let url = format!("{}/search/", url.trim_end_matches('/'));
        Self { agent: agent(PATIENCE), engine: Engine::Vespa, url, terms }
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
        // All of what was found: a search's own body says how much that is.
        let stage = json!({"window_size": rescore::Options::default().max_hits});
        let body = json!({"query": query, "fields": self.terms.fields, "rescore": stage, key: result}).to_string();
        let options = rescore::Options { max_hits: usize::MAX, ..rescore::Options::default() };
        let unread = |problem: &dyn std::fmt::Display| FirstStageError::Unread(problem.to_string());
        let mut job = Job::parse(self.engine, body.as_bytes(), &options).map_err(|error| unread(&error))?;
        let wanted = job.next_stage().ok_or(FirstStageError::Nothing)?;
        let documents: Vec<&str> = wanted.texts.pairs.iter().map(|pair| &*pair.document).collect();
        let mut line = json!({"query": query, "documents": documents});
        if let Some(model) = &self.terms.model {
            line["model"] = model.as_str().into();
        }
        Ok(line.to_string().into_bytes())
    }

    fn search(&self, query: &str) -> Result<Value, FirstStageError> {
        let body = self.body(query).to_string();
        let request = self.agent.post(&self.url).content_type("application/json");
        let sent = match &self.terms.authorization {
            Some(authorization) => request.header("authorization", authorization.value()),
            None => request,
        }
        .send(body);
        let mut response = sent.map_err(|error| FirstStageError::Unanswered(Box::new(error)))?;
        if !response.status().is_success() {
            return Err(FirstStageError::Refused(response.status()));
        }
        let text = response.body_mut().with_config().limit(ANSWER).read_to_string();
        let text = text.map_err(|error| FirstStageError::Unanswered(Box::new(error)))?;
        serde_json::from_str(&text).map_err(|error| FirstStageError::Unread(io::Error::from(error).to_string()))
    }

    fn body(&self, query: &str) -> Value {
        let Terms { fields, size, body, .. } = &self.terms;
        match (body, self.engine) {
            (Some(body), _) => {
                let mut body = body.clone();
                fill(&mut body, query);
                body
            }
            (None, Engine::OpenSearch) => json!({
                "size": size,
                "_source": fields,
                "query": {"multi_match": {"query": query, "fields": fields}},
            }),
            (None, Engine::Vespa) => json!({
                "yql": "select * from sources * where userQuery()",
                "query": query,
                "hits": size,
            }),
        }
    }
}

impl FirstStageError {
    /// Whether another try may fare better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Refused(status) => is_passing(*status),
            Self::Unread(_) | Self::Nothing => false,
        }
    }

    /// Whether every other query would be refused, too: no such index, or no right to ask.
    pub(super) fn is_final(&self) -> bool {
        let final_ones = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        matches!(self, Self::Refused(status) if final_ones.contains(status))
    }
}

/// Whether a search's body says where the query belongs.
pub fn has_place(body: &Value) -> bool {
    match body {
        Value::String(text) => text.contains(PLACE),
        Value::Array(items) => items.iter().any(has_place),
        Value::Object(members) => members.values().any(has_place),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Puts the query where it belongs.
fn fill(body: &mut Value, query: &str) {
    match body {
        Value::String(text) if text.contains(PLACE) => *text = text.replace(PLACE, query),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, query)),
        Value::Object(members) => members.values_mut().for_each(|member| fill(member, query)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_of_ones_own_gets_the_query_wherever_it_says_so() {
        let body =
            json!({"size": 50, "query": {"bool": {"should": [{"match": {"title": "{{query}}"}}, {"term": {"x": 1}}]}}});
        assert!(has_place(&body) && !has_place(&json!({"query": ["{query}"]})));
        let stage = FirstStage::opensearch("http://x", "i", Terms { body: Some(body), ..Terms::default() });
        let expected =
            json!({"size": 50, "query": {"bool": {"should": [{"match": {"title": "a \"b\""}}, {"term": {"x": 1}}]}}});
        assert_eq!(stage.body("a \"b\""), expected);
    }
}
