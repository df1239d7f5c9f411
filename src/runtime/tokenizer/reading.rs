//! Token ids of a long text's beginning or end, at a cost that the tokens wanted bound, not the text.
//!
//! A text of more than [`WHOLE`] bytes is read in segments of at most [`SEGMENT`] bytes. Each begins [`CONTEXT`] bytes
//! before the place where the ids of the one before end, and of each the ids within [`MARGIN`] bytes of its end are left
//! to the next, so no id is taken from near a cut and the ids are those of the whole text. What can differ: how a run of
//! one character that is longer than what is read falls into pieces where pieces of several lengths compete, since that
//! is decided at the end of the run. And where a normalizer strips a text's ends before it makes blanks of zero-width
//! characters, as `DeBERTa`'s does, such characters where two segments meet may give a blank's id more or less.
//!
//! Reading ends when there are enough ids, and at the latest after [`BYTES_PER_TOKEN`] bytes for each id wanted: a text
//! that makes fewer ids than that (combining marks that a normalizer removes, one word without an end, which is one
//! unknown id) counts as cut there. Blanks that the tokenizer drops are the exception: a long run of them is passed over
//! without tokenising it.
//!
//! It must not know what a document is, or what else enters the window.

use tokenizers::Tokenizer;

use super::EncodeError;
use super::blanks::Blanks;

/// Texts up to this many bytes are tokenised at once.
const WHOLE: usize = 4 * 1024;

/// Bytes of a segment. The library holds up to 250 bytes for each of them while it works.
const SEGMENT: usize = 8 * 1024;

/// Bytes of the shortest segment: what its context and margin leave is worth its cost.
const LEAST_SEGMENT: usize = 2 * 1024;

/// Bytes before the ids of a further segment. `WordPiece` gives up words of more than 100 characters, which are 400 bytes
/// at most, so that a word cut off here is given up if it was before; pieces of other models are far shorter.
const CONTEXT: usize = 512;

/// Bytes at a segment's end whose ids are left to the next, for the same reason.
const MARGIN: usize = 512;

/// Bytes by which two segments' offsets of the same piece differ at most: those of a few characters that are normalized
/// together.
const SHIFT: usize = 16;

/// Pieces that have to be the same in two segments before the place where they are joined, where there are so many.
const ALIKE: usize = 6;

/// Bytes of the first segment for each id wanted. English takes 4 to 6, so prose nearly always wants a short second one;
/// dense text, which is dear for each byte, is read no further.
const FIRST_BYTES: usize = 4;

/// Text with fewer blanks than one in so many bytes is no prose: words of Russian, at two bytes a letter, are 14 bytes long.
const BYTES_PER_BLANK: usize = 20;

/// Bytes read for each id wanted, at most.
pub(super) const BYTES_PER_TOKEN: usize = 24;

/// Bytes read, at least, before a text counts as cut.
const LEAST_READ: usize = 8 * 1024;

/// What was read of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) ids: Vec<u32>,
    /// Some of the text was not read.
    pub(super) unread: bool,
}

/// Reads texts for one tokenizer.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) blanks: &'a Blanks,
    /// Asked before every segment but the first; when it says no, reading ends with [`EncodeError::Stopped`].
    pub(super) keep_going: &'a dyn Fn() -> bool,
}

/// An id, and the bytes of the text that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    id: u32,
    start: usize,
    end: usize,
}

impl Reader<'_> {
    /// The ids of a text from its beginning on: `wanted` of them or more, or all.
    pub(super) fn beginning(self, text: &str, wanted: usize) -> Result<Read, EncodeError> {
        if text.len() <= WHOLE {
            return self.whole(text);
        }
        Forward::new(self, text, allowance(wanted)).read(wanted)
    }

    /// The ids of a text up to its end: the last `wanted` or more, or all.
    pub(super) fn end(self, text: &str, wanted: usize) -> Result<Read, EncodeError> {
        if text.len() <= WHOLE {
            return self.whole(text);
        }
        let text = self.blanks.trim_end(text);
        let most = allowance(wanted);
        let first = first_tail(text, wanted);
        let mut length = first;
        loop {
            self.ask()?;
            let from = self.tail(text, length);
            let tail = text.get(from..).unwrap_or_default();
            let mut forward = Forward::new(self, tail, usize::MAX);
            if from > 0 {
                // The first ids are those of a word that may have been cut in two.
                forward.at = MARGIN;
            }
            let read = forward.read(usize::MAX)?;
            if from == 0 || read.ids.len() >= wanted || length == most {
                return Ok(Read { unread: from > 0, ..read });
            }
            // What holds the ids if the text is alike, and the third time all that may be read.
            let alike = length.saturating_mul(wanted) / read.ids.len().max(1);
            let is_first = length == first;
            length = if is_first { alike.saturating_add(alike / 8 + CONTEXT + MARGIN).min(most) } else { most };
        }
    }

    /// Where the last `length` bytes of a text begin, long runs of blanks not counted.
    fn tail(self, text: &str, length: usize) -> usize {
        let (mut end, mut left) = (text.len(), length);
        loop {
            let from = text.floor_char_boundary(end.saturating_sub(left));
            match self.blanks.around(text, from) {
                Some((ends, resumes)) if resumes <= end && end - resumes < left => {
                    left -= end - resumes;
                    end = ends;
                }
                _ => return from,
            }
        }
    }

    fn whole(self, text: &str) -> Result<Read, EncodeError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|_| EncodeError::Refused)?;
        Ok(Read { ids: encoding.get_ids().to_vec(), unread: false })
    }

    fn pieces(self, text: &str, from: usize) -> Result<Vec<Piece>, EncodeError> {
        let encoding = self.tokenizer.encode(text, false).map_err(|_| EncodeError::Refused)?;
        let places = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(places.map(|(&id, &(start, end))| Piece { id, start: from + start, end: from + end }).collect())
    }

    fn ask(self) -> Result<(), EncodeError> {
        if (self.keep_going)() { Ok(()) } else { Err(EncodeError::Stopped) }
    }
}

