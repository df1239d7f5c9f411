//! Real queries and passages of `tests/data`, ragged as they come.

use std::collections::HashMap;

use rescored_lab::bench::texts::Request;

#[path = "../data/xquad.rs"]
mod xquad;

/// The same query with documents so long that every pair is cut at the model's longest length.
pub(crate) fn overlong(request: &Request) -> Request {
    let all = request.documents.join(" ");
    let documents = request.documents.iter().map(|document| format!("{document} {all}")).collect();
    Request { query: request.query.clone(), documents }
}

/// The first `count` queries of a first stage's run, each with `documents` candidates.
pub(crate) fn ragged(count: usize, documents: usize) -> Vec<Request> {
    let (corpus, queries) = (texts(&xquad::file("corpus.jsonl")), texts(&xquad::file("queries.jsonl")));
    let run = xquad::file("run.tsv");
    let mut requests: Vec<Request> = Vec::new();
    let mut last = "";
    for (n, line) in run.lines().skip(1).enumerate() {
        let mut fields = line.split('\t');
        let (Some(id), Some(document)) = (fields.next(), fields.next()) else { continue };
        let (Some(query), Some(document)) = (queries.get(id), corpus.get(document)) else { continue };
        if id != last {
            if requests.last().is_some_and(|request| request.documents.len() < documents) {
                requests.pop();
            }
            if requests.len() == count {
                break;
            }
            requests.push(Request { query: query.clone(), documents: Vec::new() });
            last = id;
        }
        let Some(request) = requests.last_mut() else { continue };
        if request.documents.len() < documents {
            request.documents.push(passage(document, n).to_owned());
        }
    }
    assert_eq!(requests.len(), count, "tests/data has no more queries with {documents} candidates: measure fewer");
    requests
}

/// One to six sentences of a paragraph: what search engines index are passages of every length.
fn passage(paragraph: &str, n: usize) -> &str {
    let mut ends = paragraph.match_indices(". ").map(|(at, _)| at + 1);
    let end = ends.nth(n % 6).unwrap_or(paragraph.len());
    paragraph.get(..end).unwrap_or(paragraph)
}

fn texts(lines: &str) -> HashMap<String, String> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| Some((line["_id"].as_str()?.to_owned(), line["text"].as_str()?.to_owned())))
        .collect()
}
