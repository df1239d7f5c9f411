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

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

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

/// Who asks. Any bytes may be a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

/// Why an address is none. Its own text is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(&'static str);

impl UrlError {
    pub(super) const fn new(sentence: &'static str) -> Self {
        Self(sentence)
    }
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
        let (scheme, rest) = url.split_once("://").ok_or(UrlError("is no address; write `redis://host:port`"))?;
        let (kind, tls) = scheme_of(&scheme.to_ascii_lowercase())?;
        if rest.chars().any(|one| one.is_whitespace() || one.is_control()) {
            return Err(UrlError("holds white space; write `%20` for a space"));
        }
        if rest.contains('#') {
            return Err(UrlError("holds a `#`; write `%23` for it in a password; certificates are always checked"));
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
        _ => Err(UrlError(
            "has an unknown scheme; known are `redis`, `rediss`, `valkey`, `valkeys`, `unix`, and the first four with `+cluster` and `+sentinel`",
        )),
    }
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, UrlError> {
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        if path.contains('@') || query.is_some_and(|query| query.contains('@')) {
            return Err(UrlError(
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
        let wrong =
            UrlError("has no `:` before its `@`; write `:password@` for a password alone, `user:password@` for both");
        return if nobody { Ok(None) } else { Err(wrong) };
    };
    let (user, password) = (decoded(user)?, decoded(password)?);
    let user = (!user.is_empty()).then_some(user);
    Ok((user.is_some() || !password.is_empty()).then_some(Login { user, password }))
}

fn one(parts: &Parts<'_>) -> Result<Address, UrlError> {
    if parts.hosts.contains(',') {
        return Err(UrlError("names several hosts; write `redis+cluster://` or `redis+sentinel://` before them"));
    }
    let host = host(parts.hosts, PORT)?;
    let database = database(parts.path.strip_prefix('/').unwrap_or_default())?;
    Ok(Address::of(Place::One(host), database))
}

fn cluster(parts: &Parts<'_>) -> Result<Address, UrlError> {
    let nodes = parts.hosts.split(',').map(|text| host(text, PORT)).collect::<Result<_, _>>()?;
    match database(parts.path.strip_prefix('/').unwrap_or_default())? {
        0 => Ok(Address::of(Place::Cluster(nodes), 0)),
        _ => Err(UrlError("names a database; a cluster has database 0 alone, so leave it out")),
    }
}

fn sentinels(parts: &Parts<'_>, login: Option<Login>) -> Result<Address, UrlError> {
    let wrong =
        || UrlError("names no master; write `redis+sentinel://user:password@host:port,host:port/master/database`");
    let sentinels = parts.hosts.split(',').map(|text| host(text, SENTINEL_PORT)).collect::<Result<_, _>>()?;
    let path = parts.path.strip_prefix('/').ok_or_else(wrong)?;
    let (master, number) = path.split_once('/').unwrap_or((path, ""));
    let master = String::from_utf8(decoded(master)?).ok().filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    Ok(Address::of(Place::Sentinels { sentinels, master, login }, database(number)?))
}

fn socket(parts: Parts<'_>, parameters: Parameters) -> Result<Address, UrlError> {
    let wrong =
        UrlError("names no socket; write `unix:///path`, with `?db=1&user=name&pass=password` after it where needed");
    if !matches!(parts.hosts, "" | "localhost") || parts.path.len() < 2 {
        return Err(wrong);
    }
    #[cfg(unix)]
    let path = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(decoded(parts.path)?));
    let number = database(parameters.database.as_deref().unwrap_or_default())?;
    let login = match (parts.login, parameters.login) {
        (Some(_), Some(_)) => return Err(UrlError("names a password twice; write it before the `@` or after `pass=`")),
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
            return Err(UrlError("names `0.0.0.0`, which is every address and none to connect to"));
        }
        (name.to_owned(), after)
    };
    let port = match after.strip_prefix(':') {
        None if after.is_empty() => port,
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => number
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(UrlError("has a port that is none; ports are 1 to 65535"))?,
        None | Some(_) => return Err(NO_HOST),
    };
    Ok(Host { name, port })
}

const NO_HOST: UrlError = UrlError("names no host; write `host:port`, and an IPv6 address in brackets: `[::1]:6379`");

/// An IPv6 address that stands in brackets, and what follows them.
fn bracketed(rest: &str) -> Result<(String, &str), UrlError> {
    let (name, after) = rest.split_once(']').ok_or(NO_HOST)?;
    // A zone follows the address, as in `fe80::1%25eth0`.
    let name = String::from_utf8(decoded(name)?).map_err(|_| NO_HOST)?;
    let address: Ipv6Addr = name.split('%').next().unwrap_or_default().parse().map_err(|_| NO_HOST)?;
    if address.is_unspecified() {
        return Err(UrlError("names `::`, which is every address and none to connect to"));
    }
    Ok((name, after))
}

fn database(text: &str) -> Result<u32, UrlError> {
    let wrong = UrlError("has a path that is no database's number; write `/0` or leave it out");
    match text.trim_end_matches('/') {
        "" => Ok(0),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wrong),
        _ => Err(wrong),
    }
}

