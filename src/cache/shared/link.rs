//! One connection to the tier, whatever stands there: a server, the master behind sentinels, a cluster.
//!
//! Owns addresses and the commands sent. It must not know threads or breakers.

use std::fmt;
use std::time::Duration;

use redis::cluster::{ClusterClientBuilder, ClusterConnection, cluster_pipe};
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisResult};

/// Names of one step through a scope's entries.
const SCAN: usize = 1000;

/// Where the tier is.
#[derive(Clone)]
pub(super) enum Place {
    One(Client),
    Cluster(Vec<redis::ConnectionInfo>),
    Sentinels { sentinels: Vec<ConnectionAddr>, master: String, user: Option<(String, String)> },
}

/// Why an address is none. Its own text is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(&'static str);

/// A connection.
pub(super) enum Link {
    One(Box<Connection>),
    Cluster(Box<ClusterConnection>),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
            Self::Sentinels { .. } => "Sentinels",
        })
    }
}

impl Place {
    /// Reads an address: `redis://`, `rediss://`, `valkey://`, `valkeys://`, `unix://` as the redis crate takes them;
    /// `redis+cluster://host:port,host:port`; `redis+sentinel://host:port,host:port/name-of-the-master`.
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let scheme = url.split_once("://").ok_or(UrlError("is no address; write `redis://host:port`"))?.0;
        match scheme {
            "redis+cluster" | "rediss+cluster" => Self::cluster(url),
            "redis+sentinel" => Self::sentinels(url),
            "redis" | "rediss" | "valkey" | "valkeys" | "redis+unix" | "valkey+unix" | "unix" => Client::open(url)
                .map(Self::One)
                .map_err(|_| UrlError("is no address; write `redis://user:password@host:port/db`")),
            _ => Err(UrlError(
                "has an unknown scheme; known are `redis`, `rediss`, `valkey`, `valkeys`, `unix`, `redis+cluster`, `redis+sentinel`",
            )),
        }
    }

    fn cluster(url: &str) -> Result<Self, UrlError> {
        let wrong = UrlError("is no cluster's address; write `redis+cluster://user:password@host:port,host:port`");
        let (scheme, rest) = url.split_once("+cluster://").ok_or_else(|| wrong.clone())?;
        let (user, hosts, _) = parts(rest);
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let node = |host: &str| format!("{scheme}://{user}{host}").into_connection_info().map_err(|_| wrong.clone());
        hosts.split(',').map(node).collect::<Result<_, _>>().map(Self::Cluster)
    }

    fn sentinels(url: &str) -> Result<Self, UrlError> {
        let wrong = UrlError("names no master; write `redis+sentinel://user:password@host:port,host:port/name`");
        let (_, rest) = url.split_once("+sentinel://").ok_or_else(|| wrong.clone())?;
        let (user, hosts, master) = parts(rest);
        let master = master.filter(|master| !master.is_empty()).ok_or_else(|| wrong.clone())?.to_owned();
        let sentinel = |host: &str| {
            let (name, port) = host.rsplit_once(':')?;
            (!name.is_empty()).then_some(ConnectionAddr::Tcp(name.to_owned(), port.parse().ok()?))
        };
        let sentinels = hosts.split(',').map(sentinel).collect::<Option<_>>().ok_or_else(|| wrong.clone())?;
        let user = user.map(|user| user.split_once(':').unwrap_or(("", user)));
        let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        Ok(Self::Sentinels { sentinels, master, user })
    }

    /// Connects; every exchange takes at most `timeout` then.
    pub(super) fn connect(&self, timeout: Duration) -> RedisResult<Link> {
        let bounded = |connection: Connection| {
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            Ok(Link::One(Box::new(connection)))
        };
        match self {
            Self::One(client) => bounded(client.get_connection_with_timeout(timeout)?),
            Self::Cluster(nodes) => {
                let client = ClusterClientBuilder::new(nodes.clone())
                    .retries(0)
                    .connection_timeout(timeout)
                    .response_timeout(timeout)
                    .build()?;
                let connection = client.get_connection()?;
                connection.set_read_timeout(Some(timeout))?;
                connection.set_write_timeout(Some(timeout))?;
                Ok(Link::Cluster(Box::new(connection)))
            }
            Self::Sentinels { sentinels, master, user } => {
                let kind = SentinelServerType::Master;
                let mut builder = SentinelClientBuilder::new(sentinels.clone(), master.clone(), kind)?;
                if let Some((name, password)) = user {
                    if !name.is_empty() {
                        builder = builder.set_client_to_redis_username(name);
                    }
                    builder = builder.set_client_to_redis_password(password);
                }
                bounded(builder.build()?.get_client()?.get_connection_with_timeout(timeout)?)
            }
        }
    }
}

/// `user@hosts/path`.
fn parts(rest: &str) -> (Option<&str>, &str, Option<&str>) {
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let (hosts, path) = rest.split_once('/').map_or((rest, None), |(hosts, path)| (hosts, Some(path)));
    (user, hosts, path)
}

