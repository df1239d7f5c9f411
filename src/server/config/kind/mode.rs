//! Permissions of a file.

use super::{Kind, Wrong};

/// Permission bits in octal digits, as `chmod` takes them.
pub(in crate::config) struct Mode;

impl Kind for Mode {
    type Value = u32;

    fn parse(&self, text: &str) -> Result<u32, Wrong> {
        let octal = text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
        mode.ok_or_else(|| Wrong::new("is no file mode").hint("write three octal digits, such as `660`"))
    }

    fn render(&self, value: &u32) -> String {
        format!("{value:03o}")
    }

    fn values(&self) -> String {
        "octal digits, such as `660`".to_owned()
    }
}
