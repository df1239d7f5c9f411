//! Arms of an experiment, measured in turn, round after round.
//!
//! Owns fairness: every round gives each arm its share in another order, so that whatever else the machine does meets
//! all of them alike; a first round only warms up, and shows what a request costs, so that a run can be made to fit a
//! time, which arms share evenly rather than by requests. It must not know what the arms are.

use std::time::Duration;

use rescored_core::random::Seeded;

use super::Watch;
use super::accelerator::Accelerators;
use super::host;
use super::load::{self, Load, Outcome, Target};
use super::stats::Spread;
use super::texts::Request;

/// Between arms, so that one's threads have stopped spinning when the next one starts.
const PAUSE: Duration = Duration::from_millis(200);

/// Rounds that a short time may leave: fewer show nothing of their spread.
const LEAST_ROUNDS: usize = 3;

/// The share of its requests that a round keeps before there are fewer rounds.
const SHORTEST: f64 = 0.1;

/// Clients that warm an arm up, at most: enough to know what a request costs.
const WARM_UP: usize = 16;

/// Something that is measured.
#[derive(Clone, Debug)]
pub struct Arm<'t> {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub target: &'t dyn Target,
    /// The process behind it, where it is on this machine.
    pub process: Option<u32>,
    /// How it is loaded.
    pub load: Load,
    /// Texts, taken in order and over again.
    pub requests: &'t [Request],
    /// Requests of a round.
    pub each: usize,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rounds, after one that warms up.
    pub rounds: usize,
    /// The time that all rounds may take together; fewer requests are sent to keep it.
    pub within: Option<Duration>,
}

/// What an arm came to in one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the load came to.
    pub outcome: Outcome,
    /// The first of its requests, by place in the arm's texts.
    pub first: usize,
    /// Cores that its process kept busy.
    pub cores: Option<f64>,
    /// Share of time in which the busiest accelerator worked.
    pub accelerator: Option<f64>,
}

/// What all rounds of an arm came to.
#[derive(Clone, Debug, Default)]
pub struct ArmRun {
    /// The rounds, in order; those of an arm that failed stop there.
    pub rounds: Vec<Round>,
    /// What it said when it failed.
    pub failure: Option<String>,
    /// Resident bytes of its process, at most.
    pub resident: Option<u64>,
    /// Requests of a round.
    pub each: usize,
}

/// What was done, for the report.
#[derive(Clone, Debug)]
pub struct Race {
    /// One an arm.
    pub arm_runs: Vec<ArmRun>,
    /// Rounds measured.
    pub rounds: usize,
    /// The share of the requests asked for that the time allowed the slowest.
    pub share: f64,
}

impl ArmRun {
    /// A figure of every round.
    pub fn figures(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    /// Least, median and most of a figure over rounds.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(&self.figures(figure))
    }

    /// Requests that failed, in all rounds.
    pub fn failed(&self) -> usize {
        self.rounds.iter().map(|round| round.outcome.failed).sum()
    }
}

