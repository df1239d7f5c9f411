//! What a JSON body may take in memory once it is read, from its structure alone.
//!
//! A list of two bytes an item becomes a list of thirty and more; so the memory for reading a large body is taken by what
//! is counted here, before it is read. Pure and in one pass, piece by piece as the body arrives. It must not know what a
//! body means: it counts marks, whether the text is JSON or not.

/// Bytes for a string: its place in a list of texts or of named fields, and its part of that list's spare room.
const TEXT_BYTES: u64 = 96;

/// Bytes for an object or a list: itself, and the first room of what it holds.
const CONTAINER_BYTES: u64 = 160;

/// Bytes for any further item of a list or an object.
const ITEM_BYTES: u64 = 32;

/// Counts the marks of a JSON text that comes in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Structure {
    is_in_text: bool,
    is_escaped: bool,
    texts: u64,
    containers: u64,
    items: u64,
}

impl Structure {
    /// Takes the next piece in.
    pub(super) fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = if self.is_in_text { self.inside(rest) } else { self.outside(rest) };
        }
    }

    /// Bytes that what was read so far may take, its texts' own bytes aside.
    pub(super) const fn bytes(&self) -> u64 {
        self.texts * TEXT_BYTES + self.containers * CONTAINER_BYTES + self.items * ITEM_BYTES
    }

    /// The same of a reader that keeps places of values alone, and those of the fields that it wants.
    pub(super) const fn bytes_in_place(&self) -> u64 {
        (self.texts + self.items) * ITEM_BYTES
    }

    /// What follows the end of a string.
    fn inside<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        for (at, byte) in piece.iter().enumerate() {
            if std::mem::take(&mut self.is_escaped) {
                continue;
            }
            match byte {
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.is_in_text = false;
                    return piece.get(at + 1..).unwrap_or_default();
                }
                _ => {}
            }
        }
        &[]
    }

    /// What follows the beginning of a string.
    fn outside<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                b',' => self.items += 1,
                b'{' | b'[' => self.containers += 1,
                b'"' => {
                    self.texts += 1;
                    self.is_in_text = true;
                    return piece.get(at + 1..).unwrap_or_default();
                }
                _ => {}
            }
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(text: &str) -> (u64, u64, u64) {
        let mut structure = Structure::default();
        structure.read(text.as_bytes());
        (structure.texts, structure.containers, structure.items)
    }

    #[test]
    fn marks_count_outside_of_strings_alone() {
        let cases = [
            (r#"{"query":"q","documents":["a","b"]}"#, (5, 2, 2), "keys are strings, too"),
            (r#"["[{,\",","\\",1]"#, (2, 1, 2), "marks and escapes inside strings"),
            ("[[[[[[", (0, 6, 0), "nesting"),
            (r#"["" "" ""#, (3, 1, 0), "no JSON at all"),
            ("", (0, 0, 0), "nothing"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(counts(text), expected, "{why}");
        }
    }

    #[test]
    fn a_list_of_nothing_is_known_to_grow() {
        for item in ["\"\",", "{},", "[],", "{\"a\":\"\"},"] {
            let text = item.repeat(1000);
            let mut structure = Structure::default();
            structure.read(text.as_bytes());
            assert!(structure.bytes() > 100 * 1000, "{item}: {}", structure.bytes());
        }
        let mut text = Structure::default();
        text.read(format!("[\"{}\"]", "a".repeat(100_000)).as_bytes());
        assert!(text.bytes() < 1000, "one long text has no structure");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[\\[\\]{},\"\\\\a]{0,60}", cut in 0_usize..60) {
            let (mut whole, mut pieces) = (Structure::default(), Structure::default());
            whole.read(text.as_bytes());
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            pieces.read(first);
            pieces.read(second);
            prop_assert_eq!(whole, pieces);
        }
    }
}
