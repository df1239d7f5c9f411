//! Requests whose pairs nobody asked for before, and who sends them when.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::target::Target;

/// Clients of an open load: more requests than these under way at once wait for one, which is reported as lag.
const CLIENTS: usize = 192;

/// A client opens a new connection rather than use one that was idle for so long: the server closes those that never had a
/// request after ten seconds.
const IDLE: Duration = Duration::from_secs(5);

const WORDS: [&str; 16] = [
    "river", "engine", "winter", "market", "signal", "garden", "theory", "bridge", "copper", "island", "letter",
    "motion", "novel", "orbit", "planet", "quarry",
];

/// What documents are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// English words.
    Words,
    /// Lines of a program.
    Code,
    /// Chinese without white space.
    Chinese,
    /// Base64 without white space.
    Base64,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Words, Self::Code, Self::Chinese, Self::Base64];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Code => "code",
            Self::Chinese => "chinese",
            Self::Base64 => "base64",
        }
    }

    /// Writes about as much as one word.
    fn write(self, body: &mut String, random: &mut Random) {
        match self {
            Self::Words => write!(body, " {}", WORDS[(random.next() % 16) as usize]),
            Self::Code => {
                let (one, other) = (WORDS[(random.next() % 16) as usize], WORDS[(random.next() % 16) as usize]);
                write!(body, "let {one}_{other}: u{} = self.{other}({});\\n", random.next() % 64, random.next() % 1000)
            }
            Self::Chinese => {
                let character = char::from_u32(0x4e00 + (random.next() % 0x2000) as u32).expect("an ideograph");
                write!(body, "{character}")
            }
            Self::Base64 => {
                const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                body.extend((0..4).map(|_| char::from(DIGITS[(random.next() % 64) as usize])));
                Ok(())
            }
        }
        .expect("a string grows");
    }
}

/// A small generator of numbers, the same every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A body with so many documents of so many words of a kind, none of them seen before in this process.
pub(crate) fn body(documents: usize, (words, kind): (usize, Kind), random: &mut Random) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut body = format!(r#"{{"query":"question {number}","documents":["#);
    for document in 0..documents {
        let comma = if document == 0 { "" } else { "," };
        write!(body, "{comma}\"{document}").expect("a string grows");
        // Between half and one and a half times as many.
        let count = words / 2 + (random.next() as usize) % (words + 1);
        for _ in 0..count {
            kind.write(&mut body, random);
        }
        body.push('"');
    }
    body.push_str("]}");
    body
}

/// One request's course.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) status: u16,
    pub(crate) pairs: usize,
    /// From the first byte sent to the last received.
    pub(crate) took: Duration,
    /// How late it was sent.
    pub(crate) lag: Duration,
    /// When it was answered, from the load's start.
    pub(crate) at: Duration,
}

/// Pairs a second when `clients` send one request of `documents` after the other, for a while and until the last of them is
/// answered.
pub(crate) fn closed(target: &Target, (clients, documents): (usize, usize), time: Duration) -> f64 {
    let pairs = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let pairs = &pairs;
            scope.spawn(move || {
                let mut random = Random::new(client as u64 + 1);
                let mut connection = Connection::open(target.address);
                while began.elapsed() < time {
                    let body = body(documents, (target.words, target.kind), &mut random);
                    if connection.post("/v1/rerank", body, "").status == 200 {
                        pairs.fetch_add(documents as u64, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    pairs.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// An open load: independent arrivals at `rate` requests a second, of sizes that `size` draws, all with this deadline.
pub(crate) fn open(
    target: &Target,
    (rate, size): (f64, &(dyn Fn(&mut Random) -> usize + Sync)),
    deadline: Duration,
    time: Duration,
) -> Vec<Sent> {
    let sent = Mutex::new(Vec::new());
    let (due, taken) = crossbeam_channel::unbounded::<(Instant, usize, String)>();
    let start = Instant::now() + Duration::from_millis(50);
    let headers = format!("x-request-timeout-ms: {}\r\n", deadline.as_millis());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (sent, taken, headers) = (&sent, taken.clone(), &headers);
            scope.spawn(move || {
                let mut connection = Connection::open(target.address);
                let mut used = Instant::now();
                for (due, pairs, body) in taken {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if used.elapsed() > IDLE {
                        connection = Connection::open(target.address);
                    }
                    let begun = Instant::now();
                    let answer = connection.post("/v1/rerank", body, headers);
                    let now = Instant::now();
                    used = now;
                    sent.lock().expect("nobody panics").push(Sent {
                        status: answer.status,
                        pairs,
                        took: now - begun,
                        lag: begun.saturating_duration_since(due),
                        at: now.saturating_duration_since(start),
                    });
                }
            });
        }
        let mut random = Random::new(7);
        let mut next = Duration::ZERO;
        while next < time {
            next += Duration::from_secs_f64(-(1.0 - random.unit()).ln() / rate);
            let pairs = size(&mut random);
            // Made ahead of time, so that making it is not counted.
            let body = body(pairs, (target.words, target.kind), &mut random);
            let ahead = (start + next).saturating_duration_since(Instant::now());
            std::thread::sleep(ahead.saturating_sub(Duration::from_millis(50)));
            due.send((start + next, pairs, body)).expect("clients wait");
        }
        drop(due);
    });
    sent.into_inner().expect("nobody panicked")
}

/// The value below which this share of the numbers lies.
pub(crate) fn quantile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
