//! Bodies of every face: the first byte chooses the face, the rest is the body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((face, body)) = data.split_first() {
        rescored_server::http::read_body(usize::from(*face), body);
    }
});
