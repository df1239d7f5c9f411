//! Whose requests are taken, by what `Host` and `Origin` say: a web page must not have a browser on this host, or in this
//! network, do what it could not do itself.
//!
//! - `names`: the grammar of hosts and origins.
//!
//! # The rule
//! Probes, metrics, descriptions and the files of the page at `/ui` are for everybody. Everything else needs a `Host` that
//! is ours, unless it comes through a UNIX socket or with an API key that is in force, which no foreign page has: a name
//! without a dot (`localhost`, a container's or a service's), one below `localhost`, `internal`, `home.arpa`, `svc` or
//! `cluster.local`, this host's own name, a loopback, private or link-local address, an address that is listened on, or
//! what `RESCORED_ALLOWED_HOSTS` lists; all other names can be made to point here by whoever owns them (DNS rebinding).
//! Ports are not looked at, for they are mapped often. An `Origin`, which browsers send with whatever changes something,
//! must be the server that the request goes to or one that `RESCORED_ALLOWED_ORIGINS` lists, whatever the key; only those
//! in the list get the CORS headers that let them read answers.
//!
//! It must not know keys, nor what a request asks for. `X-Forwarded-Host` is the caller's word and means nothing.

pub(super) mod names;

use std::net::IpAddr;

use actix_web::http::Uri;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use self::names::{Authority, Host, HostName, Origin, is_below};
use super::error::printable;
use super::options::Listen;

/// Names that nobody can register: those below them are given by the host, the container runtime or the cluster.
const PRIVATE: [&str; 5] = ["localhost", "internal", "home.arpa", "svc", "cluster.local"];

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Through a UNIX socket, whose file says who may.
    Unix,
    /// Over TCP, to this address of ours, where the system knows it.
    Tcp(Option<IpAddr>),
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Access {
    hosts: Vec<HostName>,
    origins: Vec<Origin>,
    listened: Vec<IpAddr>,
    /// This host's own name.
    own: Option<Host>,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) header: &'static str,
    pub(super) value: String,
    pub(super) setting: &'static str,
}

impl Access {
    /// What the settings allow beside what is ours anyway.
    pub(super) fn new(hosts: Vec<HostName>, origins: Vec<Origin>, listen: &[Listen]) -> Self {
        let listened = listen.iter().filter_map(|listen| match listen {
            Listen::Tcp(address) => Some(address.ip().to_canonical()),
            Listen::Unix(_) => None,
        });
        let own = rustix::system::uname().nodename().to_str().ok().and_then(Authority::parse).map(|own| own.host);
        Self { hosts, origins, listened: listened.collect(), own }
    }

    /// Whether a request may go on that changes something or costs something.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        target: &Uri,
        is_known: bool,
        arrival: Arrival,
    ) -> Result<(), Foreign> {
        let host = self.host(headers, target, is_known || arrival == Arrival::Unix, arrival)?;
        self.origin(headers, host.as_ref())
    }

    /// The host that the request is for, once it is ours; `is_trusted` when it need not be.
    fn host(
        &self,
        headers: &HeaderMap,
        target: &Uri,
        is_trusted: bool,
        arrival: Arrival,
    ) -> Result<Option<Authority>, Foreign> {
        let mut host = None;
        let named = headers.get_all(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        // The target's own comes last: of two, it is the one that counts. HTTP/1.0 has requests without any.
        for given in named.chain(target.authority().map(ToString::to_string)) {
            let read = Authority::parse(&given);
            if !is_trusted && !read.as_ref().is_some_and(|read| self.is_ours(&read.host, arrival)) {
                return Err(Foreign { header: "host", value: printable(&given), setting: "RESCORED_ALLOWED_HOSTS" });
            }
            host = read;
        }
        Ok(host)
    }

    fn is_ours(&self, host: &Host, arrival: Arrival) -> bool {
        let ours = match host {
            Host::Address(address) => {
                is_private(*address) || self.listened.contains(address) || arrival == Arrival::Tcp(Some(*address))
            }
            Host::Name(name) => !name.contains('.') || PRIVATE.iter().any(|private| is_below(name, private)),
        };
        ours || self.own.as_ref() == Some(host) || self.hosts.iter().any(|allowed| allowed.allows(host))
    }

    /// Whether the page that asks, if one does, may.
    fn origin(&self, headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Foreign> {
        let mut origins = headers.get_all(header::ORIGIN).peekable();
        let setting = "RESCORED_ALLOWED_ORIGINS";
        if origins.peek().is_none() {
            // Browsers say this much of requests that carry no origin, such as those of pictures and links.
            let mut sites = headers.get_all("sec-fetch-site").map(HeaderValue::as_bytes);
            return match sites.find(|site| !matches!(*site, b"same-origin" | b"none")) {
                None => Ok(()),
                Some(other) => {
                    let value = printable(&String::from_utf8_lossy(other));
                    Err(Foreign { header: "sec-fetch-site", value, setting })
                }
            };
        }
        for given in origins {
            let given = String::from_utf8_lossy(given.as_bytes());
            let origin = Origin::parse(&given);
            let is_ours =
                |origin: &Origin| host.is_some_and(|host| origin.is_at(host)) || self.origins.contains(origin);
            if !origin.as_ref().is_some_and(is_ours) {
                return Err(Foreign { header: "origin", value: printable(&given), setting });
            }
        }
        Ok(())
    }

    /// Whether pages from elsewhere are allowed by the setting.
    pub(super) const fn lists_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The origin's header when pages from there are allowed by the setting.
    pub(super) fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let given = headers.get(header::ORIGIN)?;
        let origin = Origin::parse(given.to_str().ok()?)?;
        self.origins.contains(&origin).then(|| given.clone())
    }
}

