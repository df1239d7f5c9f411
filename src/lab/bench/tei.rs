//! A text-embeddings-inference server at an address.
//!
//! Owns its wire format. It must not know which server it is compared with.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use ureq::Agent;

use super::load::{Reply, Target};
use super::texts::Request;

/// A text-embeddings-inference server somewhere.
#[derive(Debug)]
pub struct Tei {
    agent: Agent,
    url: String,
}

#[derive(Deserialize)]
struct Rank {
    index: usize,
    score: f64,
}

impl Tei {
    /// A server that nobody asks, for tests of reports.
    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self { agent: Agent::new_with_defaults(), url: String::new() }
    }

    /// The server at this address.
    ///
    /// # Errors
    /// What it answered to a first pair instead of a score.
    pub fn at(url: &str) -> Result<Self, String> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(10)))
            .build()
            .into();
        let tei = Self { agent, url: url.trim_end_matches('/').to_owned() };
        tei.send(&Request { query: "one".to_owned(), documents: vec!["pair".to_owned()] })?;
        Ok(tei)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Target for Tei {
    fn send(&self, request: &Request) -> Result<Reply, String> {
        let body = json!({"query": request.query, "texts": request.documents, "raw_scores": true, "truncate": true});
        let post = self.agent.post(format!("{}/rerank", self.url)).content_type("application/json");
        let mut answer = post.send(body.to_string()).map_err(|error| error.to_string())?;
        let said = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let ranks: Vec<Rank> = serde_json::from_str(&said).map_err(|_| format!("{}: {said}", self.url))?;
        let mut logits = vec![f64::NAN; request.documents.len()];
        for rank in ranks {
            if let Some(place) = logits.get_mut(rank.index) {
                *place = rank.score;
            }
        }
        Ok(Reply { logits, aside: Duration::ZERO })
    }
}
