//! Logs and traces: one subscriber for the process, lines of JSON or text on standard error.
//!
//! Owns the subscriber, the shape of a line and the panic hook; the only user of `tracing-subscriber`. Standard output
//! stays free for the results of sub-commands. It must not know what is logged.

use std::any::Any;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub mod filter;
pub mod options;
pub mod targets;
pub mod traces;

pub use options::{Format, Options, TraceOptions};

use filter::FilterError;
use targets::Named;

/// Why the process has no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter's text says nothing.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Somebody set a subscriber earlier.
    #[error("logs: a subscriber is already in place; start telemetry once a process")]
    AlreadyStarted(#[source] TryInitError),
}

/// The two shapes of a line, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Text,
    ColouredText,
}

/// Starts the process's logs, panics included.
///
/// # Errors
/// [`TelemetryError`] when the filter is none, or when logs were started before.
pub fn start(options: &Options) -> Result<(), TelemetryError> {
    let shape = shape(options.format, std::io::stderr().is_terminal());
    subscriber(options, shape, std::io::stderr)?.try_init().map_err(TelemetryError::AlreadyStarted)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Colours only for eyes; a text that was asked for and goes to a file has none.
fn shape(format: Format, for_eyes: bool) -> Shape {
    match (format, for_eyes) {
        (Format::Json, _) | (Format::Auto, false) => Shape::Json,
        (Format::Text, false) => Shape::Text,
        (Format::Text | Format::Auto, true) => Shape::ColouredText,
    }
}

fn subscriber<W>(options: &Options, shape: Shape, sink: W) -> Result<Dispatch, FilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter::read(&options.filter)?).with_writer(sink);
    Ok(match shape {
        // Fields of the event lie beside its level and target, where log stores look for them.
        Shape::Json => lines.json().flatten_event(true).with_span_list(false).map_event_format(Named).finish().into(),
        Shape::Text => lines.map_event_format(|lines| Named(lines.with_ansi(false))).finish().into(),
        Shape::ColouredText => lines.map_event_format(|lines| Named(lines.with_ansi(true))).finish().into(),
    })
}

/// A panic is one error line. Its message is printed only when it is a constant: a formatted one may hold a document.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    tracing::error!(thread.name = name, panic.location = place, panic.message = constant(info.payload()), "panicked");
}

fn constant(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("withheld: it may hold a caller's text")
}

#[cfg(test)]
mod tests;
