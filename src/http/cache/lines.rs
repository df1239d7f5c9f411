//! Lines of a body that comes as a stream: one line in memory at a time, however long the stream is.
//!
//! It must not know what a line says.

use std::future::poll_fn;
use std::pin::Pin;

use actix_web::body::{BodyStream, MessageBody};
use actix_web::web::Payload;

/// What came of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the line break; never empty.
    Whole(Vec<u8>),
    /// Longer than a line may be; passed over.
    TooLong,
}

/// Why no further line comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream is over.
    Over,
    /// The connection broke, or its framing is wrong.
    Broken,
}

/// Splits pieces into lines.
#[derive(Debug)]
struct Splitter {
    buffer: Vec<u8>,
    /// No line break is before this place.
    searched: usize,
    limit: usize,
    /// The line's beginning was too long and is gone.
    passing: bool,
}

/// A body's lines.
pub(super) struct Lines {
    body: BodyStream<Payload>,
    splitter: Splitter,
    /// Bytes received.
    pub(super) bytes: u64,
    /// Line breaks and the like do not count as lines, but they do as numbers of lines.
    pub(super) number: u64,
    over: bool,
}

impl Splitter {
    /// The next line that is whole, or the last one when the stream is over; empty ones included.
    fn next(&mut self, over: bool) -> Option<Line> {
        let found = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(at) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            // One byte more: it may be the carriage return before a line break.
            if self.searched > self.limit + 1 {
                self.buffer.clear();
                (self.searched, self.passing) = (0, true);
            }
            return (over && (self.passing || !self.buffer.is_empty())).then(|| {
                let rest = std::mem::take(&mut self.buffer);
                self.searched = 0;
                self.line(rest)
            });
        };
        let rest = self.buffer.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(self.line(line))
    }

    fn line(&mut self, mut line: Vec<u8>) -> Line {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let long = std::mem::take(&mut self.passing) || line.len() > self.limit;
        if long { Line::TooLong } else { Line::Whole(line) }
    }
}

impl Lines {
    /// The lines of a body, none longer than `limit`.
    pub(super) fn new(payload: Payload, limit: usize) -> Self {
        let splitter = Splitter { buffer: Vec::new(), searched: 0, limit, passing: false };
        Self { body: BodyStream::new(payload), splitter, bytes: 0, number: 0, over: false }
    }

    /// The next line that is not empty. Nothing is lost when this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Line, End> {
        loop {
            while let Some(line) = self.splitter.next(self.over) {
                self.number += 1;
                if line != Line::Whole(Vec::new()) {
                    return Ok(line);
                }
            }
            if self.over {
                return Err(End::Over);
            }
            match poll_fn(|context| Pin::new(&mut self.body).poll_next(context)).await {
                Some(Ok(piece)) => {
                    self.bytes += piece.len() as u64;
                    self.splitter.buffer.extend_from_slice(&piece);
                }
                Some(Err(_)) => return Err(End::Broken),
                None => self.over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &[u8], (piece, limit): (usize, usize)) -> Vec<Line> {
        let mut splitter = Splitter { buffer: Vec::new(), searched: 0, limit, passing: false };
        let mut lines = Vec::new();
        for piece in text.chunks(piece) {
            splitter.buffer.extend_from_slice(piece);
            while let Some(line) = splitter.next(false) {
                lines.push(line);
            }
        }
        while let Some(line) = splitter.next(true) {
            lines.push(line);
        }
        lines
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_stream_was_cut(text in "[ab\r\n]{0,80}", piece in 1_usize..20, limit in 1_usize..12) {
            let expected: Vec<Line> = text
                .lines()
                .map(|line| if line.len() > limit { Line::TooLong } else { Line::Whole(line.as_bytes().to_vec()) })
                .collect();
            // `str::lines` keeps a lone carriage return at the very end; a body's last line need not.
            prop_assume!(!text.ends_with('\r'));
            prop_assert_eq!(split(text.as_bytes(), (piece, limit)), expected);
        }
    }
}
