//! Bodies of every dialect: the first byte chooses the dialect, the rest is the body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((dialect, body)) = data.split_first() {
        rescored_server::http::read_body(usize::from(*dialect), body);
    }
});
