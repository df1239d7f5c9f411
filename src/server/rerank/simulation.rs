//! Deterministic simulation: requests, pairs in flight, the score cache and engines on virtual time, with faults.
//!
//! Drives what serves in the program, from [`Progress`], [`RerankTask`], in-flight table and cache down to the engine's
//! decisions (see `src/engine/tests/simulated.rs`), in one thread. Clients come, ask for the same pairs, run out of
//! time and hang up; passes fail and hang, workers die, models are swapped, memory runs short. After every step the
//! invariants 3 to 8 of ARCHITECTURE are looked at. A seed decides everything: a failure names its seed and step, and
//! the seed replays it.

mod client;
mod overload;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rescored_cache::{self as cache, ScoreCache};
use rescored_core::domain::{Activation, Execution, ModelCard};
use rescored_engine::mutation::{self, Mutation};
use rescored_engine::simulated::{FaultProfile, Faults, Random, Simulated};
use rescored_engine::{Engine, EngineContext, Options, Pinning};
use rescored_process::health::Health;
use rescored_process::metrics::{Metrics, Reason};

use super::{Generation, Reranker, scopes};

use client::Client;
use report::{Failure, Report};

/// Steps of one world; then it runs dry and another begins.
const WORLD: u64 = 4000;

/// How long a world may take to run dry.
const DRY: Duration = Duration::from_mins(5);

/// An engine that runs, as long as its generation is held and until it is done.
struct Running {
    generation: Weak<Generation>,
    simulated: Simulated,
}

struct World {
    random: Random,
    now: Instant,
    fault_profile: FaultProfile,
    options: Options,
    context: EngineContext,
    reranker: Reranker,
    running: Vec<Running>,
    clients: Vec<Client>,
    next_client: Instant,
    next_change: Instant,
    names: u64,
    /// Pairs that engines took.
    admitted: u64,
    faults: Faults,
    served: u64,
    /// Pairs of requests that were answered whole.
    answered_pairs: u64,
    /// How requests ended, by kind.
    endings: BTreeMap<&'static str, u64>,
}

