//! A link to the tier, whatever stands there: a server, the master behind sentinels, a cluster.
//!
//! Owns the commands sent, and how large an answer to each can be. It must not know threads or breakers.

use std::time::{Duration, Instant};

use super::address::{Address, Host, Place};
use super::cluster::{self, Cluster};
use super::connection::{Connection, Greeting, within};
use super::login::Login;
use super::resp::{self, Broken, Limits, Reply};
use super::tls;

/// Names of one step through a scope's entries.
const SCAN: usize = 1000;
/// A step may bring more names than it was asked for, of one bucket of the server's table; so many times as many is none.
const SCAN_SLACK: usize = 16;
/// Bytes of a name, more than any of ours has.
const NAME: usize = 128;
/// Bytes of an answer beside its entries: others' values that lie under our names, a line of refusal.
const SLACK: u64 = 64 << 10;
/// Bytes of an entry in an answer and of the item that it becomes: a length, the entry, and room for a value that is not ours.
const ENTRY: u64 = 96;
/// Bytes of a step through a scope's entries: names, what frames them, and the items that they become.
pub(super) const STEP_BYTES: u64 = SLACK + (SCAN * SCAN_SLACK * (NAME + 64)) as u64;
/// What a master says of its part: its replicas come with it.
const ROLE: (u64, Limits) = (256 << 10, Limits { string: 256, list: 1000, depth: 3 });

/// See the module.
#[derive(Debug)]
pub(super) enum Link {
    One(Box<Connection>),
    Cluster(Box<Cluster>),
}

/// Bytes that connecting may take: what servers say of themselves, a cluster above all, and the buffers.
pub(super) const fn opening_bytes(address: &Address) -> u64 {
    match address.place {
        Place::Cluster(_) => SLACK + cluster::TABLE,
        Place::One(_) | Place::Socket(_) | Place::Sentinels { .. } => SLACK + ROLE.0,
    }
}

/// An entry on its way: its name, its bytes, the seconds that it may stay.
pub(super) type Entry = (String, [u8; super::VALUE], Option<u64>);

/// How long each part of a long exchange may take, and whether it is to go on.
pub(super) struct Pace<'a> {
    pub(super) step: Duration,
    pub(super) go_on: &'a dyn Fn() -> bool,
}

