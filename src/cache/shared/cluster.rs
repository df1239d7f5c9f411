//! A cluster: which node holds which names, and one conversation with each.
//!
//! Owns the table of slots. A table that has become wrong is an error: a link anew reads the new one. It must not know what
//! is kept there.

use std::time::{Duration, Instant};

use super::address::Host;
use super::connection::{Connection, Greeting, within};
use super::resp::{self, Broken, Limits, Reply};

/// Slots that names are spread over.
const SLOTS: usize = 16_384;
/// Nodes at most; a real cluster has fewer than a thousand.
const NODES: usize = 1000;
/// Bytes of the table of slots at most, and of the items that it becomes.
pub(super) const TABLE: u64 = 8 << 20;
/// Its form: ranges, nodes of each, facts of each, further facts.
const RANGES: Limits = Limits { string: 256, list: SLOTS, depth: 4 };

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<(Host, Option<Connection>)>,
    /// By slot: the node's place among `nodes`.
    slots: Vec<Option<u16>>,
}

/// Commands to one node.
#[derive(Debug, Default)]
struct Batch {
    out: Vec<u8>,
    /// Places of the names among all that were asked for.
    places: Vec<usize>,
}

impl Cluster {
    /// Asks the first of these nodes that answers for the table, and connects to every master; each within this time, for a
    /// cluster may have many.
    pub(super) fn open(seeds: &[Host], greeting: &Greeting<'_>, patience: Duration) -> Result<Self, Broken> {
        let mut failed = Broken::Nonsense("a cluster without nodes");
        for seed in seeds {
            match Self::read(seed, greeting, within(patience)) {
                Ok(mut cluster) => {
                    for (host, connection) in &mut cluster.nodes {
                        *connection = Some(Connection::open(host, greeting, within(patience))?);
                    }
                    return Ok(cluster);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn read(seed: &Host, greeting: &Greeting<'_>, until: Instant) -> Result<Self, Broken> {
        let mut connection = Connection::open(seed, greeting, until)?;
        let mut out = Vec::new();
        resp::command(&mut out, &[b"CLUSTER", b"SLOTS"]);
        let Reply::List(ranges) = connection.exchange(&out, TABLE, &RANGES, until)? else { return Err(NO_TABLE) };
        let mut cluster = Self { nodes: Vec::new(), slots: vec![None; SLOTS] };
        for range in ranges {
            cluster.add(range, seed).ok_or(NO_TABLE)?;
        }
        if cluster.nodes.is_empty() { Err(Broken::Nonsense("a cluster without slots")) } else { Ok(cluster) }
    }

    /// One range: first and last slot, the master, its replicas.
    fn add(&mut self, range: Reply, seed: &Host) -> Option<()> {
        let Reply::List(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let (Reply::Number(first), Reply::Number(last), Reply::List(master)) =
            (parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        let mut master = master.into_iter();
        let (name, Reply::Number(port)) = (master.next()?, master.next()?) else { return None };
        let name = match name {
            // Where the seed was reached.
            Reply::Nil => seed.name.clone(),
            Reply::Bytes(name) if name.is_empty() => seed.name.clone(),
            Reply::Bytes(name) => String::from_utf8(name).ok()?,
            Reply::Status(_) | Reply::Refusal(_) | Reply::Number(_) | Reply::TooLong | Reply::List(_) => return None,
        };
        let host = Host { name, port: u16::try_from(port).ok()? };
        let known = self.nodes.iter().position(|(node, _)| *node == host);
        let place = known.unwrap_or_else(|| {
            self.nodes.push((host, None));
            self.nodes.len() - 1
        });
        if self.nodes.len() > NODES {
            return None;
        }
        let place = u16::try_from(place).ok()?;
        let slots = self.slots.get_mut(usize::try_from(first).ok()?..=usize::try_from(last).ok()?)?;
        slots.fill(Some(place));
        Some(())
    }

    pub(super) fn nodes(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.nodes.iter_mut().filter_map(|(_, connection)| connection.as_mut())
    }

    /// Sends one command a name, to each node all of its own at once, and reads the replies in the names' order. A name
    /// whose slot is being moved is answered as one that nobody holds.
    pub(super) fn each(
        &mut self,
        names: &[&str],
        write: impl Fn(&mut Vec<u8>, usize),
        allowance: u64,
        limits: &Limits,
        until: Instant,
    ) -> Result<Vec<Reply>, Broken> {
        let mut batches: Vec<Batch> = self.nodes.iter().map(|_| Batch::default()).collect();
        let mut replies = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let node = self.slots.get(slot(name)).copied().flatten();
            let batch = node.and_then(|node| batches.get_mut(usize::from(node)));
            let batch = batch.ok_or(Broken::Nonsense("a cluster that does not hold all slots"))?;
            write(&mut batch.out, place);
            batch.places.push(place);
            replies.push(Reply::Nil);
        }
        for (batch, (_, connection)) in batches.iter().zip(&mut self.nodes) {
            if let Some(connection) = connection.as_mut().filter(|_| !batch.places.is_empty()) {
                connection.send(&batch.out, allowance, until)?;
            }
        }
        for (batch, (_, connection)) in batches.iter().zip(&mut self.nodes) {
            let Some(connection) = connection else { continue };
            for place in &batch.places {
                let reply = connection.receive(limits)?;
                let moving = matches!(&reply, Reply::Refusal(words) if words.starts_with("ASK "));
                let reply = if moving { Reply::Nil } else { reply.granted()? };
                if let Some(there) = replies.get_mut(*place) {
                    *there = reply;
                }
            }
        }
        Ok(replies)
    }
}

const NO_TABLE: Broken = Broken::Nonsense("no table of slots");

/// The slot of a name (CRC16, XMODEM). Ours hold no braces, so all of the name counts.
fn slot(name: &str) -> usize {
    let sum = name.bytes().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ u16::from(byte) << 8, |sum, _| if sum & 0x8000 > 0 { sum << 1 ^ 0x1021 } else { sum << 1 })
    });
    usize::from(sum) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC16/XMODEM, and two that a redis-server gave to `CLUSTER KEYSLOT`.
        for (name, expected) in [("123456789", 0x31c3), ("foo", 12_182), ("bar", 5061)] {
            assert_eq!(slot(name), expected, "{name}");
        }
    }

    #[test]
    fn a_table_of_slots_is_read_and_another_list_is_none() {
        let seed = Host { name: "seed".into(), port: 1 };
        let node = |name: &str, port| {
            Reply::List(vec![Reply::Bytes(name.into()), Reply::Number(port), Reply::Bytes("id".into())])
        };
        let range = |first, last, node| Reply::List(vec![Reply::Number(first), Reply::Number(last), node]);
        let mut cluster = Cluster { nodes: Vec::new(), slots: vec![None; SLOTS] };
        for range in [range(0, 99, node("", 7000)), range(100, 16_383, node("b", 7001)), range(5, 5, node("", 7000))] {
            cluster.add(range, &seed).unwrap();
        }
        let hosts: Vec<String> = cluster.nodes.iter().map(|(host, _)| format!("{}:{}", host.name, host.port)).collect();
        assert_eq!(hosts, ["seed:7000", "b:7001"]);
        assert_eq!([0, 99, 100, 16_383].map(|slot: usize| cluster.slots[slot]), [Some(0), Some(0), Some(1), Some(1)]);
        for wrong in [
            range(0, 16_384, node("a", 1)),
            range(9, 3, node("a", 1)),
            range(-1, 3, node("a", 1)),
            range(0, 1, node("a", 99_999)),
            Reply::Nil,
        ] {
            assert!(cluster.add(wrong.clone(), &seed).is_none(), "{wrong:?}");
        }
    }
}
