//! Requests to the model hub: redirects, ranges, and the token that lets in.
//!
//! Owns the client and whom the token is shown to: the hub itself, and no store that it redirects to. Proxies
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are the client library's. It must not know what is asked for.

use std::fmt;
use std::time::Duration;

use rescored_runtime::checksum::Sha256;
use ureq::Agent;
use ureq::http::{Response, header};

use crate::fetch::FetchError;

/// The hub that is asked when none is named.
pub const DEFAULT_HUB: &str = "https://huggingface.co";

/// Hops from the hub's address to the store that holds the bytes; the hub takes two or three.
const HOPS: u32 = 8;

/// What lets in at the hub. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The way to a hub.
pub(in crate::fetch) struct Connection {
    agent: Agent,
    hub: String,
    token: Option<Token>,
}

/// The answer at the end of the redirects.
pub(super) struct Answer {
    pub(super) response: Response<ureq::Body>,
    /// The checksum that the hub itself states for large files.
    pub(super) stated: Option<Sha256>,
}

/// Why a request has no answer.
pub(super) enum Failed {
    /// Another one may have.
    Connection(Box<dyn std::error::Error + Send + Sync>),
    /// None will: it was led astray.
    Redirected,
}

impl Token {
    /// # Errors
    /// When it cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, FetchError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(FetchError::Token);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl Connection {
    pub(in crate::fetch) fn new(hub: &str, token: Option<&Token>) -> Self {
        Self { agent: agent(), hub: hub.trim_end_matches('/').to_owned(), token: token.cloned() }
    }

    /// The hub's address, without a slash at its end.
    pub(in crate::fetch) fn hub(&self) -> &str {
        &self.hub
    }

    /// Whether the hub is shown a token.
    pub(super) const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for the bytes from `offset` on, and follows redirects by hand: what the hub states about a file stands in
    /// the headers of the redirect, and the token stays with the hub.
    pub(super) fn ask(&self, url: &str, offset: u64) -> Result<Answer, Failed> {
        let mut url = url.to_owned();
        let mut stated = None;
        for _ in 0..HOPS {
            let mut request = self.agent.get(&url);
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            if let Some(Token(token)) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.hub)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| Failed::Connection(error.into()))?;
            stated = stated.or_else(|| linked_checksum(&response));
            if !response.status().is_redirection() {
                return Ok(Answer { response, stated });
            }
            let Some(next) = text(&response, header::LOCATION.as_str()).and_then(|to| join(&url, to)) else { break };
            url = next;
        }
        Err(Failed::Redirected)
    }
}

impl Failed {
    /// The same as the cause of another error.
    pub(super) fn cause(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Connection(cause) => cause,
            Self::Redirected => "redirected too often, to nowhere, or from https to http".into(),
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // A compressed answer has no byte ranges of the file.
        .accept_encoding("identity")
        .user_agent(concat!("rescored/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// A header's text.
pub(super) fn text<'a>(response: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Files in large-file storage carry their SHA-256 as the linked entity tag.
fn linked_checksum(response: &Response<ureq::Body>) -> Option<Sha256> {
    text(response, "x-linked-etag")?.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// Scheme, host and port of an address, as they are written: whom it leads to.
pub(super) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#', '\\']).next()?;
    (!host.is_empty()).then(|| format!("{scheme}://{host}").to_ascii_lowercase())
}

/// The address that a redirect from `base` leads to; never from https to http.
fn join(base: &str, to: &str) -> Option<String> {
    let (scheme, _) = base.split_once("://")?;
    if to.starts_with("https://") || (to.starts_with("http://") && scheme == "http") {
        return Some(to.into());
    }
    let origin = origin(base)?;
    (to.starts_with('/') && !to.starts_with("//")).then(|| format!("{origin}{to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_on_but_never_out_of_encryption() {
        for (base, to, expected) in [
            ("https://hub/a/b", "/c/d", Some("https://hub/c/d")),
            ("https://hub/a/b", "https://store/x?y=1", Some("https://store/x?y=1")),
            ("https://hub/a/b", "http://store/x", None),
            ("http://hub:80/a", "http://store/x", Some("http://store/x")),
            ("https://hub/a", "//store/x", None),
            ("https://hub/a", "ftp://store/x", None),
        ] {
            assert_eq!(join(base, to).as_deref(), expected, "{base} -> {to}");
        }
    }

    // Case D8.
    #[test]
    fn the_token_is_for_the_hub_by_scheme_host_and_port() {
        let hub = origin("https://huggingface.co");
        for (url, same) in [
            ("https://huggingface.co/us/m", true),
            ("https://HuggingFace.co?x", true),
            ("http://huggingface.co/us/m", false),
            ("https://huggingface.co:8443/us/m", false),
            ("https://huggingface.co@elsewhere/us/m", false),
            ("https://huggingface.co.elsewhere/us/m", false),
            ("https://cdn-lfs.huggingface.co/us/m", false),
        ] {
            assert_eq!(origin(url) == hub, same, "{url}");
        }
    }

    // Case D8.
    #[test]
    fn a_token_is_printed_nowhere_and_stands_in_a_header() {
        let token = Token::new(" hf_secret\n").expect("white space around it is none of it");
        assert_eq!(format!("{token:?}"), "Token(redacted)");
        for bad in ["", "a b", "a\r\nx: y", "ä"] {
            let fault = Token::new(bad).unwrap_err().to_string();
            assert!(fault.starts_with("HF_TOKEN: the value (redacted)"), "{fault}");
        }
    }
}
