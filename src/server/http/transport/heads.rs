//! Where the heads of requests are in a connection's bytes, and the one thing that is changed there.
//!
//! This server speaks HTTP/1.1 and nothing else, so an offer to change the protocol is to be ignored (RFC 9110, 7.8). The
//! HTTP library takes `Connection: upgrade` for a change of the connection's course whatever the answer is, and a request
//! with `Upgrade: websocket` for one whose body never ends. So both words are overwritten before it sees them, by a word of
//! the same length: nothing that frames a message moves. What this module does not understand it leaves alone, from there
//! to the connection's end: the library refuses it.
//!
//! Pure. It must not know sockets.

/// Stands where `upgrade` stood; as long as that.
const IGNORED: &[u8; 7] = b"ignored";

/// How a request begins whose body would be whatever follows.
const CONNECT: &[u8] = b"CONNECT ";

/// Bytes of a path with its query that the library takes.
const LONGEST_TARGET: usize = 65_534;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A request line.
    Start,
    /// The rest of a request line.
    Line,
    /// Header lines; what was found so far frames the body.
    Head(Framing),
    /// So many bytes of a body.
    Body(u64),
    /// A chunk's size.
    Size,
    /// So many bytes of a chunk, its line end included.
    Chunk(u64),
    /// Lines behind the last chunk.
    Trailers,
    /// Nothing is looked at any more,
    Unknown,
    /// because a chunk's size was none.
    Broken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Heads {
    place: Place,
    /// Bytes of a head that has not ended, as far as they were passed on.
    unfinished: usize,
    /// Bytes of the last request line so far.
    line: usize,
}

impl Default for Heads {
    fn default() -> Self {
        Self { place: Place::Start, unfinished: 0, line: 0 }
    }
}

impl Heads {
    /// Leaves everything alone that follows.
    pub(super) fn give_up(&mut self) {
        self.place = Place::Unknown;
    }

    /// Whether the last request line is longer than the library takes paths.
    pub(super) const fn has_long_line(&self) -> bool {
        self.line > LONGEST_TARGET + "GET  HTTP/1.1".len()
    }

    /// Whether the last bytes are of a body in chunks, whose request was handed on before: if something is wrong, it is
    /// with those.
    pub(super) const fn are_behind(&self) -> bool {
        matches!(self.place, Place::Size | Place::Chunk(_) | Place::Trailers | Place::Broken)
    }

    /// Bytes that were passed on of a head that has not ended yet: the library keeps them until it has.
    pub(super) const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether a line is held whose end alone says what comes next: until that is there, nothing is to be looked at.
    pub(super) const fn want_line_end(&self) -> bool {
        matches!(self.place, Place::Head(_) | Place::Trailers | Place::Size)
    }

    /// Looks through the next bytes and says how many of them may be passed on; the rest is the beginning of a line and
    /// has to come again with what follows it.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.place {
                Place::Unknown | Place::Broken => {
                    self.unfinished += rest.len();
                    return bytes.len();
                }
                Place::Body(left) => at += self.pass(left, rest.len(), Place::Body, Place::Start),
                Place::Chunk(left) => at += self.pass(left, rest.len(), Place::Chunk, Place::Size),
                Place::Start | Place::Line | Place::Head(_) | Place::Size | Place::Trailers => {
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        let length = rest.len();
                        return self.cut(rest).map_or(at, |()| {
                            self.unfinished += length;
                            bytes.len()
                        });
                    };
                    let line = &mut rest[..end];
                    let line = match line.split_last_mut() {
                        Some((b'\r', line)) => line,
                        _ => line,
                    };
                    let (before, length) = (self.place, line.len());
                    self.place = before.behind(line);
                    self.count(before, length);
                    at += end + 1;
                    self.unfinished = match self.place {
                        Place::Line | Place::Head(_) | Place::Trailers | Place::Unknown => self.unfinished + end + 1,
                        Place::Start | Place::Body(_) | Place::Size | Place::Chunk(_) | Place::Broken => 0,
                    };
                }
            }
        }
        at
    }

    /// Goes on behind the beginning of a line, when nothing in it is to be changed and it says what comes next: what is
    /// wrong from its first byte on is refused at once.
    fn cut(&mut self, line: &[u8]) -> Option<()> {
        let before = self.place;
        self.place = match self.place {
            Place::Start if line == b"\r" || (line.len() < CONNECT.len() && CONNECT.starts_with(line)) => return None,
            Place::Start if line.starts_with(CONNECT) => Place::Unknown,
            Place::Start | Place::Line => Place::Line,
            Place::Size if !line.first().is_some_and(u8::is_ascii_hexdigit) => Place::Broken,
            Place::Size
            | Place::Head(_)
            | Place::Body(_)
            | Place::Chunk(_)
            | Place::Trailers
            | Place::Unknown
            | Place::Broken => return None,
        };
        self.count(before, line.len());
        Some(())
    }

    /// Counts bytes that stood here, if they are of a request line.
    fn count(&mut self, place: Place, bytes: usize) {
        match place {
            Place::Start => self.line = bytes,
            Place::Line => self.line += bytes,
            Place::Head(_)
            | Place::Body(_)
            | Place::Size
            | Place::Chunk(_)
            | Place::Trailers
            | Place::Unknown
            | Place::Broken => {}
        }
    }

    /// Passes bytes of which `left` are still to come and `there` are there.
    fn pass(&mut self, left: u64, there: usize, same: fn(u64) -> Place, next: Place) -> usize {
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        let left = left - passed as u64;
        self.place = if left == 0 { next } else { same(left) };
        passed
    }
}

