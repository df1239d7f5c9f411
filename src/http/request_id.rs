//! Names for requests: the caller's own where it is usable, a fresh one otherwise.
//!
//! Owns the rule of what may be echoed into headers and logs. It must not know what a request asks.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longer names are replaced, not cut: half a name finds nothing.
const LONGEST: usize = 128;

/// The caller's name for its request when it is printable ASCII of at most 128 characters, a fresh one otherwise.
pub(super) fn of(header: Option<&[u8]>) -> String {
    header
        .filter(|name| !name.is_empty() && name.len() <= LONGEST && name.iter().all(|b| matches!(b, b' '..=b'~')))
        .and_then(|name| std::str::from_utf8(name).ok())
        .map_or_else(fresh, str::to_owned)
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

    #[test]
    fn usable_names_are_kept_and_others_replaced() {
        assert_eq!(of(Some(b"abc-123")), "abc-123");
        let long = "x".repeat(129);
        for (bad, why) in [
            (&b""[..], "empty"),
            (b"a\tb", "holds a control character"),
            (b"a\xffb", "not ASCII"),
            (long.as_bytes(), "too long"),
        ] {
            let name = of(Some(bad));
            assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{why}: {name}");
        }
        assert_ne!(of(None), of(None), "two fresh names must differ");
    }
}
