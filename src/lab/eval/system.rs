//! What is compared: ways to order a query's candidates.
//!
//! Pure but for the scores, which a [`Judge`] gives. Owns the order of steps: each rescoring the top of what the step
//! before left. It must not know measures, or how scores are made.

use std::time::{Duration, Instant};

use rescored_core::domain::ranking::rank;
use rescored_core::domain::{Logit, LongDocuments};

/// One way to order candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// What people call it.
    pub name: String,
    /// Rescorings, one after the other; none leaves the first stage's order.
    pub steps: Vec<Step>,
}

/// One rescoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which of the judge's models.
    pub model: usize,
    /// How many of the best so far are scored; the others stay below in their order.
    pub top: usize,
    /// How over-long documents are fitted.
    pub long_documents: LongDocuments,
}

/// Gives scores.
pub trait Judge {
    /// Why it could not.
    type Error;

    /// One logit a document, and the tokens that were read.
    ///
    /// # Errors
    /// When one of the documents has no score.
    fn score(&mut self, query: &str, documents: &[&str], step: Step) -> Result<(Vec<Logit>, u64), Self::Error>;
}

/// An order and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// Positions of the candidates, best first.
    pub order: Vec<usize>,
    /// Time from the query to the order.
    pub took: Duration,
    /// Pairs scored.
    pub pairs: usize,
    /// Tokens of theirs.
    pub tokens: u64,
}

impl System {
    /// Orders the candidates of one query.
    ///
    /// # Errors
    /// The judge's.
    pub fn order<J: Judge>(&self, query: &str, candidates: &[&str], judge: &mut J) -> Result<Ordered, J::Error> {
        let started = Instant::now();
        let mut done = Ordered { order: (0..candidates.len()).collect(), ..Ordered::default() };
        for &step in &self.steps {
            let top = step.top.min(done.order.len());
            let texts: Vec<&str> = done.order.iter().take(top).map(|&place| candidates[place]).collect();
            let (logits, tokens) = judge.score(query, &texts, step)?;
            let best: Vec<usize> = rank(&logits, None).into_iter().map(|place| done.order[place]).collect();
            done.order.splice(..top, best);
            done.pairs += top;
            done.tokens += tokens;
        }
        done.took = started.elapsed();
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads the score out of the document: model 0 takes its first number, model 1 its second.
    struct Numbers;

    impl Judge for Numbers {
        type Error = ();

        fn score(&mut self, _: &str, documents: &[&str], step: Step) -> Result<(Vec<Logit>, u64), ()> {
            let number = |text: &&str| text.split(' ').nth(step.model).and_then(|word| word.parse().ok());
            let logits = documents.iter().map(|text| Logit::new(number(text).unwrap()).unwrap()).collect();
            Ok((logits, documents.len() as u64))
        }
    }

    fn step(model: usize, top: usize) -> Step {
        Step { model, top, long_documents: LongDocuments::Truncate }
    }

    fn order(steps: &[Step], candidates: &[&str]) -> Ordered {
        System { name: String::new(), steps: steps.to_vec() }.order("q", candidates, &mut Numbers).unwrap()
    }

    #[test]
    fn what_is_not_rescored_stays_below_in_its_order() {
        let candidates = ["1 9", "3 8", "2 7", "9 6", "8 9"];
        assert_eq!(order(&[], &candidates).order, [0, 1, 2, 3, 4], "the first stage's order");
        assert_eq!(order(&[step(0, 3)], &candidates).order, [1, 2, 0, 3, 4]);
        let cascade = order(&[step(0, 5), step(1, 2)], &candidates);
        assert_eq!(cascade.order, [4, 3, 1, 2, 0], "the second model orders the first one's best two");
        assert_eq!((cascade.pairs, cascade.tokens), (7, 7));
    }

    proptest! {
        #[test]
        fn an_order_is_every_candidate_once_and_a_full_last_step_decides_alone(
            numbers in prop::collection::vec((-9i8..9, -9i8..9), 0..12), top in 1usize..14
        ) {
            let texts: Vec<String> = numbers.iter().map(|(a, b)| format!("{a} {b}")).collect();
            let candidates: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut sorted = order(&[step(0, top), step(1, top)], &candidates).order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..candidates.len()).collect::<Vec<_>>());
            let whole = order(&[step(1, 99)], &candidates).order;
            prop_assert!(whole.windows(2).all(|two| numbers[two[0]].1 >= numbers[two[1]].1));
        }
    }
}
