//! Documents without text: what counts as none, and what becomes of them.
//!
//! A cross-encoder gives the empty text a score like any other, and not a low one: for many queries it is above that of a
//! passage. Owns the textual rule. It must not know tokenizers, nor who asks.

/// What becomes of documents without text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmptyDocuments {
    /// They get [`super::Logit::NO_TEXT`] and so rank last, at no cost.
    #[default]
    Last,
    /// The model scores them like any other text.
    Score,
}

/// Whether a text has no character that anybody could read: it is empty, or holds white space, control characters,
/// characters of no width, and U+FFFD, which stands for what could not be read, alone.
///
/// Looks no further than the first character that is something else.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

fn is_invisible(character: char) -> bool {
    // Most texts begin with one of these.
    if character.is_ascii_alphanumeric() {
        return false;
    }
    character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            // Those that Unicode calls default-ignorable: soft hyphens, joiners, directions, fillers, selectors, tags,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            // the blank of Braille, and what stands for nothing that could be read.
            | '\u{2800}' | '\u{fff9}'..='\u{fffd}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case B2.
    #[test]
    fn what_nobody_could_read_is_blank_and_nothing_else_is() {
        let blank = [
            "",
            " ",
            "\t\r\n\u{b}\u{c}",
            "\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{85}",
            "\0\u{1}\u{1f}\u{7f}\u{9f}",
            "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
            "\u{ad}\u{180e}\u{fe0f}\u{e0001}\u{2800}\u{3164}",
            "\u{fffd} \u{fffd}",
        ];
        for text in blank {
            assert!(is_blank(text), "{text:?}");
        }
        for text in
            ["a", " . ", "\u{200b}0", "-", "é", "\u{301}", "北", "😀", "\u{200d}👩", "_", "\u{fffd}x", "\u{4dc0}"]
        {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
