//! The second tier of the cache that the flooded server asks: a Redis in this process that behaves, until it is asked not to.
//!
//! It says of every name that nothing lies there, until [`turn`]: then every connection is answered in another hostile
//! way. The server's memory must not grow by it, nor its answers wait for it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::flooded::thread;

/// Whether it is hostile now.
static HOSTILE: AtomicBool = AtomicBool::new(false);

/// Questions that were answered in a hostile way.
static HOSTILITIES: AtomicUsize = AtomicUsize::new(0);

/// Makes it hostile, or well again.
pub(crate) fn turn(hostile: bool) {
    HOSTILE.store(hostile, Ordering::Release);
}

/// How often it has been hostile.
pub(crate) fn hostilities() -> usize {
    HOSTILITIES.load(Ordering::Acquire)
}

/// Starts it; it ends with the test's process.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            // The server hangs up on whoever is hostile, which is what is wanted.
            thread(move || drop(serve(stream)));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut asked = Vec::new();
    loop {
        let mut piece = vec![0; 64 << 10];
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        asked.extend_from_slice(&piece[..length]);
        while let Some((words, bytes)) = command(&asked) {
            let is_ping = asked.windows(4).take(bytes).any(|four| four == b"PING");
            let is_question = asked.windows(4).take(20).any(|four| four == b"MGET");
            asked.drain(..bytes);
            if is_ping {
                stream.write_all(b"+PONG\r\n")?;
            } else if HOSTILE.load(Ordering::Acquire) {
                return answer(&mut stream, HOSTILITIES.fetch_add(1, Ordering::AcqRel));
            } else if is_question {
                let names = words - 1;
                stream.write_all(format!("*{names}\r\n{}", "$-1\r\n".repeat(names)).as_bytes())?;
            } else {
                stream.write_all(b"+OK\r\n")?;
            }
        }
    }
}

/// How many words the first command has, and how many bytes, once it is whole.
fn command(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut number = |kind: u8, skip: bool| -> Option<usize> {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let number: usize = std::str::from_utf8(rest.get(..end)?.strip_prefix(&[kind])?).ok()?.parse().ok()?;
        at += end + 2 + if skip { number + 2 } else { 0 };
        (at <= bytes.len()).then_some(number)
    };
    let words = number(b'*', false)?;
    for _ in 0..words {
        number(b'$', true)?;
    }
    Some((words, at))
}

/// One of the ways to answer that no client should believe.
fn answer(stream: &mut TcpStream, which: usize) -> std::io::Result<()> {
    match which % 7 {
        0 => endless(stream, b"*2147483647\r\n", b"$-1\r\n"),
        1 => endless(stream, b"*1000\r\n$536870912\r\n", b"x"),
        2 => endless(stream, b"+", b"x"),
        3 => endless(stream, b"", b"*1000\r\n"),
        4 => stream.read(&mut [0; 1]).map(drop),
        5 => loop {
            stream.write_all(b"*")?;
            std::thread::sleep(Duration::from_secs(1));
        },
        _ => {
            stream.write_all(b"*1000\r\n$16\r\n0123")?;
            stream.shutdown(Shutdown::Both)
        }
    }
}

fn endless(stream: &mut TcpStream, begin: &[u8], piece: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin)?;
    let piece = piece.repeat((1 << 20) / piece.len());
    while HOSTILE.load(Ordering::Acquire) {
        stream.write_all(&piece)?;
    }
    Ok(())
}
