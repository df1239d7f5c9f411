//! Names for requests: the caller's own where it is usable, a fresh one otherwise.
//!
//! Owns the rule of what may be echoed into headers and logs: nothing that means something to a page, a terminal or a
//! shell that shows them. It must not know what a request asks.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longer names are replaced, not cut: half a name finds nothing.
const LONGEST: usize = 128;

/// The caller's name for its request when it has at most 128 characters, all of them ASCII letters, digits or one of
/// `-_.:/`; a fresh one otherwise.
pub(super) fn of(header: Option<&[u8]>) -> String {
    header
        .filter(|name| !name.is_empty() && name.len() <= LONGEST && name.iter().all(|&byte| is_plain(byte)))
        .and_then(|name| std::str::from_utf8(name).ok())
        .map_or_else(fresh, str::to_owned)
}

/// What UUIDs, trace ids, and the paths of load balancers are made of.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/')
}

/// A name that no other request has, in this process or (by a random start) in any other.
fn fresh() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("rescored"));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case B19.
    #[test]
    fn usable_names_are_kept_and_others_replaced() {
        for good in
            ["abc-123", "0af7651916cd43dd8448eb211c80319c", "a/b:c.d_E-9", "1-67891233-abcdef012345678912345678"]
        {
            assert_eq!(of(Some(good.as_bytes())), good);
        }
        let long = "x".repeat(129);
        for (bad, why) in [
            (&b""[..], "empty"),
            (b"a\tb", "holds a control character"),
            (b"a b", "holds a space"),
            (b"a\xffb", "not ASCII"),
            (b"<script>alert(1)</script>", "is markup"),
            (b"a\"b", "ends a string"),
            (b"a;b", "separates"),
            (b"$(id)", "is a shell's"),
            (b"\x1b[31m", "is a terminal's"),
            (b"a%0d%0ab", "is escaped"),
            (long.as_bytes(), "too long"),
        ] {
            let name = of(Some(bad));
            assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{why}: {name}");
        }
        assert_ne!(of(None), of(None), "two fresh names must differ");
    }
}
