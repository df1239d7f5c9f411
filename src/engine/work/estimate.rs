//! Tokens of a text, estimated from its bytes without a vocabulary.
//!
//! English words are mostly one token each, while identifiers, numbers, base64 and punctuation fall into pieces, and
//! scripts without Latin letters often into characters. One look at each byte distinguishes these well enough to admit work
//! by; what is wrong is corrected when the text is read. It must not know tokenizers.

/// Letters of a word that are one token; of what is longer, so many more letters make another.
const WORD: u64 = 7;
const WORD_PIECE: u64 = 4;

/// The same of words that mix letters with digits or small letters with capitals: identifiers and base64.
const MIXED_PIECE: u64 = 2;

/// Digits of a number that make a token.
const DIGITS: u64 = 2;

/// What a run of ASCII letters and digits is made of so far.
#[derive(Clone, Copy, Default)]
struct Run {
    letters: u64,
    digits: u64,
    /// Capitals after a small letter, and changes between letters and digits.
    changes: u64,
    last: u8,
}

impl Run {
    fn push(&mut self, byte: u8) {
        let turns = byte.is_ascii_digit() != self.last.is_ascii_digit()
            || (byte.is_ascii_uppercase() && self.last.is_ascii_lowercase());
        self.changes += u64::from(turns && self.letters + self.digits > 0);
        if byte.is_ascii_digit() {
            self.digits += 1;
        } else {
            self.letters += 1;
        }
        self.last = byte;
    }

    /// Tokens of the run, which ends here.
    fn end(&mut self) -> u64 {
        let Self { letters, digits, changes, .. } = std::mem::take(self);
        match (letters, digits) {
            (0, digits) => digits.div_ceil(DIGITS),
            (letters, 0) if changes == 0 => 1 + letters.saturating_sub(WORD).div_ceil(WORD_PIECE),
            (letters, digits) => (letters + digits).div_ceil(MIXED_PIECE).max(changes.min(2) + 1),
        }
    }
}

/// See the module. The bytes are UTF-8, and may end within a character.
pub(super) fn tokens(text: &[u8]) -> u64 {
    let (mut tokens, mut run) = (0, Run::default());
    for &byte in text {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                run.push(byte);
                continue;
            }
            // Accented Latin letters mostly lose their accents: letters of a word.
            0xc3..=0xc5 => {
                run.push(b'e');
                continue;
            }
            // The rest of a character that was counted by its first byte.
            0x80..=0xbf => continue,
            _ => tokens += run.end(),
        }
        // Punctuation, and every character of a script that is not Latin, emoji among them.
        tokens += u64::from(!byte.is_ascii_whitespace());
    }
    tokens + run.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tokenizer of the default model (WordPiece, 30,522 words) makes of these texts.
    #[test]
    fn estimates_are_near_the_tokenizer_for_every_kind_of_text() {
        for (kind, text, real) in REAL {
            let estimate = tokens(text.as_bytes());
            let ratio = estimate as f64 / f64::from(*real);
            assert!((0.45..=2.2).contains(&ratio), "{kind}: {estimate} estimated, {real} real");
        }
    }

    /// Kind, text, and its tokens without special ones.
    const REAL: &[(&str, &str, u32)] = &[
        (
            "English",
            "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometres.",
            24,
        ),
        (
            "long words",
            "Internationalization considerations notwithstanding, interoperability characteristics predominate.",
            13,
        ),
        (
            "source code",
            "fn next_texts(&mut self, now: Instant) -> Option<Texts> { while self.free_readers > 0 { let chunk = self.planner.next_chunk()?; } }",
            47,
        ),
        (
            "minified JSON",
            "{\"id\":12345,\"name\":\"widget\",\"tags\":[\"a\",\"b\"],\"price\":19.99,\"inStock\":true}",
            46,
        ),
        ("base64", "QmVybGluIGhhcyBhIHBvcHVsYXRpb24gb2YgMyw1MjAsMDMxIHJlZ2lzdGVyZWQg", 42),
        ("hexadecimal", "d41d8cd98f00b204 e9800998ecf8427e da39a3ee5e6b4b0d 3255bfef95601890", 47),
        (
            "Chinese",
            "\u{5317}\u{4eac}\u{662f}\u{4e2d}\u{56fd}\u{7684}\u{9996}\u{90fd}\u{ff0c}\u{4eba}\u{53e3}\u{4e24}\u{5343}\u{591a}\u{4e07}\u{3002}",
            16,
        ),
        ("Japanese", "\u{6771}\u{4eac}\u{306f}\u{65e5}\u{672c}\u{306e}\u{9996}\u{90fd}\u{3067}\u{3042}\u{308b}", 11),
        (
            "Russian",
            "\u{41c}\u{43e}\u{441}\u{43a}\u{432}\u{430} \u{2014} \u{441}\u{442}\u{43e}\u{43b}\u{438}\u{446}\u{430} \u{420}\u{43e}\u{441}\u{441}\u{438}\u{438}",
            19,
        ),
        ("German", "Die Stra\u{df}enbahn f\u{e4}hrt \u{fc}ber die Br\u{fc}cke zum Universit\u{e4}tsgeb\u{e4}ude.", 24),
        ("emoji", "\u{1f600} \u{1f680} \u{1f389} \u{1f44d}", 4),
        ("punctuation", "!!!???...,,,;;;---", 18),
    ];

    #[test]
    fn nothing_but_white_space_is_nothing() {
        assert_eq!((tokens(b""), tokens(b" \n\t  ")), (0, 0));
    }
}
