//! Hosts by which a server may be asked, and origins of pages that may ask it.

use super::{Kind, Wrong, items};
use crate::http::options::{HostName, Origin};

/// Names and addresses, comma-separated.
pub(in crate::config) struct Hosts;

/// Origins of web pages, comma-separated.
pub(in crate::config) struct Origins;

impl Kind for Hosts {
    type Value = Vec<HostName>;

    fn parse(&self, text: &str) -> Result<Vec<HostName>, Wrong> {
        let host = |item: &str| {
            HostName::parse(item).ok_or_else(|| {
                let hint = match item {
                    _ if item.contains("://") => "leave the scheme out: a name such as `search.example`",
                    _ if item.contains(':') => "leave the port out: every port is meant",
                    _ => "write a name such as `search.example`, `*.example` for all below one, an address, or `*` for any",
                };
                Wrong::new(format!("has `{item}`, which is no host")).hint(hint)
            })
        };
        items(text)?.into_iter().map(host).collect()
    }

    fn render(&self, value: &Vec<HostName>) -> String {
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        "names, `*.name` for all below one, or addresses, without ports, comma-separated; `*` is any".to_owned()
    }
}

impl Kind for Origins {
    type Value = Vec<Origin>;

    fn parse(&self, text: &str) -> Result<Vec<Origin>, Wrong> {
        let origin = |item: &str| {
            Origin::parse(item).ok_or_else(|| {
                let hint = match item {
                    "*" => "name them one by one: a page that anybody wrote must not ask here",
                    "null" => "it does not identify an origin",
                    _ if item.contains("://") => "leave out what stands behind host and port",
                    _ => "write scheme and host, such as `https://search.example`",
                };
                Wrong::new(format!("has `{item}`, which is no origin")).hint(hint)
            })
        };
        items(text)?.into_iter().map(origin).collect()
    }

    fn render(&self, value: &Vec<Origin>) -> String {
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        "`scheme://host` or `scheme://host:port`, comma-separated".to_owned()
    }
}
