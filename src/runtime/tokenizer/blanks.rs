//! White space that a tokenizer drops, however much of it there is.
//!
//! Read off the tokenizer itself by probing it: most drop blanks between words, those that work on bytes make ids of
//! them. It must not know how much of a text is wanted.

use std::ops::Range;

use tokenizers::Tokenizer;

/// Blanks that are kept on both sides of a run that is passed over, as many as the probes have.
const KEPT: usize = 16;

/// White space of Unicode that texts have, in order.
const CANDIDATES: [char; 22] = [
    '\t', '\n', '\u{b}', '\u{c}', '\r', ' ', '\u{85}', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
    '\u{2003}', '\u{2004}', '\u{2007}', '\u{2009}', '\u{200a}', '\u{2028}', '\u{2029}', '\u{202f}', '\u{205f}',
    '\u{3000}',
];

/// Texts between which blanks stand in the probes. What a normalizer makes a blank of after it has stripped the text's ends
/// (`DeBERTa`'s, of zero-width spaces) would be an id of its own where a run is passed over.
const PROBES: [(&str, &str); 7] = [
    ("a", "the"),
    ("one", ", two"),
    ("(7", "9."),
    ("", "x"),
    ("a\u{200b}", "the"),
    ("a\u{200d}\u{feff}", "\u{200b}b"),
    ("a\u{ad}\u{1}", "\u{301}b"),
];

/// The characters of which a long run is the same as a short one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blanks(Vec<char>);

impl Blanks {
    /// Reads them off a tokenizer.
    pub(super) fn probe(tokenizer: &Tokenizer) -> Self {
        let ids = |text: &str| tokenizer.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec()).ok();
        let is_dropped = |run: &str| {
            PROBES.iter().all(|(before, after)| {
                let (head, tail) = (ids(&format!("{before}{run}")), ids(&format!("{run}{after}")));
                let long = ids(&format!("{before}{run}{run}{run}{after}"));
                let short = ids(&format!("{before}{run}{after}"));
                let apart = head.zip(tail).map(|(head, tail)| [head, tail].concat());
                long.is_some() && long == short && long == apart && ids(before) == ids(&format!("{before}{run}"))
            })
        };
        let dropped: Vec<char> =
            CANDIDATES.into_iter().filter(|blank| is_dropped(&String::from_iter([*blank; KEPT]))).collect();
        let forwards: String = dropped.iter().collect();
        let backwards: String = dropped.iter().rev().collect();
        // Mixed, they must be as each is alone.
        if is_dropped(&forwards) && is_dropped(&backwards) { Self(dropped) } else { Self::default() }
    }

    /// A text without the blanks at its end.
    pub(super) fn trim_end<'t>(&self, text: &'t str) -> &'t str {
        text.trim_end_matches(self.matcher())
    }

    /// If a place lies in a run of blanks: a place near the run's begin and one near its end, with some blanks around each.
    /// The text has blanks alone between the two.
    pub(super) fn around(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        let (before, after) = text.split_at_checked(at)?;
        let run = Range { start: self.trim_end(before).len(), end: text.len() - self.trim_start(after).len() };
        let inside = text.get(run.clone())?;
        if inside.chars().take(2 * KEPT).count() < 2 * KEPT {
            return None;
        }
        let kept = |(place, blank): (usize, char)| run.start + place + blank.len_utf8();
        let ends = inside.char_indices().nth(KEPT - 1).map(kept)?;
        if run.end == text.len() {
            return Some((ends, text.len()));
        }
        let resumes = inside.char_indices().nth_back(KEPT - 1).map(|(place, _)| run.start + place)?;
        Some((ends, resumes))
    }

    fn trim_start<'t>(&self, text: &'t str) -> &'t str {
        text.trim_start_matches(self.matcher())
    }

    /// Whether a character is one of them; the one before it nearly always was the same.
    fn matcher(&self) -> impl FnMut(char) -> bool {
        let mut last = None;
        move |character| {
            if last == Some(character) {
                return true;
            }
            let found = self.0.binary_search(&character).is_ok();
            last = found.then_some(character);
            found
        }
    }
}
