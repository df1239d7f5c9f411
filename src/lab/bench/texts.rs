//! What is scored: queries and documents, the built-in passages or a folder in BEIR's layout.
//!
//! Owns how requests are made of texts: the same for every run, no pair twice while it may still be in flight. It must
//! not know who scores them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rescored_core::random::Seeded;
use rescored_runtime::checksum::Sha256;
use serde::Deserialize;

/// Abstracts of `PubMedQA` (MIT), and a few pairs by hand: those on which `compile` proves its graphs.
const BUILT_IN: &str = include_str!("../../../models/samples.jsonl");

/// The seed of every choice.
const SEED: u64 = 200;

/// Sentences of a passage at most: what search engines index are passages of every length.
const SENTENCES: usize = 6;

/// One request: a query and the documents that a first stage found for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
}

/// Why there are no texts.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    /// A file of the folder.
    #[error("data: `{}` cannot be read; a folder in BEIR's layout holds corpus.jsonl and queries.jsonl", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is not `{"_id", "text"}`.
    #[error("data: `{}`: line {line} is not understood", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Too few texts to fill a request with distinct documents.
    #[error("data: `{}`: {documents} documents are too few for requests of {wanted}", path.display())]
    TooFew {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        documents: usize,
        /// Documents of a request.
        wanted: usize,
    },
}

/// Queries and documents to make requests of.
#[derive(Clone, Debug)]
pub struct Texts {
    /// What they are, for the report.
    pub name: String,
    /// A checksum over all of them.
    pub sha256: String,
    queries: Vec<String>,
    documents: Vec<String>,
    /// A query's first-stage candidates, by place, where a run is given.
    candidates: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
struct Sample {
    query: String,
    document: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

impl Texts {
    /// The passages in the binary.
    ///
    /// # Errors
    /// Never with the file as it is; a test reads it.
    pub fn built_in() -> Result<Self, TextsError> {
        let at = |line: usize| {
            move |source| TextsError::Line { path: "models/samples.jsonl".into(), line: line + 1, source }
        };
        let samples: Result<Vec<Sample>, TextsError> =
            BUILT_IN.lines().enumerate().map(|(line, text)| serde_json::from_str(text).map_err(at(line))).collect();
        // Some prove `compile` at the edges: no text, no words.
        let usual = samples?.into_iter().filter(|sample| sample.query.len() > 8 && sample.document.len() > 40);
        let (mut queries, documents): (Vec<String>, Vec<String>) =
            usual.map(|sample| (sample.query, sample.document)).unzip();
        // A query with several documents stands beside itself.
        queries.dedup();
        Ok(Self::new("built-in passages (PubMedQA abstracts)".to_owned(), queries, documents))
    }

    /// A folder with `corpus.jsonl` and `queries.jsonl`, and perhaps `run.tsv`, a first stage's candidates.
    ///
    /// # Errors
    /// [`TextsError`].
    pub fn open(folder: &Path) -> Result<Self, TextsError> {
        let (corpus, queries) = (lines(&folder.join("corpus.jsonl"))?, lines(&folder.join("queries.jsonl"))?);
        let places: HashMap<&str, usize> =
            corpus.iter().enumerate().map(|(place, line)| (line.id.as_str(), place)).collect();
        let of_query: HashMap<&str, usize> =
            queries.iter().enumerate().map(|(place, line)| (line.id.as_str(), place)).collect();
        let mut candidates = vec![Vec::new(); queries.len()];
        for line in std::fs::read_to_string(folder.join("run.tsv")).unwrap_or_default().lines() {
            let mut fields = line.split('\t');
            let query = fields.next().and_then(|id| of_query.get(id));
            let document = fields.next().and_then(|id| places.get(id));
            if let (Some(&query), Some(&document)) = (query, document)
                && !candidates[query].contains(&document)
            {
                candidates[query].push(document);
            }
        }
        let text = |line: Line| if line.title.is_empty() { line.text } else { format!("{} {}", line.title, line.text) };
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let (queries, corpus) = (queries.into_iter().map(text).collect(), corpus.into_iter().map(text).collect());
        Ok(Self { candidates, ..Self::new(name, queries, corpus) })
    }

    fn new(name: String, queries: Vec<String>, documents: Vec<String>) -> Self {
        let all: Vec<&str> = queries.iter().chain(&documents).map(String::as_str).collect();
        let sha256 = Sha256::of(all.join("\n").as_bytes()).to_string();
        Self { name, sha256, candidates: vec![Vec::new(); queries.len()], queries, documents }
    }

