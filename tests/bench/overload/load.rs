//! Requests whose pairs nobody asked for before, and who sends them when.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rescored_core::random::Seeded;
use rescored_lab::bench::load::{self, Span, arrivals, drive};

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
    fn write(self, body: &mut String, random: &mut Seeded) {
        match self {
            Self::Words => write!(body, " {}", WORDS[random.below(WORDS.len())]),
            Self::Code => {
                let (one, other) = (WORDS[random.below(WORDS.len())], WORDS[random.below(WORDS.len())]);
                write!(body, "let {one}_{other}: u{} = self.{other}({});\\n", random.below(64), random.below(1000))
            }
            Self::Chinese => {
                let character = char::from_u32(0x4e00 + random.below(0x2000) as u32).expect("an ideograph");
                write!(body, "{character}")
            }
            Self::Base64 => {
                const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                body.extend((0..4).map(|_| char::from(DIGITS[random.below(64)])));
                Ok(())
            }
        }
        .expect("a string grows");
    }
}

/// A body with so many documents of so many words of a kind, none of them seen before in this process.
pub(crate) fn body(documents: usize, words: usize, kind: Kind, random: &mut Seeded) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut body = format!(r#"{{"query":"question {number}","documents":["#);
    for document in 0..documents {
        let comma = if document == 0 { "" } else { "," };
        write!(body, "{comma}\"{document}").expect("a string grows");
        // Between half and one and a half times as many.
        let count = words / 2 + random.below(words + 1);
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
pub(crate) fn closed(target: &Target, clients: usize, documents: usize, time: Duration) -> f64 {
    let connect = |client: usize| (Seeded::new(client as u64 + 1), Connection::open(target.address));
    let began = Instant::now();
    let sent = drive(clients, Span::Time(time), connect, |(random, connection), _| {
        let body = body(documents, target.words, target.kind, random);
        connection.post("/v1/rerank", body, "").status == 200
    });
    let answered = sent.iter().filter(|one| one.answer).count();
    (answered * documents) as f64 / began.elapsed().as_secs_f64()
}

/// An open load: independent arrivals at `rate` requests a second, of sizes that `size` draws, all with this deadline.
pub(crate) fn open(
    target: &Target,
    rate: f64,
    size: impl Fn(&mut Seeded) -> usize,
    deadline: Duration,
    time: Duration,
) -> Vec<Sent> {
    let mut random = Seeded::new(7);
    let due = arrivals((rate * time.as_secs_f64()).ceil() as usize, rate);
    // Made ahead of time, so that making them is not counted.
    let requests: Vec<(usize, String)> = due
        .iter()
        .map(|_| {
            let pairs = size(&mut random);
            (pairs, body(pairs, target.words, target.kind, &mut random))
        })
        .collect();
    let headers = format!("x-request-timeout-ms: {}\r\n", deadline.as_millis());
    let connect = |_| (Connection::open(target.address), Instant::now());
    let sent = drive(CLIENTS, Span::Due(&due), connect, |(connection, used), place| {
        if used.elapsed() > IDLE {
            *connection = Connection::open(target.address);
        }
        let status = connection.post("/v1/rerank", &requests[place].1, &headers).status;
        *used = Instant::now();
        status
    });
    let one = |one: load::Sent<u16>| Sent {
        status: one.answer,
        pairs: requests[one.place].0,
        took: one.took,
        lag: one.lag,
        at: one.ended,
    };
    sent.into_iter().map(one).collect()
}

/// The value below which this share of the numbers lies.
pub(crate) fn quantile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
