//! A first stage of our own, for a data set that comes without a run: BM25 over the whole corpus.
//!
//! Pure. Owns the words and the formula: k1 1.2, b 0.75, idf ln(1 + (N - df + 0.5) / (df + 0.5)), lower-cased words of
//! letters, digits and underscores, no stemming, no stop words, a query's repeated words once, equal scores in corpus
//! order. It must not know files.

use std::collections::{HashMap, HashSet};

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index of a corpus, in memory.
#[derive(Debug, Default)]
pub struct Index {
    /// By word: documents that hold it, in corpus order, and how often.
    postings: HashMap<String, Vec<(u32, u32)>>,
    /// Words of each document.
    lengths: Vec<u32>,
}

impl Index {
    /// Takes the next document of the corpus.
    pub fn add(&mut self, text: &str) {
        let document = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        let mut length = 0;
        for word in words(text) {
            length += 1;
            let postings = self.postings.entry(word).or_default();
            match postings.last_mut() {
                Some((last, times)) if *last == document => *times += 1,
                _ => postings.push((document, 1)),
            }
        }
        self.lengths.push(length);
    }

    /// The `depth` best documents that share a word with the query, best first, with their scores.
    pub fn search(&self, query: &str, depth: usize) -> Vec<(usize, f64)> {
        let count = self.lengths.len() as f64;
        let mean = self.lengths.iter().map(|&length| f64::from(length)).sum::<f64>() / count.max(1.0);
        let mut scores: HashMap<u32, f64> = HashMap::new();
        let mut seen = HashSet::new();
        for word in words(query).filter(|word| seen.insert(word.clone())) {
            let Some(postings) = self.postings.get(&word) else { continue };
            let holding = postings.len() as f64;
            let idf = (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln();
            for &(document, times) in postings {
                let length = self.lengths.get(document as usize).map_or(0.0, |&length| f64::from(length));
                let times = f64::from(times);
                let weight = times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length / mean));
                *scores.entry(document).or_default() += idf * weight;
            }
        }
        let mut found: Vec<(usize, f64)> =
            scores.into_iter().map(|(document, score)| (document as usize, score)).collect();
        found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(depth);
        found
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !letter(c)).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(texts: &[String]) -> Index {
        let mut index = Index::default();
        for text in texts {
            index.add(text);
        }
        index
    }

    /// The formula, document by document, without an index.
    fn naive(texts: &[String], query: &str) -> Vec<(usize, f64)> {
        let corpus: Vec<Vec<String>> = texts.iter().map(|text| words(text).collect()).collect();
        let mean = corpus.iter().map(Vec::len).sum::<usize>() as f64 / corpus.len() as f64;
        let mut found = Vec::new();
        for (place, document) in corpus.iter().enumerate() {
            let mut score = 0.0;
            let asked: HashSet<String> = words(query).collect();
            for word in asked {
                let holding = corpus.iter().filter(|other| other.contains(&word)).count() as f64;
                let times = document.iter().filter(|other| **other == word).count() as f64;
                let idf = (1.0 + (corpus.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
                score += idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * document.len() as f64 / mean));
            }
            if score > 0.0 {
                found.push((place, score));
            }
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_formula_says(
            texts in prop::collection::vec("([a-d] ){1,6}", 1..8), query in "([a-e] ){1,4}", depth in 1usize..9
        ) {
            let found = index(&texts).search(&query, depth);
            let expected = naive(&texts, &query);
            prop_assert_eq!(found.len(), expected.len().min(depth));
            for (place, (document, score)) in found.iter().enumerate() {
                // Sums in another order differ in the last bits, and so may the order of equal scores.
                prop_assert!((score - expected[place].1).abs() < 1e-9);
                let theirs = expected.iter().find(|(other, _)| other == document).unwrap();
                prop_assert!((score - theirs.1).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn words_are_lower_cased_and_end_at_punctuation() {
        let found: Vec<String> = words("Über-Größe: x_1, 42 (don't)").collect();
        assert_eq!(found, ["über", "größe", "x_1", "42", "don", "t"]);
    }

    #[test]
    fn equal_documents_stand_in_corpus_order() {
        let found = index(&["b".into(), "a c".into(), "a c".into()]).search("a", 10);
        assert_eq!(found.iter().map(|(document, _)| *document).collect::<Vec<_>>(), [1, 2]);
    }
}
