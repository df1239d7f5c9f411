//! Load: who sends when, and how long answers took.
//!
//! Owns how load is made ([`drive`]), and the two ways to load a [`Target`]. Closed: clients that each send the next request when the last one is answered,
//! so that a slow target is asked less. Open: requests come at times of their own, whatever the target does, and a
//! latency counts from the time at which its request was due, not from when it could be sent (no coordinated omission).
//! It must not know what is measured or why.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rescored_core::random::Seeded;
use rescored_process::sync::{held, lock};

use super::texts::Request;

/// The longest latency that is distinguished, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Failures that are kept word for word.
const KEPT: usize = 3;

/// Something that scores requests. Used from several threads at once.
pub trait Target: Sync + std::fmt::Debug {
    /// Scores one request.
    ///
    /// # Errors
    /// What the target said, in a line.
    fn send(&self, request: &Request) -> Result<Reply, String>;
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// One logit a document, in the request's order.
    pub logits: Vec<f64>,
    /// Time that the driver spent on the way and the target did not, to be taken off.
    pub aside: Duration,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// This many clients, each with one request on its way.
    Closed {
        /// Clients.
        clients: usize,
    },
    /// Independent arrivals.
    Open {
        /// Requests a second, on average.
        rate: f64,
        /// Requests on their way at once, at most; more arrivals wait here, and the wait counts.
        clients: usize,
    },
}

/// How long requests took.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the first request to the last answer, less what the driver took.
    pub took: Duration,
    /// Pairs scored.
    pub pairs: usize,
    /// Latencies of requests that were answered.
    pub latencies: Latencies,
    /// Requests that failed.
    pub failed: usize,
    /// What the first of them said.
    pub failures: Vec<String>,
    /// Logits of each request; empty where it failed.
    pub logits: Vec<Vec<f64>>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram takes, and every test of a load makes one.
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds are valid"))
    }

    /// Takes one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST).max(1));
    }

    /// Takes all of another's.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that every value fits.
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency, in milliseconds, that this share (0 to 1) of requests did not pass.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.0.mean() / 1000.0
    }
}

impl Outcome {
    fn new(requests: usize) -> Self {
        Self {
            took: Duration::ZERO,
            pairs: 0,
            latencies: Latencies::new(),
            failed: 0,
            failures: Vec::new(),
            logits: vec![Vec::new(); requests],
        }
    }

    /// Pairs a second.
    pub fn rate(&self) -> f64 {
        self.pairs as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn take(&mut self, at: usize, latency: Duration, answer: Result<Vec<f64>, String>) {
        match answer {
            Ok(logits) => {
                self.latencies.record(latency);
                self.pairs += logits.len();
                if let Some(place) = self.logits.get_mut(at) {
                    *place = logits;
                }
            }
            Err(why) => {
                self.failed += 1;
                if self.failures.len() < KEPT {
                    self.failures.push(why);
                }
            }
        }
    }
}

/// How long a load goes on.
#[derive(Clone, Copy, Debug)]
pub enum Span<'a> {
    /// So many requests.
    Requests(usize),
    /// Until this time has passed.
    Time(Duration),
    /// Until asked to stop.
    Stop(&'a AtomicBool),
    /// A request at each of these times from the start, whatever became of those before.
    Due(&'a [Duration]),
}

/// One request as its client saw it.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    /// Its number, from 0.
    pub place: usize,
    /// How late it was sent, where it was due at a time.
    pub lag: Duration,
    /// From its sending to its answer.
    pub took: Duration,
    /// When it was answered, from the start.
    pub ended: Duration,
    /// What came of it.
    pub answer: T,
}

/// Has clients, each with a connection of its own, send one request after the other: the one way in which load is made.
pub fn drive<C, T: Send>(
    clients: usize,
    span: Span<'_>,
    connect: impl Fn(usize) -> C + Sync,
    send: impl Fn(&mut C, usize) -> T + Sync,
) -> Vec<Sent<T>> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let started = Instant::now();
    // When the request at a place is due; `None` when the load is over.
    let due = |place: usize| match span {
        Span::Requests(count) => (place < count).then(|| started.elapsed()),
        Span::Time(time) => Some(started.elapsed()).filter(|elapsed| *elapsed < time),
        Span::Stop(stop) => (!stop.load(Ordering::Relaxed)).then(|| started.elapsed()),
        Span::Due(times) => times.get(place).copied(),
    };
    let client = |number: usize| {
        let mut connection = connect(number);
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(due) = due(place) else { return };
            std::thread::sleep((started + due).saturating_duration_since(Instant::now()));
            let began = started.elapsed();
            let answer = send(&mut connection, place);
            let ended = started.elapsed();
            lock(&all).push(Sent {
                place,
                lag: began.saturating_sub(due),
                took: ended.saturating_sub(began),
                ended,
                answer,
            });
        }
    };
    std::thread::scope(|scope| {
        for number in 0..clients.max(1) {
            let client = &client;
            scope.spawn(move || client(number));
        }
    });
    held(all.into_inner())
}

