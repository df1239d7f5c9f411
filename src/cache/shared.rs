//! The second tier: a Valkey or Redis that sidecars share.
//!
//! Two threads own a connection each: one asks, one writes behind. Requests that ask at the same time share one round
//! trip. Nothing here fails a request: a tier that is late, down or confused holds nothing, which is counted, and is
//! then left alone until it answers a probe that no request waits for (`breaker`).
//!
//! Whoever stands there is not believed: an answer has a time and an allowance of bytes, whatever it says of itself
//! (`resp`, `stream`), taken from the memory budget before it is asked for, and what is no answer costs its connection. So the client is our own: those that there are read
//! an answer to its end before anybody may look at it.
//!
//! Owns names and bytes of shared entries: `rescored:1:<scope>:<key>`, both hexadecimal, to an entry's twelve bytes and
//! four of a checksum over name and entry. It must not know what is asked for or why.

mod address;
mod breaker;
mod cluster;
mod connection;
mod link;
mod login;
mod parameters;
mod reader;
mod resp;
mod stream;
mod tls;
mod writer;

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rescored_process::budget::{Budget, BudgetError, Class, Reservation};
use rescored_process::metrics::{Metrics, Reason};
use tokio::sync::oneshot;

use super::Scope;
use super::cached_score::{self, CachedScore};
use super::key::Key;

use address::Address;
use breaker::Breaker;
use link::Link;

pub use login::UrlError;
pub use resp::Broken;

/// Requests that may wait for the asking thread; more means that it does not keep up.
const ASKS: usize = 1024;

/// Scores that may wait for the writing thread.
const WRITES: usize = 1 << 16;

/// Names that one more round trip's time is allowed for: a large request's answer takes its time to make and to read.
const NAMES_A_TIMEOUT: usize = 1000;

/// Bytes that a name costs from the question to the answer: its key and itself, as it is sent, the item and the value that
/// come back, and the entry that becomes of them.
const NAME_BYTES: u64 = 384;

/// Bytes that a score costs while it is written: its name, itself, both as they are sent, and the reply.
const WRITE_BYTES: u64 = 384;

/// What waits to be written when the process ends may take so long,
const LAST_WRITES: Duration = Duration::from_secs(1);
/// and the exchange that is under way then so much longer.
const LAST_STEP: Duration = Duration::from_secs(1);

/// As what it is counted that the memory budget had no room for an exchange.
const NO_MEMORY: &str = "memory";

/// Bytes of a shared entry.
const VALUE: usize = cached_score::BYTES + 4;

/// The handle to the threads. Dropping it ends them, after what waits to be written, within reason.
#[derive(Debug)]
pub(super) struct SharedTier {
    // Above the threads: these end when the senders are gone.
    asks: Option<SyncSender<Ask>>,
    writes: Option<SyncSender<Write>>,
    threads: Vec<JoinHandle<()>>,
    around: Arc<Around>,
}

/// The second tier's state.
#[derive(Clone, Copy, Debug)]
pub struct SharedReport {
    /// Whether it is asked at present; a tier that was late or down is left alone for a while.
    pub up: bool,
    /// Pairs that it held, of those that the first tier did not hold.
    pub hits: u64,
    /// Pairs that it did not hold.
    pub misses: u64,
    /// Scores written to it.
    pub written: u64,
    /// Scores not written to it, because it was down or slower than they came.
    pub dropped: u64,
}

/// What both threads and the handle share.
#[derive(Debug)]
struct Around {
    breaker: Breaker,
    address: Address,
    timeout: Duration,
    /// What the names of a scope's entries begin with.
    prefixes: Vec<ArcSwap<String>>,
    ttl: Option<Duration>,
    /// Where the memory of questions and answers is taken from.
    budget: Budget,
    /// When the threads are to have ended, once they are to.
    over: OnceLock<Instant>,
    metrics: Arc<Metrics>,
}

/// One request's question.
#[derive(Debug)]
struct Ask {
    /// What the names begin with.
    prefix: Arc<String>,
    /// Not names, which take five times as much: many requests may be waiting.
    keys: Vec<Key>,
    reply: oneshot::Sender<Vec<Option<CachedScore>>>,
    /// For question and answer, of whatever size the answer is allowed to be.
    memory: Reservation,
}

/// Work for the writing thread.
#[derive(Debug)]
enum Write {
    Keep { scope: usize, key: Key, cached: CachedScore },
    Forget { scope: usize },
}

