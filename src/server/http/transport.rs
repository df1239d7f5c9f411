//! A connection's bytes between the socket and the HTTP library, where that has no setting for it.
//!
//! - `heads`: where requests begin, and offers to change the protocol, which are ignored.
//!
//! In: such offers are overwritten. Out: what the library itself answers to bytes that are no request, a bare status,
//! becomes the one error body. A head that is longer than what is planned for a connection takes memory from the budget as it
//! comes. After such an answer the rest of what the client sends is read for a moment: closing a
//! socket with unread bytes resets the connection, and the answer is lost with it. Nothing else is touched; bytes are
//! not held but for the beginning of a header line whose end has not arrived. It must not know what requests ask.

mod heads;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rescored_process::budget::{Budget, BudgetError, Class, Reservation};
use rescored_process::metrics::{Answered, Metrics};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::heads::Heads;
use super::error::{ApiError, RequestError};
use super::request_id;

/// Bytes of a line's beginning that are held; a longer line is left alone: the library refuses it.
const LONGEST_LINE: usize = 128 << 10;

/// What the library's own answers have at most.
const LONGEST_BARE: usize = 512;

/// How long a client whose request was refused may go on sending, and how much.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// Bytes of an unfinished head that are in what is planned for each connection; for more, memory is taken.
const PLANNED_HEAD: usize = 8 << 10;

/// Bytes of memory for each byte of a longer head: the library's room for it grows by doubling, and what is held here of a
/// long line is there twice for a moment.
const FACTOR: usize = 3;

/// Bytes that are read at once, at most, before memory is taken again.
const PIECE: usize = 8 << 10;

/// A connection's bytes.
pub(super) struct Transport<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    /// `None` once it lingers on its own.
    io: Option<T>,
    heads: Heads,
    /// Bytes that were read, up to `passable` of which may be passed on.
    held: Vec<u8>,
    passable: usize,
    /// What is left to write of an answer of ours.
    answer: Vec<u8>,
    was_refused: bool,
    /// For the head that is being read.
    memory: Reservation,
    metrics: Arc<Metrics>,
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport<T> {
    pub(super) fn new(io: T, metrics: Arc<Metrics>, budget: &Budget) -> Self {
        Self {
            io: Some(io),
            heads: Heads::default(),
            held: Vec::new(),
            passable: 0,
            answer: Vec::new(),
            was_refused: false,
            memory: budget.nothing(Class::Small),
            metrics,
        }
    }

    /// The connection itself.
    pub(super) const fn io(&self) -> Option<&T> {
        self.io.as_ref()
    }

    fn socket(&mut self) -> io::Result<Pin<&mut T>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Gives out of what is held; whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let given = self.passable.min(buffer.remaining());
        buffer.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.drain(..given);
        self.passable -= given;
        given > 0
    }

    /// Writes what is left of an answer of ours.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            let answer = std::mem::take(&mut self.answer);
            let written = self.socket()?.poll_write(context, &answer);
            self.answer = answer;
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes memory for what a long head is about to bring. It is not waited for: a head is short where nobody means harm.
    fn pay(&mut self) -> Result<(), BudgetError> {
        let head = self.heads.unfinished() + self.held.len();
        let wanted = if head > PLANNED_HEAD { ((head + PIECE) * FACTOR) as u64 } else { 0 };
        let more = wanted.saturating_sub(self.memory.bytes());
        if more > 0 { self.memory.try_grow(more) } else { Ok(()) }
    }

    /// Takes the library's own answer and puts ours in its place.
    fn replace(&mut self, status: u16) {
        self.was_refused = true;
        // A body that breaks was its handler's to answer for, and it has.
        if self.heads.are_behind() {
            return;
        }
        self.refuse(&ApiError::from(match status {
            408 => RequestError::HeadUnread,
            400 | 431 if self.heads.has_long_line() => RequestError::TargetTooLong,
            431 => RequestError::HeadTooLarge,
            _ => RequestError::Framing,
        }));
    }

    /// Answers in the library's place; it is not asked any more.
    fn refuse(&mut self, refusal: &ApiError) {
        self.was_refused = true;
        let status = refusal.status().0;
        self.metrics.requests.get_or_create(&Answered::new("none", status.as_u16())).inc();
        let (id, body) = (request_id::of(None), refusal.body());
        let retry = if status.as_u16() == 503 { "retry-after: 1\r\n" } else { "" };
        tracing::info!(request.id = id, dialect = "none", status = status.as_u16(), error = %refusal, "refused");
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             x-content-type-options: nosniff\r\nx-request-id: {id}\r\n{retry}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            body.len()
        );
        self.answer.extend_from_slice(head.as_bytes());
        self.answer.extend_from_slice(body.as_bytes());
    }
}