/// Bytes out of percent-encoding.
pub(super) fn decoded(text: &str) -> Result<Vec<u8>, UrlError> {
    let wrong = UrlError("has a `%` that two hexadecimal digits do not follow; write `%25` for the sign itself");
    let digit =
        |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|it| u8::try_from(it).ok());
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next())
                .zip(digit(bytes.next()))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(|| wrong.clone())?,
            byte => byte,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(name: &str, port: u16) -> Host {
        Host { name: name.into(), port }
    }

    fn behind(sentinels: Vec<Host>, master: &str) -> Place {
        Place::Sentinels { sentinels, master: master.into(), login: None }
    }

    fn login(user: &str, password: &str) -> Login {
        Login { user: (!user.is_empty()).then(|| user.into()), password: password.into() }
    }

    // Case C8.
    #[test]
    fn every_scheme_reads_hosts_users_passwords_and_databases_alike() {
        let one = |name, port| Place::One(at(name, port));
        let cases = [
            ("redis://127.0.0.1:6379", one("127.0.0.1", 6379), false, None, 0),
            ("REDIS://host", one("host", 6379), false, None, 0),
            ("rediss://user:secret@host:6380/1", one("host", 6380), true, Some(login("user", "secret")), 1),
            ("valkey://:p%40ss@host/", one("host", 6379), false, Some(login("", "p@ss")), 0),
            (
                "valkeys://us%3Aer:p%2Fs%3F%23%25@[::1]:7000/12",
                one("::1", 7000),
                true,
                Some(login("us:er", "p/s?#%")),
                12,
            ),
            ("redis://:p@ss@[fe80::1%25eth0]", one("fe80::1%eth0", 6379), false, Some(login("", "p@ss")), 0),
            ("redis://user:@host?protocol=resp2", one("host", 6379), false, Some(login("user", "")), 0),
            ("redis://:@host", one("host", 6379), false, None, 0),
            (
                "redis+cluster://:p%40ss@a:7000,[::2]:7001,c",
                Place::Cluster(vec![at("a", 7000), at("::2", 7001), at("c", 6379)]),
                false,
                Some(login("", "p@ss")),
                0,
            ),
            ("rediss+cluster://a/0", Place::Cluster(vec![at("a", 6379)]), true, None, 0),
            (
                "redis+sentinel://:p%40ss@a:26379,[::1]/main",
                behind(vec![at("a", 26379), at("::1", 26379)], "main"),
                false,
                Some(login("", "p@ss")),
                0,
            ),
            (
                "valkeys+sentinel://us%20er:%F0%9F%94%91@a/the%20master/3",
                behind(vec![at("a", 26379)], "the master"),
                true,
                Some(login("us er", "🔑")),
                3,
            ),
            ("unix:///run/redis.sock", Place::Socket("/run/redis.sock".into()), false, None, 0),
            (
                "redis+unix:///run/a%20b?db=2&user=u&pass=p%40+s",
                Place::Socket("/run/a b".into()),
                false,
                Some(login("u", "p@ s")),
                2,
            ),
            (
                "unix://:p%40ss@/run/redis.sock",
                Place::Socket("/run/redis.sock".into()),
                false,
                Some(login("", "p@ss")),
                0,
            ),
        ];
        for (url, place, tls, login, database) in cases {
            let expected = Address { place, tls: tls.then(Certificates::default), login, database };
            assert_eq!(Address::parse(url).unwrap(), expected, "{url}");
        }
        assert_eq!(decoded("%ff%00").unwrap(), [255, 0], "a password may be any bytes");
    }

    // Case C8.
    #[test]
    fn sentinels_have_a_login_of_their_own_beside_the_masters() {
        let url = "redis+sentinel://u:p@a/main/3?sentinel_username=watch&sentinel_password=p%40ss";
        let sentinels = vec![at("a", 26379)];
        let place = Place::Sentinels { sentinels, master: "main".into(), login: Some(login("watch", "p@ss")) };
        let address = Address { login: Some(login("u", "p")), ..Address::of(place, 3) };
        assert_eq!(Address::parse(url).unwrap(), address);
    }

    // Case C8.
    #[test]
    fn what_is_no_address_is_refused_with_a_hint_and_without_its_text() {
        let cases = [
            ("", "redis://host:port"),
            ("secret:6379", "redis://host:port"),
            ("http://secret", "unknown scheme"),
            ("redis+secret://host", "unknown scheme"),
            ("rediss+unix:///secret", "unknown scheme"),
            ("redis://", "names no host"),
            ("redis://secret:port", "names no host"),
            ("redis://secret:0", "1 to 65535"),
            ("redis://secret:65536", "1 to 65535"),
            ("redis://::1:6379", "in brackets"),
            ("redis://[secret]", "in brackets"),
            ("redis://0.0.0.0", "every address"),
            ("redis://[::]:1", "every address"),
            ("redis://secret@host", "`:password@`"),
            ("redis+sentinel://secret@host/main", "`:password@`"),
            ("redis://:sec%zzret@host", "`%25`"),
            ("redis+sentinel://:secret%4@host/main", "`%25`"),
            ("redis://:sec/ret@host", "`%2F`"),
            ("redis://:sec?ret@host", "`%3F`"),
            ("redis://:sec#ret@host", "`%23`"),
            ("rediss://secret#insecure", "certificates"),
            ("redis://:sec ret@host", "`%20`"),
            ("redis://host/secret", "database"),
            ("redis://a,secret", "several hosts"),
            ("redis+cluster://a,,secret", "names no host"),
            ("redis+cluster://secret/3", "database 0 alone"),
            ("redis+sentinel://secret:26379", "names no master"),
            ("redis+sentinel://secret:26379/", "names no master"),
            ("redis://host?pass=secret", "unknown parameter"),
            ("unix://secret", "names no socket"),
            ("unix:///secret?user=secret", "no password"),
            ("unix://:secret@/a?pass=secret", "twice"),
            ("unix:///a?password=secret", "unknown parameter"),
        ];
        for (wrong, hint) in cases {
            let sentence = Address::parse(wrong).unwrap_err().to_string();
            assert!(sentence.contains(hint) && !sentence.contains("secret"), "{wrong}: {sentence}");
        }
        for with_passwords in ["redis://user:secret@host", "redis+sentinel://a/main?sentinel_password=secret"] {
            let address = Address::parse(with_passwords).unwrap();
            assert!(!format!("{address:?}").contains("secret"));
        }
    }

    proptest! {
        /// Whatever bytes a password has: encoded, it comes out of every scheme.
        #[test]
        fn any_password_survives_encoding(password in prop::collection::vec(any::<u8>(), 1..40), user in "[a-z]{0,4}") {
            let encoded = password.iter().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
            for (scheme, end) in [("redis", ""), ("rediss", "/1"), ("redis+cluster", ""), ("redis+sentinel", "/main")] {
                let address = Address::parse(&format!("{scheme}://{user}:{encoded}@host{end}")).unwrap();
                prop_assert_eq!(&address.login.unwrap().password, &password, "{}", scheme);
            }
        }

        /// Nothing makes it panic.
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", scheme in "(redis|rediss\\+cluster|redis\\+sentinel|unix)") {
            let _ = Address::parse(&format!("{scheme}://{text}"));
        }
    }
}
