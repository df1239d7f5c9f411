//! What stands after the `?` of an address: a login, certificates, a database, as its scheme allows.
//!
//! Names are those that other clients have: a socket's as in the redis crate, certificates' as in redis-py, sentinels' as in
//! go-redis. Owns which scheme takes which. Pure. It must not know what stands before the `?`.

use std::path::PathBuf;

use super::login::{Login, UrlError, decoded};
use super::tls::Certificates;

/// Where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Socket,
    Sentinels { tls: bool },
    Other { tls: bool },
}

/// What they say.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) database: Option<String>,
    /// Of a socket's server, or of the sentinels.
    pub(super) login: Option<Login>,
    pub(super) certificates: Certificates,
}

/// As they are written.
#[derive(Default)]
struct Written {
    database: Option<String>,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Parameters {
    /// Reads them.
    pub(super) fn read(query: Option<&str>, after: After) -> Result<Self, UrlError> {
        let mut written = Written::default();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or(UrlError::new("has a parameter without a value; write `name=value` after the `?`"))?;
            // In a query a plus sign is a space.
            written.take(name, &value.replace('+', "%20"), after)?;
        }
        written.judged(after)
    }
}

impl After {
    const fn has_tls(self) -> bool {
        matches!(self, Self::Sentinels { tls: true } | Self::Other { tls: true })
    }

    const fn unknown(self) -> UrlError {
        UrlError::new(match self {
            Self::Socket => "has an unknown parameter; known after a socket are `db`, `user` and `pass`",
            Self::Sentinels { .. } => {
                "has an unknown parameter after `?`; known are `sentinel_username`, `sentinel_password`, and with TLS \
                 `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`"
            }
            Self::Other { .. } => {
                "has an unknown parameter after `?`; known are `protocol=resp2`, which is the default, and with TLS \
                 `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`"
            }
        })
    }
}

