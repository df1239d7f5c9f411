//! Lines of a body that comes as a stream: no more of it in memory than a line, however long the stream is.
//!
//! Owns the splitting, which looks at each byte once, and the memory of a line while it arrives. It must not know what a
//! line says.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use actix_web::body::{BodyStream, MessageBody};
use actix_web::web::Payload;
use rescored_process::budget::{BudgetError, Class, LONGEST_WAIT, Reservation};

use crate::http::state::AppState;

/// Bytes of a line that take no memory from the budget: with [`crate::http::warm_ups::STREAMS`] streams it is not worth counting.
const FREE_BYTES: usize = 64 << 10;

/// Line breaks between two looks at other connections of this thread.
const BREAKS_AT_A_TIME: u32 = 1024;

/// A stream that says nothing for so long is over. Long, for whoever writes it may compute each line.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// Between two looks whether there is memory.
const PAUSE: Duration = Duration::from_millis(50);

/// What came of a line.
#[derive(Debug)]
pub(super) enum Line {
    /// Its bytes, without the line break; never empty.
    Whole(Vec<u8>, Reservation),
    /// Longer than a line may be; passed over.
    TooLong,
    /// There was no memory for it; passed over.
    NoMemory(BudgetError),
}

/// Why no further line comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream is over.
    Over,
    /// The connection broke, or its framing is wrong, or nothing came for too long.
    Broken,
}

/// A line as the splitter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Split {
    Whole(Vec<u8>),
    TooLong,
}

/// Splits pieces into lines.
#[derive(Debug)]
struct Splitter {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// No line break of the next line is before this place.
    searched: usize,
    limit: usize,
    /// The line's beginning is gone.
    passing: bool,
}

/// A body's lines.
pub(super) struct Lines {
    body: BodyStream<Payload>,
    splitter: Splitter,
    /// Taken for what the splitter holds.
    memory: Reservation,
    /// Why the line that is passed over is.
    denied: Option<BudgetError>,
    /// A pause within a long line.
    pause: Duration,
    /// Since when nothing has come, while more is waited for.
    quiet_since: Option<Instant>,
    /// Since when there has been no memory for the line that arrives.
    short_since: Option<Instant>,
    /// Bytes received.
    pub(super) bytes: u64,
    /// Line breaks and the like do not count as lines, but they do as numbers of lines.
    pub(super) number: u64,
    over: bool,
}

impl Splitter {
    const fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, limit, passing: false }
    }

    fn take(&mut self, piece: &[u8]) {
        // What was given out goes before more is taken, so each byte is moved once at most.
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// Bytes of lines that were not given out yet.
    fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Gives the beginning of the line up, and so the line.
    fn pass_over(&mut self) {
        self.buffer.clear();
        (self.start, self.searched, self.passing) = (0, 0, true);
    }

    /// The next line that is whole, or the last one when the stream is over; empty ones included.
    fn next(&mut self, over: bool) -> Option<Split> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(found) = unsearched.iter().position(|byte| *byte == b'\n') {
            let end = self.searched + found;
            let line = self.line(self.start..end);
            (self.start, self.searched) = (end + 1, end + 1);
            return Some(line);
        }
        self.searched = self.buffer.len();
        // One byte more: it may be the carriage return before a line break.
        if self.held() > self.limit + 1 {
            self.pass_over();
        }
        (over && (self.passing || self.held() > 0)).then(|| {
            let line = self.line(self.start..self.buffer.len());
            self.start = self.buffer.len();
            line
        })
    }

    fn line(&mut self, place: std::ops::Range<usize>) -> Split {
        let line = self.buffer.get(place).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let long = std::mem::take(&mut self.passing) || line.len() > self.limit;
        if long { Split::TooLong } else { Split::Whole(line.to_vec()) }
    }
}

impl Lines {
    /// The lines of a body.
    pub(super) fn new(payload: Payload, state: &AppState) -> Self {
        Self {
            body: BodyStream::new(payload),
            splitter: Splitter::new(state.max_body),
            memory: state.budget.nothing(Class::WarmUp),
            denied: None,
            pause: state.client_pause,
            quiet_since: None,
            short_since: None,
            bytes: 0,
            number: 0,
            over: false,
        }
    }