impl SharedTier {
    pub(super) fn start(
        url: &str,
        timeout: Duration,
        scopes: &[Scope],
        ttl: Option<Duration>,
        budget: &Budget,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let address = Address::parse(url).map_err(std::io::Error::other)?;
        let around = Arc::new(Around {
            breaker: Breaker::new(metrics.cache_shared_up.clone()),
            address,
            timeout,
            prefixes: scopes.iter().map(|scope| ArcSwap::from_pointee(prefix(&scope.identity))).collect(),
            ttl,
            budget: budget.clone(),
            over: OnceLock::new(),
            metrics: Arc::clone(metrics),
        });
        let (asks, asked) = sync_channel(ASKS);
        let (writes, written) = sync_channel(WRITES);
        let (reads, write_behind) = (Arc::clone(&around), Arc::clone(&around));
        let spawn =
            |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let threads = vec![
            spawn("shared-read", Box::new(move || reader::run(&reads, &asked)))?,
            spawn("shared-write", Box::new(move || writer::run(&write_behind, &written)))?,
        ];
        Ok(Self { asks: Some(asks), writes: Some(writes), threads, around })
    }

    /// What the tier holds under these keys; nothing when it is late or down.
    pub(super) async fn fetch(&self, scope: usize, keys: &[Key]) -> Vec<Option<CachedScore>> {
        let found = self.ask(scope, keys).await.unwrap_or_else(|| vec![None; keys.len()]);
        let hits = found.iter().flatten().count() as u64;
        self.around.metrics.cache_shared_hits.inc_by(hits);
        self.around.metrics.cache_shared_misses.inc_by(keys.len() as u64 - hits);
        found
    }

    async fn ask(&self, scope: usize, keys: &[Key]) -> Option<Vec<Option<CachedScore>>> {
        if !self.around.breaker.is_closed() || keys.is_empty() {
            return None;
        }
        let prefix = self.around.prefixes.get(scope)?.load_full();
        // Before anything is asked, and not waited for: where memory is short, a question less is what is wanted.
        let Ok(memory) = self.around.reserve(keys.len() as u64 * NAME_BYTES) else {
            self.around.failed(NO_MEMORY);
            return None;
        };
        let (reply, answer) = oneshot::channel();
        match self.asks.as_ref()?.try_send(Ask { prefix, keys: keys.to_vec(), reply, memory }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.around.failed("busy");
                return None;
            }
        }
        let Ok(found) = tokio::time::timeout(self.around.patience(keys.len()), answer).await else {
            self.around.failed("late");
            return None;
        };
        found.ok().filter(|found| found.len() == keys.len())
    }

    /// A scope's entries are another identity's from now on. What still waits to be written is written under the new
    /// one's name, where its key, which holds the old one, is never asked for.
    pub(super) fn assign(&self, scope: usize, identity: &str) {
        if let Some(known) = self.around.prefixes.get(scope) {
            known.store(Arc::new(prefix(identity)));
        }
    }

    /// Has a score written behind.
    pub(super) fn write(&self, scope: usize, key: Key, cached: CachedScore) {
        let sent = self.writes.as_ref().map(|writes| writes.try_send(Write::Keep { scope, key, cached }));
        if !matches!(sent, Some(Ok(()))) {
            self.around.metrics.cache_shared_dropped.inc();
        }
    }

    /// Has all entries of a scope taken away, for every sidecar, in the background. Whether the tier is there to be asked.
    pub(super) fn forget(&self, scope: usize) -> bool {
        let sent = self.writes.as_ref().map(|writes| writes.try_send(Write::Forget { scope }));
        if !matches!(sent, Some(Ok(()))) {
            self.around.failed("busy");
        }
        matches!(sent, Some(Ok(()))) && self.around.breaker.is_closed()
    }

    pub(super) fn report(&self) -> SharedReport {
        let metrics = &self.around.metrics;
        SharedReport {
            up: self.around.breaker.is_closed(),
            hits: metrics.cache_shared_hits.get(),
            misses: metrics.cache_shared_misses.get(),
            written: metrics.cache_shared_writes.get(),
            dropped: metrics.cache_shared_dropped.get(),
        }
    }
}

impl Drop for SharedTier {
    fn drop(&mut self) {
        let over = Instant::now() + LAST_WRITES;
        // Sent once; a second end there is none.
        let _ = self.around.over.set(over);
        self.asks = None;
        self.writes = None;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < over + LAST_STEP {
                std::thread::sleep(Duration::from_millis(2));
            }
            // One that is stuck in the system, looking a name up, say, is left to the end of the process.
            if thread.is_finished() {
                drop(thread.join());
            } else {
                tracing::warn!(
                    thread = thread.thread().name(),
                    "the shared cache tier kept a thread; it is left behind"
                );
            }
        }
    }
}

impl Around {
    /// Whether the threads are to have ended by now.
    fn is_over(&self) -> bool {
        self.over.get().is_some_and(|over| Instant::now() >= *over)
    }

