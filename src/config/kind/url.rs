//! The address of a shared cache.

use super::{Kind, Wrong};
use crate::cache::options;

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
        "`redis://user:password@host:port/db`, `rediss://` and `valkey://` likewise, `unix:///path`, \
         `redis+cluster://host:port,host:port`, `redis+sentinel://host:port,host:port/master`"
            .to_owned()
    }
}