impl Link {
    /// Connects, all of it within this time; behind sentinels and in a cluster, within it for each of them.
    pub(super) fn open(address: &Address, patience: Duration) -> Result<Self, Broken> {
        let Address { place, tls, login, database } = address;
        let tls = tls.as_ref().map(tls::client).transpose()?;
        let greeting = Greeting { tls: tls.as_ref(), login: login.as_ref(), database: *database };
        let one = |connection| Self::One(Box::new(connection));
        match place {
            Place::One(host) => Connection::open(host, &greeting, within(patience)).map(one),
            Place::Socket(path) => Connection::open_socket(path, &greeting, within(patience)).map(one),
            Place::Cluster(seeds) => {
                Cluster::open(seeds, &greeting, patience).map(|cluster| Self::Cluster(Box::new(cluster)))
            }
            Place::Sentinels { sentinels, master, login } => {
                let mut failed = Broken::Nonsense("no sentinel");
                for sentinel in sentinels {
                    match behind(sentinel, login.as_ref(), master, &greeting, within(patience)) {
                        Ok(connection) => return Ok(one(connection)),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
        }
    }

    /// Whether anybody is there; in a cluster, at every node.
    pub(super) fn ping(&mut self, patience: Duration) -> Result<(), Broken> {
        match self {
            Self::One(connection) => connection.ping(within(patience)),
            Self::Cluster(cluster) => cluster.nodes().try_for_each(|node| node.ping(within(patience))),
        }
    }

    /// What lies under these names, as long as it can be an entry: one round trip (in a cluster, one to each node, all at
    /// once).
    pub(super) fn get(&mut self, names: &[String], patience: Duration) -> Result<Vec<Option<Vec<u8>>>, Broken> {
        let until = within(patience);
        let limits = Limits { string: super::VALUE, list: names.len(), depth: 1 };
        let allowance = SLACK + names.len() as u64 * ENTRY;
        let replies = match self {
            Self::One(connection) => {
                let mut out = Vec::new();
                resp::begin(&mut out, names.len() + 1);
                resp::word(&mut out, b"MGET");
                for name in names {
                    resp::word(&mut out, name.as_bytes());
                }
                let reply = connection.exchange(&out, allowance, &limits, until)?;
                let replies = reply.list().filter(|replies| replies.len() == names.len());
                replies.ok_or(Broken::Nonsense("another number of values than of names"))?
            }
            Self::Cluster(cluster) => {
                let get = |out: &mut Vec<u8>, place: usize| {
                    resp::command(out, &[b"GET", names.get(place).map_or(b"", |name| name.as_bytes())]);
                };
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                cluster.each(&names, get, allowance, &limits, until)?
            }
        };
        let values = replies.into_iter().map(|reply| match reply {
            Reply::Bytes(bytes) => Ok(Some(bytes)),
            Reply::Nil | Reply::TooLong => Ok(None),
            Reply::Status(_) | Reply::Refusal(_) | Reply::Number(_) | Reply::List(_) => {
                Err(Broken::Nonsense("a value of another kind"))
            }
        });
        values.collect()
    }

    /// Puts entries there; one round trip.
    pub(super) fn set(&mut self, entries: &[Entry], patience: Duration) -> Result<(), Broken> {
        let until = within(patience);
        let allowance = SLACK + entries.len() as u64 * ENTRY;
        let set = |out: &mut Vec<u8>, place: usize| {
            let Some((name, value, seconds)) = entries.get(place) else { return };
            match seconds {
                Some(seconds) => {
                    let seconds = seconds.to_string();
                    resp::command(out, &[b"SET", name.as_bytes(), value, b"EX", seconds.as_bytes()]);
                }
                None => resp::command(out, &[b"SET", name.as_bytes(), value]),
            }
        };
        let replies = match self {
            Self::One(connection) => {
                let mut out = Vec::new();
                (0..entries.len()).for_each(|place| set(&mut out, place));
                connection.send(&out, allowance, until)?;
                // All of them, whatever the first one is: the next exchange begins with its own.
                entries.iter().map(|_| connection.receive(&Limits::PLAIN)).collect::<Result<Vec<_>, _>>()?
            }
            Self::Cluster(cluster) => {
                let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
                cluster.each(&names, set, allowance, &Limits::PLAIN, until)?
            }
        };
        replies.into_iter().try_for_each(|reply| match reply {
            // A slot that is being moved: the entry is lost, which is no harm.
            Reply::Status(_) | Reply::Nil => Ok(()),
            Reply::Refusal(words) => Err(Broken::Refused(words)),
            Reply::Number(_) | Reply::Bytes(_) | Reply::TooLong | Reply::List(_) => {
                Err(Broken::Nonsense("another answer than OK"))
            }
        })
    }

    /// Takes away everything whose name begins so. Not one command: the tier goes on answering meanwhile.
    pub(super) fn remove(&mut self, prefix: &str, pace: &Pace<'_>) -> Result<u64, Broken> {
        match self {
            Self::One(connection) => walk(connection, prefix, pace, &mut |connection, names| {
                let mut out = Vec::new();
                resp::begin(&mut out, names.len() + 1);
                resp::word(&mut out, b"UNLINK");
                for name in names {
                    resp::word(&mut out, name);
                }
                counted(connection.exchange(&out, SLACK, &Limits::PLAIN, within(pace.step))?)
            }),
            // Names of one node lie in many slots: a command each.
            Self::Cluster(cluster) => cluster.nodes().try_fold(0, |removed, node| {
                let here = walk(node, prefix, pace, &mut |connection, names| {
                    let mut out = Vec::new();
                    for name in names {
                        resp::command(&mut out, &[b"UNLINK", name]);
                    }
                    connection.send(&out, SLACK + names.len() as u64 * ENTRY, within(pace.step))?;
                    names.iter().try_fold(0, |sum, _| Ok(sum + counted(connection.receive(&Limits::PLAIN)?)?))
                })?;
                Ok(removed + here)
            }),
        }
    }
}

/// The master that a sentinel knows by this name, greeted; the sentinel has a login of its own, or none.
fn behind(
    sentinel: &Host,
    login: Option<&Login>,
    name: &str,
    greeting: &Greeting<'_>,
    until: Instant,
) -> Result<Connection, Broken> {
    let of_sentinel = Greeting { login, database: 0, ..*greeting };
    let master = named_by(sentinel, name, &of_sentinel, until).map_err(|error| match error {
        Broken::Refused(words) if words.starts_with("NOAUTH") => {
            Broken::Refused("the sentinel asks for a password; add `?sentinel_password=password`".to_owned())
        }
        Broken::Refused(words) => Broken::Refused(format!("the sentinel says {words}")),
        Broken::Late | Broken::Down(_) | Broken::Nonsense(_) | Broken::Memory(_) => error,
    })?;
    let mut connection = Connection::open(&master, greeting, until)?;
    // A sentinel that was cut off may still name the former one.
    let mut out = Vec::new();
    resp::command(&mut out, &[b"ROLE"]);
    let role = connection.exchange(&out, ROLE.0, &ROLE.1, until)?.list();
    if role.is_some_and(|parts| parts.first() == Some(&Reply::Bytes(b"master".to_vec()))) {
        Ok(connection)
    } else {
        Err(Broken::Refused("the master that the sentinel names is none".to_owned()))
    }
}

/// The master's host, as a sentinel knows it.
fn named_by(sentinel: &Host, name: &str, greeting: &Greeting<'_>, until: Instant) -> Result<Host, Broken> {
    let mut asked = Connection::open(sentinel, greeting, until)?;
    let mut out = Vec::new();
    resp::command(&mut out, &[b"SENTINEL", b"get-master-addr-by-name", name.as_bytes()]);
    let limits = Limits { string: 256, list: 2, depth: 1 };
    let unknown = || Broken::Nonsense("a sentinel that does not know the master");
    let Reply::List(parts) = asked.exchange(&out, SLACK, &limits, until)? else { return Err(unknown()) };
    let [Reply::Bytes(host), Reply::Bytes(port)] = parts.as_slice() else { return Err(unknown()) };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| unknown());
    Ok(Host { name: text(host)?, port: text(port)?.parse().map_err(|_| unknown())? })
}

/// Removes names from a server; says how many it held.
type Removing<'a> = dyn FnMut(&mut Connection, &[Vec<u8>]) -> Result<u64, Broken> + 'a;

/// Steps through all names of a server that begin so, and has them removed.
fn walk(connection: &mut Connection, prefix: &str, pace: &Pace<'_>, remove: &mut Removing<'_>) -> Result<u64, Broken> {
    let limits = Limits { string: NAME, list: SCAN * SCAN_SLACK, depth: 2 };
    let allowance = STEP_BYTES;
    let (mut cursor, mut removed) = (b"0".to_vec(), 0);
    while (pace.go_on)() {
        let mut out = Vec::new();
        let (pattern, count) = (format!("{prefix}*"), SCAN.to_string());
        resp::command(&mut out, &[b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", count.as_bytes()]);
        let wrong = Broken::Nonsense("another answer than a cursor and names");
        let Reply::List(parts) = connection.exchange(&out, allowance, &limits, within(pace.step))? else {
            return Err(wrong);
        };
        let [Reply::Bytes(next), Reply::List(names)] = parts.as_slice() else { return Err(wrong) };
        let ours = |reply: &Reply| {
            let Reply::Bytes(name) = reply else { return None };
            name.starts_with(prefix.as_bytes()).then(|| name.clone())
        };
        let names: Vec<Vec<u8>> = names.iter().filter_map(ours).collect();
        if !names.is_empty() {
            removed += remove(connection, &names)?;
        }
        if next == b"0" {
            return Ok(removed);
        }
        cursor.clone_from(next);
    }
    Err(Broken::Late)
}

fn counted(reply: Reply) -> Result<u64, Broken> {
    match reply {
        Reply::Number(count) => u64::try_from(count).map_err(|_| Broken::Nonsense("a negative count")),
        Reply::Refusal(words) => Err(Broken::Refused(words)),
        Reply::Nil | Reply::Status(_) | Reply::Bytes(_) | Reply::TooLong | Reply::List(_) => {
            Err(Broken::Nonsense("another answer than a count"))
        }
    }
}