impl Place {
    /// What comes behind a line that stands here.
    fn behind(self, line: &mut [u8]) -> Self {
        match self {
            // Empty lines before a request are passed over, and one ends the lines behind the last chunk.
            Self::Start | Self::Trailers if line.is_empty() => Self::Start,
            Self::Start if line.starts_with(CONNECT) => Self::Unknown,
            Self::Start | Self::Line => Self::Head(Framing::default()),
            Self::Head(framing) if line.is_empty() => framing.body(),
            Self::Head(framing) => header(framing, line).map_or(Self::Unknown, Self::Head),
            Self::Size => chunk(line),
            Self::Trailers => Self::Trailers,
            Self::Body(_) | Self::Chunk(_) | Self::Unknown | Self::Broken => self,
        }
    }
}

impl Framing {
    const fn body(self) -> Place {
        match self {
            // A message that frames itself twice is refused.
            Self { length: Some(_), is_chunked: true } => Place::Unknown,
            Self { is_chunked: true, .. } => Place::Size,
            Self { length: None | Some(0), .. } => Place::Start,
            Self { length: Some(length), .. } => Place::Body(length),
        }
    }
}

/// Reads a header line; `None` when it is nothing that this module understands.
fn header(framing: Framing, line: &mut [u8]) -> Option<Framing> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_mut(colon);
    if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    let value = value.get_mut(1..).unwrap_or_default();
    if name.eq_ignore_ascii_case(b"upgrade") {
        name.copy_from_slice(IGNORED);
    } else if name.eq_ignore_ascii_case(b"connection") {
        for option in value.split_mut(|&byte| byte == b',') {
            let start = option.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
            let option = option.get_mut(start..).unwrap_or_default();
            let length = option.trim_ascii_end().len();
            let option = option.get_mut(..length).unwrap_or_default();
            if option.eq_ignore_ascii_case(b"upgrade") {
                option.copy_from_slice(IGNORED);
            }
        }
    } else if name.eq_ignore_ascii_case(b"content-length") {
        let length = std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
        return framing.length.is_none().then_some(Framing { length: Some(length), ..framing });
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        let is_chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return is_chunked.then_some(Framing { is_chunked, ..framing });
    }
    Some(framing)
}