fn card(id: &str, version: u64) -> ModelCard {
    ModelCard {
        id: id.into(),
        source: String::new(),
        licence: String::new(),
        fingerprint: format!("{id} {version}"),
        precision: "fp32".into(),
        provider: "cpu".into(),
        runtime: "none".into(),
        max_length: 512,
        activation: Activation::Sigmoid,
        prompt: None,
        execution: Execution::default(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let fault_profile = if random.one_in(2) { FaultProfile::NoFaults } else { FaultProfile::WithFaults };
        let options = Options {
            workers: Some(1 + random.index(3)),
            pinning: Pinning::Free,
            tokenisers: 1 + random.index(3),
            batch_tokens: None,
            batch_wait: random.one_in(3).then_some(Duration::from_millis(1)),
            queue_tokens: if fault_profile == FaultProfile::NoFaults {
                u64::MAX / 64
            } else {
                2000 + random.below(20_000)
            },
            weights: vec![("b".into(), 1 + u32::try_from(random.below(3)).unwrap())],
            stuck_after: Duration::from_millis(300),
        };
        let bytes = if random.one_in(2) { 0 } else { 8 << 20 };
        Self::of(fault_profile, options, bytes, random)
    }

    /// One with a score cache of so many bytes.
    fn of(fault_profile: FaultProfile, options: Options, bytes: u64, random: Random) -> Self {
        let now = Instant::now();
        let context = EngineContext { metrics: Arc::new(Metrics::new()), health: Arc::new(Health::default()) };
        let cards = vec![card("a", 0), card("b", 0)];
        let cache = cache::Options { bytes, weights: Vec::new(), ttl: None };
        let cache = ScoreCache::new(&cache, scopes(&cards), Arc::clone(&context.metrics));
        let (engine, simulated) =
            Engine::simulated(&options, &cards.iter().collect::<Vec<_>>(), &context, fault_profile, now);
        let reranker = Reranker::new(cards, engine, cache, Arc::clone(&context.metrics));
        let running = vec![Running { generation: Arc::downgrade(&reranker.now()), simulated }];
        Self {
            random,
            now,
            fault_profile,
            options,
            context,
            reranker,
            running,
            clients: Vec::new(),
            next_client: now,
            next_change: now + Duration::from_millis(500),
            names: 0,
            admitted: 0,
            faults: Faults::new(),
            served: 0,
            answered_pairs: 0,
            endings: BTreeMap::new(),
        }
    }

    /// Runs so many steps, and then until nothing is left.
    fn run(&mut self, steps: u64) -> Result<u64, (u64, String)> {
        let mut step = 0;
        while step < steps {
            step += 1;
            self.step(true).map_err(|what| (step, what))?;
        }
        let until = self.now + DRY;
        while !self.is_dry() {
            step += 1;
            self.step(false).map_err(|what| (step, what))?;
            if self.now > until {
                return Err((step, "invariant 3: work is still held long after the last client has gone".into()));
            }
        }
        self.check_dry().map_err(|what| (step, what))?;
        Ok(step)
    }

    fn is_dry(&self) -> bool {
        self.clients.is_empty() && self.running.iter().all(|running| running.simulated.is_idle())
    }

    /// What is due first: when, of which kind, and which of them.
    fn next(&self, coming: bool) -> Option<(Instant, u8, usize)> {
        let engines = self.running.iter().enumerate().filter_map(|(n, one)| Some((one.simulated.next_at()?, 0, n)));
        let clients = self.clients.iter().enumerate().map(|(n, client)| (client.next_at(), 1, n));
        let others = coming.then_some([(self.next_client, 2, 0), (self.next_change, 3, 0)]).into_iter().flatten();
        engines.chain(clients).chain(others).min()
    }

    /// What is due first is done, by whomever.
    fn step(&mut self, coming: bool) -> Result<(), String> {
        let Some((at, who, number)) = self.next(coming) else {
            return Err("invariant 3: nobody has anything to do, and somebody waits".into());
        };
        self.now = self.now.max(at);
        match who {
            0 => self.running[number].simulated.step(self.now, &mut self.random, &mut self.faults)?,
            1 => self.wake(number)?,
            2 => self.come()?,
            _ => self.change(),
        }
        self.hand_out();
        self.retire();
        for client in &mut self.clients {
            client.look(self.now, &mut self.random);
        }
        let answered = self.answered();
        if answered > self.admitted {
            return Err(format!("invariant 3: {answered} answers for {} pairs", self.admitted));
        }
        Ok(())
    }

    /// Whoever is free is given what waits.
    fn hand_out(&mut self) {
        for running in &mut self.running {
            running.simulated.hand_out(self.now, &mut self.random);
        }
    }

    /// Pairs that engines have answered.
    fn answered(&self) -> u64 {
        const WORDS: [&str; 8] =
            ["too_long", "untokenisable", "non_finite", "failed", "stuck", "expired", "abandoned", "lost"];
        let metrics = &self.context.metrics;
        let failures = WORDS.map(|reason| metrics.pair_failures.get_or_create(&Reason { reason }).get());
        metrics.pairs_scored.get() + failures.iter().sum::<u64>()
    }

    fn check_dry(&self) -> Result<(), String> {
        let answered = self.answered();
        if answered != self.admitted {
            return Err(format!("invariant 3: {answered} answers for {} pairs at the end", self.admitted));
        }
        if !self.reranker.stores.in_flight.is_empty() {
            return Err("invariant 5: pairs are in flight though nobody works".into());
        }
        let queued: u64 = self.running.iter().map(|running| running.simulated.queued()).sum();
        if queued > 0 {
            return Err(format!("invariant 8: {queued} tokens are queued at the end"));
        }
        Ok(())
    }

    /// Engines whose generation is gone end after what they hold.
    fn retire(&mut self) {
        for running in &mut self.running {
            if running.generation.strong_count() == 0 {
                running.simulated.close();
            }
        }
        self.running.retain(|running| running.generation.strong_count() > 0 || !running.simulated.is_idle());
    }

    /// A model is swapped, memory runs short or is there again, or the cache forgets.
    fn change(&mut self) {
        self.next_change = self.now + self.random.micros(3_000_000);
        if self.fault_profile == FaultProfile::NoFaults {
            return;
        }
        match self.random.below(4) {
            0 | 1 => {
                *self.faults.entry("models swapped").or_default() += 1;
                let version = self.random.below(3);
                let cards = [card("a", version), card("b", 0)];
                let borrowed = cards.iter().collect::<Vec<_>>();
                let (engine, simulated) =
                    Engine::simulated(&self.options, &borrowed, &self.context, self.fault_profile, self.now);
                let models = cards.into_iter().enumerate().map(|(place, card)| (card, place)).collect();
                let next = self.reranker.prepare(models, engine);
                drop(self.reranker.switch(next));
                self.running.push(Running { generation: Arc::downgrade(&self.reranker.now()), simulated });
            }
            2 => {
                let short = !self.context.health.is_short_of_memory();
                *self.faults.entry("memory runs short").or_default() += u64::from(short);
                self.context.health.set_short_of_memory(short);
            }
            _ => {
                *self.faults.entry("cache forgets").or_default() += 1;
                drop(self.reranker.forget(None));
            }
        }
    }

    /// A client comes.
    fn come(&mut self) -> Result<(), String> {
        let busy = self.clients.len() >= 24;
        let pause = if self.random.one_in(8) { 200_000 } else { 20_000 };
        self.next_client = self.now + self.random.micros(pause);
        if busy {
            return Ok(());
        }
        self.names += 1;
        let client = Client::new(self.reranker.now(), self.names, self.fault_profile, self.now, &mut self.random);
        self.clients.push(client);
        self.begin(self.clients.len() - 1)
    }

    /// A client is answered, runs out of time, or goes.
    fn wake(&mut self, number: usize) -> Result<(), String> {
        let client = &mut self.clients[number];
        if client.leaves(self.now) {
            *self.faults.entry("client that hangs up").or_default() += 1;
            drop(self.clients.swap_remove(number));
            return Ok(());
        }
        let forgotten = self.running.iter().all(|running| running.simulated.is_idle());
        if client.is_waiting() && forgotten {
            return Err("invariant 3: a client waits though nobody works for it".into());
        }
        match client.take(self.now) {
            Ok(()) => self.begin(number),
            Err(fault) => self.end(number, Some(fault)),
        }
    }

    /// A client tries for what it has not got.
    fn begin(&mut self, number: usize) -> Result<(), String> {
        match self.clients[number].begin(self.now) {
            Ok(Some(pairs)) => {
                self.admitted += pairs;
                Ok(())
            }
            Ok(None) => self.end(number, None),
            Err(fault) => self.end(number, Some(fault)),
        }
    }

    fn end(&mut self, number: usize, fault: Option<super::RerankError>) -> Result<(), String> {
        let client = self.clients.swap_remove(number);
        let short = self.context.health.is_short_of_memory();
        let losses = self.running.iter().map(|running| running.simulated.losses).sum::<u64>() > 0;
        self.served += 1;
        let ending = match &fault {
            None => "answered",
            Some(super::RerankError::Deadline { .. }) => "expired",
            Some(super::RerankError::Overloaded { .. } | super::RerankError::Crowded { .. }) => "refused",
            Some(_) => "failed",
        };
        self.answered_pairs += if fault.is_none() { client.pairs() } else { 0 };
        *self.endings.entry(ending).or_default() += 1;
        client.judge(fault, self.now, self.fault_profile, short, losses)
    }
}

/// Runs worlds of consecutive seeds until so many steps are done.
fn simulate(first: u64, steps: u64) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut seed = first;
    while report.steps < steps {
        let mut world = World::new(seed);
        let begun = world.now;
        report.steps += world.run(WORLD).map_err(|(step, what)| Failure { seed, step, what })?;
        report.worlds += 1;
        report.clients += world.served;
        for (kind, count) in world.faults {
            *report.faults.entry(kind).or_default() += count;
        }
        let took = u64::try_from((world.now - begun).as_nanos()).unwrap();
        for part in [took, world.admitted, world.served, world.random.clone().next()] {
            report.digest = report.digest.wrapping_mul(0x0100_0000_01b3) ^ part;
        }
        seed += 1;
    }
    Ok(report)
}