impl Link {
    /// Whether anybody is there.
    pub(super) fn ping(&mut self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        match self {
            Self::One(connection) => ping.exec(&mut **connection),
            Self::Cluster(connection) => ping.exec(&mut **connection),
        }
    }

    /// What lies under these names: one round trip (in a cluster, one to each node, all at once).
    pub(super) fn get(&mut self, names: &[&str]) -> RedisResult<Vec<Option<Vec<u8>>>> {
        match self {
            Self::One(connection) => redis::cmd("MGET").arg(names).query(&mut **connection),
            // Not `MGET`, which the crate takes apart into one round trip a slot, one after the other.
            Self::Cluster(connection) => {
                let mut pipe = cluster_pipe();
                for name in names {
                    pipe.cmd("GET").arg(name);
                }
                pipe.query(connection)
            }
        }
    }

    /// Puts entries there, each with the seconds that it may stay; one round trip.
    pub(super) fn set(&mut self, entries: &[(String, [u8; super::VALUE], Option<u64>)]) -> RedisResult<()> {
        let command = |(name, value, seconds): &(String, [u8; super::VALUE], Option<u64>)| {
            let mut set = redis::cmd("SET");
            set.arg(name).arg(&value[..]);
            if let Some(seconds) = seconds {
                set.arg("EX").arg(*seconds);
            }
            set
        };
        match self {
            Self::One(connection) => {
                let mut pipe = redis::pipe();
                for entry in entries {
                    pipe.add_command(command(entry)).ignore();
                }
                pipe.exec(&mut **connection)
            }
            Self::Cluster(connection) => {
                let mut pipe = cluster_pipe();
                for entry in entries {
                    pipe.add_command(command(entry)).ignore();
                }
                pipe.exec(connection)
            }
        }
    }

    /// Takes away everything whose name begins so. Not one command: the tier goes on answering meanwhile.
    pub(super) fn remove(&mut self, prefix: &str) -> RedisResult<u64> {
        match self {
            Self::One(connection) => walk(
                connection,
                |connection, scan| scan.query(connection),
                |connection, names| redis::cmd("UNLINK").arg(names).query(connection),
                prefix,
            ),
            Self::Cluster(connection) => {
                let mut removed = 0;
                for route in masters(connection)? {
                    removed += walk(
                        &mut **connection,
                        |connection, scan| {
                            let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                            Ok(redis::from_redis_value(connection.route_command(scan, to)?)?)
                        },
                        |connection, names| {
                            let mut pipe = cluster_pipe();
                            for name in names {
                                pipe.cmd("UNLINK").arg(name);
                            }
                            Ok(pipe.query::<Vec<u64>>(connection)?.into_iter().sum())
                        },
                        prefix,
                    )?;
                }
                Ok(removed)
            }
        }
    }
}

/// A route to each master of a cluster: the first slot of any of its ranges.
fn masters(connection: &mut ClusterConnection) -> RedisResult<Vec<Route>> {
    /// First and last slot, then the master, then its replicas: address, port and more of each.
    type Range = (u16, u16, redis::Value);
    let ranges: Vec<Vec<redis::Value>> = redis::cmd("CLUSTER").arg("SLOTS").query(connection)?;
    let mut routes: Vec<(redis::Value, Route)> = Vec::new();
    for mut range in ranges {
        range.truncate(3);
        let (first, _, master): Range = redis::from_redis_value(redis::Value::Array(range))?;
        if routes.iter().all(|(known, _)| *known != master) {
            routes.push((master, Route::new(first, SlotAddr::Master)));
        }
    }
    Ok(routes.into_iter().map(|(_, route)| route).collect())
}

/// Steps through all names of a node that begin so, and removes them.
fn walk<C>(
    connection: &mut C,
    step: impl Fn(&mut C, &redis::Cmd) -> RedisResult<(u64, Vec<String>)>,
    remove: impl Fn(&mut C, &[String]) -> RedisResult<u64>,
    prefix: &str,
) -> RedisResult<u64> {
    let (mut cursor, mut removed) = (0_u64, 0);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCAN);
        let (next, names) = step(connection, &scan)?;
        if !names.is_empty() {
            removed += remove(connection, &names)?;
        }
        if next == 0 {
            return Ok(removed);
        }
        cursor = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_by_their_scheme() {
        let cases = [
            ("redis://127.0.0.1:6379", "One"),
            ("rediss://user:secret@host:6380/1", "One"),
            ("valkey://host", "One"),
            ("unix:///run/redis.sock", "One"),
            ("redis+cluster://:secret@a:7000,b:7001", "Cluster"),
            ("redis+sentinel://a:26379,b:26379/main", "Sentinels"),
        ];
        for (url, kind) in cases {
            assert_eq!(format!("{:?}", Place::parse(url).unwrap()), kind, "{url}");
        }
        for wrong in [
            "",
            "host:6379",
            "http://secret",
            "redis+sentinel://secret:26379",
            "redis+sentinel://secret/main",
            "redis://secret:port",
        ] {
            let sentence = Place::parse(wrong).unwrap_err().to_string();
            assert!(!sentence.contains("secret"), "{wrong}: {sentence}");
        }
    }
}