/// Sends every request once.
pub fn run(target: &dyn Target, requests: &[Request], load: Load) -> Outcome {
    let (clients, times) = match load {
        Load::Closed { clients } => (clients, None),
        Load::Open { rate, clients } => (clients, Some(arrivals(requests.len(), rate))),
    };
    let span = times.as_deref().map_or(Span::Requests(requests.len()), Span::Due);
    let sent = drive(clients.clamp(1, requests.len().max(1)), span, |_| (), |(), place| target.send(&requests[place]));
    let mut outcome = Outcome::new(requests.len());
    let mut aside = Duration::ZERO;
    for one in sent {
        let excluded = one.answer.as_ref().map_or(Duration::ZERO, |reply| reply.aside);
        let latency = (one.lag + one.took).saturating_sub(excluded);
        aside += excluded;
        outcome.took = outcome.took.max(one.ended);
        outcome.take(one.place, latency, one.answer.map(|reply| reply.logits));
    }
    // With one client the target stood still while the driver worked; with several it did not.
    if clients == 1 {
        outcome.took = outcome.took.saturating_sub(aside);
    }
    outcome
}

/// Sends requests over and over, from this many clients, until asked to stop.
pub fn run_until(stop: &AtomicBool, target: &dyn Target, requests: &[Request], clients: usize) -> Outcome {
    let mut outcome = Outcome::new(0);
    if requests.is_empty() {
        return outcome;
    }
    let started = Instant::now();
    let send = |(): &mut (), place: usize| target.send(&requests[place % requests.len()]);
    for one in drive(clients, Span::Stop(stop), |_| (), send) {
        outcome.take(one.place, one.took, one.answer.map(|reply| reply.logits));
    }
    outcome.took = started.elapsed();
    outcome
}

/// When each of `count` independent requests is due, from the start.
pub fn arrivals(count: usize, rate: f64) -> Vec<Duration> {
    let mut random = Seeded::new(count as u64);
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            at += random.gap(rate);
            Duration::try_from_secs_f64(at).unwrap_or(Duration::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after a time, one request at a time.
    #[derive(Debug)]
    struct Slow {
        takes: Duration,
        alone: Mutex<()>,
    }

    impl Target for Slow {
        fn send(&self, request: &Request) -> Result<Reply, String> {
            let _one = self.alone.lock().unwrap();
            std::thread::sleep(self.takes);
            match request.query.as_str() {
                "bad" => Err("refused".to_owned()),
                _ => Ok(Reply { logits: vec![1.0; request.documents.len()], aside: Duration::ZERO }),
            }
        }
    }

    fn requests(count: usize) -> Vec<Request> {
        vec![Request { query: "q".into(), documents: vec!["d".into(); 4] }; count]
    }

    fn slow(milliseconds: u64) -> Slow {
        Slow { takes: Duration::from_millis(milliseconds), alone: Mutex::new(()) }
    }

    #[test]
    fn a_closed_load_sends_everything_once_and_counts_pairs() {
        let mut requests = requests(10);
        requests[3].query = "bad".into();
        let outcome = run(&slow(1), &requests, Load::Closed { clients: 3 });
        assert_eq!((outcome.pairs, outcome.failed, outcome.latencies.count()), (36, 1, 9));
        assert_eq!(outcome.failures, ["refused"]);
        assert!(outcome.logits[3].is_empty() && outcome.logits[9].len() == 4);
    }

    #[test]
    fn an_open_load_counts_the_wait_of_what_could_not_be_sent() {
        // A hundred a second come, twenty can be answered: a closed client would see 50 ms and call it fine.
        let outcome = run(&slow(50), &requests(20), Load::Open { rate: 100.0, clients: 1 });
        assert!(outcome.latencies.quantile_ms(1.0) > 500.0, "{}", outcome.latencies.quantile_ms(1.0));
        let closed = run(&slow(50), &requests(20), Load::Closed { clients: 1 });
        assert!(closed.latencies.quantile_ms(0.5) < 200.0);
    }

    #[test]
    fn what_the_driver_spent_is_taken_off() {
        #[derive(Debug)]
        struct Aside;
        impl Target for Aside {
            fn send(&self, _: &Request) -> Result<Reply, String> {
                std::thread::sleep(Duration::from_millis(20));
                Ok(Reply { logits: vec![1.0], aside: Duration::from_millis(15) })
            }
        }
        let outcome = run(&Aside, &requests(5), Load::Closed { clients: 1 });
        let most = outcome.took.as_secs_f64();
        assert!(most >= 0.025 && outcome.latencies.quantile_ms(0.0) >= 4.9, "{most}");
        assert!(outcome.latencies.quantile_ms(0.0) < 19.0, "{}", outcome.latencies.quantile_ms(0.0));
    }

    #[test]
    fn a_load_without_end_stops_when_it_is_asked_to() {
        let stop = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let running = scope.spawn(|| run_until(&stop, &slow(1), &requests(2), 2));
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap()
        });
        assert!(outcome.latencies.count() > 2, "requests come again");
    }

    #[test]
    fn every_span_ends_where_it_says_and_each_client_keeps_its_connection() {
        let seen = |span| drive(2, span, |number| number, |number, _| *number);
        let requests = seen(Span::Requests(7));
        let mut places: Vec<usize> = requests.iter().map(|one| one.place).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6]);
        assert!(requests.iter().all(|one| one.answer < 2 && one.took <= one.ended));
        let due = [10, 30].map(Duration::from_millis);
        let timed = seen(Span::Due(&due));
        assert!(timed.len() == 2 && timed.iter().all(|one| one.ended >= due[one.place]), "{timed:?}");
        assert!(!seen(Span::Time(Duration::from_millis(5))).is_empty());
        assert!(seen(Span::Stop(&AtomicBool::new(true))).is_empty());
    }

    #[test]
    fn arrivals_are_in_order_and_have_their_rate() {
        let due = arrivals(1000, 200.0);
        assert!(due.is_sorted());
        assert!((due[999].as_secs_f64() - 5.0).abs() < 0.5, "{:?}", due[999]);
    }
}
