//! The passage of a hit: the values of the named fields, as one text.
//!
//! Rules, beside those of [`rescored_core::json::values`], which requests' documents are read by, too:
//! - The places are tried in order (OpenSearch: the hit's `fields`, then `_source`; Vespa: `fields`); the first that has
//!   a value wins. In one place the first key that leads to a value wins.
//! - The values of one field are joined by one space, as OpenSearch's rerank processor does.
//! - The fields are joined by the separator, empty ones leave no trace. A field without a value (absent, null, `[]`) is
//!   skipped and counted. A hit without any is an empty passage.
//! - A passage is no longer than twice what it was gathered from: fields named over and over make it no longer.

use std::borrow::Cow;

use rescored_core::json::values::{Values, append, below, longest};

use super::scan::{Cursor, Span, Syntax};

/// Between fields when the caller names nothing. OpenSearch's rerank processor puts nothing there, which glues the last
/// word of one field to the first of the next; every tokenizer reads a line break as a break.
const SEPARATOR: &str = "\n";

/// The fields that make a passage.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    names: Vec<Cow<'a, str>>,
    separator: Cow<'a, str>,
}

/// The passage of one hit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage<'a> {
    pub(super) text: Cow<'a, str>,
    /// Fields that had no value.
    pub(super) missing: usize,
}

/// Enough was found. The text was checked before, so a syntax error cannot happen and stops as well.
struct Done;

