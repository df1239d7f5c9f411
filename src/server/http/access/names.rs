//! Names of servers and of pages: what `Host` and `Origin` say, and what settings list.
//!
//! Owns their grammar, which is strict: what a browser would not send is nothing that can be compared. It must not know
//! who is let in.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of a name at most, as in the domain name system.
const LONGEST_NAME: usize = 253;

/// A host, by name (lower case, without a final dot) or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// What a `Host` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

/// A host that a setting allows: any, one, or all below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Allowed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Any,
    Below(String),
    One(Host),
}

/// Where a page comes from: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
    /// `None` is the scheme's own.
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']')?;
            // A zone means something on one host only.
            let address = inside.split_once('%').map_or(inside, |(address, _)| address);
            return Some(Self::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return address.is_ipv4().then_some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // Names that end in a number are addresses in odd spellings, of which browsers send none.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) && name.contains('.');
        let fits = name.len() <= LONGEST_NAME && name.split('.').all(is_label) && !is_number;
        fits.then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

impl Authority {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`; `None` for anything else, user names included.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rfind(':') {
            Some(colon) if !text.ends_with(']') => (text.get(..colon)?, text.get(colon + 1..)?),
            _ => (text, ""),
        };
        let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| is_port)?) };
        Some(Self { host: Host::parse(host)?, port })
    }
}

impl HostName {
    /// Reads a setting's item: `*`, `*.example.com`, a name or an address without a port.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self(Allowed::Any));
        }
        if let Some(below) = text.strip_prefix("*.") {
            let Some(Host::Name(name)) = Host::parse(below) else { return None };
            return Some(Self(Allowed::Below(name)));
        }
        let bare = text.parse::<Ipv6Addr>().map(|address| Host::Address(IpAddr::V6(address).to_canonical()));
        bare.ok().or_else(|| Host::parse(text)).map(|host| Self(Allowed::One(host)))
    }

    pub(super) fn allows(&self, host: &Host) -> bool {
        match &self.0 {
            Allowed::Any => true,
            Allowed::One(one) => one == host,
            Allowed::Below(name) => matches!(host, Host::Name(host) if is_below(host, name)),
        }
    }
}

/// Whether a name has another one as its end, with something before it.
pub(super) fn is_below(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
}

impl Origin {
    /// Reads `scheme://host` or `scheme://host:port`; `None` for anything else, `null` included.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let Authority { host, port } = Authority::parse(authority).filter(|_| is_scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.filter(|port| Some(*port) != usual_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether a page from here asks the server that it came from: the same host and port, over HTTP with TLS or without,
    /// which a proxy in front may have taken off.
    pub(super) fn is_at(&self, authority: &Authority) -> bool {
        let port = authority.port.filter(|port| Some(*port) != usual_port(&self.scheme));
        matches!(self.scheme.as_str(), "http" | "https") && self.host == authority.host && self.port == port
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Allowed::Any => f.write_str("*"),
            Allowed::Below(name) => write!(f, "*.{name}"),
            Allowed::One(host) => host.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_browsers_write_them_and_nothing_else_is() {
        for (text, host, port) in [
            ("Rescored:8787", "rescored", Some(8787)),
            ("LOCALHOST.", "localhost", None),
            ("a.b-c_d.e:", "a.b-c_d.e", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]:8787", "[::1]", Some(8787)),
            ("[::ffff:127.0.0.1]", "127.0.0.1", None),
            ("[fe80::1%25eth0]", "[fe80::1]", None),
        ] {
            let read = Authority::parse(text).unwrap_or_else(|| panic!("{text} is a host"));
            assert_eq!((read.host.to_string().as_str(), read.port), (host, port), "{text}");
        }
        for text in [
            "",
            ".",
            ":80",
            "a..b",
            "localhost@evil.example",
            "localhost:80@evil.example",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "localhost:http",
            "localhost:99999",
            "localhost:+1",
            "::1",
            "[::1",
            "[localhost]",
            "[127.0.0.1]",
            "127.1",
            "0x7f.0.0.1",
            "1.2.3.4.5",
            "é.example",
            "localhost,evil.example",
            "a:1:2",
            "%6cocalhost",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn settings_name_hosts() {
        let allows =
            |setting: &str, host: &str| HostName::parse(setting).unwrap().allows(&Authority::parse(host).unwrap().host);
        for (setting, host, expected) in [
            ("*", "anything.example", true),
            ("Search.Example", "search.example:80", true),
            ("search.example", "x.search.example", false),
            ("*.search.example", "a.b.search.example", true),
            ("*.search.example", "search.example", false),
            ("*.search.example", "xsearch.example", false),
            ("2001:db8::1", "[2001:DB8::1]:8787", true),
            ("[2001:db8::1]", "[2001:db8::1]", true),
            ("192.0.2.1", "192.0.2.1", true),
        ] {
            assert_eq!(allows(setting, host), expected, "{setting}, {host}");
        }
        for wrong in ["", "*.", "a:80", "http://a", "a/b", "*a", "a.*", "*.1.2.3.4"] {
            assert_eq!(HostName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_at_a_server_when_host_and_port_are_the_same() {
        for (origin, host, expected) in [
            ("http://localhost:8787", "localhost:8787", true),
            ("http://LOCALHOST:8787", "localhost.:8787", true),
            ("http://localhost:3000", "localhost:8787", false),
            ("http://localhost", "localhost:8787", false),
            ("http://127.0.0.1:8787", "localhost:8787", false),
            ("http://h", "h:80", true),
            ("https://h", "h", true),
            ("https://h:443", "h", true),
            ("https://h", "h:443", true),
            ("https://h", "h:80", false),
            ("http://[::1]:8787", "[::1]:8787", true),
            ("ws://h", "h", false),
            ("chrome-extension://abcdef", "abcdef", false),
        ] {
            let (origin, host) = (Origin::parse(origin).unwrap(), Authority::parse(host).unwrap());
            assert_eq!(origin.is_at(&host), expected, "{origin}, {host:?}");
        }
        for wrong in
            ["null", "", "localhost", "http://", "http://a/", "http://a@b", "http://a b", "//a", "http://a,http://b"]
        {
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Origin::parse("HTTPS://Search.Example:443").unwrap().to_string(), "https://search.example");
    }
}
