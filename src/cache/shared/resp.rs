//! RESP2, the protocol of Redis and Valkey, read within bounds.
//!
//! Whoever stands at the other end is not believed: a reply is read within an allowance of bytes, strings longer than
//! wanted are passed over and not kept, lists are no longer than what was asked for, lines and nesting are short. What
//! breaks a bound, or is no RESP2, is an error at once, before it is read to its end. Pure but for what it reads from. It
//! must not know sockets, time or commands.

use std::io::{self, Read};

use rescored_process::budget::BudgetError;

/// Bytes of a line at most: of a number, a status, a refusal.
const LINE: usize = 1024;
/// Bytes read at once.
const BUFFER: usize = 16 << 10;

/// What a reply may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of the longest string that is kept; longer ones are passed over.
    pub(super) string: usize,
    /// Items of the longest list.
    pub(super) list: usize,
    /// Lists within lists.
    pub(super) depth: u8,
}

impl Limits {
    /// A status, a number or a short string.
    pub(super) const PLAIN: Self = Self { string: 64, list: 0, depth: 0 };
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nil,
    Status(String),
    Refusal(String),
    Number(i64),
    Bytes(Vec<u8>),
    /// A string that is longer than wanted.
    TooLong,
    List(Vec<Reply>),
}

impl Reply {
    /// The reply, unless it is a refusal.
    pub(super) fn granted(self) -> Result<Self, Broken> {
        if let Self::Refusal(words) = self { Err(Broken::Refused(words)) } else { Ok(self) }
    }

    /// The items of a list.
    pub(super) fn list(self) -> Option<Vec<Self>> {
        if let Self::List(items) = self { Some(items) } else { None }
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Not all of it in time.
    #[error("no answer in time")]
    Late,
    /// Nobody is there, or the connection broke.
    #[error("{0}")]
    Down(io::Error),
    /// What came is no answer to what was asked.
    #[error("what came is no answer: {0}")]
    Nonsense(&'static str),
    /// The memory budget has no room for an answer now.
    #[error(transparent)]
    Memory(#[from] BudgetError),
    /// The server's own words.
    #[error("refused: {0}")]
    Refused(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        let late = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        if late { Self::Late } else { Self::Down(error) }
    }
}

/// Reads replies from a connection, within an allowance of bytes, of which the items of lists take their part.
#[derive(Debug)]
pub(super) struct Reader<R> {
    inner: R,
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    /// Bytes that may still be read, or be taken by the items of lists.
    allowance: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; BUFFER].into(), begin: 0, end: 0, allowance: 0 }
    }

    pub(super) const fn inner(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Allows this many bytes for the replies to come. Whatever came before it was asked for is no answer.
    pub(super) const fn allow(&mut self, bytes: u64) -> Result<(), Broken> {
        self.allowance = bytes;
        if self.begin == self.end { Ok(()) } else { Err(Broken::Nonsense("it came unasked")) }
    }

    /// The next reply.
    pub(super) fn reply(&mut self, limits: &Limits) -> Result<Reply, Broken> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or(Broken::Nonsense("an empty line"))?;
        match kind {
            b'+' => Ok(Reply::Status(words(rest))),
            b'-' => Ok(Reply::Refusal(words(rest))),
            b':' => number(rest).map(Reply::Number),
            b'$' => match number(rest)? {
                -1 => Ok(Reply::Nil),
                length => self.string(u64::try_from(length).map_err(|_| NEGATIVE)?, limits),
            },
            b'*' => match number(rest)? {
                -1 => Ok(Reply::Nil),
                length => self.list(usize::try_from(length).map_err(|_| NEGATIVE)?, limits),
            },
            _ => Err(Broken::Nonsense("no RESP2")),
        }
    }