    /// How many documents there are: requests hold no more.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// `count` requests of `size` distinct documents each. Queries take turns, so neighbours never share a pair.
    ///
    /// # Errors
    /// [`TextsError::TooFew`].
    pub fn requests(&self, count: usize, size: usize) -> Result<Vec<Request>, TextsError> {
        if self.documents.len() < size || self.queries.is_empty() {
            let path = PathBuf::from(&self.name);
            return Err(TextsError::TooFew { path, documents: self.documents.len(), wanted: size });
        }
        let mut random = Seeded::new(SEED);
        Ok((0..count).map(|at| self.request(at, size, &mut random)).collect())
    }

    fn request(&self, at: usize, size: usize, random: &mut Seeded) -> Request {
        let query = at % self.queries.len();
        let mut chosen = self.candidates[query].clone();
        chosen.truncate(size);
        while chosen.len() < size {
            let place = random.below(self.documents.len());
            if !chosen.contains(&place) {
                chosen.push(place);
            }
        }
        let documents = chosen.iter().map(|&place| passage(&self.documents[place], random)).collect();
        Request { query: self.queries[query].clone(), documents }
    }
}

fn lines(path: &Path) -> Result<Vec<Line>, TextsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TextsError::Unreadable { path: path.to_owned(), source })?;
    let line = |(at, line)| {
        serde_json::from_str(line).map_err(|source| TextsError::Line { path: path.to_owned(), line: at + 1, source })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

/// Some sentences of a text that follow each other.
fn passage(text: &str, random: &mut Seeded) -> String {
    let sentences: Vec<&str> = text.split_inclusive(". ").collect();
    let count = 1 + random.below(SENTENCES.min(sentences.len()));
    let first = random.below((sentences.len() + 1).saturating_sub(count));
    let some = sentences.get(first..first + count).map_or_else(String::new, <[&str]>::concat);
    // Two spaces after a full stop make a sentence of nothing.
    if some.trim().is_empty() { text.to_owned() } else { some.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_built_in_texts_fill_requests_of_distinct_documents() {
        let texts = Texts::built_in().unwrap();
        let requests = texts.requests(100, 32).unwrap();
        for request in &requests {
            let distinct: HashSet<&String> = request.documents.iter().collect();
            assert!(distinct.len() >= 31, "{}", distinct.len());
            assert!(request.documents.iter().all(|document| !document.is_empty()));
        }
        for two in requests.windows(2) {
            assert_ne!(two[0].query, two[1].query, "neighbours share no pair");
        }
    }

    #[test]
    fn the_same_requests_come_every_time() {
        let texts = Texts::built_in().unwrap();
        assert_eq!(texts.requests(10, 8).unwrap(), texts.requests(10, 8).unwrap());
        assert_eq!(texts.requests(20, 8).unwrap()[..10], texts.requests(10, 8).unwrap(), "more requests begin alike");
    }

    #[test]
    fn a_folder_gives_its_own_candidates_first() {
        let folder = tempfile::tempdir().unwrap();
        let line = |n| format!("{{\"_id\":\"d{n}\",\"title\":\"t{n}\",\"text\":\"text {n}\"}}");
        let corpus: Vec<String> = (0..9).map(line).collect();
        std::fs::write(folder.path().join("corpus.jsonl"), corpus.join("\n")).unwrap();
        std::fs::write(folder.path().join("queries.jsonl"), "{\"_id\":\"q\",\"text\":\"query\"}\n").unwrap();
        std::fs::write(folder.path().join("run.tsv"), "query\tdoc\tscore\nq\td7\t2\nq\td7\t2\nq\td3\t1\n").unwrap();
        let texts = Texts::open(folder.path()).unwrap();
        let requests = texts.requests(2, 3).unwrap();
        assert_eq!(requests[0].query, "query");
        assert_eq!(requests[0].documents[..2], ["t7 text 7".to_owned(), "t3 text 3".to_owned()]);
        assert!(matches!(texts.requests(1, 10), Err(TextsError::TooFew { documents: 9, wanted: 10, .. })));
    }

    #[test]
    fn a_line_that_is_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("corpus.jsonl"), "{\"_id\":\"a\",\"text\":\"b\"}\n{}\n").unwrap();
        assert!(matches!(Texts::open(folder.path()), Err(TextsError::Line { line: 2, .. })));
    }
}
