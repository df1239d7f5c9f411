//! A retrieval data set on disk, in BEIR's layout: corpus, queries, judgements, and the run of a first stage.
//!
//! Owns the files' formats and what is reported about a line that is wrong. Where there is no run, the first stage is
//! [`super::bm25`] over the whole corpus. Texts are held in memory: all of the corpus for BM25, else those that the run
//! names. The document with the query's own id is no candidate: in sets whose queries are documents, BEIR leaves it out.
//! It must not know models or measures.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bm25::Index;

/// What is taken of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The folder.
    pub dir: PathBuf,
    /// Which of `qrels/*.tsv` judges, where there is no `qrels.tsv`.
    pub split: String,
    /// The first stage's run; `None` takes `run.tsv`, and BM25 where there is none.
    pub run: Option<PathBuf>,
    /// Queries at most, the first ones of the file; `None` takes all.
    pub queries: Option<usize>,
    /// Documents of a query at most.
    pub depth: usize,
}

/// Queries with their judgements and candidates, and the texts that these name.
#[derive(Debug, Default)]
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// What found the candidates.
    pub first_stage: String,
    /// Documents in the corpus.
    pub corpus: usize,
    /// Queries without a relevant document, which nothing can be measured on, or that were not asked for.
    pub left_out: usize,
    /// The queries, in the file's order.
    pub queries: Vec<Query>,
    /// Texts of candidates; a title stands before its text.
    pub documents: Vec<Box<str>>,
}

/// One query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Its id in the files.
    pub id: String,
    /// Its text.
    pub text: String,
    /// What the first stage found, best first: positions in [`Dataset::documents`].
    pub candidates: Vec<usize>,
    /// Gains of the candidates, in their order.
    pub gains: Vec<u32>,
    /// Gains of all judged documents, found or not.
    pub judged: Vec<u32>,
}

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file is missing or unreadable.
    #[error("data: `{}` cannot be read; expected corpus.jsonl, queries.jsonl and qrels.tsv or qrels/{split}.tsv", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not what the format says. It is not repeated: it may be a document's.
    #[error("data: `{}`: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The run names a document that the corpus lacks.
    #[error("data: the run names document `{id}`, which corpus.jsonl lacks")]
    Foreign {
        /// The document's id.
        id: String,
    },
    /// Nothing can be measured.
    #[error("data: no query has both a relevant document and candidates")]
    Nothing,
}

/// A line of `corpus.jsonl` or `queries.jsonl`.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

/// By query: document ids with a number each.
type Table<T> = HashMap<String, Vec<(String, T)>>;

/// Reads one folder.
struct Folder<'c> {
    choice: &'c Choice,
}

impl Dataset {
    /// Reads a data set.
    ///
    /// # Errors
    /// [`DataError`]: the first file or line that is wrong.
    pub fn open(choice: &Choice) -> Result<Self, DataError> {
        let folder = Folder { choice };
        let qrels = folder.qrels()?;
        let (asked, left_out) = folder.queries(&qrels)?;
        let run = folder.run()?;
        let mut data = Self { name: folder.name(), left_out, ..Self::default() };
        let found = if let Some((path, run)) = run {
            data.first_stage = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            data.by_run(&folder, &asked, run)?
        } else {
            "BM25".clone_into(&mut data.first_stage);
            data.by_bm25(&folder, &asked)?
        };
        for (query, candidates) in asked.into_iter().zip(found) {
            let judged = qrels.get(&query.id).map(Vec::as_slice).unwrap_or_default();
            let gain = |id: &str| judged.iter().find(|(other, _)| other == id).map_or(0, |(_, gain)| *gain);
            let gains = candidates.iter().map(|(id, _)| gain(id)).collect();
            let candidates = candidates.into_iter().map(|(_, document)| document).collect();
            let judged = judged.iter().map(|(_, gain)| *gain).collect();
            data.queries.push(Query { id: query.id, text: query.text, candidates, gains, judged });
        }
        if data.queries.iter().all(|query| query.candidates.is_empty()) {
            return Err(DataError::Nothing);
        }
        Ok(data)
    }

    /// Candidates of each query as a run names them; only their texts are kept.
    fn by_run(
        &mut self,
        folder: &Folder<'_>,
        queries: &[Entry],
        mut run: Table<f64>,
    ) -> Result<Vec<Vec<(String, usize)>>, DataError> {
        let mut chosen: Vec<Vec<(String, f64)>> =
            queries.iter().map(|query| run.remove(&query.id).unwrap_or_default()).collect();
        for (query, candidates) in queries.iter().zip(&mut chosen) {
            candidates.retain(|(id, _)| *id != query.id);
            // Equal scores stay as the run lists them.
            candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
            candidates.truncate(folder.choice.depth);
        }
        let named: HashSet<&str> = chosen.iter().flatten().map(|(id, _)| id.as_str()).collect();
        let mut places: HashMap<String, usize> = HashMap::with_capacity(named.len());
        folder.corpus(|document| {
            self.corpus += 1;
            if named.contains(document.id.as_str()) {
                places.insert(document.id.clone(), self.documents.len());
                self.documents.push(document.whole());
            }
        })?;
        let place = |(id, _): &(String, f64)| match places.get(id) {
            Some(&place) => Ok((id.clone(), place)),
            None => Err(DataError::Foreign { id: id.clone() }),
        };
        chosen.iter().map(|candidates| candidates.iter().map(place).collect()).collect()
    }