impl From<Syntax> for Done {
    fn from(_: Syntax) -> Self {
        Self
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(names: Vec<Cow<'a, str>>, separator: Option<Cow<'a, str>>) -> Self {
        Self { names, separator: separator.unwrap_or(Cow::Borrowed(SEPARATOR)) }
    }

    /// How many fields make a passage.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Gathers the passage from the objects at `places`, which have been checked to be JSON.
    pub(super) fn passage<'b>(&self, body: &'b str, places: &[Option<Span>]) -> Passage<'b> {
        let (mut text, mut missing) = (Cow::Borrowed(""), 0);
        let longest = longest(places.iter().flatten().map(Span::len).sum());
        for values in self.values(body, places) {
            missing += usize::from(values.found.is_empty());
            let mut joint = self.separator.as_ref();
            for value in values.found.iter().filter(|value| !value.is_empty()) {
                let joined = if text.is_empty() { 0 } else { text.len() + joint.len() };
                if joined + value.len() > longest {
                    break;
                }
                append(&mut text, joint, value);
                joint = " ";
            }
        }
        Passage { text, missing }
    }

    /// The values of every field, each from the first place that has any. A place is gone through once for all fields.
    fn values<'b>(&self, body: &'b str, places: &[Option<Span>]) -> Vec<Values<'b>> {
        let mut all: Vec<Values<'b>> = self.names.iter().map(|_| Values::default()).collect();
        for place in places.iter().flatten() {
            let _ = self.search(&mut Cursor::new(body, place), &mut all);
        }
        all
    }

    /// Collects the values of fields that have none yet in an object; of each field, those of the first key that leads to
    /// any. Stops when no field lacks a value.
    fn search<'b>(&self, cursor: &mut Cursor<'b>, all: &mut [Values<'b>]) -> Result<(), Done> {
        let mut open = all.iter().filter(|values| values.found.is_empty()).count();
        cursor.object(|cursor, key| {
            if open == 0 {
                return Err(Done);
            }
            let span = cursor.skip()?;
            for (name, values) in self.names.iter().zip(all.iter_mut()).filter(|(_, values)| values.found.is_empty()) {
                if let Some(rest) = below(name, &key) {
                    values.collect_from(cursor.slice(&span), rest)?;
                    open -= usize::from(!values.found.is_empty());
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(names: &[&str], separator: Option<&str>, places: [&str; 2]) -> (String, usize) {
        let body = places.concat();
        let (first, second) = (places[0].len(), body.len());
        let spans = [Some(0..first).filter(|span| !span.is_empty()), Some(first..second)];
        let fields = Fields::new(names.iter().map(|&name| name.into()).collect(), separator.map(Cow::Borrowed));
        let passage = fields.passage(&body, &spans);
        (passage.text.into_owned(), passage.missing)
    }

    #[test]
    fn the_named_fields_make_the_passage() {
        type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>, [&'a str; 2], (&'a str, usize));
        let cases: &[Case<'_>] = &[
            ("two fields in the order of the names", &["b", "a"], None, ["", r#"{"a":"x","b":"y"}"#], ("y\nx", 0)),
            ("another separator", &["a", "b"], Some(" | "), ["", r#"{"a":"x","b":"y"}"#], ("x | y", 0)),
            ("no separator at all", &["a", "b"], Some(""), ["", r#"{"a":"x","b":"y"}"#], ("xy", 0)),
            ("a missing field leaves no separator", &["a", "z", "b"], None, ["", r#"{"a":"x","b":"y"}"#], ("x\ny", 1)),
            ("null and an empty array are missing", &["a", "b"], None, ["", r#"{"a":null,"b":[]}"#], ("", 2)),
            ("an empty string is there", &["a", "b"], None, ["", r#"{"a":"","b":"y"}"#], ("y", 0)),
            ("an array is joined by spaces", &["a"], None, ["", r#"{"a":["x","y",["z"]]}"#], ("x y z", 0)),
            ("a dotted path into objects", &["a.b.c"], None, ["", r#"{"a":{"b":{"c":"x"}}}"#], ("x", 0)),
            ("a key with dots", &["a.b.c"], None, ["", r#"{"a.b":{"c":"x"}}"#], ("x", 0)),
            ("nested objects in arrays", &["a.b"], None, ["", r#"{"a":[{"b":"x"},{"c":1},{"b":["y"]}]}"#], ("x y", 0)),
            ("a path that ends at an object", &["a"], None, ["", r#"{"a":{"t":"x","n":{"m":2}}}"#], ("x 2", 0)),
            (
                "numbers and booleans as spelled",
                &["a"],
                None,
                ["", r#"{"a":[1.50,true,-2e3,null]}"#],
                ("1.50 true -2e3", 0),
            ),
            ("a path through a scalar", &["a.b"], None, ["", r#"{"a":"x"}"#], ("", 1)),
            ("half a key is not the key", &["a"], None, ["", r#"{"ab":"x"}"#], ("", 1)),
            ("the first place wins", &["a"], None, [r#"{"a":["f"]}"#, r#"{"a":"s"}"#], ("f", 0)),
            ("the second place fills in", &["a", "b"], None, [r#"{"a":["f"]}"#, r#"{"a":"s","b":"t"}"#], ("f\nt", 0)),
            ("escapes are undone", &["a"], None, ["", r#"{"a":"\u00e9\n\"q\""}"#], ("é\n\"q\"", 0)),
            // Case B1.
            (
                "content parts give their texts",
                &["a"],
                None,
                ["", r#"{"a":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}"#],
                ("x y", 0),
            ),
            (
                "a part that is an image gives none",
                &["a"],
                None,
                ["", r#"{"a":[{"type":"image_url","image_url":{"url":"u"}}]}"#],
                ("", 1),
            ),
            ("an escaped key is the key", &["a"], None, ["", r#"{"\u0061":"x"}"#], ("x", 0)),
        ];
        for (case, names, separator, places, (text, missing)) in cases {
            assert_eq!(passage(names, *separator, *places), ((*text).to_owned(), *missing), "{case}");
        }
    }

    #[test]
    fn a_single_plain_value_is_not_copied() {
        let fields = Fields::new(vec!["a".into()], None);
        let passage = fields.passage(r#"{"a":"x"}"#, &[Some(0..9)]);
        assert!(matches!(passage.text, Cow::Borrowed("x")));
    }

    /// Time that this thread has had on a processor, to a few milliseconds, so that what else runs there does not count;
    /// elsewhere than on Linux the time of day.
    fn on_processor() -> std::time::Duration {
        static BEGUN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let nanos = scheduled.and_then(|fields| fields.split(' ').next()?.parse().ok());
        nanos.map_or_else(|| BEGUN.elapsed(), std::time::Duration::from_nanos)
    }

    /// Case A2: its neighbours; a source was gone through once for each name.
    #[test]
    fn a_source_is_gone_through_once_however_many_fields_are_named() {
        let members: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{{\"v\":[{n},\"value\"]}}")).collect();
        let source = format!("{{{}}}", members.join(","));
        let names: Vec<String> = (0..50).map(|n| format!("none{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let time = |names: &[&str]| {
            let begun = on_processor();
            for _ in 0..30 {
                assert_eq!(passage(names, None, ["", &source]), (String::new(), names.len()));
            }
            on_processor().saturating_sub(begun)
        };
        let (one, fifty) = (time(&names[..1]), time(&names));
        assert!(fifty < one * 20, "{fifty:?} for fifty fields, {one:?} for one");
    }

    /// Case A2: fifty names of one text of 30 MiB took 1.5 GiB.
    #[test]
    fn names_over_and_over_make_no_passage_of_many_times_the_text() {
        let source = format!(r#"{{"t":"{}"}}"#, "x".repeat(10_000));
        let (text, _) = passage(&["t"; 50], None, ["", &source]);
        assert_eq!(text.len(), 20_001, "twice, and the separator");
        let (text, _) = passage(&["t"; 50], Some(&"-".repeat(1 << 20)), ["", &source]);
        assert_eq!(text.len(), 10_000, "nor does a separator");
        let (text, _) = passage(&["t", "t"], None, ["", r#"{"t":"title"}"#]);
        assert_eq!(text, "title\ntitle", "a title may weigh more");
    }
}
