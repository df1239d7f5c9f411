//! The README's requests, sent as they stand there.

use crate::support::REAL;

const README: &str = include_str!("../../README.md");

/// The `-d` body of every `curl` in a fenced `sh` block, with its path.
fn requests() -> Vec<(String, String)> {
    let mut requests = Vec::new();
    for block in README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let block = block.replace("\\\n", " ");
        for line in block.lines().filter(|line| line.trim_start().starts_with("curl ")) {
            let url = line.split_whitespace().find(|word| word.starts_with("localhost:")).expect("an address");
            let path = url.split_once('/').map_or("/", |(_, path)| path);
            let body =
                line.split_once("-d '").and_then(|(_, rest)| rest.rsplit_once('\'')).map_or("", |(body, _)| body);
            requests.push((format!("/{}", path.trim_start_matches('/')), body.to_owned()));
        }
    }
    requests
}

#[test]
fn every_curl_of_the_readme_is_answered_and_berlin_wins() {
    let requests = requests();
    assert!(!requests.is_empty(), "README.md shows a request");
    let mut connection = REAL.connect();
    for (path, body) in requests {
        if body.is_empty() {
            let answer = connection.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
            assert!(answer.status < 300, "{path}: {answer:?}");
            continue;
        }
        let answer = connection.post(&path, &body, "").ok();
        let results = answer["results"].as_array().expect("results");
        assert_eq!(results[0]["index"], 0, "{body}");
        let score = |at: usize| results[at]["relevance_score"].as_f64().expect("a score");
        if body.contains("raw_scores") {
            assert!(score(0) > 8.0 && score(1) < -4.0, "{answer}");
        } else {
            assert!(score(0) > 0.99 && score(1) < 0.01, "{answer}");
        }
    }
}
