//! How answers are printed: ASCII only, scores as the shortest literal that reads back to the same `f32`.
//!
//! Owns the form of every byte of JSON that leaves the server. It must not know what is being said.
//!
//! Two callers decided the form. OpenSearch's connector decodes an answer chunk by chunk, so a character of several
//! bytes could be torn apart: everything beyond ASCII is escaped. Its parser takes a number without point or exponent
//! for an integer and one longer than 18 characters for a `BigDecimal`, and fails on both: numbers have a point or an
//! exponent, and stay below that length.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Fixed notation of larger numbers can pass 18 characters; those are printed with an exponent.
const FIXED_NOTATION_BELOW: f32 = 1e15;

/// The printing rules of this module, as `serde_json` takes them.
#[derive(Debug, Default)]
struct Ascii;

impl Formatter for Ascii {
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if value.abs() < FIXED_NOTATION_BELOW {
            CompactFormatter.write_f32(writer, value)
        } else {
            write!(writer, "{value:e}")
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for piece in fragment.split_inclusive(|c: char| !c.is_ascii()) {
            let mut chars = piece.chars();
            let last = chars.next_back();
            writer.write_all(chars.as_str().as_bytes())?;
            match last {
                Some(last) if last.is_ascii() => writer.write_all(&[last as u8])?,
                Some(last) => escape(writer, last)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Prints one character as `\uXXXX`, beyond the basic plane as a surrogate pair.
fn escape<W: ?Sized + io::Write>(writer: &mut W, character: char) -> io::Result<()> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &unit in character.encode_utf16(&mut [0; 2]).iter() {
        let digit = |shift: u16| HEX[usize::from(unit >> shift & 0xf)];
        writer.write_all(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)])?;
    }
    Ok(())
}

/// The JSON text of a value.
///
/// `None` only when the value's own `Serialize` refuses, which no answer of ours does.
pub(super) fn text(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut out, Ascii)).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(value: &impl Serialize) -> String {
        String::from_utf8(text(value).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn scores_read_back_bit_for_bit_and_stay_short(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let literal = printed(&value);
            prop_assert_eq!(literal.parse::<f32>().unwrap().to_bits(), bits, "{}", literal);
            prop_assert!(literal.len() <= 18, "{} is longer than 18 characters", literal);
            prop_assert!(literal.contains(['.', 'e']), "{} would be read as an integer", literal);
            let as_json: serde_json::Value = serde_json::from_str(&literal).unwrap();
            prop_assert!(as_json.is_f64());
        }

        #[test]
        fn texts_are_printed_in_ascii_and_read_back_unchanged(value in any::<String>()) {
            let literal = printed(&value);
            prop_assert!(literal.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), value);
        }
    }

    #[test]
    fn whole_numbers_keep_their_point() {
        for (value, literal) in [(0.0f32, "0.0"), (1.0, "1.0"), (-11.0, "-11.0"), (1.25e-7, "1.25e-7")] {
            assert_eq!(printed(&value), literal);
        }
    }

    #[test]
    fn characters_beyond_the_basic_plane_become_surrogate_pairs() {
        assert_eq!(printed(&"a\u{e9}b\u{1f600}\u{0}\u{7f}"), "\"a\\u00e9b\\ud83d\\ude00\\u0000\u{7f}\"");
    }
}