    fn string(&mut self, length: u64, limits: &Limits) -> Result<Reply, Broken> {
        // Before any of it is read.
        if length.saturating_add(2) > self.allowance + (self.end - self.begin) as u64 {
            return Err(TOO_LARGE);
        }
        let keep = usize::try_from(length).ok().filter(|length| *length <= limits.string);
        let mut kept = Vec::with_capacity(keep.unwrap_or(0));
        let mut left = length;
        while left > 0 {
            let there = self.fill()?;
            let take = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if keep.is_some() {
                kept.extend_from_slice(there.get(..take).unwrap_or_default());
            }
            self.begin += take;
            left -= take as u64;
        }
        if self.byte()? != b'\r' || self.byte()? != b'\n' {
            return Err(Broken::Nonsense("a string of another length than said"));
        }
        Ok(if keep.is_some() { Reply::Bytes(kept) } else { Reply::TooLong })
    }

    fn list(&mut self, length: usize, limits: &Limits) -> Result<Reply, Broken> {
        let Some(depth) = limits.depth.checked_sub(1) else {
            return Err(Broken::Nonsense("a list where none was asked for"));
        };
        if length > limits.list {
            return Err(Broken::Nonsense("a list longer than asked for"));
        }
        let within = Limits { depth, ..*limits };
        // Grown as items come: a length alone costs nothing.
        let mut items = Vec::new();
        for _ in 0..length {
            // An item takes more memory than the least that it takes to send one.
            self.allowance = self.allowance.checked_sub(size_of::<Reply>() as u64).ok_or(TOO_LARGE)?;
            items.push(self.reply(&within)?);
        }
        Ok(Reply::List(items))
    }

    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\r' => break,
                b'\n' => return Err(Broken::Nonsense("no RESP2")),
                byte if line.len() < LINE => line.push(byte),
                _ => return Err(Broken::Nonsense("a line without an end")),
            }
        }
        if self.byte()? == b'\n' { Ok(line) } else { Err(Broken::Nonsense("no RESP2")) }
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        let byte = self.fill()?.first().copied().ok_or(TOO_LARGE)?;
        self.begin += 1;
        Ok(byte)
    }

    /// What is there, at least a byte.
    fn fill(&mut self) -> Result<&[u8], Broken> {
        if self.begin == self.end {
            let most = usize::try_from(self.allowance).unwrap_or(BUFFER).min(BUFFER);
            let room = self.buffer.get_mut(..most).filter(|room| !room.is_empty()).ok_or(TOO_LARGE)?;
            let read = loop {
                match self.inner.read(room) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome?,
                }
            };
            if read == 0 {
                return Err(Broken::Down(io::ErrorKind::UnexpectedEof.into()));
            }
            (self.begin, self.end) = (0, read);
            self.allowance -= read as u64;
        }
        Ok(self.buffer.get(self.begin..self.end).unwrap_or_default())
    }
}

const NEGATIVE: Broken = Broken::Nonsense("a negative length");
const TOO_LARGE: Broken = Broken::Nonsense("more bytes than an answer can have");

/// Adds a command to what is sent.
pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    begin(out, words.len());
    for one in words {
        word(out, one);
    }
}

/// Begins a command of so many words, which [`word`] adds.
pub(super) fn begin(out: &mut Vec<u8>, words: usize) {
    out.extend_from_slice(format!("*{words}\r\n").as_bytes());
}