/// Bytes that are tokenised at most for so many ids.
fn allowance(wanted: usize) -> usize {
    wanted.saturating_mul(BYTES_PER_TOKEN).max(LEAST_READ)
}

/// Bytes of a text's first segment.
fn first_segment(wanted: usize) -> usize {
    (wanted.saturating_mul(FIRST_BYTES).saturating_add(MARGIN)).clamp(LEAST_SEGMENT, SEGMENT)
}

/// Bytes that are read of a text's end at first. A second reading begins anew, so prose gets what nearly always holds its
/// ids; text with few blanks, or in a script that the vocabulary may spell letter by letter, makes more ids of its bytes,
/// and is dear for each byte.
fn first_tail(text: &str, wanted: usize) -> usize {
    let bytes = text.as_bytes();
    let last = bytes.get(bytes.len().saturating_sub(WHOLE)..).unwrap_or_default();
    let blanks = last.iter().filter(|byte| byte.is_ascii_whitespace()).count();
    let foreign = last.iter().filter(|byte| !byte.is_ascii()).count();
    let is_dense = blanks * BYTES_PER_BLANK < last.len() || foreign * 2 > last.len();
    if is_dense { first_segment(wanted).min(WHOLE) } else { WHOLE }
}

/// A text on its way from its beginning towards its end.
struct Forward<'a> {
    reader: Reader<'a>,
    text: &'a str,
    /// Bytes that may still be tokenised.
    allowance: usize,
    /// Where the next segment begins.
    begins: usize,
    /// Where the ids taken end, and the next one's first begins.
    at: usize,
    /// What was taken of the last segments.
    taken: Vec<Piece>,
    /// The id of a word that began before `at` and has not ended.
    inside: Option<u32>,
}

/// The end of a segment, and where the next begins if blanks part them.
struct End {
    at: usize,
    resumes: Option<usize>,
}

impl<'a> Forward<'a> {
    const fn new(reader: Reader<'a>, text: &'a str, allowance: usize) -> Self {
        Self { reader, text, allowance, begins: 0, at: 0, taken: Vec::new(), inside: None }
    }

    fn read(mut self, wanted: usize) -> Result<Read, EncodeError> {
        let mut length = first_segment(wanted);
        loop {
            let end = self.segment_end(length);
            self.allowance = self.allowance.saturating_sub(end.at - self.begins);
            let ended = self.segment(&end)? || end.resumes == Some(self.text.len());
            if ended || self.taken.len() >= wanted || self.allowance == 0 {
                return Ok(Read { ids: self.taken.iter().map(|piece| piece.id).collect(), unread: !ended });
            }
            match end.resumes {
                Some(resumes) => (self.begins, self.at, self.inside) = (resumes, resumes, None),
                None => self.begins = self.text.floor_char_boundary(self.at.saturating_sub(CONTEXT)),
            }
            length = self.next_length(wanted);
            self.reader.ask()?;
        }
    }

    /// Bytes that hold the ids still wanted if the text goes on as it began.
    fn next_length(&self, wanted: usize) -> usize {
        let (had, missing) = (self.taken.len().max(1), wanted.saturating_sub(self.taken.len()));
        let bytes = missing.saturating_mul(self.at) / had;
        bytes.saturating_add(bytes / 8 + CONTEXT + MARGIN).clamp(LEAST_SEGMENT, SEGMENT)
    }

    fn segment_end(&self, length: usize) -> End {
        let at = self.text.floor_char_boundary(self.begins.saturating_add(length));
        match self.reader.blanks.around(self.text, at) {
            Some((ends, resumes)) if at < self.text.len() && ends > self.begins => {
                End { at: ends, resumes: Some(resumes.max(ends)) }
            }
            _ => End { at, resumes: None },
        }
    }