/// Measures all arms.
pub fn race(arms: &[Arm<'_>], effort: Effort, watch: &dyn Watch) -> Race {
    let accelerators = Accelerators::find();
    let mut arm_runs: Vec<ArmRun> = arms.iter().map(|_| ArmRun::default()).collect();
    let mut costs = vec![0.0; arms.len()];
    for (at, arm) in arms.iter().enumerate() {
        watch.say(&format!("warming up: {}", arm.name));
        let clients = clients(arm).min(arm.each.max(1)).min(WARM_UP);
        let some = Arm { each: clients, load: Load::Closed { clients }, ..arm.clone() };
        // Twice: the first requests of a process meet kernels that are not loaded and clocks that are low.
        let (first, round) = (measure(&some, 0, None), measure(&some, clients, None));
        let cost = |round: &Round| round.outcome.took.as_secs_f64() / clients as f64;
        costs[at] = cost(&first).min(cost(&round));
        arm_runs[at].failure = failure(&round.outcome);
    }
    let wanted: Vec<usize> = arms.iter().map(|arm| arm.each).collect();
    let alive: Vec<f64> = costs
        .iter()
        .zip(&arm_runs)
        .map(|(cost, arm_run)| if arm_run.failure.is_none() { *cost } else { 0.0 })
        .collect();
    let asked = durations(arms, &alive, |arm| arm.each);
    let (rounds, share) = fit(effort, asked.iter().sum(), durations(arms, &alive, least).iter().sum(), arms.len());
    let longest = level(&asked, share * asked.iter().sum::<f64>());
    let shares: Vec<f64> = asked.iter().map(|asked| (longest / asked.max(1e-9)).min(1.0)).collect();
    for (((arm_run, arm), each), share) in arm_runs.iter_mut().zip(arms).zip(&wanted).zip(&shares) {
        arm_run.each = scaled(*each, *share).max(least(arm));
    }
    let share = shares.iter().copied().fold(1.0, f64::min);
    // A round begins at the same text for every arm: those of a slow one are the first of a fast one's, so that times are of
    // the same texts and logits can be compared.
    let stride = arm_runs.iter().map(|arm_run| arm_run.each).max().unwrap_or(0);
    let mut random = Seeded::new(arms.len() as u64);
    let mut order: Vec<usize> = (0..arms.len()).collect();
    for round in 0..rounds {
        random.shuffle(&mut order);
        for (done, &at) in order.iter().enumerate() {
            let (arm, arm_run) = (&arms[at], &mut arm_runs[at]);
            if arm_run.failure.is_some() {
                continue;
            }
            watch.step(round * arms.len() + done, rounds * arms.len(), &arm.name);
            std::thread::sleep(PAUSE);
            let some = Arm { each: arm_run.each, ..arm.clone() };
            let measured = measure(&some, (round + 1) * stride, accelerators.as_ref());
            arm_run.failure = failure(&measured.outcome);
            arm_run.rounds.push(measured);
            arm_run.resident = arm.process.and_then(|process| host::usage(process).resident).or(arm_run.resident);
        }
    }
    Race { arm_runs, rounds, share }
}

/// The most seconds that an arm may take, so that all of them, each of which takes what it asked for or this, take so
/// many together: slow arms send fewer requests, fast ones all of theirs, whose few would show nothing.
fn level(asked: &[f64], together: f64) -> f64 {
    let mut ascending = asked.to_vec();
    ascending.sort_by(f64::total_cmp);
    let mut left = together;
    for (at, &seconds) in ascending.iter().enumerate() {
        let even = left / (asked.len() - at) as f64;
        // What fits but for the last bit fits.
        if seconds > even * (1.0 + 1e-9) {
            return even;
        }
        left -= seconds;
    }
    f64::INFINITY
}

/// Seconds that each arm takes in a round, with so many requests of it.
fn durations(arms: &[Arm<'_>], costs: &[f64], requests: impl Fn(&Arm<'_>) -> usize) -> Vec<f64> {
    let each = arms.iter().zip(costs).map(|(arm, cost)| match arm.load {
        Load::Closed { .. } => cost * requests(arm) as f64,
        // Arrivals take their time whatever an answer costs.
        Load::Open { rate, .. } => requests(arm) as f64 * cost.max(1.0 / rate),
    });
    each.collect()
}

/// Rounds, and the share of each round's requests, that the time allows. `asked` and `least` are what a round takes with
/// all requests and with as few as make sense.
fn fit(effort: Effort, asked: f64, least: f64, arms: usize) -> (usize, f64) {
    let Some(within) = effort.within else { return (effort.rounds, 1.0) };
    let pauses = PAUSE.as_secs_f64() * arms as f64;
    // Rather short rounds than few: spread is what separates noise from difference.
    let shortest = least.max(SHORTEST * asked) + pauses;
    let rounds = scaled(1, within.as_secs_f64() / shortest.max(1e-9));
    let rounds = rounds.clamp(LEAST_ROUNDS.min(effort.rounds), effort.rounds);
    let share = (within.as_secs_f64() / rounds.max(1) as f64 - pauses) / asked.max(1e-9);
    (rounds, share.clamp(0.0, 1.0))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
fn scaled(count: usize, share: f64) -> usize {
    (count as f64 * share).floor() as usize
}

/// Requests on their way at once.
fn clients(arm: &Arm<'_>) -> usize {
    match arm.load {
        Load::Closed { clients } => clients,
        Load::Open { .. } => 1,
    }
}

/// Requests of a round at least: one a client; of independent arrivals, enough to meet each other.
fn least(arm: &Arm<'_>) -> usize {
    match arm.load {
        Load::Closed { clients } => clients.min(arm.each.max(1)),
        Load::Open { .. } => arm.each.clamp(1, 20),
    }
}

fn measure(arm: &Arm<'_>, first: usize, accelerators: Option<&Accelerators>) -> Round {
    let pool = arm.requests.len().max(1);
    let first = first % pool;
    let requests: Vec<Request> = arm.requests.iter().cycle().skip(first).take(arm.each).cloned().collect();
    let cpu = || arm.process.and_then(|process| host::usage(process).cpu_s);
    let (before, watcher) = (cpu(), accelerators.map(Accelerators::watch));
    let outcome = load::run(arm.target, &requests, arm.load);
    let seconds = outcome.took.as_secs_f64().max(1e-9);
    let cores = cpu().zip(before).map(|(after, before)| (after - before) / seconds);
    Round { outcome, first, cores, accelerator: watcher.and_then(super::accelerator::Watcher::busy) }
}

/// Why an arm goes no further: nothing that it was asked was answered.
fn failure(outcome: &Outcome) -> Option<String> {
    let nothing = outcome.latencies.count() == 0 && outcome.failed > 0;
    nothing.then(|| outcome.failures.first().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::load::Reply;
    use super::*;

    #[derive(Debug, Default)]
    struct Fake {
        takes: Duration,
        asked: AtomicUsize,
        /// Answers after which it fails.
        good: Option<usize>,
    }

    impl Target for Fake {
        fn send(&self, request: &Request) -> Result<Reply, String> {
            std::thread::sleep(self.takes);
            if self.good.is_some_and(|good| self.asked.fetch_add(1, Ordering::Relaxed) >= good) {
                return Err("worn out".to_owned());
            }
            Ok(Reply { logits: vec![1.0; request.documents.len()], aside: Duration::ZERO })
        }
    }

    #[test]
    fn slow_arms_leave_fast_ones_the_time_for_all_their_requests() {
        for (sentence, asked, together, longest) in [
            ("time enough", &[1.0, 2.0][..], 3.0, f64::INFINITY),
            ("the slowest is cut", &[1.0, 10.0], 5.0, 4.0),
            ("both slow ones are", &[10.0, 0.1, 20.0], 4.1, 2.0),
            ("all are", &[10.0, 20.0], 4.0, 2.0),
            ("one that failed takes none", &[0.0, 9.0], 3.0, 3.0),
            ("nobody", &[], 1.0, f64::INFINITY),
        ] {
            let level = level(asked, together);
            let same = level.total_cmp(&longest).is_eq() || (level - longest).abs() < 1e-9;
            assert!(same, "{sentence}: {level}");
        }
    }

    #[test]
    fn time_that_is_enough_but_for_the_last_bit_cuts_nobody() {
        let mut random = Seeded::new(7);
        for _ in 0..1000 {
            let asked: Vec<f64> = (0..3).map(|_| 1e-5 + random.share()).collect();
            assert!(level(&asked, asked.iter().sum()).is_infinite(), "{asked:?}");
        }
    }

    struct Nobody;

    impl Watch for Nobody {
        fn say(&self, _: &str) {}
        fn part(&self, _: f64, _: f64) {}
        fn step(&self, _: usize, _: usize, _: &str) {}
    }

    fn requests(count: usize) -> Vec<Request> {
        (0..count).map(|n| Request { query: n.to_string(), documents: vec!["d".into(); 2] }).collect()
    }

    fn arm<'t>(target: &'t Fake, requests: &'t [Request], each: usize) -> Arm<'t> {
        let process = Some(std::process::id());
        Arm { name: "a".into(), target, process, load: Load::Closed { clients: 1 }, requests, each }
    }

    #[test]
    fn every_round_of_every_arm_is_measured_on_texts_of_its_own() {
        let (target, requests) = (Fake::default(), requests(20));
        let arms = [arm(&target, &requests, 4), arm(&target, &requests, 4)];
        let race = race(&arms, Effort { rounds: 3, within: None }, &Nobody);
        for arm_run in &race.arm_runs {
            assert_eq!(arm_run.rounds.iter().map(|round| round.first).collect::<Vec<_>>(), [4, 8, 12]);
            assert_eq!(arm_run.figures(|round| round.outcome.pairs as f64), [8.0; 3]);
            assert!(arm_run.resident.is_some() && arm_run.failure.is_none());
        }
    }

    #[test]
    fn a_slow_arm_is_measured_on_the_first_of_a_fast_ones_texts() {
        let (slow, fast, requests) =
            (Fake { takes: Duration::from_millis(50), ..Fake::default() }, Fake::default(), requests(200));
        let arms = [arm(&slow, &requests, 20), arm(&fast, &requests, 20)];
        let race = race(&arms, Effort { rounds: 3, within: Some(Duration::from_secs(3)) }, &Nobody);
        let firsts = |arm_run: &ArmRun| arm_run.rounds.iter().map(|round| round.first).collect::<Vec<_>>();
        assert!(race.arm_runs[0].each < race.arm_runs[1].each, "{} requests", race.arm_runs[0].each);
        assert_eq!(firsts(&race.arm_runs[0]), firsts(&race.arm_runs[1]));
    }

    #[test]
    fn a_time_limit_lowers_requests_and_keeps_rounds() {
        let (target, requests) = (Fake { takes: Duration::from_millis(10), ..Fake::default() }, requests(8));
        let arms = [arm(&target, &requests, 100)];
        let effort = Effort { rounds: 4, within: Some(Duration::from_millis(4 * 200 + 1600)) };
        let race = race(&arms, effort, &Nobody);
        // How many exactly is the machine's to say.
        assert!((LEAST_ROUNDS..=4).contains(&race.rounds), "{}", race.rounds);
        assert!((1..=60).contains(&race.arm_runs[0].each), "{}", race.arm_runs[0].each);
        assert!(race.share < 0.7, "{}", race.share);
    }

    #[test]
    fn an_arm_that_fails_stops_and_says_why() {
        let (target, requests) = (Fake { good: Some(3), ..Fake::default() }, requests(8));
        let other = Fake::default();
        let arms = [arm(&target, &requests, 2), arm(&other, &requests, 2)];
        let race = race(&arms, Effort { rounds: 4, within: None }, &Nobody);
        assert_eq!(race.arm_runs[0].failure.as_deref(), Some("worn out"));
        assert_eq!(race.arm_runs[1].rounds.len(), 4);
    }

    #[test]
    fn little_time_leaves_rounds_enough_to_see_their_spread() {
        let effort = Effort { rounds: 10, within: Some(Duration::from_secs(10)) };
        let (rounds, share) = fit(effort, 120.0, 12.0, 2);
        assert_eq!(rounds, LEAST_ROUNDS);
        assert!(share > 0.0 && share < 0.1, "{share}");
        assert_eq!(fit(Effort { within: None, ..effort }, 60.0, 1.0, 1), (10, 1.0));
        let (rounds, share) = fit(effort, 1.4, 1.0, 2);
        assert_eq!(rounds, 7, "as many as fit with the least that makes sense");
        assert!(share > 0.7, "{share}");
    }
}