/// Adds a word of a command.
pub(super) fn word(out: &mut Vec<u8>, word: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

fn number(text: &[u8]) -> Result<i64, Broken> {
    let wrong = Broken::Nonsense("a number that is none");
    // Not `parse` alone: it takes a sign that the protocol does not.
    let plain = text.strip_prefix(b"-").unwrap_or(text);
    if plain.is_empty() || !plain.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(wrong)
}

/// A line of somebody else's that may be printed.
fn words(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|one| !one.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDE: Limits = Limits { string: 16, list: 8, depth: 3 };

    fn read(bytes: &[u8], allowance: u64, limits: &Limits) -> Result<Reply, Broken> {
        let mut reader = Reader::new(bytes);
        reader.allow(allowance)?;
        reader.reply(limits)
    }

    #[test]
    fn replies_are_read_and_long_strings_passed_over() {
        let bytes = |text: &str| Reply::Bytes(text.into());
        let cases = [
            ("+OK\r\n", Reply::Status("OK".into())),
            ("-ERR no\u{7}pe\r\n", Reply::Refusal("ERR nope".into())),
            (":-12\r\n", Reply::Number(-12)),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("$0\r\n\r\n", bytes("")),
            ("$16\r\n0123456789abcdef\r\n", bytes("0123456789abcdef")),
            ("$17\r\n0123456789abcdefg\r\n", Reply::TooLong),
            (
                "*3\r\n$1\r\na\r\n$-1\r\n*1\r\n:1\r\n",
                Reply::List(vec![bytes("a"), Reply::Nil, Reply::List(vec![Reply::Number(1)])]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes(), 1000, &WIDE).unwrap(), expected, "{text:?}");
        }
    }

    // Case A9.
    #[test]
    fn what_breaks_a_bound_is_refused_before_it_is_read() {
        let nested = "*1\r\n".repeat(1000);
        let endless = format!("+{}", "x".repeat(5000));
        let cases = [
            ("$33554432\r\nx", "a value of 32 MB"),
            ("$536870912\r\nx", "a value of 512 MB"),
            ("$99999999999999999999\r\n", "a length beyond any number"),
            ("$-2\r\n", "a negative length"),
            ("$+1\r\na\r\n", "a sign"),
            ("*2147483647\r\n", "a list of two thousand million"),
            ("*9\r\n", "a list longer than asked for"),
            (&nested, "lists within lists"),
            (&endless, "a status without an end"),
            ("$1\r\nab\r\n", "a string longer than said"),
            ("$1\na\r\n", "no carriage return"),
            ("\r\n", "an empty line"),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "another protocol"),
            ("%1\r\n+a\r\n+b\r\n", "RESP3"),
        ];
        for (text, what) in cases {
            let error = read(text.as_bytes(), 4096, &WIDE).unwrap_err();
            assert!(matches!(error, Broken::Nonsense(_)), "{what}: {error}");
        }
        let many = format!("*8\r\n{}", "$3\r\nabc\r\n".repeat(8));
        let enough = (many.len() + 8 * size_of::<Reply>()) as u64;
        assert!(read(many.as_bytes(), enough, &WIDE).is_ok());
        assert!(matches!(read(many.as_bytes(), enough - 1, &WIDE), Err(Broken::Nonsense(_))), "items count, too");
        assert!(matches!(read(b"$3\r\nab", 100, &WIDE), Err(Broken::Down(_))), "a connection that ends");
        let mut reader = Reader::new(&b"+OK\r\n+OK\r\n"[..]);
        reader.allow(100).unwrap();
        reader.reply(&WIDE).unwrap();
        assert!(matches!(reader.allow(100), Err(Broken::Nonsense(_))), "an answer too many");
    }

    proptest! {
        /// Whatever comes: no panic, and no more is read than allowed.
        #[test]
        fn any_bytes_are_read_within_the_allowance(bytes in prop::collection::vec(prop::sample::select(b"*$+-:0129\r\nab".to_vec()), 0..300), allowance in 0_u64..200) {
            let mut left = &bytes[..];
            let mut reader = Reader::new(&mut left);
            reader.allow(allowance).unwrap();
            let _ = reader.reply(&WIDE);
            drop(reader);
            prop_assert!((bytes.len() - left.len()) as u64 <= allowance);
        }

        #[test]
        fn a_command_reads_back_as_its_words(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..16), 1..8)) {
            let mut out = Vec::new();
            command(&mut out, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let expected = Reply::List(words.into_iter().map(Reply::Bytes).collect());
            prop_assert_eq!(read(&out, 10_000, &WIDE).unwrap(), expected);
        }
    }
}
