//! Standard output, which its reader may close at any time: `rescored cache export FILE | head -1`.
//!
//! Owns what a closed pipe means: whoever reads has read enough. It ends the printing, quietly, and changes no exit code.
//! Every sub-command prints through here. It must not know what is printed.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{FAILURE, fail};

/// Standard output, buffered.
#[derive(Debug)]
pub struct Out {
    inner: io::BufWriter<io::StdoutLock<'static>>,
    closed: bool,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.noted(flushed)
    }
}

impl Out {
    fn noted<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        self.closed |= outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        outcome
    }
}

/// Prints, and turns what comes of it into the exit code: work that ended because nobody reads any more has ended well.
pub fn print<E>(work: impl FnOnce(&mut Out) -> Result<(), E>) -> ExitCode
where
    E: std::error::Error + From<io::Error> + 'static,
{
    let mut out = Out { inner: io::BufWriter::new(io::stdout().lock()), closed: false };
    let printed = work(&mut out).and_then(|()| Ok(out.flush()?));
    match printed {
        Err(error) if !out.closed => fail(FAILURE, &error),
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

/// Prints a text that says what was done: the exit code speaks of the work, not of the printing.
pub fn tell(text: &str) {
    let mut out = io::stdout().lock();
    // A closed pipe, a full disk: what was done stays done.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
