//! Addresses of the tier, one way of writing for every kind of it:
//!
//! ```text
//! redis://user:password@host:port/database         rediss, valkey, valkeys likewise; the ending s means TLS
//! redis+cluster://user:password@host:port,host:port
//! redis+sentinel://user:password@host:port,host:port/master/database
//! unix:///path?db=1&user=name&pass=password        redis+unix, valkey+unix likewise
//! ```
//!
//! Sentinels with a login of their own have it after the `?`, and so have certificates (`parameters`). User and password
//! are percent-decoded, and so are paths; an IPv6 address stands in brackets. Owns what is no address, in
//! words that never repeat it: it may hold a password. Pure. It must not know connections.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::login::{Login, UrlError, decoded};
use super::parameters::{After, Parameters};
use super::tls::Certificates;

/// Ports where none is written.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where the tier is, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    /// `None` where there is no TLS.
    pub(super) tls: Option<Certificates>,
    pub(super) login: Option<Login>,
    pub(super) database: u32,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    One(Host),
    Socket(PathBuf),
    Cluster(Vec<Host>),
    Sentinels {
        sentinels: Vec<Host>,
        master: String,
        /// The sentinels' own; the master's is the address's.
        login: Option<Login>,
    },
}

/// A machine's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Socket,
    Cluster,
    Sentinels,
}

/// What stands after the scheme, taken apart.
struct Parts<'a> {
    login: Option<Login>,
    hosts: &'a str,
    /// Begins with its slash, if it is there.
    path: &'a str,
    query: Option<&'a str>,
}

impl Address {
    /// Reads an address.
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::new("is no address; write `redis://host:port`"))?;
        let (kind, tls) = scheme_of(&scheme.to_ascii_lowercase())?;
        if rest.chars().any(|one| one.is_whitespace() || one.is_control()) {
            return Err(UrlError::new("holds white space; write `%20` for a space"));
        }
        if rest.contains('#') {
            return Err(UrlError::new(
                "holds a `#`; write `%23` for it in a password; certificates are always checked",
            ));
        }
        let parts = Parts::of(rest)?;
        let after = match kind {
            Kind::Socket => After::Socket,
            Kind::Sentinels => After::Sentinels { tls },
            Kind::One | Kind::Cluster => After::Other { tls },
        };
        let parameters = Parameters::read(parts.query, after)?;
        let mut address = match kind {
            Kind::One => one(&parts)?,
            Kind::Socket => return socket(parts, parameters),
            Kind::Cluster => cluster(&parts)?,
            Kind::Sentinels => sentinels(&parts, parameters.login)?,
        };
        (address.tls, address.login) = (tls.then_some(parameters.certificates), parts.login);
        Ok(address)
    }

    const fn of(place: Place, database: u32) -> Self {
        Self { place, tls: None, login: None, database }
    }
}

fn scheme_of(scheme: &str) -> Result<(Kind, bool), UrlError> {
    let (base, kind) = match scheme.split_once('+') {
        None if scheme == "unix" => return Ok((Kind::Socket, false)),
        None => (scheme, Kind::One),
        Some((base @ ("redis" | "valkey"), "unix")) => (base, Kind::Socket),
        Some((base, "cluster")) => (base, Kind::Cluster),
        Some((base, "sentinel")) => (base, Kind::Sentinels),
        Some(_) => ("", Kind::One),
    };
    match base {
        "redis" | "valkey" => Ok((kind, false)),
        "rediss" | "valkeys" => Ok((kind, true)),
        _ => Err(UrlError::new(
            "has an unknown scheme; known are `redis`, `rediss`, `valkey`, `valkeys`, `unix`, and the first four with `+cluster` and `+sentinel`",
        )),
    }
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, UrlError> {
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        if path.contains('@') || query.is_some_and(|query| query.contains('@')) {
            return Err(UrlError::new(
                "has a `/` or a `?` before its `@`; write `%2F` and `%3F` for them in user and password",
            ));
        }
        // A password may hold the sign itself.
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        Ok(Self { login: user.map_or(Ok(None), login)?, hosts, path, query })
    }
}

fn login(text: &str) -> Result<Option<Login>, UrlError> {
    let Some((user, password)) = text.split_once(':') else {
        let nobody = text.is_empty();
        let wrong = UrlError::new(
            "has no `:` before its `@`; write `:password@` for a password alone, `user:password@` for both",
        );
        return if nobody { Ok(None) } else { Err(wrong) };
    };
    let (user, password) = (decoded(user)?, decoded(password)?);
    let user = (!user.is_empty()).then_some(user);
    Ok((user.is_some() || !password.is_empty()).then_some(Login { user, password }))
}