/// Loopback, unspecified, private and link-local addresses: none of them is a name that somebody else can move.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            // 100.64.0.0/10 is between a carrier and its customers.
            let is_shared = four.octets()[0] == 100 && four.octets()[1] & 0xC0 == 64;
            four.is_loopback() || four.is_unspecified() || four.is_private() || four.is_link_local() || is_shared
        }
        IpAddr::V6(six) => {
            six.is_loopback() || six.is_unspecified() || six.is_unique_local() || six.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn access(hosts: &[&str], origins: &[&str]) -> Access {
        let hosts = hosts.iter().map(|host| HostName::parse(host).unwrap()).collect();
        let origins = origins.iter().map(|origin| Origin::parse(origin).unwrap()).collect();
        let listen = ["203.0.113.5:8787", "0.0.0.0:8787"].map(|at| Listen::Tcp(at.parse().unwrap()));
        Access { own: Some(Host::Name("node7.example".into())), ..Access::new(hosts, origins, &listen) }
    }

    fn asks(
        access: &Access,
        given: &[(&'static str, &str)],
        known: bool,
        arrival: Arrival,
    ) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        let mut target = Uri::from_static("/v1/rerank");
        for (name, value) in given {
            if *name == "target" {
                target = value.parse().unwrap();
            } else {
                headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
        }
        access.admit(&headers, &target, known, arrival).map_err(|foreign| foreign.header)
    }

    const HERE: Arrival = Arrival::Tcp(Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7))));

    // Case C1.
    #[test]
    fn hosts_of_ours_are_let_in_and_names_that_others_own_are_not() {
        let plain = access(&[], &[]);
        for ours in [
            "localhost",
            "LocalHost:8787",
            "localhost.:1",
            "app.localhost",
            "127.0.0.1:8787",
            "127.9.9.9",
            "[::1]:8787",
            "0.0.0.0:8787",
            "[::]",
            "rescored:8787",
            "x",
            "rescored.search.svc",
            "rescored.search.svc.cluster.local:80",
            "host.docker.internal:8787",
            "10.1.2.3",
            "172.20.0.4",
            "192.168.1.9:80",
            "169.254.1.1",
            "100.64.0.1",
            "[fd00::1]",
            "[fe80::1%25eth0]",
            "203.0.113.5",
            "198.51.100.7",
            "node7.example",
            "[::ffff:10.0.0.1]",
        ] {
            assert_eq!(asks(&plain, &[("host", ours)], false, HERE), Ok(()), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "evil.example:8787",
            "xlocalhost.evil",
            "evil.svc.example",
            "svc.evil",
            "93.184.216.34",
            "[2001:db8::9]",
            "172.32.0.1",
            "100.128.0.1",
            "localhost@evil.example",
            "evil.example@localhost",
            "127.1",
            "",
            "notsvc.x",
            "localhost evil.example",
        ] {
            assert_eq!(asks(&plain, &[("host", foreign)], false, HERE), Err("host"), "{foreign}");
            assert_eq!(asks(&plain, &[("host", foreign)], true, HERE), Ok(()), "{foreign} with a key");
            assert_eq!(asks(&plain, &[("host", foreign)], false, Arrival::Unix), Ok(()), "{foreign} by a UNIX socket");
        }
        assert_eq!(asks(&plain, &[], false, HERE), Ok(()), "HTTP/1.0 has requests without a host");
        let configured = access(&["search.example", "*.internal.example"], &[]);
        for ours in ["search.example:443", "a.internal.example"] {
            assert_eq!(asks(&configured, &[("host", ours)], false, HERE), Ok(()), "{ours}");
        }
        assert_eq!(asks(&access(&["*"], &[]), &[("host", "any.example")], false, HERE), Ok(()));
    }

    // Case C1.
    #[test]
    fn neither_a_second_host_nor_the_targets_nor_a_proxys_word_gets_in() {
        let plain = access(&[], &[]);
        for (case, given, outcome) in [
            ("two hosts", &[("host", "localhost"), ("host", "evil.example")][..], Err("host")),
            ("two hosts the other way", &[("host", "evil.example"), ("host", "localhost")], Err("host")),
            ("a foreign target", &[("host", "localhost"), ("target", "http://evil.example/v1/rerank")], Err("host")),
            (
                "a foreign host behind our target",
                &[("host", "evil.example"), ("target", "http://localhost/")],
                Err("host"),
            ),
            ("our target", &[("host", "localhost"), ("target", "http://localhost/v1/rerank")], Ok(())),
            ("a proxy's word", &[("host", "evil.example"), ("x-forwarded-host", "localhost")], Err("host")),
            (
                "a proxy's word of a foreign host",
                &[("host", "localhost"), ("x-forwarded-host", "evil.example")],
                Ok(()),
            ),
        ] {
            assert_eq!(asks(&plain, given, false, HERE), outcome, "{case}");
        }
    }

    // Case C1.
    #[test]
    fn pages_from_elsewhere_are_refused_and_our_own_is_not() {
        let plain = access(&[], &[]);
        let host = ("host", "localhost:8787");
        for (case, given, outcome) in [
            ("our own page", &[host, ("origin", "http://localhost:8787")][..], Ok(())),
            ("another port", &[host, ("origin", "http://localhost:3000")], Err("origin")),
            ("another name of ours", &[host, ("origin", "http://127.0.0.1:8787")], Err("origin")),
            ("a page of the web", &[host, ("origin", "https://evil.example")], Err("origin")),
            ("a page without an origin", &[host, ("origin", "null")], Err("origin")),
            ("an empty one", &[host, ("origin", "")], Err("origin")),
            ("two", &[host, ("origin", "http://localhost:8787"), ("origin", "https://evil.example")], Err("origin")),
            ("a picture in a page of the web", &[host, ("sec-fetch-site", "cross-site")], Err("sec-fetch-site")),
            ("a picture in our page", &[host, ("sec-fetch-site", "same-origin")], Ok(())),
            ("an address that was typed", &[host, ("sec-fetch-site", "none")], Ok(())),
            ("rebinding", &[("host", "evil.example:8787"), ("origin", "http://evil.example:8787")], Err("host")),
        ] {
            assert_eq!(asks(&plain, given, false, HERE), outcome, "{case}");
        }
        let evil = [host, ("origin", "https://evil.example")];
        assert_eq!(asks(&plain, &evil, true, HERE), Err("origin"), "a key is no leave for a page");
        assert_eq!(asks(&plain, &evil, false, Arrival::Unix), Err("origin"), "nor is a proxy before a UNIX socket");
        let configured = access(&[], &["https://search.example"]);
        let allowed = [host, ("origin", "https://search.example:443"), ("sec-fetch-site", "cross-site")];
        assert_eq!(asks(&configured, &allowed, false, HERE), Ok(()));
        assert_eq!(
            asks(&configured, &[host, ("origin", "http://search.example")], false, HERE),
            Err("origin"),
            "another scheme"
        );
    }
}
