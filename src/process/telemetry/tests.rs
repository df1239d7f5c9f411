//! What reaches standard error.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::*;

/// Names to the copy of this test binary the test that plays the child.
const CHILD: &str = "TELEMETRY_TEST_CHILD";

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while writing").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn options(filter: &str, format: Format) -> Options {
    Options { filter: filter.to_owned(), format }
}

fn lines(shape: Shape, filter: &str, log: impl FnOnce()) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let dispatch = subscriber(&options(filter, Format::Auto), shape, move || writer.clone()).expect("a filter");
    tracing::dispatcher::with_default(&dispatch, log);
    let bytes = sink.0.lock().expect("no panic while writing").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_json_line_has_its_fields_beside_level_and_time() {
    let text = lines(Shape::Json, "info", || tracing::info!(pairs.count = 3, "answered\nhere"));
    let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"answered\nhere".into()));
    assert_eq!(line["pairs.count"], 3);
    assert!(line["target"].as_str().expect("a target").starts_with("rescored::telemetry"));
    let time = line["timestamp"].as_str().expect("a timestamp");
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "RFC 3339 in UTC: {time}");
}

#[test]
fn a_text_line_is_one_line_without_colours() {
    let text = lines(Shape::Text, "info", || tracing::info!(pairs.count = 3, "answered"));
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("INFO") && text.contains("answered pairs.count=3") && !text.contains('\u{1b}'), "{text}");
    let coloured = lines(Shape::ColouredText, "info", || tracing::info!("answered"));
    assert!(coloured.contains('\u{1b}'), "{coloured}");
}

#[test]
fn a_line_names_its_place_as_filters_do_whatever_crate_it_lies_in() {
    let log = || {
        tracing::info!(target: "rescored_engine::planner", text = "\"target\":\"rescored_engine::planner\"", "one");
        tracing::info!(target: "rescored_server::http", "two");
        tracing::info!(target: "actix_server", "three");
    };
    let json = lines(Shape::Json, "rescored::engine=info", log);
    let line: serde_json::Value = serde_json::from_str(&json).expect("one line");
    assert_eq!(line["target"], "rescored::engine::planner", "{json}");
    assert_eq!(line["text"], "\"target\":\"rescored_engine::planner\"", "values stay as they are");
    for shape in [Shape::Text, Shape::ColouredText] {
        let text = lines(shape, "warn,rescored=info", log);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("rescored::engine::planner") && text.contains("rescored::http"), "{text}");
        assert_eq!(text.contains('\u{1b}'), shape == Shape::ColouredText, "{text}");
    }
    assert_eq!(lines(Shape::Text, "info,rescored::http=off", log).lines().count(), 2);
}

#[test]
fn the_filter_decides_what_is_written() {
    let log = || {
        tracing::debug!("quiet");
        tracing::warn!("loud");
    };
    let text = lines(Shape::Text, "info", log);
    assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
    assert!(lines(Shape::Text, "rescored=debug", log).contains("quiet"));
    assert_eq!(lines(Shape::Text, "off", log), "");
}

#[test]
fn a_terminal_gets_text_and_everything_else_gets_json() {
    let cases = [
        (Format::Auto, true, Shape::ColouredText, "eyes read text"),
        (Format::Auto, false, Shape::Json, "collectors read JSON"),
        (Format::Json, true, Shape::Json, "what was asked for"),
        (Format::Text, false, Shape::Text, "a file wants no colours"),
        (Format::Text, true, Shape::ColouredText, "what was asked for"),
    ];
    for (format, terminal, expected, sentence) in cases {
        assert_eq!(shape(format, terminal), expected, "{sentence}");
    }
}

#[test]
fn a_bad_filter_is_an_error_with_its_text_and_a_hint() {
    let error = start(&options("inof", Format::Json)).expect_err("no filter").to_string();
    assert!(error.contains("`inof`") && error.contains(filter::HINT), "{error}");
}

/// Logs go to a whole process, so this test runs itself once more as one.
#[test]
fn a_process_logs_to_standard_error_and_its_panics_keep_texts_back() {
    #[expect(clippy::disallowed_methods, reason = "the child is this very test; nothing is configured")]
    let is_child = std::env::var_os(CHILD).is_some();
    if is_child {
        start(&options("info", Format::Auto)).expect("a first start");
        assert!(matches!(start(&options("info", Format::Auto)), Err(TelemetryError::AlreadyStarted(_))));
        tracing::info!("alive");
        let panics = |name: &str, body: fn()| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread");
            assert!(thread.join().is_err());
        };
        panics("constant", || panic!("an invariant"));
        panics("formatted", || {
            let document = "Berlin";
            panic!("could not score {document}");
        });
        return;
    }
    let name = "telemetry::tests::a_process_logs_to_standard_error_and_its_panics_keep_texts_back";
    let run = Command::new(std::env::current_exe().expect("this binary"))
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .expect("a child");
    let errors = String::from_utf8(run.stderr).expect("UTF-8");
    assert!(run.status.success(), "{errors}");
    assert!(!String::from_utf8_lossy(&run.stdout).contains("alive"), "standard output stays free");
    let lines: Vec<serde_json::Value> = errors.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let messages: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["message"].as_str().unwrap_or(""), line["panic.message"].as_str().unwrap_or("")))
        .collect();
    let withheld = "withheld: it may hold a caller's text";
    assert_eq!(messages, [("alive", ""), ("panicked", "an invariant"), ("panicked", withheld)], "{errors}");
    assert_eq!(lines[1]["thread.name"], "constant");
    assert!(lines[1]["panic.location"].as_str().is_some_and(|place| place.contains("tests.rs:")), "{errors}");
    assert!(!errors.contains("Berlin"), "a caller's text never reaches the log: {errors}");
}