impl Written {
    fn take(&mut self, name: &str, value: &str, after: After) -> Result<(), UrlError> {
        let path = |value: &str| -> Result<PathBuf, UrlError> {
            let bytes = decoded(value)?;
            if bytes.is_empty() || bytes.contains(&0) {
                return Err(UrlError::new("names no file after `ssl_ca_certs`, `ssl_certfile` or `ssl_keyfile`"));
            }
            Ok(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes)))
        };
        let is_new = match (name, after) {
            ("db", After::Socket) => self.database.replace(value.to_owned()).is_none(),
            ("user", After::Socket) | ("sentinel_username", After::Sentinels { .. }) => {
                self.user.replace(decoded(value)?).is_none()
            }
            ("pass", After::Socket) | ("sentinel_password", After::Sentinels { .. }) => {
                self.password.replace(decoded(value)?).is_none()
            }
            ("protocol", After::Sentinels { .. } | After::Other { .. }) if matches!(value, "resp2" | "2") => true,
            ("ssl_ca_certs" | "ssl_certfile" | "ssl_keyfile", After::Sentinels { .. } | After::Other { .. }) => {
                if !after.has_tls() {
                    return Err(UrlError::new("names certificates without TLS; write `rediss` or `valkeys` for it"));
                }
                let place = match name {
                    "ssl_ca_certs" => &mut self.authorities,
                    "ssl_certfile" => &mut self.certificate,
                    _ => &mut self.key,
                };
                place.replace(path(value)?).is_none()
            }
            (name, After::Sentinels { .. } | After::Other { .. }) if name.starts_with("ssl_") => {
                return Err(UrlError::new(
                    "has an unknown parameter for TLS; known are `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`; \
                     certificates are always checked",
                ));
            }
            _ => return Err(after.unknown()),
        };
        if is_new { Ok(()) } else { Err(UrlError::new("has a parameter twice")) }
    }

    fn judged(self, after: After) -> Result<Parameters, UrlError> {
        let Self { database, user, password, authorities, certificate, key } = self;
        let user = user.filter(|user| !user.is_empty());
        let login = match (user, password) {
            (None, None) => None,
            // As before an `@`: nothing is no login.
            (None, Some(password)) if password.is_empty() => None,
            (user, Some(password)) => Some(Login { user, password }),
            (Some(_), None) => {
                return Err(UrlError::new(if after == After::Socket {
                    "names a user and no password; add `&pass=password`"
                } else {
                    "names a user of the sentinels and no password; add `&sentinel_password=password`"
                }));
            }
        };
        let own = match (certificate, key) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(UrlError::new("names `ssl_keyfile` and no certificate; add `&ssl_certfile=path`"));
            }
            // One file commonly holds both.
            (Some(certificate), key) => {
                let key = key.unwrap_or_else(|| certificate.clone());
                Some((certificate, key))
            }
        };
        Ok(Parameters { database, login, certificates: Certificates { authorities, own } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTINELS: After = After::Sentinels { tls: true };
    const TLS: After = After::Other { tls: true };

    #[test]
    fn each_kind_of_address_takes_its_own_parameters() {
        let login = |user: Option<&str>, password: &str| Login {
            user: user.map(|user| user.as_bytes().to_vec()),
            password: password.as_bytes().to_vec(),
        };
        for (query, after, expected) in [
            ("db=1&user=u&pass=p%40+s", After::Socket, Some(login(Some("u"), "p@ s"))),
            ("sentinel_password=p%26%3D", SENTINELS, Some(login(None, "p&="))),
            ("sentinel_username=&sentinel_password=p", SENTINELS, Some(login(None, "p"))),
            ("sentinel_password=p&sentinel_username=%C3%A9&", SENTINELS, Some(login(Some("\u{e9}"), "p"))),
            ("sentinel_password=", SENTINELS, None),
            ("protocol=resp2", SENTINELS, None),
            ("", TLS, None),
        ] {
            assert_eq!(Parameters::read(Some(query), after).unwrap().login, expected, "{query}");
        }
        let reported = Parameters::read(Some("ssl_ca_certs=/a%20b/ca.pem&ssl_certfile=c&ssl_keyfile=k"), TLS).unwrap();
        let own = Some(("c".into(), "k".into()));
        assert_eq!(reported.certificates, Certificates { authorities: Some("/a b/ca.pem".into()), own });
        let reported = Parameters::read(Some("ssl_certfile=both.pem"), SENTINELS).unwrap();
        assert_eq!(reported.certificates.own, Some(("both.pem".into(), "both.pem".into())), "one file may hold both");
        assert_eq!(Parameters::read(None, After::Socket).unwrap().certificates, Certificates::default());
    }

    #[test]
    fn others_are_refused_with_a_hint_and_without_their_text() {
        for (query, after, hint) in [
            ("secret", TLS, "name=value"),
            ("secret=1", TLS, "unknown parameter"),
            ("sentinel_password=secret", TLS, "unknown parameter"),
            ("user=secret&pass=secret", SENTINELS, "`sentinel_password`"),
            ("sentinel_username=secret", SENTINELS, "add `&sentinel_password=password`"),
            ("sentinel_password=secret&sentinel_password=secret", SENTINELS, "twice"),
            ("sentinel_password=sec%ret", SENTINELS, "`%25`"),
            ("protocol=resp3", TLS, "`protocol=resp2`"),
            ("ssl_ca_certs=secret", After::Other { tls: false }, "`rediss`"),
            ("ssl_ca_certs=secret", After::Sentinels { tls: false }, "`rediss`"),
            ("ssl_ca_certs=secret", After::Socket, "unknown parameter"),
            ("ssl_ca_certs=", TLS, "names no file"),
            ("ssl_ca_certs=secret%00", TLS, "names no file"),
            ("ssl_keyfile=secret", TLS, "`&ssl_certfile=path`"),
            ("ssl_cert_reqs=none", TLS, "always checked"),
        ] {
            let sentence = Parameters::read(Some(query), after).unwrap_err().to_string();
            assert!(sentence.contains(hint) && !sentence.contains("secret"), "{query}: {sentence}");
        }
    }
}