/// Reads the line that says how long a chunk is, its extensions aside.
fn chunk(line: &[u8]) -> Place {
    let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(0) => Place::Trailers,
        Some(size) => size.checked_add(2).map_or(Place::Broken, Place::Chunk),
        None => Place::Broken,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What comes out when the bytes arrive in pieces of these sizes.
    fn through(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut heads, mut out, mut held, mut at) = (Heads::default(), Vec::new(), Vec::new(), 0);
        for size in sizes.iter().copied().chain(std::iter::repeat(7)) {
            let Some(piece) = bytes.get(at..(at + size).min(bytes.len())).filter(|_| at < bytes.len()) else { break };
            at += piece.len();
            held.extend_from_slice(piece);
            let passed = heads.follow(&mut held);
            out.extend(held.drain(..passed));
        }
        out.extend(held);
        out
    }

    // Cases A11 and A13.
    #[test]
    fn offers_to_change_the_protocol_are_overwritten_in_heads_and_nowhere_else() {
        let body = "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
        for (case, given, expected) in [
            (
                "Java's client",
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n".to_owned(),
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: ignored, HTTP2-Settings\r\nignored: h2c\r\nHTTP2-Settings: AA\r\n\r\n".to_owned(),
            ),
            (
                "other cases and spaces, and what else the header says",
                "GET / HTTP/1.1\nconnection:\tclose ,  uPGRADE ,upgraded\nUPGRADE:websocket\n\n".to_owned(),
                "GET / HTTP/1.1\nconnection:\tclose ,  ignored ,upgraded\nignored:websocket\n\n".to_owned(),
            ),
            (
                "a body of such words, and a request behind it",
                format!("POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: {}\r\n\r\n{body}GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n", body.len()),
                format!("POST / HTTP/1.1\r\nignored: websocket\r\nContent-Length: {}\r\n\r\n{body}GET / HTTP/1.1\r\nignored: a\r\n\r\n", body.len()),
            ),
            (
                "chunks of such words, trailers, and a request behind them",
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n{:X};x=y\r\n{body}\r\n0\r\nUpgrade: t\r\n\r\n\r\nGET / HTTP/1.1\r\nUpgrade: a\r\n\r\n", body.len()),
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n{:X};x=y\r\n{body}\r\n0\r\nUpgrade: t\r\n\r\n\r\nGET / HTTP/1.1\r\nignored: a\r\n\r\n", body.len()),
            ),
        ] {
            for size in [1, 3, 1000] {
                let out = through(given.as_bytes(), &vec![size; 1000]);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{case}, {size} bytes at a time");
            }
        }
    }

    #[test]
    fn what_is_wrong_from_its_first_byte_on_is_not_held() {
        for (before, odd) in
            [("", "\u{16}\u{3}\u{1}"), ("", "GET /a"), ("POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n", "zz")]
        {
            let mut heads = Heads::default();
            heads.follow(&mut before.as_bytes().to_vec());
            assert_eq!(heads.follow(&mut odd.as_bytes().to_vec()), odd.len(), "{odd}");
        }
        for held in ["\r", "CONN"] {
            assert_eq!(Heads::default().follow(&mut held.as_bytes().to_vec()), 0, "{held}");
        }
    }

    #[test]
    fn a_request_line_is_measured_however_it_arrives() {
        for (target, is_long) in [(LONGEST_TARGET, false), (LONGEST_TARGET + 1, true), (3 * LONGEST_TARGET, true)] {
            let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n", "/".repeat(target));
            for size in [1000, 40_000, 300_000] {
                let (mut heads, mut held) = (Heads::default(), Vec::new());
                for piece in request.as_bytes().chunks(size) {
                    held.extend_from_slice(piece);
                    let passed = heads.follow(&mut held);
                    held.drain(..passed);
                }
                assert_eq!(heads.has_long_line(), is_long, "{target} bytes, {size} at a time");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_left_alone_to_the_end() {
        for odd in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "GET / HTTP/1.1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nA b: c\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
        ] {
            let given = format!("{odd}GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n");
            assert_eq!(through(given.as_bytes(), &[5; 100]), given.as_bytes(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn bytes_keep_their_number_and_the_pieces_do_not_matter(
            bytes in vec(proptest::sample::select(b"POST /\r\n:;, upgradeUPGRADEconection0123abcf".to_vec()), 0..300),
            sizes in vec(1usize..40, 0..60),
        ) {
            let whole = through(&bytes, &[1000]);
            prop_assert_eq!(whole.len(), bytes.len());
            prop_assert_eq!(through(&bytes, &sizes), whole);
        }

        #[test]
        fn a_body_comes_through_as_it_is(body in vec(any::<u8>(), 0..200), sizes in vec(1usize..40, 0..60)) {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            let bytes = [head.as_bytes(), &body, b"GET / HTTP/1.1\r\n\r\n"].concat();
            prop_assert_eq!(through(&bytes, &sizes), bytes);
        }
    }
}