    /// Candidates of each query by BM25 over the whole corpus.
    fn by_bm25(&mut self, folder: &Folder<'_>, queries: &[Entry]) -> Result<Vec<Vec<(String, usize)>>, DataError> {
        let (mut index, mut ids) = (Index::default(), Vec::new());
        folder.corpus(|document| {
            self.corpus += 1;
            let text = document.whole();
            index.add(&text);
            self.documents.push(text);
            ids.push(document.id);
        })?;
        let found = |query: &Entry| {
            let found = index.search(&query.text, folder.choice.depth.saturating_add(1));
            let named = found.into_iter().filter_map(|(place, _)| Some((ids.get(place)?.clone(), place)));
            named.filter(|(id, _)| *id != query.id).take(folder.choice.depth).collect()
        };
        Ok(queries.iter().map(found).collect())
    }
}

impl Entry {
    /// A document as BEIR's evaluators send it.
    fn whole(&self) -> Box<str> {
        if self.title.is_empty() { self.text.as_str().into() } else { format!("{} {}", self.title, self.text).into() }
    }
}

impl Folder<'_> {
    fn name(&self) -> String {
        let whole = self.choice.dir.canonicalize().unwrap_or_else(|_| self.choice.dir.clone());
        whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Judgements by query; gains below 0 count as 0, as `trec_eval` has it.
    fn qrels(&self) -> Result<Table<u32>, DataError> {
        let flat = self.choice.dir.join("qrels.tsv");
        let path = if flat.is_file() {
            flat
        } else {
            self.choice.dir.join("qrels").join(format!("{}.tsv", self.choice.split))
        };
        let mut table: Table<u32> = HashMap::new();
        let mut seen = HashSet::new();
        self.lines(&path, |line, text| {
            let columns = text.split('\t').collect::<Vec<_>>();
            let ([query, document, gain] | [query, _, document, gain]) = columns[..] else {
                return Err("expected query, document and gain, separated by tabs");
            };
            let Ok(gain) = gain.trim().parse::<i64>() else {
                return if line == 1 { Ok(()) } else { Err("the gain is no whole number") };
            };
            if !seen.insert((query.to_owned(), document.to_owned())) {
                return Err("judges a document a second time");
            }
            let gain = u32::try_from(gain.max(0)).unwrap_or(u32::MAX);
            table.entry(query.to_owned()).or_default().push((document.to_owned(), gain));
            Ok(())
        })?;
        Ok(table)
    }

    /// Queries that can be measured, the first ones of the file; and how many others there are.
    fn queries(&self, qrels: &Table<u32>) -> Result<(Vec<Entry>, usize), DataError> {
        let path = self.choice.dir.join("queries.jsonl");
        let (mut asked, mut left_out) = (Vec::new(), 0);
        let most = self.choice.queries.unwrap_or(usize::MAX);
        self.lines(&path, |_, text| {
            let query: Entry = serde_json::from_str(text).map_err(|_| "expected an object with `_id` and `text`")?;
            let measurable = qrels.get(&query.id).is_some_and(|judged| judged.iter().any(|(_, gain)| *gain > 0));
            if measurable && asked.len() < most {
                asked.push(query);
            } else {
                left_out += 1;
            }
            Ok(())
        })?;
        Ok((asked, left_out))
    }

    /// The run, if there is one: BEIR's (query, document, rank, score), TREC's six columns, or three.
    fn run(&self) -> Result<Option<(PathBuf, Table<f64>)>, DataError> {
        let path = match &self.choice.run {
            Some(path) => path.clone(),
            None if self.choice.dir.join("run.tsv").is_file() => self.choice.dir.join("run.tsv"),
            None => return Ok(None),
        };
        let mut table: Table<f64> = HashMap::new();
        let mut seen = HashSet::new();
        self.lines(&path, |line, text| {
            let columns = text.split_whitespace().collect::<Vec<_>>();
            let ([query, document, score] | [query, document, _, score] | [query, _, document, _, score, _]) =
                columns[..]
            else {
                return Err("expected query, document, rank and score, or the six columns of TREC");
            };
            let Some(score) = score.parse::<f64>().ok().filter(|score| score.is_finite()) else {
                return if line == 1 { Ok(()) } else { Err("the score is no finite number") };
            };
            if !seen.insert((query.to_owned(), document.to_owned())) {
                return Err("lists a document a second time");
            }
            table.entry(query.to_owned()).or_default().push((document.to_owned(), score));
            Ok(())
        })?;
        Ok(Some((path, table)))
    }

    fn corpus(&self, mut take: impl FnMut(Entry)) -> Result<(), DataError> {
        let path = self.choice.dir.join("corpus.jsonl");
        self.lines(&path, |_, text| {
            take(serde_json::from_str(text).map_err(|_| "expected an object with `_id` and `text`")?);
            Ok(())
        })
    }

    /// Every line that is not blank, with its number from 1.
    fn lines(
        &self,
        path: &Path,
        mut take: impl FnMut(usize, &str) -> Result<(), &'static str>,
    ) -> Result<(), DataError> {
        let unreadable = |source| DataError::File { path: path.to_owned(), split: self.choice.split.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        for (line, text) in BufReader::new(file).lines().enumerate() {
            let text = text.map_err(unreadable)?;
            let line = line + 1;
            if !text.trim().is_empty() {
                take(line, &text).map_err(|problem| DataError::Line { path: path.to_owned(), line, problem })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
