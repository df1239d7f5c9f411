//! Addresses of other services: a shared cache, a receiver of traces.

use rescored_cache::options;
use rescored_process::telemetry::options as telemetry;

use super::{Kind, Wrong};

/// An address as the cache takes it; it may hold a password.
pub(in crate::config) struct Address;

impl Kind for Address {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Wrong> {
        options::check_url(text).map_err(|error| Wrong::new(error.to_string()))?;
        Ok(text.to_owned())
    }

    fn render(&self, value: &String) -> String {
        value.clone()
    }

    fn values(&self) -> String {
        "`redis://user:password@host:port/db`, `rediss://`, `valkey://` and `valkeys://` likewise, \
         `redis+cluster://user:password@host:port,host:port`, `redis+sentinel://user:password@host:port,host:port/master/db`, \
         `unix:///path?db=1&user=name&pass=password`; after a `?`, `sentinel_username` and `sentinel_password` where sentinels \
         have their own, and `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files in PEM) for TLS with certificates that no \
         public authority made; values percent-encoded"
            .to_owned()
    }
}

/// An address that traces are sent to.
pub(in crate::config) struct Endpoint;

impl Kind for Endpoint {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Wrong> {
        telemetry::check_endpoint(text).map_err(|why| Wrong::new(why).hint("write `http://localhost:4318`"))?;
        Ok(text.to_owned())
    }

    fn render(&self, value: &String) -> String {
        value.clone()
    }

    fn values(&self) -> String {
        "`http://host:port` or `https://host:port`, and a path where it is not `/v1/traces`".to_owned()
    }
}
