//! Values without others in them: strings, numbers, `true`, `false`, `null`.
//!
//! Owns their grammar. A string's plain bytes are passed eight at a time. It must not know what holds them.

use super::{Cursor, Span, Syntax};

impl Cursor<'_> {
    pub(super) fn scalar(&mut self) -> Result<(), Syntax> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.no_value(),
        }
    }

    /// Passes a string; the span between its quotes.
    pub(super) fn string(&mut self) -> Result<Span, Syntax> {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.plain();
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(start..self.at - 1);
                }
                b'\\' => self.escape()?,
                _ if self.at < self.text.len() => return self.fail("an escaped control character"),
                _ => return self.fail("the end of a string"),
            }
        }
    }

    /// Passes the bytes of a string that need no attention, eight at a time.
    fn plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let (words, bytes) = rest.as_chunks::<8>();
        for (passed, word) in words.iter().enumerate() {
            let marks = special(u64::from_le_bytes(*word));
            if marks != 0 {
                self.at += passed * 8 + marks.trailing_zeros() as usize / 8;
                return;
            }
        }
        let is_plain = |&&byte: &&u8| byte != b'"' && byte != b'\\' && byte >= 0x20;
        self.at += words.len() * 8 + bytes.iter().take_while(is_plain).count();
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 2..self.at + 6).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return self.fail("four hexadecimal digits after \\u");
                }
                self.at += 6;
            }
            _ => return self.fail("a known escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Syntax> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Syntax> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { self.fail("a digit") }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), Syntax> {
        if !self.text.as_bytes().get(self.at..).unwrap_or_default().starts_with(word.as_bytes()) {
            return self.fail("true, false or null");
        }
        self.at += word.len();
        Ok(())
    }

    /// Python's serializer writes such words unless asked not to.
    pub(super) fn no_value<T>(&self) -> Result<T, Syntax> {
        match self.peek() {
            b'N' | b'I' => self.fail("a value; JSON has no NaN or Infinity, send null or a string"),
            _ => self.fail("a value"),
        }
    }
}

/// Marks the bytes of a word that end a run of plain ones: quotes, backslashes, control characters.
///
/// The well-known tests for a zero byte and for a byte below a bound: a borrow may set marks above a special byte, never
/// below the first one.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES * 0x80;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let backslashes = backslash.wrapping_sub(ONES) & !backslash;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_first_mark_is_the_first_special_byte(
            bytes in proptest::array::uniform8(prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\\x00\x1f\x20!#[]\x7f\x80".to_vec())]),
        ) {
            let first = bytes.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let marks = special(u64::from_le_bytes(bytes));
            prop_assert_eq!((marks != 0).then_some(marks.trailing_zeros() as usize / 8), first);
        }
    }
}
