//! JSON's escapes and the characters they stand for.
//!
//! It must not know where in a document a string stands.

use std::borrow::Cow;

use memchr::memchr;

/// The text that the inside of a JSON string stands for. Half a surrogate pair becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    // Long texts have mostly none, and are looked at here a second time: so as quickly as can be.
    if memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    unescape_into(&mut text, raw);
    Cow::Owned(text)
}

/// Appends what [`unescape`] gives.
pub fn unescape_into(text: &mut String, raw: &str) {
    let mut rest = raw;
    while let Some((plain, after)) = memchr(b'\\', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
        text.push_str(plain);
        let after = after.strip_prefix('\\').unwrap_or_default();
        let (character, remains) = escaped(after);
        text.push(character);
        rest = remains;
    }
    text.push_str(rest);
}

/// The character that an escape stands for, the backslash already gone, and what follows it.
fn escaped(after: &str) -> (char, &str) {
    let mut characters = after.chars();
    let character = match characters.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return code_point(characters.as_str()),
        Some(other) => other,
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, characters.as_str())
}

/// The character of the digits after `\u`, together with a second half that follows, and the rest.
fn code_point(after: &str) -> (char, &str) {
    let unit = |text: &str| u32::from_str_radix(text, 16).unwrap_or(0xFFFD);
    let Some((digits, rest)) = after.split_at_checked(4) else {
        return (char::REPLACEMENT_CHARACTER, "");
    };
    let high = unit(digits);
    if (0xD800..0xDC00).contains(&high)
        && let Some((digits, remains)) = rest.strip_prefix("\\u").and_then(|rest| rest.split_at_checked(4))
        && let low @ 0xDC00..0xE000 = unit(digits)
    {
        let point = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), remains);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}
