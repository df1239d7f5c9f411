//! Twice the capacity on virtual time, with texts whose tokens are misjudged by their bytes.
//!
//! What `make bench-overload PART=overload` measures with clocks, without the noise of a machine: of the capacity, as
//! measured just before by clients that ask one request after the other, nine tenths still answer whole requests in
//! time.

use std::borrow::Cow;
use std::time::Duration;

use rescored_core::domain::Texts;
use rescored_engine::simulated::{FaultProfile, Random};
use rescored_engine::{Options, Pinning};

use super::{World, client::Client};
use crate::rerank::Late;

/// Documents of a request: from and to, spread evenly on a logarithmic scale.
const SIZES: (f64, f64) = (5.0, 100.0);

/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(30);

/// Of a request's time, the largest takes a quarter when it is alone, as in the bench.
const PATIENCE: f64 = 4.0;

/// What texts are like.
#[derive(Clone, Copy, Debug)]
enum Density {
    /// A token has a byte or less, as special tokens and rare characters make it: estimated far too low.
    Dense,
    /// A token has many bytes, as long words do: estimated too high.
    Sparse,
    /// The one or the other, by request.
    Mixed,
}

/// What came of a load.
#[derive(Debug)]
struct Outcome {
    /// Pairs a second of requests that were answered whole.
    goodput: f64,
    answered: u64,
    refused: u64,
    expired: u64,
}

/// A world of one model and clients of one kind.
struct Load {
    world: World,
    density: Density,
    names: u64,
}

impl Load {
    fn new(density: Density, workers: usize, seed: u64) -> Self {
        let options = Options {
            workers: Some(workers),
            pinning: Pinning::Free,
            tokenisers: 2,
            batch_tokens: None,
            batch_wait: None,
            queue_tokens: 1 << 40,
            weights: Vec::new(),
            stuck_after: Duration::from_secs(5),
        };
        let mut world = World::of(FaultProfile::NoFaults, options, 0, Random::new(seed));
        // Refusals and expiries are right here.
        world.fault_profile = FaultProfile::WithFaults;
        Self { world, density, names: 0 }
    }

    /// A request of so many documents of 40 tokens, more or less, that nobody asked for before.
    fn texts(&mut self, documents: usize) -> Texts<'static> {
        self.names += 1;
        let (name, random) = (self.names, &mut self.world.random);
        let dense = match self.density {
            Density::Dense => true,
            Density::Sparse => false,
            Density::Mixed => random.one_in(2),
        };
        let padding = if dense { "" } else { " words" };
        let document = |number: usize| {
            let tokens = 20 + random.below(41);
            let words = padding.repeat(usize::try_from(tokens).unwrap() * 2);
            Cow::Owned(format!("{tokens} {name} {number}{words}"))
        };
        Texts::one_query("q", (0..documents).map(document).collect::<Vec<_>>())
    }

    fn come(&mut self, documents: usize, patience: Duration) -> Result<(), String> {
        let texts = self.texts(documents);
        let deadline = self.world.now + patience;
        let generation = self.world.reranker.now();
        self.world.clients.push(Client::patient(generation, 0, texts, Late::IsAFault, deadline));
        self.world.begin(self.world.clients.len() - 1)?;
        self.world.hand_out();
        Ok(())
    }

    /// Pairs a second when so many clients ask one request of so many documents after the other.
    fn closed(&mut self, clients: usize, documents: usize, time: Duration) -> Result<f64, String> {
        let (from, before) = (self.world.now, self.world.answered_pairs);
        while self.world.now < from + time {
            while self.world.clients.len() < clients {
                self.come(documents, Duration::from_mins(10))?;
            }
            self.world.step(false)?;
        }
        let (answered, time) = (self.world.answered_pairs - before, self.world.now - from);
        while !self.world.is_dry() {
            self.world.step(false)?;
        }
        Ok(answered as f64 / time.as_secs_f64())
    }

    /// Independent arrivals of twice as many pairs a second as the capacity.
    fn open(&mut self, capacity: f64) -> Result<Outcome, String> {
        let (low, high) = SIZES;
        let rate = 2.0 * capacity / ((high - low) / (high / low).ln());
        let patience = Duration::from_secs_f64(PATIENCE * high / capacity);
        self.world.endings.clear();
        let (from, before) = (self.world.now, self.world.answered_pairs);
        let mut next = from;
        while next < from + LOAD {
            match self.world.next(false) {
                Some((at, ..)) if at <= next => self.world.step(false)?,
                _ => {
                    self.world.now = next;
                    let size = low * (high / low).powf(self.unit());
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
                    self.come(size.round() as usize, patience)?;
                    next += Duration::from_secs_f64(-(1.0 - self.unit()).ln() / rate);
                }
            }
        }
        let goodput = (self.world.answered_pairs - before) as f64 / LOAD.as_secs_f64();
        let until = self.world.now + 2 * patience;
        while !self.world.is_dry() && self.world.now < until {
            self.world.step(false)?;
        }
        let of = |ending: &str| self.world.endings.get(ending).copied().unwrap_or_default();
        assert_eq!(of("failed"), 0, "nothing fails: {:?}", self.world.endings);
        Ok(Outcome { goodput, answered: of("answered"), refused: of("refused"), expired: of("expired") })
    }

    fn unit(&mut self) -> f64 {
        self.world.random.below(1 << 32) as f64 / 4_294_967_296.0
    }
}

/// Case A5. Texts that are estimated at a third of their tokens or at twice as many, or the one and the other by turns.
#[test]
fn at_twice_the_capacity_nine_tenths_of_it_answer_in_time_whatever_the_texts() {
    let outcomes = [
        (Density::Dense, 2, "underestimated: exact lengths"),
        (Density::Dense, 1, "underestimated: packed"),
        (Density::Sparse, 2, "overestimated: exact lengths"),
        (Density::Mixed, 3, "both, by request: packed"),
    ]
    .map(|(density, workers, sentence)| {
        let mut load = Load::new(density, workers, 7);
        load.closed(8, 25, Duration::from_secs(2)).unwrap();
        let capacity = load.closed(8, 25, Duration::from_secs(5)).unwrap();
        let outcome = load.open(capacity).unwrap();
        let share = outcome.goodput / capacity;
        println!("{sentence}: capacity {capacity:.0} pairs/s, goodput {share:.3} of it, {outcome:?}");
        (sentence, share, outcome)
    });
    for (sentence, share, outcome) in outcomes {
        assert!(share >= 0.9, "{sentence}: {share:.3} of the capacity, {outcome:?}");
        assert!(outcome.refused * 3 > outcome.answered, "{sentence}: it is twice the capacity: {outcome:?}");
        assert!(outcome.expired * 50 <= outcome.answered, "{sentence}: promises are kept: {outcome:?}");
    }
}
