//! A conversation with one server: commands out, replies in, each exchange within a time and an allowance of bytes.
//!
//! Owns the greeting (password, database). It must not know what is kept there.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Host;
use super::login::Login;
use super::resp::{self, Broken, Limits, Reader, Reply};
use super::stream::Stream;
use super::tls::ClientConfig;

/// Bytes of replies that carry no list.
const PLAIN: u64 = 4 << 10;

/// See the module.
pub(super) struct Connection {
    reader: Reader<Stream>,
}

/// How a server is greeted.
#[derive(Clone, Copy)]
pub(super) struct Greeting<'a> {
    /// `None` where there is no TLS.
    pub(super) tls: Option<&'a Arc<ClientConfig>>,
    pub(super) login: Option<&'a Login>,
    pub(super) database: u32,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Connects to a host and greets it, all of it until then.
    pub(super) fn open(host: &Host, greeting: &Greeting<'_>, until: Instant) -> Result<Self, Broken> {
        let stream = match greeting.tls {
            Some(config) => Stream::tls(host, config, until)?,
            None => Stream::tcp(host, until)?,
        };
        Self::greeted(stream, greeting, until)
    }

    /// Connects to a socket and greets who is there.
    pub(super) fn open_socket(path: &Path, greeting: &Greeting<'_>, until: Instant) -> Result<Self, Broken> {
        Self::greeted(Stream::unix(path, until)?, greeting, until)
    }

    fn greeted(stream: Stream, greeting: &Greeting<'_>, until: Instant) -> Result<Self, Broken> {
        let mut connection = Self { reader: Reader::new(stream) };
        if let Some(Login { user, password }) = greeting.login {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(user.as_deref());
            words.push(password);
            // Its words may repeat the password: the first one alone is repeated.
            connection.ask(&words, until).map_err(|error| {
                let Broken::Refused(words) = error else { return error };
                Broken::Refused(words.split(' ').take(1).collect::<String>() + " to AUTH")
            })?;
        }
        if greeting.database > 0 {
            connection.ask(&[b"SELECT", greeting.database.to_string().as_bytes()], until)?;
        }
        Ok(connection)
    }

    /// Sends a command whose reply is short.
    pub(super) fn ask(&mut self, words: &[&[u8]], until: Instant) -> Result<Reply, Broken> {
        let mut out = Vec::new();
        resp::command(&mut out, words);
        self.exchange(&out, PLAIN, &Limits::PLAIN, until)
    }

    /// Sends a command, and reads its reply within an allowance of bytes. A refusal is an error.
    pub(super) fn exchange(
        &mut self,
        out: &[u8],
        allowance: u64,
        limits: &Limits,
        until: Instant,
    ) -> Result<Reply, Broken> {
        self.send(out, allowance, until)?;
        self.receive(limits)?.granted()
    }

    /// Sends commands, whose replies may have so many bytes and are to come until then.
    pub(super) fn send(&mut self, out: &[u8], allowance: u64, until: Instant) -> Result<(), Broken> {
        self.reader.allow(allowance)?;
        let stream = self.reader.inner();
        stream.set_deadline(until);
        stream.write_all(out)?;
        Ok(stream.flush()?)
    }

    /// The next reply to what was sent.
    pub(super) fn receive(&mut self, limits: &Limits) -> Result<Reply, Broken> {
        self.reader.reply(limits)
    }

    /// Whether anybody is there.
    pub(super) fn ping(&mut self, until: Instant) -> Result<(), Broken> {
        let reply = self.ask(&[b"PING"], until)?;
        let pong = reply == Reply::Status("PONG".to_owned());
        if pong { Ok(()) } else { Err(Broken::Nonsense("another answer than PONG")) }
    }
}

/// A deadline this far ahead.
pub(super) fn within(patience: Duration) -> Instant {
    Instant::now() + patience
}
