//! Options of logs and traces.

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Readable text.
    Text,
}

/// Settings of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A filter in the `tracing` syntax (`info`, `rescored=debug,actix_web=warn`).
    pub filter: String,
    /// The shape of a line.
    pub format: Format,
}

/// Where traces go, and which requests are traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// The receiver's address; nothing is traced without one.
    pub endpoint: Option<String>,
    /// Of a hundred requests whose callers did not decide, how many are traced.
    pub percent: u32,
}

/// Where a receiver takes traces when its address names no path.
const TRACES_PATH: &str = "/v1/traces";

impl TraceOptions {
    /// The whole address that spans are posted to.
    pub(super) fn address(endpoint: &str) -> String {
        let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        match host.split_once('/') {
            None => format!("{endpoint}{TRACES_PATH}"),
            Some((_, "")) => format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')),
            Some(_) => endpoint.to_owned(),
        }
    }
}

/// Whether a text is an address that traces can be sent to.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the text.
pub fn check_endpoint(text: &str) -> Result<(), &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Err("has no scheme") };
    if !matches!(scheme, "http" | "https") {
        return Err("is neither http nor https");
    }
    let host = rest.split('/').next().unwrap_or_default();
    match host {
        "" => Err("names no host"),
        _ if host.contains('@') => Err("holds a password, which would be printed; leave it out"),
        _ if text.chars().any(|c| c.is_whitespace() || c.is_control()) => Err("has a space in it"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_without_a_path_takes_traces_where_the_standard_says() {
        for (endpoint, address) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
        ] {
            assert_eq!(check_endpoint(endpoint), Ok(()));
            assert_eq!(TraceOptions::address(endpoint), address);
        }
    }

    #[test]
    fn addresses_that_cannot_be_sent_to_say_why() {
        for (text, why) in [
            ("localhost:4318", "has no scheme"),
            ("grpc://localhost:4317", "is neither http nor https"),
            ("http:///v1/traces", "names no host"),
            ("http://me:secret@host", "holds a password, which would be printed; leave it out"),
            ("http://a b", "has a space in it"),
        ] {
            assert_eq!(check_endpoint(text), Err(why), "{text}");
        }
    }
}