    /// Takes the ids of one segment. Whether the text ended in it.
    fn segment(&mut self, end: &End) -> Result<bool, EncodeError> {
        let part = self.text.get(self.begins..end.at).unwrap_or_default();
        let pieces = self.reader.pieces(part, self.begins)?;
        let is_last = end.at == self.text.len();
        let sure = if is_last || end.resumes.is_some() { usize::MAX } else { end.at.saturating_sub(MARGIN) };
        let first = self.join(&pieces, end.at);
        let new = pieces.get(first..).unwrap_or_default();
        let before = self.taken.len();
        self.taken.extend(new.iter().take_while(|piece| piece.end <= sure));
        if let Some(last) = self.taken.get(before..).and_then(<[Piece]>::last) {
            self.at = self.at.max(last.end);
        } else {
            let next = new.first().filter(|next| next.start < sure);
            if let Some(word) = next.filter(|word| word.end - word.start >= MARGIN) {
                // Longer than any piece but an unknown word: one id, whatever is still to come of it.
                self.taken.push(*word);
                self.inside = Some(word.id);
            }
            let known = if self.inside.is_some() { sure } else { next.map_or(sure, |next| next.start) };
            self.at = self.at.max(self.text.floor_char_boundary(known.min(end.at)));
        }
        Ok(is_last)
    }

    /// The first new one of a segment's pieces. What was taken ends where both segments have a boundary.
    fn join(&mut self, pieces: &[Piece], end: usize) -> usize {
        let next = pieces.iter().position(|piece| piece.start >= self.at).unwrap_or(pieces.len());
        let across = pieces.get(..next).and_then(|before| before.iter().position(|piece| piece.end > self.at));
        if self.begins == 0 {
            // The rest of a word of which a tail holds more than its margin is one id, as the whole is.
            let is_long = |place: usize| pieces[place].end - pieces[place].start >= MARGIN;
            return across.filter(|&place| is_long(place)).unwrap_or(next);
        }
        if next == 0 && self.repeats_blank(pieces) {
            return 1;
        }
        if self.inside.is_none()
            && let Some(place) = self.align(pieces, next)
        {
            return place;
        }
        let Some(across) = across else { return self.agree(pieces, next).unwrap_or(next) };
        let word = pieces[across];
        if let Some(inside) = self.inside.take() {
            if word.id != inside {
                return next;
            }
            // More of a word that has its id already.
            self.inside = (word.end == end).then_some(inside);
            self.at = word.end;
            return across + 1;
        }
        self.agree(pieces, across).unwrap_or(next)
    }

    /// Whether a segment whose context is blanks alone begins with the piece that was taken of these blanks: it is
    /// put before the first word anew, and has the offsets of its first character.
    fn repeats_blank(&self, pieces: &[Piece]) -> bool {
        let (Some(taken), [first, second, ..]) = (self.taken.last(), pieces) else { return false };
        taken.id == first.id && second.start < first.end
    }

    /// The place near this one before which the segment has the pieces that were taken last. Offsets alone do not tell:
    /// characters that are normalized together share theirs, and which do depends on where a segment begins.
    fn align(&self, pieces: &[Piece], next: usize) -> Option<usize> {
        let sure = self.begins + CONTEXT / 4;
        let is_near = |place: usize| match (place.checked_sub(1).and_then(|last| pieces.get(last)), self.taken.last()) {
            (Some(last), Some(taken)) => last.end.abs_diff(taken.end) <= SHIFT,
            _ => false,
        };
        let is_same = |place: usize| {
            let before = pieces[..place].iter().rev().take_while(|piece| piece.start >= sure).take(ALIKE);
            let mut pairs = before.zip(self.taken.iter().rev()).peekable();
            pairs.peek().is_some() && pairs.all(|(piece, taken)| piece.id == taken.id)
        };
        let places = [Some(next), Some(next + 1), next.checked_sub(1), Some(next + 2), next.checked_sub(2)];
        places
            .into_iter()
            .flatten()
            .filter(|&place| place <= pieces.len())
            .find(|&place| is_near(place) && is_same(place))
    }

    /// The last piece up to this one that both segments have at the same place, after the same one; what was taken from it on
    /// is given up.
    fn agree(&mut self, pieces: &[Piece], last: usize) -> Option<usize> {
        for (place, piece) in pieces.iter().enumerate().take(last + 1).rev() {
            let apart = place == 0 || pieces[place - 1].end <= piece.start;
            if piece.start < self.begins + CONTEXT / 4 || !apart {
                continue;
            }
            if let Some(cut) = self.taken.iter().rposition(|taken| taken.start <= piece.start)
                && (self.taken[cut].start, self.taken[cut].id) == (piece.start, piece.id)
                && (cut == 0 || self.taken[cut - 1].end <= piece.start)
                && (cut == 0 || place == 0 || self.taken[cut - 1].id == pieces[place - 1].id)
            {
                self.taken.truncate(cut);
                return Some(place);
            }
        }
        None
    }
}