fn one(parts: &Parts<'_>) -> Result<Address, UrlError> {
    if parts.hosts.contains(',') {
        return Err(UrlError::new("names several hosts; write `redis+cluster://` or `redis+sentinel://` before them"));
    }
    let host = host(parts.hosts, PORT)?;
    let database = database(parts.path.strip_prefix('/').unwrap_or_default())?;
    Ok(Address::of(Place::One(host), database))
}

fn cluster(parts: &Parts<'_>) -> Result<Address, UrlError> {
    let nodes = parts.hosts.split(',').map(|text| host(text, PORT)).collect::<Result<_, _>>()?;
    match database(parts.path.strip_prefix('/').unwrap_or_default())? {
        0 => Ok(Address::of(Place::Cluster(nodes), 0)),
        _ => Err(UrlError::new("names a database; a cluster has database 0 alone, so leave it out")),
    }
}

fn sentinels(parts: &Parts<'_>, login: Option<Login>) -> Result<Address, UrlError> {
    let wrong =
        || UrlError::new("names no master; write `redis+sentinel://user:password@host:port,host:port/master/database`");
    let sentinels = parts.hosts.split(',').map(|text| host(text, SENTINEL_PORT)).collect::<Result<_, _>>()?;
    let path = parts.path.strip_prefix('/').ok_or_else(wrong)?;
    let (master, number) = path.split_once('/').unwrap_or((path, ""));
    let master = String::from_utf8(decoded(master)?).ok().filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    Ok(Address::of(Place::Sentinels { sentinels, master, login }, database(number)?))
}

fn socket(parts: Parts<'_>, parameters: Parameters) -> Result<Address, UrlError> {
    let wrong = UrlError::new(
        "names no socket; write `unix:///path`, with `?db=1&user=name&pass=password` after it where needed",
    );
    if !matches!(parts.hosts, "" | "localhost") || parts.path.len() < 2 {
        return Err(wrong);
    }
    #[cfg(unix)]
    let path = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(decoded(parts.path)?));
    let number = database(parameters.database.as_deref().unwrap_or_default())?;
    let login = match (parts.login, parameters.login) {
        (Some(_), Some(_)) => {
            return Err(UrlError::new("names a password twice; write it before the `@` or after `pass=`"));
        }
        (login, asked) => login.or(asked),
    };
    Ok(Address { login, ..Address::of(Place::Socket(path), number) })
}

fn host(text: &str, port: u16) -> Result<Host, UrlError> {
    let (name, after) = if let Some(rest) = text.strip_prefix('[') {
        bracketed(rest)?
    } else {
        let (name, after) = text.find(':').and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
        let good = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(good) {
            return Err(NO_HOST);
        }
        if name.parse() == Ok(Ipv4Addr::UNSPECIFIED) {
            return Err(UrlError::new("names `0.0.0.0`, which is every address and none to connect to"));
        }
        (name.to_owned(), after)
    };
    let port = match after.strip_prefix(':') {
        None if after.is_empty() => port,
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => number
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(UrlError::new("has a port that is none; ports are 1 to 65535"))?,
        None | Some(_) => return Err(NO_HOST),
    };
    Ok(Host { name, port })
}

const NO_HOST: UrlError =
    UrlError::new("names no host; write `host:port`, and an IPv6 address in brackets: `[::1]:6379`");

/// An IPv6 address that stands in brackets, and what follows them.
fn bracketed(rest: &str) -> Result<(String, &str), UrlError> {
    let (name, after) = rest.split_once(']').ok_or(NO_HOST)?;
    // A zone follows the address, as in `fe80::1%25eth0`.
    let name = String::from_utf8(decoded(name)?).map_err(|_| NO_HOST)?;
    let address: Ipv6Addr = name.split('%').next().unwrap_or_default().parse().map_err(|_| NO_HOST)?;
    if address.is_unspecified() {
        return Err(UrlError::new("names `::`, which is every address and none to connect to"));
    }
    Ok((name, after))
}

fn database(text: &str) -> Result<u32, UrlError> {
    let wrong = UrlError::new("has a path that is no database's number; write `/0` or leave it out");
    match text.trim_end_matches('/') {
        "" => Ok(0),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wrong),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