    /// Takes memory for an exchange.
    fn reserve(&self, bytes: u64) -> Result<Reservation, BudgetError> {
        self.budget.try_reserve(Class::Small, bytes)
    }

    /// Connects, with memory for what a tier may say of itself.
    fn open(&self, patience: Duration) -> Result<Link, Broken> {
        let _memory = self.reserve(link::opening_bytes(&self.address))?;
        Link::open(&self.address, patience)
    }

    /// How long an answer to so many names may take.
    fn patience(&self, names: usize) -> Duration {
        self.timeout + self.timeout.mul_f64(names as f64 / NAMES_A_TIMEOUT as f64)
    }

    fn failed(&self, reason: &'static str) {
        self.metrics.cache_shared_failures.get_or_create(&Reason { reason }).inc();
    }

    /// An exchange broke: the tier is left alone for a while. The first of a series is a warning.
    fn broke(&self, doing: &'static str, error: &Broken) {
        let reason = match error {
            Broken::Late => "late",
            Broken::Nonsense(_) => "nonsense",
            Broken::Memory(_) => NO_MEMORY,
            Broken::Down(_) | Broken::Refused(_) => "down",
        };
        self.leave_alone(reason, doing, &error.to_string());
    }

    fn leave_alone(&self, reason: &'static str, doing: &'static str, error: &str) {
        self.failed(reason);
        if let Some(pause) = self.breaker.open() {
            tracing::warn!(doing, error, pause_ms = pause.as_millis(), "the shared cache tier is left alone");
        }
    }
}

/// Checks an address before anything is started.
///
/// # Errors
/// What is wrong with it, in words that do not repeat it: it may hold a password.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    Address::parse(url).map(|_| ())
}

/// Why the tier does not answer. Its address is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// It is no address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Nobody is there, or whoever is there refuses.
    #[error("no round trip")]
    Link(#[from] Broken),
}

/// Connects once, and says how long a round trip takes then.
///
/// # Errors
/// [`Unreachable`].
pub(super) fn ping(url: &str, patience: Duration) -> Result<Duration, Unreachable> {
    let mut link = Link::open(&Address::parse(url)?, patience)?;
    let started = Instant::now();
    link.ping(patience)?;
    Ok(started.elapsed())
}

/// What the names of a scope's entries begin with: 64 bits of a hash of its identity keep scopes apart for whoever
/// forgets one; the key itself holds the identity.
fn prefix(identity: &str) -> String {
    let hash = blake3::hash(identity.as_bytes()).to_hex();
    format!("rescored:1:{}:", hash.get(..16).unwrap_or_default())
}

fn name(prefix: &str, key: Key) -> String {
    format!("{prefix}{:032x}", u128::from_be_bytes(key.bytes()))
}

fn value(name: &str, cached: CachedScore) -> [u8; VALUE] {
    let mut bytes = [0; VALUE];
    bytes[..cached_score::BYTES].copy_from_slice(&cached.bytes());
    let sum = checksum(name, &cached.bytes());
    bytes[cached_score::BYTES..].copy_from_slice(&sum);
    bytes
}

/// The entry, unless somebody else's bytes are there.
fn read_value(name: &str, bytes: &[u8]) -> Option<CachedScore> {
    let bytes: &[u8; VALUE] = bytes.try_into().ok()?;
    let (entry, stated) = bytes.split_first_chunk::<{ cached_score::BYTES }>()?;
    (checksum(name, entry) == stated).then(|| CachedScore::from_bytes(*entry))?
}

fn checksum(name: &str, entry: &[u8; cached_score::BYTES]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(entry);
    let mut sum = [0; 4];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryKey;
    use rescored_core::domain::{Logit, Scored, Truncation};

    #[test]
    fn an_entry_is_read_under_its_own_name_only_and_only_whole() {
        let cached = CachedScore::new(Scored { logit: Logit::new(-1.5).unwrap(), tokens: 9, cut: true }, 7);
        let keys = QueryKey::new("m", &Truncation::MODEL, "q");
        let scope = Scope { model: "m".into(), identity: "i".into() };
        let [one, two] = ["a", "b"].map(|document| name(&prefix(&scope.identity), keys.document(document)));
        assert_eq!(one.len(), "rescored:1:".len() + 16 + 1 + 32);
        let bytes = value(&one, cached);
        assert_eq!(read_value(&one, &bytes), Some(cached));
        assert_eq!(read_value(&two, &bytes), None, "under another name");
        assert_eq!(read_value(&one, &bytes[..VALUE - 1]), None, "cut");
        for at in 0..VALUE {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            assert_eq!(read_value(&one, &wrong), None, "byte {at} changed");
        }
    }
}
