//! What a document of any shape becomes, and what is refused.

use std::time::{Duration, Instant};

use super::*;
use crate::http::wire::document::Documents;
use crate::http::wire::text::List;

fn text(json: &str, rank_fields: &[&str]) -> Result<(String, usize, usize), Unreadable> {
    let names: Vec<Text<'_>> = rank_fields.iter().map(|&name| Text(name.into())).collect();
    let mut reading = Reading::by(&names);
    let text = reading.text(serde_json::from_str(json).expect("a document"))?.into_owned();
    Ok((text, reading.missing, reading.left_out))
}

#[test]
fn texts_without_escapes_are_borrowed_from_the_body() {
    let list: List<Document<'_>> =
        serde_json::from_str(r#"["plain é", "with \u00e9 escape", {"text":"plain"}]"#).unwrap();
    assert!(matches!(&list.items[0], Document::Text(Cow::Borrowed("plain é"))));
    assert!(matches!(&list.items[1], Document::Text(Cow::Owned(text)) if text == "with é escape"));
    assert!(matches!(Reading::default().text(list.items[2].clone()), Ok(Cow::Borrowed("plain"))));
}

// Case B1.
#[test]
fn objects_become_one_text() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a str, [usize; 2], &'a str);
    let deep_beside = format!("{{\"title\":\"h\",\"x\":{}\"d\"{}}}", "[".repeat(40), "]".repeat(40));
    let cases: &[Case<'_>] = &[
        (r#"{"text":"t","title":"h"}"#, &[], "t", [0, 0], "`text` comes first"),
        (r#"{"text":3520031}"#, &[], "3520031", [0, 0], "a number is spelled as it came"),
        (r#"{"text":1e3}"#, &[], "1e3", [0, 0], "in whatever form"),
        (r#"{"text":true}"#, &[], "true", [0, 0], "a boolean"),
        (r#"{"text":["a",["b",1]]}"#, &[], "a b 1", [0, 0], "a list"),
        (r#"{"text":{"x":"a","y":{"z":"b"}}}"#, &[], "a b", [0, 0], "an object"),
        (r#"{"text":"","title":"h"}"#, &[], "", [0, 0], "an empty text is a text"),
        (r#"{"text":null,"title":"h"}"#, &[], "h", [0, 0], "null is none"),
        (r#"{"doc":{"text":"a","id":7}}"#, &[], "a", [0, 0], "an object in an object"),
        (r#"{"type":"x","document":{"doc":{"text":{"b":"a"}}}}"#, &[], "a", [0, 0], "whatever it is called"),
        (r#"{"type":"text","text":"a"}"#, &[], "a", [0, 0], "a content part"),
        (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, &[], "a\nb", [0, 0], "parts"),
        (r#"{"role":"user","content":"a"}"#, &[], "a", [0, 0], "a message"),
        (r#"{"title":"h","content":"a"}"#, &[], "h\na", [0, 0], "a record with content"),
        (
            r#"{"title":"h","n":1,"x":{"y":["z"]},"b":true,"v":null,"body":"b"}"#,
            &[],
            "h\nz\nb",
            [0, 2],
            "all strings in their order, numbers counted",
        ),
        (r#"{"title":"h","image":"u"}"#, &[], "h", [0, 1], "an image beside a text is counted"),
        (r#"{"text":"t","image":"u","video":null}"#, &[], "t", [0, 1], "and beside `text`"),
        (r#"{"type":"text","value":"t"}"#, &[], "t", [0, 0], "what it is, is no part of what it says"),
        (r#"{"type":"image","title":"h"}"#, &[], "image\nh", [0, 0], "but of a record about an image"),
        (&deep_beside, &[], "h", [0, 1], "what lies too deep is counted"),
        (r#"{"n":1,"m":[2]}"#, &[], "1 2", [0, 0], "numbers where there is nothing else"),
        (r"{}", &[], "", [0, 0], "nothing at all is an empty text"),
        (r#"{"role":"user","content":7}"#, &[], "7", [0, 0], "a message of numbers"),
        (r#"{"type":7}"#, &[], "7", [0, 0], "a type that is no content part's"),
        (r#"{"content":[],"title":"t"}"#, &[], "t", [0, 0], "no content, but a title"),
        (r#"{"title":"h","text":"t","body":"b"}"#, &["body", "title", "none"], "b\nh", [1, 0], "chosen, ordered"),
        (r#"{"n":1999,"l":["a",2],"o":{"p":"q"}}"#, &["n", "l", "o.p"], "1999\na 2\nq", [0, 0], "of every kind"),
        (r#"{"Title":"h","title":"i"}"#, &["Title"], "h", [0, 0], "letter case as it is spelled"),
        (r#"{"a.b":"x","a":{"c":"y"}}"#, &["a.b", "a.c"], "x\ny", [0, 0], "dots in keys and between them"),
        (r#"{"a":"","b":"x"}"#, &["a", "b"], "x", [0, 0], "empty values leave no line"),
    ];
    for (json, rank_fields, expected, [missing, left_out], why) in cases {
        assert_eq!(text(json, rank_fields), Ok(((*expected).to_owned(), *missing, *left_out)), "{why}: {json}");
    }
}

// Case B1.
#[test]
fn what_holds_no_text_is_refused() {
    let deep = format!("{{\"text\":{}1{}}}", "[".repeat(2000), "]".repeat(2000));
    let below = format!("{{\"x\":{}\"d\"{}}}", "[".repeat(40), "]".repeat(40));
    let cases: &[(&str, &[&str], Unreadable)] = &[
        (r#"{"text":null}"#, &[], Unreadable::NoText),
        (r#"{"text":[]}"#, &[], Unreadable::NoText),
        (r#"{"text":{},"x":null}"#, &[], Unreadable::NoText),
        (r#"{"image":"https://example.org/a.png"}"#, &[], Unreadable::Medium),
        (r#"{"image_url":{"url":"u"},"type":"image_url"}"#, &[], Unreadable::Medium),
        (r#"{"doc":{"image":"u"}}"#, &[], Unreadable::Medium),
        (r#"{"doc":{}}"#, &[], Unreadable::NoText),
        (r#"{"role":"user","content":null}"#, &[], Unreadable::NoText),
        (r#"{"content":{"type":"text","n":1,"text":null},"x":null}"#, &[], Unreadable::NoText),
        (r#"{"type":"input_image","image_url":"u"}"#, &[], Unreadable::Medium),
        (r#"{"type":"file","file":{"data":"x"},"id":"y"}"#, &[], Unreadable::Medium),
        (r#"{"content":[{"type":"image_url","image_url":{"url":"u"}}]}"#, &[], Unreadable::Medium),
        (
            r#"{"content":[{"type":"text","text":"a"},{"type":"video_url","video_url":{"url":"u"}}]}"#,
            &[],
            Unreadable::Medium,
        ),
        (r#"{"text":"a"}"#, &["title"], Unreadable::NoField),
        (r#"{"title":null,"text":"a"}"#, &["title"], Unreadable::NoField),
        (r#"{"Title":"a"}"#, &["title"], Unreadable::NoField),
        (r#"{"a":"b"}"#, &["a.b"], Unreadable::NoField),
        (&deep, &[], Unreadable::Deep),
        (&below, &[], Unreadable::NoText),
        (r#"{"type":"text"}"#, &[], Unreadable::NoText),
        (r#"{"type":"text","text":null}"#, &[], Unreadable::NoText),
        (r#"{"type":"image_url"}"#, &[], Unreadable::NoText),
        (r#"{"content":[{"type":"text"}]}"#, &[], Unreadable::NoText),
        (r#"{"text":{"type":"text","text":null,"a":"x"}}"#, &[], Unreadable::NoText),
    ];
    for (json, rank_fields, why) in cases {
        assert_eq!(text(json, rank_fields), Err(*why), "{json:.80}");
    }
}

#[test]
fn queries_say_which_of_their_members_they_are() {
    let read = |json: &str| {
        let document = serde_json::from_str(json).expect("a document");
        Reading::default().query(document).map(Cow::into_owned)
    };
    assert_eq!(read(r#"{"text":"q","id":1}"#).as_deref(), Ok("q"));
    assert_eq!(read(r#"{"content":[{"type":"text","text":"q"}]}"#).as_deref(), Ok("q"));
    assert_eq!(read(r#"{"title":"q"}"#), Err(Unreadable::NoText));
    assert_eq!(read(r#"{"text":null,"title":"q"}"#), Err(Unreadable::NoText), "nothing else is the query");
    assert_eq!(read(r#"{"text":null,"content":"q","title":"t"}"#).as_deref(), Ok("q"));
    assert_eq!(read(r#"{"role":"user","content":["a","b"]}"#).as_deref(), Ok("a\nb"));
    assert_eq!(read(r#"{"content":[{"type":"image_url","image_url":{"url":"u"}}]}"#), Err(Unreadable::Medium));
    assert_eq!(read(r"{}"), Err(Unreadable::NoText));
}

/// Case A2: names of one long text took its bytes as often as it was named.
#[test]
fn fields_that_repeat_a_long_text_over_and_over_are_refused() {
    let json = format!(r#"{{"t":"{}"}}"#, "x".repeat(10_000));
    assert_eq!(text(&json, &["t"; 3]), Err(Unreadable::Repeated));
    assert_eq!(text(r#"{"t":"title","b":"body"}"#, &["t", "t", "b"]).unwrap().0, "title\ntitle\nbody");
}

/// What an object costs beside the same text as a string, in one interleaved run; the best of many counts.
#[test]
#[ignore = "a measurement, of use in a release build only: cargo test --release --lib -- --ignored --nocapture beside_strings"]
fn texts_in_objects_are_read_nearly_as_quickly_as_beside_strings() {
    let sentence = "the quick brown fox jumps over the lazy dog and goes its way. ";
    for (bytes, count) in [(2_000, 500), (20_000, 50), (200_000, 5)] {
        let text = sentence.repeat(bytes / sentence.len());
        let (half, names) = (text.split_at(text.len() / 2).0, [Text("title".into()), Text("body".into())]);
        let forms: [(&str, String, &[Text<'_>]); 3] = [
            ("string", format!("\"{text}\""), &[]),
            ("text", format!(r#"{{"text":"{text}"}}"#), &[]),
            ("rank_fields", format!(r#"{{"title":"{half}","body":"{half}"}}"#), &names),
        ];
        let bodies = forms.each_ref().map(|(_, one, _)| format!("[{}]", vec![one.as_str(); count].join(",")));
        let mut best = [Duration::MAX; 3];
        for _ in 0..200 {
            for ((best, body), (_, _, names)) in best.iter_mut().zip(&bodies).zip(&forms) {
                let start = Instant::now();
                let Documents(list) = serde_json::from_slice(body.as_bytes()).expect("documents");
                let texts = Reading::by(names).texts("documents", list.items).expect("texts");
                *best = (*best).min(start.elapsed());
                assert_eq!(texts.len(), count);
            }
        }
        for ((name, ..), took) in forms.iter().zip(best) {
            let times = took.as_secs_f64() / best[0].as_secs_f64();
            eprintln!("{bytes:>7} bytes as {name:>11}: {took:>10.1?}, {times:.2} times a string");
            assert!(times < 3.0, "{name}: {times}");
        }
    }
}
