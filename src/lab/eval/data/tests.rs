//! Data sets in the layouts that are found in the wild, right and wrong.

use super::*;

const CORPUS: &str = "{\"_id\":\"d1\",\"title\":\"Cats\",\"text\":\"purr\"}\n{\"_id\":\"d2\",\"text\":\"dogs bark\"}\n\
                      {\"_id\":\"d3\",\"title\":\"\",\"text\":\"cats and dogs\"}\n";
const QUERIES: &str =
    "{\"_id\":\"q1\",\"text\":\"cats\"}\n{\"_id\":\"q2\",\"text\":\"dogs\"}\n{\"_id\":\"q3\",\"text\":\"x\"}\n";
const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\td3\t2\nq1\td1\t1\nq2\td2\t1\nq2\tgone\t1\nq3\td1\t0\n";

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Choice) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let choice = Choice { dir: dir.path().to_owned(), split: "test".into(), run: None, queries: None, depth: 50 };
    (dir, choice)
}

fn texts(data: &Dataset, query: usize) -> Vec<&str> {
    data.queries[query].candidates.iter().map(|&document| &*data.documents[document]).collect()
}

#[test]
fn beirs_own_layout_is_searched_by_bm25() {
    let (_dir, choice) = folder(&[("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels/test.tsv", QRELS)]);
    let data = Dataset::open(&choice).unwrap();
    assert_eq!((data.first_stage.as_str(), data.corpus, data.left_out), ("BM25", 3, 1), "q3 has nothing relevant");
    assert_eq!(texts(&data, 0), ["Cats purr", "cats and dogs"], "a title stands before its text");
    assert_eq!((data.queries[0].gains.as_slice(), data.queries[0].judged.as_slice()), (&[1, 2][..], &[2, 1][..]));
    assert_eq!(data.queries[1].judged, [1, 1], "a judged document that the corpus lacks is still missed");
}

#[test]
fn a_run_gives_the_candidates_by_score_whatever_its_columns() {
    let runs = [
        ("ours", "query-id\tcorpus-id\trank\tscore\nq1\td2\t2\t1.5\nq1\td3\t1\t2.5\nq1\td1\t3\t1.5\n"),
        ("trec", "q1 Q0 d3 1 2.5 bm25\nq1 Q0 d2 2 1.5 bm25\nq1 Q0 d1 3 1.5 bm25\n"),
        ("three", "q1\td3\t2.5\nq1\td2\t1.5\nq1\td1\t1.5\n"),
    ];
    for (why, run) in runs {
        let files = [("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels.tsv", QRELS), ("run.tsv", run)];
        let (_dir, mut choice) = folder(&files);
        let data = Dataset::open(&choice).unwrap();
        assert_eq!(texts(&data, 0), ["cats and dogs", "dogs bark", "Cats purr"], "{why}");
        assert_eq!(texts(&data, 1), [""; 0], "{why}: a query that the run does not know has no candidates");
        choice.depth = 1;
        choice.queries = Some(1);
        let data = Dataset::open(&choice).unwrap();
        assert_eq!((data.queries.len(), texts(&data, 0), data.left_out), (1, vec!["cats and dogs"], 2), "{why}");
        assert_eq!(data.documents.len(), 1, "{why}: only what is named is kept");
    }
}

#[test]
fn what_is_wrong_is_reported_with_its_line_and_without_its_text() {
    let good = [("corpus.jsonl", CORPUS), ("queries.jsonl", QUERIES), ("qrels.tsv", QRELS)];
    let cases = [
        ("no corpus", "corpus.jsonl", None, "corpus.jsonl` cannot be read; expected corpus.jsonl"),
        ("no judgements", "qrels.tsv", None, "qrels/test.tsv` cannot be read"),
        ("a corpus that is no JSON", "corpus.jsonl", Some("secret text"), "corpus.jsonl`: line 1: expected an object"),
        ("a gain in words", "qrels.tsv", Some("q\td\ts\nq1\td1\tgood\n"), "line 2: the gain is no whole number"),
        ("a judgement twice", "qrels.tsv", Some("q1\td1\t1\nq1\td1\t2\n"), "line 2: judges a document a second time"),
        ("two columns", "qrels.tsv", Some("q1\td1\n"), "line 1: expected query, document and gain"),
        ("a foreign document", "run.tsv", Some("q1\td9\t1\t2.0\n"), "document `d9`, which corpus.jsonl lacks"),
        ("a document twice", "run.tsv", Some("q1\td1\t1\t2\nq1\td1\t2\t1\n"), "line 2: lists a document a second"),
        ("an infinite score", "run.tsv", Some("q\td\tr\ts\nq1\td1\t1\tinf\n"), "line 2: the score is no finite number"),
        ("nothing found", "run.tsv", Some("q9\td1\t1\t2.0\n"), "no query has both"),
    ];
    for (why, name, content, expected) in cases {
        let mut files: Vec<(&str, &str)> = good.iter().copied().filter(|(other, _)| *other != name).collect();
        files.extend(content.map(|content| (name, content)));
        let (_dir, choice) = folder(&files);
        let said = Dataset::open(&choice).unwrap_err().to_string();
        assert!(said.contains(expected) && !said.contains("secret"), "{why}: {said}");
    }
}