/// A number from the environment of `make simulate`.
#[expect(clippy::disallowed_methods, reason = "`make simulate` says how long and from which seed")]
fn reported(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// `make simulate` sets how many steps, and from which seed. Run by `make test` for some hundred thousand.
#[test]
fn the_invariants_hold_after_every_step() {
    let (seed, steps) = (reported("SIMULATE_SEED", 1), reported("SIMULATE_STEPS", 120_000));
    let begun = Instant::now();
    let report = simulate(seed, steps).unwrap_or_else(|failure| {
        panic!("{failure:?}: SIMULATE_SEED={} SIMULATE_STEPS=1 make simulate replays it", failure.seed)
    });
    let rate = report.steps as f64 / begun.elapsed().as_secs_f64();
    println!("{} steps, {rate:.0} a second, {} worlds, {} clients", report.steps, report.worlds, report.clients);
    for (kind, count) in &report.faults {
        println!("{count:>8} {kind}");
    }
    if steps >= 100_000 {
        assert!(report.faults.len() >= 14, "faults of every kind are injected: {:?}", report.faults);
    }
}

#[test]
fn a_seed_replays_exactly() {
    let digests: Vec<u64> = (0..2).map(|_| simulate(77, 30_000).unwrap().digest).collect();
    assert_eq!(digests[0], digests[1]);
    let failures: Vec<Failure> = (0..2)
        .map(|_| mutation::with(Some(Mutation::ForgottenWhileRead), || simulate(1, 2_000_000)).unwrap_err())
        .collect();
    assert_eq!(failures[0], failures[1]);
}

/// Cases A4, A5, A6 and others, put back one at a time: each is found in less than a minute.
#[test]
fn faults_that_were_mended_are_found_when_they_are_put_back() {
    let found: BTreeMap<String, Failure> = [
        (Mutation::EstimatesStand, "invariant 6"),
        (Mutation::ForgottenWhileRead, "worker that scored it went away"),
        (Mutation::FirstDeadlineCounts, "worker that scored it went away"),
        (Mutation::WholeRequestsAreRead, "invariant 8"),
        (Mutation::NobodyWatches, "invariant 3"),
        (Mutation::EverybodyLeads, "invariant 5"),
        (Mutation::UnwantedIsScored, "invariant 4"),
    ]
    .into_iter()
    .map(|(mutation, expected)| {
        let failure = mutation::with(Some(mutation), || simulate(1, 2_000_000)).err();
        let failure = failure.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        assert!(failure.what.contains(expected), "{mutation:?}: {failure:?}");
        (format!("{mutation:?}"), failure)
    })
    .collect();
    for (mutation, Failure { seed, step, what }) in found {
        println!("{mutation}: world {seed}, step {step}: {what}");
    }
}