/// Where an answer of the library's own begins that these bytes end with, and its status. Answers of handlers have a body
/// or are no errors, and every one has an `x-request-id`.
fn bare_answer(bytes: &[u8]) -> Option<(usize, u16)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let near = bytes.len().saturating_sub(LONGEST_BARE);
    let tail = bytes.get(near..)?;
    let start = tail.windows(7).rposition(|window| window == b"HTTP/1.")?;
    let head = std::str::from_utf8(tail.get(start..)?).ok()?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
    let is_bare = matches!(status, 400 | 408 | 431 | 500)
        && lines.clone().any(|line| line.eq_ignore_ascii_case("content-length: 0"))
        && lines.all(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("x-request-id"));
    is_bare.then_some((near + start, status))
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Transport<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 || this.give(buffer) {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Err(denied) = this.pay() {
                this.refuse(&denied.into());
                // The library lets go of the connection, and the answer goes out behind it.
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
            let before = buffer.filled().len();
            // Whole lines and bodies go through without being copied.
            if this.held.is_empty() {
                ready!(this.socket()?.poll_read(context, buffer))?;
                let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
                if read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let passed = this.heads.follow(read);
                this.held.extend_from_slice(read.get(passed..).unwrap_or_default());
                buffer.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let mut piece = [0; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(this.socket()?.poll_read(context, &mut piece))?;
            this.held.extend_from_slice(piece.filled());
            // A long line that comes in pieces is not looked through again for each of them.
            let is_over = piece.filled().is_empty() || this.held.len() > LONGEST_LINE;
            if !is_over && this.heads.want_line_end() && !piece.filled().contains(&b'\n') {
                continue;
            }
            if is_over {
                // What never becomes a line is for the library to judge.
                this.heads.give_up();
            }
            this.passable = this.heads.follow(&mut this.held);
            if this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Transport<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_answer(context))?;
        if this.heads.unfinished() == 0 && this.held.is_empty() {
            // Its request is being answered, and the next one's head is not here yet.
            this.memory.shrink(0);
        }
        match bare_answer(bytes) {
            Some((0, status)) => {
                this.replace(status);
                Poll::Ready(Ok(bytes.len()))
            }
            Some((before, _)) => this.socket()?.poll_write(context, bytes.get(..before).unwrap_or_default()),
            None => this.socket()?.poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        self.socket()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(context))?;
        self.socket()?.poll_shutdown(context)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Transport<T> {
    fn drop(&mut self) {
        if !self.was_refused {
            return;
        }
        // Without a runtime the process is ending, and so is the connection.
        if let (Some(io), Ok(runtime)) = (self.io.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(linger(io, std::mem::take(&mut self.answer)));
        }
    }
}

/// Writes the rest of an answer and reads what the client goes on sending, for a moment.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, answer: Vec<u8>) {
    let work = async {
        io.write_all(&answer).await?;
        io.shutdown().await?;
        let mut piece = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match io.read(&mut piece).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    };
    // A client that has gone, or stays for longer, has had its answer.
    let _ = tokio::time::timeout(LINGER, work).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_own_answers_are_replaced() {
        let bare = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: Sun, 29 Nov 2026 23:00:00 GMT\r\n\r\n";
        let ours = "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n{}";
        assert_eq!(bare_answer(bare.as_bytes()), Some((0, 400)));
        assert_eq!(bare_answer(format!("{ours}{bare}").as_bytes()), Some((ours.len(), 400)));
        for (case, bytes) in [
            ("an answer of ours", ours.to_owned()),
            ("a success", bare.replace("400 Bad Request", "200 OK")),
            ("no content", bare.replace("400 Bad Request", "204 No Content")),
            ("an error of a handler's", bare.replace("date", "x-request-id")),
            ("half of it", bare.trim_end_matches("\r\n").to_owned() + "\r\n"),
            ("a body that quotes it", format!("{bare}x")),
            ("nothing", String::new()),
        ] {
            assert_eq!(bare_answer(bytes.as_bytes()), None, "{case}");
        }
    }
}
