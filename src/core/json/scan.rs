//! A cursor over JSON text that yields spans instead of values.
//!
//! Owns JSON's grammar: everything it passes over is checked, nothing is copied, so that what is not ours can be given
//! back byte for byte. Values are skipped without recursion. It must not know what any key means.

use std::borrow::Cow;
use std::ops::Range;

mod escape;
mod scalar;

pub use escape::{unescape, unescape_into};

/// Levels of arrays and objects within one another; what the engines' own parser (Jackson) takes by default.
const MAX_DEPTH: usize = 1000;

/// Where a value stands in the text.
pub type Span = Range<usize>;

/// The text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {offset}: expected {expected}")]
pub struct Syntax {
    /// Where reading stopped.
    pub offset: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A text in quotes.
    String,
    /// Values in brackets.
    Array,
    /// Keys and values in braces.
    Object,
}

/// A place in JSON text.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Closing brackets that [`Cursor::skip`] waits for; kept here for its memory.
    open: Vec<u8>,
}

impl Kind {
    /// The kind with its article, for error messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl<'a> Cursor<'a> {
    /// Begins at `span` of `text`.
    pub fn new(text: &'a str, span: &Span) -> Self {
        // Offsets stay those of the whole text, which is why the start is not cut off.
        Self { text: text.get(..span.end).unwrap_or_default(), at: span.start, open: Vec::new() }
    }

    /// The text of a span.
    pub fn slice(&self, span: &Span) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Passes white space and says what the next value is, by its first byte.
    ///
    /// # Errors
    /// When no value begins there.
    pub fn kind(&mut self) -> Result<Kind, Syntax> {
        self.space();
        Ok(match self.peek() {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => return self.no_value(),
        })
    }

    /// Passes one value of any kind.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn skip(&mut self) -> Result<Span, Syntax> {
        self.space();
        let start = self.at;
        let outer = self.open.len();
        loop {
            match self.peek() {
                b'{' if self.opens(b'}')? => {
                    self.key()?;
                    continue;
                }
                b'[' if self.opens(b']')? => continue,
                b'{' | b'[' => {}
                _ => self.scalar()?,
            }
            if !self.follows(outer)? {
                return Ok(start..self.at);
            }
        }
    }

    /// Passes one value that nobody wants.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn pass<E: From<Syntax>>(&mut self) -> Result<(), E> {
        self.skip()?;
        Ok(())
    }

    /// Passes an object; `member` is called with every key and has to pass its value.
    ///
    /// # Errors
    /// When it is no object in JSON, or what `member` says.
    pub fn object<E: From<Syntax>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.space();
        let start = self.at;
        self.expect(b'{', "an object")?;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(start..self.at);
        }
        loop {
            let key = self.key()?;
            member(self, unescape(self.slice(&key)))?;
            self.space();
            if self.peek() != b',' {
                break;
            }
            self.at += 1;
            self.space();
        }
        self.expect(b'}', "a comma or a closing brace")?;
        Ok(start..self.at)
    }

    /// Passes an array; `item` is called with every index and has to pass its value.
    ///
    /// # Errors
    /// When it is no array in JSON, or what `item` says.
    pub fn array<E: From<Syntax>>(
        &mut self,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.space();
        let start = self.at;
        self.expect(b'[', "an array")?;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(start..self.at);
        }
        for index in 0.. {
            item(self, index)?;
            self.space();
            if self.peek() != b',' {
                break;
            }
            self.at += 1;
        }
        self.expect(b']', "a comma or a closing bracket")?;
        Ok(start..self.at)
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&mut self) -> Result<(), Syntax> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fail("the end of the body") }
    }

    /// Passes an opening bracket, and its partner when nothing stands between them; says whether something does.
    fn opens(&mut self, close: u8) -> Result<bool, Syntax> {
        self.at += 1;
        self.space();
        if self.peek() == close {
            self.at += 1;
            return Ok(false);
        }
        if self.open.len() >= MAX_DEPTH {
            return self.fail("at most 1000 levels of arrays and objects");
        }
        self.open.push(close);
        Ok(true)
    }

    /// Passes what stands after a value, up to the next one; `false` when the outermost value is complete.
    fn follows(&mut self, outer: usize) -> Result<bool, Syntax> {
        while self.open.len() > outer {
            let close = self.open.last().copied().unwrap_or_default();
            self.space();
            let next = self.peek();
            if next == close {
                self.at += 1;
                self.open.pop();
            } else if next != b',' {
                return self.fail("a comma or a closing bracket");
            } else {
                self.at += 1;
                self.space();
                if close == b'}' {
                    self.key()?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Passes a key, its colon and the white space after it; the span of the key without its quotes.
    fn key(&mut self) -> Result<Span, Syntax> {
        if self.peek() != b'"' {
            return self.fail("a key in double quotes");
        }
        let key = self.string()?;
        self.space();
        self.expect(b':', "a colon")?;
        self.space();
        Ok(key)
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Syntax> {
        if self.peek() != byte {
            return self.fail(expected);
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// The next byte; at the end a byte that no rule of the grammar takes.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, Syntax> {
        Err(Syntax { offset: self.at, expected })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Result<Span, Syntax> {
        let mut cursor = Cursor::new(text, &(0..text.len()));
        let span = cursor.skip()?;
        cursor.end()?;
        Ok(span)
    }

    /// Text that is nearly JSON, so that both answers happen.
    fn nearly_json() -> impl Strategy<Value = String> {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\u00e9\"",
            "\"\\x\"",
            "\"\u{1}\"",
            "\"é\"",
            "0",
            "-0.5e+3",
            "01",
            "1.",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\n",
            "\"k\":1",
            "[]",
            "{}",
            "\"",
            "-",
            "1e5",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..9).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn depth_has_a_limit_and_costs_no_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(whole(&nested(1000)).is_ok());
        // The innermost pair is empty and needs no room.
        assert!(whole(&nested(1002)).is_err());
        assert!(whole(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        let cases = [
            (r"plain", "plain"),
            (r#"a\"b\\c\/d"#, "a\"b\\c/d"),
            (r"\b\f\n\r\t", "\u{8}\u{c}\n\r\t"),
            (r"\u00e9\u20AC", "é€"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00\u0041", "\u{fffd}A"),
            (r"\ud83d\u0041", "\u{fffd}A"),
        ];
        for (raw, text) in cases {
            assert_eq!(unescape(raw), text, "{raw}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn accepts_what_serde_json_accepts(text in nearly_json()) {
            let reference = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            match (whole(&text), reference) {
                (Ok(span), Ok(raw)) => prop_assert_eq!(text.get(span), Some(raw.get())),
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} gave {:?}", text, ours),
            }
        }

        #[test]
        fn strings_read_as_serde_json_reads_them(text in "\\PC{0,80}", ascii in any::<bool>()) {
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                json = json.chars().map(|c| {
                    if c.is_ascii() { return c.to_string() }
                    let units: Vec<String> = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect();
                    units.concat()
                }).collect();
            }
            prop_assert_eq!(whole(&json).unwrap(), 0..json.len());
            prop_assert_eq!(unescape(json.strip_prefix('"').unwrap().strip_suffix('"').unwrap()), text);
        }
    }
}
