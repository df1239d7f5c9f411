//! The environment: lines of `NAME=value`. Whatever they say, there are settings or faults that name them.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use rescored_server::config::{Config, Host, reference};

fuzz_target!(|data: &[u8]| {
    let vars = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&line[..at]), OsStr::from_bytes(&line[at + 1..])))
    });
    match Config::from_vars(vars, &Host { cores: 2 }) {
        Ok(config) => drop(reference::summary(&config.effective)),
        Err(error) => assert!(!error.faults().is_empty() && !error.to_string().is_empty()),
    }
});
