//! What strict parsers refuse and callers send all the same: a byte order mark before the text, and the escape of one
//! half of a surrogate pair without the other, which Java, Python and JavaScript write when they cut a text inside an
//! emoji. The half becomes U+FFFD, as it does in every decoder that goes on; its escape is as long as the half's own, so
//! nothing moves.
//!
//! Pure. It must not know what a text means; text that is not JSON comes out as little JSON as it was.

/// What some Windows tools write before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands in for half a character.
const REPLACEMENT: &[u8; 6] = b"\\ufffd";

/// What the two bytes after a backslash say, and where the next escape may begin.
enum Escape {
    /// Nothing is wrong up to here.
    Sound(usize),
    /// Half a character; the escape ends here.
    Lone(usize),
}

/// The text as a strict parser takes it; `None` when there is nothing of that kind to repair.
pub fn repaired(json: &[u8]) -> Option<Vec<u8>> {
    let marked = mark_len(json);
    let rest = json.get(marked..)?;
    let first = next_lone(rest, 0);
    if marked == 0 && first.is_none() {
        return None;
    }
    let mut repaired = rest.to_vec();
    let mut lone = first;
    while let Some(end) = lone {
        if let Some(escape) = repaired.get_mut(end - REPLACEMENT.len()..end) {
            escape.copy_from_slice(REPLACEMENT);
        }
        lone = next_lone(rest, end);
    }
    Some(repaired)
}

/// Bytes of a byte order mark before the text.
pub fn mark_len(json: &[u8]) -> usize {
    if json.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// Where the next escape of half a surrogate pair ends. `from` is not inside an escape.
fn next_lone(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = backslash(json, at)?;
        match escape(json, at) {
            Escape::Sound(next) => at = next,
            Escape::Lone(end) => return Some(end),
        }
    }
}

/// Judges the escape whose backslash stands at `at`.
fn escape(json: &[u8], at: usize) -> Escape {
    match unit(json, at) {
        Some(0xD800..0xDC00) if matches!(unit(json, at + 6), Some(0xDC00..0xE000)) => Escape::Sound(at + 12),
        Some(0xD800..0xE000) => Escape::Lone(at + 6),
        Some(_) => Escape::Sound(at + 6),
        // A backslash takes the next byte along, so that an escaped backslash begins nothing.
        None => Escape::Sound(at + 2),
    }
}

/// The number that `\uXXXX` at `at` stands for.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |number: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u16::try_from(digit).ok()?)
    })
}

/// The next backslash.
fn backslash(json: &[u8], from: usize) -> Option<usize> {
    json.get(from..)?.iter().position(|byte| *byte == b'\\').map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::scan::unescape;

    fn repaired_text(json: &str) -> String {
        repaired(json.as_bytes()).map_or_else(|| json.to_owned(), |bytes| String::from_utf8(bytes).expect("text"))
    }

    // Case B7.
    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_nothing_else_is() {
        let cases = [
            (r#""\ud83d""#, r#""\ufffd""#, "a high half at the end"),
            (r#""\ud83d x""#, r#""\ufffd x""#, "a high half before a text"),
            (r#""\ude00""#, r#""\ufffd""#, "a low half"),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#, "a whole pair stays"),
            (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#, "in upper case, too"),
            (r#""\uDBFF""#, r#""\ufffd""#, "the last high half, in upper case"),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#, "a pair the wrong way round"),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, "a half before a whole pair"),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#, "a half before another escape"),
            (r#""\ud83d\n""#, r#""\ufffd\n""#, "a half before a short escape"),
            (r#""\\ud83d""#, r#""\\ud83d""#, "an escaped backslash begins no escape"),
            (r#""\\\ud83d""#, r#""\\\ufffd""#, "an escaped backslash before a half"),
            (r#""\ud83d\\ude00""#, r#""\ufffd\\ude00""#, "an escaped backslash between halves"),
            (r#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#, "in a key"),
            (r#""\ud83""#, r#""\ud83""#, "what is no escape stays to be refused"),
            (r#""\ud83"#, r#""\ud83"#, "cut off"),
            ("\"\\", "\"\\", "a backslash at the end"),
            (r#""\ud7ff\ue000\u0000""#, r#""\ud7ff\ue000\u0000""#, "what is beside the halves stays"),
        ];
        for (given, expected, why) in cases {
            assert_eq!(repaired_text(given), expected, "{why}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_three_bytes_at_the_beginning() {
        assert_eq!(repaired("\u{feff}{}".as_bytes()), Some(b"{}".to_vec()));
        assert_eq!(repaired(b"{}"), None);
        assert_eq!(repaired(b"\xef\xbb"), None);
    }

    /// Pieces of strings around halves, with blocks of plain text between them.
    fn inside() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                r"\ud83d", r"\ude00", r"\uD800", r"\uDFFF", r"\\", r"\n", r"\u0041", r#"\""#, "ud83d", "x", "é"
            ])
            .prop_map(str::to_owned),
            (0_usize..140).prop_map(|length| "y".repeat(length)),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // Case B7.
        #[test]
        fn a_mended_string_reads_as_a_lenient_reader_reads_the_given_one(text in inside()) {
            let given = format!("\"{text}\"");
            let read: String = serde_json::from_str(&repaired_text(&given)).expect("a strict parser takes it");
            prop_assert_eq!(read, unescape(&text));
        }

        #[test]
        fn what_a_strict_parser_takes_stays_as_it_is(text in inside()) {
            let given = format!("\"{text}\"");
            if serde_json::from_str::<String>(&given).is_ok() {
                prop_assert_eq!(repaired_text(&given), given);
            }
        }

        #[test]
        fn any_bytes_are_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(after) = repaired(&bytes) {
                prop_assert_eq!(after.len() + mark_len(&bytes), bytes.len());
                prop_assert_eq!(next_lone(&after, 0), None);
            }
        }
    }
}