    /// The next line with more than white space in it. Nothing is lost when this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Line, End> {
        loop {
            let mut breaks = 0;
            while let Some(split) = self.splitter.next(self.over) {
                self.number += 1;
                match split {
                    Split::Whole(line) if line.trim_ascii().is_empty() => {}
                    Split::Whole(line) => {
                        let memory = self.memory.split(paid(line.len()));
                        return Ok(Line::Whole(line, memory));
                    }
                    Split::TooLong => return Ok(self.denied.take().map_or(Line::TooLong, Line::NoMemory)),
                }
                breaks += 1;
                if breaks % BREAKS_AT_A_TIME == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if self.over {
                return Err(End::Over);
            }
            if let Err(denied) = self.pay().await {
                self.denied = Some(denied);
                self.splitter.pass_over();
            }
            let held = self.splitter.held();
            self.memory.shrink(paid(held));
            let patience = if held > FREE_BYTES { self.pause } else { LONGEST_SILENCE };
            let until = *self.quiet_since.get_or_insert_with(Instant::now) + patience;
            let piece = poll_fn(|context| Pin::new(&mut self.body).poll_next(context));
            let piece = tokio::time::timeout_at(until.into(), piece).await;
            self.quiet_since = None;
            match piece {
                Ok(Some(Ok(piece))) => {
                    self.bytes += piece.len() as u64;
                    self.splitter.take(&piece);
                }
                Ok(Some(Err(_))) | Err(_) => return Err(End::Broken),
                Ok(None) => self.over = true,
            }
        }
    }

    /// Takes memory for the line that arrives.
    async fn pay(&mut self) -> Result<(), BudgetError> {
        let wanted = paid(self.splitter.held());
        let since = *self.short_since.get_or_insert_with(Instant::now);
        let paid = patiently(&mut self.memory, wanted, since + LONGEST_WAIT).await;
        self.short_since = None;
        paid
    }
}

/// Takes what is lacking to so many bytes, as soon as all others leave room for it. Warm-up work stands in no queue, so
/// that nobody's memory is asked back for it.
pub(super) async fn patiently(memory: &mut Reservation, bytes: u64, until: Instant) -> Result<(), BudgetError> {
    loop {
        match memory.try_grow(bytes.saturating_sub(memory.bytes())) {
            Err(BudgetError::Full { .. }) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            taken => return taken,
        }
    }
}

/// Memory for a line of so many bytes while it arrives: its room doubles as it grows, and it is copied out at its end.
const fn paid(bytes: usize) -> u64 {
    if bytes > FREE_BYTES { 2 * (bytes as u64).next_multiple_of(FREE_BYTES as u64) } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &[u8], piece: usize, limit: usize) -> Vec<Split> {
        let mut splitter = Splitter::new(limit);
        let mut lines = Vec::new();
        for piece in text.chunks(piece) {
            splitter.take(piece);
            while let Some(line) = splitter.next(false) {
                lines.push(line);
            }
        }
        while let Some(line) = splitter.next(true) {
            lines.push(line);
        }
        lines
    }

    /// Case A3: the time was quadratic in the bytes that a piece brought. A hundred times as many line breaks in one
    /// piece may take a hundred times as long, and not ten thousand times.
    #[test]
    fn splitting_takes_time_in_proportion_to_the_bytes() {
        let time = |breaks: usize| {
            let text = b"\n".repeat(breaks);
            let begun = Instant::now();
            assert_eq!(split(&text, breaks, 100).len(), breaks);
            begun.elapsed()
        };
        time(10_000);
        let (short, long) = (time(10_000), time(1_000_000));
        assert!(long < (short + Duration::from_millis(2)) * 1000, "{long:?} against {short:?}");
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_stream_was_cut(text in "[ab\r\n]{0,80}", piece in 1_usize..20, limit in 1_usize..12) {
            let expected: Vec<Split> = text
                .lines()
                .map(|line| if line.len() > limit { Split::TooLong } else { Split::Whole(line.as_bytes().to_vec()) })
                .collect();
            // `str::lines` keeps a lone carriage return at the very end; a body's last line need not.
            prop_assume!(!text.ends_with('\r'));
            prop_assert_eq!(split(text.as_bytes(), piece, limit), expected);
        }
    }
}
