//! Long texts against the library's ids of the whole text, for every family of tokenizers.

mod prompts;

use std::cell::Cell;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::reading::BYTES_PER_TOKEN;
use super::*;

/// A tokenizer of each family, as the library reads it, and the same with our bounds.
struct Family {
    name: &'static str,
    library: Tokenizer,
    ours: PairTokenizer,
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let wordpiece = unpack(include_bytes!("../../../tests/tokenizers/wordpiece.json.zst"));
    let xlmr = unpack(include_bytes!("../../../tests/tokenizers/xlmr.json.zst"));
    let deberta = unpack(include_bytes!("../../../tests/tokenizers/deberta.json.zst"));
    let mut qwen = qwen();
    qwen["post_processor"] = separated("<|im_start|>", "<|im_end|>");
    [("wordpiece", wordpiece), ("xlmr", xlmr), ("deberta", deberta), ("bytes", qwen)]
        .map(|(name, json)| Family {
            name,
            library: json.to_string().parse().expect("a tokenizer"),
            ours: open(&json, 512).expect("a tokenizer for pairs"),
        })
        .into()
});

fn unpack(packed: &[u8]) -> serde_json::Value {
    serde_json::from_slice(&zstd::decode_all(packed).expect("zstd")).expect("JSON")
}

fn qwen() -> serde_json::Value {
    unpack(include_bytes!("../../../tests/tokenizers/qwen3.json.zst"))
}

fn open(json: &serde_json::Value, max_length: u32) -> Result<PairTokenizer, TokenizerError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, json.to_string()).expect("a file");
    PairTokenizer::open(&path, max_length)
}

/// A template for pairs: `first a second b second`.
fn separated(first: &str, second: &str) -> serde_json::Value {
    let token = |id: &str| serde_json::json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    let known = |id: &str, number: u32| serde_json::json!({"id": id, "ids": [number], "tokens": [id]});
    serde_json::json!({
        "type": "TemplateProcessing",
        "single": [token(first), text("A"), token(second)],
        "pair": [token(first), text("A"), token(second), text("B"), token(second)],
        "special_tokens": {first: known(first, 1), second: known(second, 2)},
    })
}

impl Family {
    fn whole(&self, text: &str) -> Vec<u32> {
        self.library.encode_fast(text, false).expect("ids").get_ids().to_vec()
    }

    fn beginning(&self, text: &str, wanted: usize) -> Read {
        self.ours.reader(&|| true).beginning(text, wanted).expect("ids")
    }

    fn end(&self, text: &str, wanted: usize) -> Read {
        self.ours.reader(&|| true).end(text, wanted).expect("ids")
    }

    /// That what is read of both ends is what the library gives for the whole text.
    fn check(&self, text: &str, wanted: usize) -> Result<(), String> {
        let all = self.whole(text);
        let read = self.beginning(text, wanted);
        let said = |what: &str| format!("{}, {wanted} ids of {} bytes: {what}", self.name, text.len());
        let same = read.ids.iter().zip(&all).take_while(|(a, b)| a == b).count();
        if same < read.ids.len().min(wanted) {
            let (ours, theirs) = (&read.ids[same..], &all[same..]);
            let near = |ids: &[u32]| self.library.decode(&ids[..ids.len().min(6)], false).unwrap_or_default();
            return Err(said(&format!("id {same} differs: {:?} for {:?}", near(ours), near(theirs))));
        }
        if read.ids.len() < wanted.min(all.len()) && !read.unread {
            return Err(said("the beginning ends early and does not say so"));
        }
        if !read.unread && read.ids.len() != all.len() {
            return Err(said("it says that all was read"));
        }
        let read = self.end(text, wanted);
        let same = read.ids.iter().rev().zip(all.iter().rev()).take_while(|(a, b)| a == b).count();
        if same < read.ids.len().min(wanted) {
            return Err(said(&format!("of the end, id {same} from behind differs")));
        }
        if read.ids.len() < wanted.min(all.len()) && !read.unread {
            return Err(said("the end begins late and does not say so"));
        }
        Ok(())
    }
}

/// What a piece of a hostile or merely unusual text is made of.
const SCRIPTS: [(&str, &str); 16] = [
    ("latin", "the quick brown fox jumps over lazy dogs, and éàü ßtraße naïve. "),
    ("cyrillic", "съешь ещё этих мягких французских булок да выпей чаю "),
    ("greek", "ξεσκεπάζω την ψυχοφθόρα βδελυγμία ς σ Σ "),
    ("arabic", "نص حكيم له سر قاطع وذو شأن عظيم مكتوب "),
    ("hebrew", "דג סקרן שט בים מאוכזב ולפתע מצא חברה שָׁלוֹם "),
    ("devanagari", "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा "),
    ("thai", "เป็นมนุษย์สุดประเสริฐเลิศคุณค่ากว่าบรรดาฝูงสัตว์"),
    ("hangul", "키스의 고유조건은 입술끼리 만나야 하고 "),
    ("han", "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往"),
    ("kana", "いろはにほへとちりぬるをカタカナヒラガナ"),
    ("emoji", "👩‍👩‍👧‍👦😀🇩🇪👍🏽❤️🏴‍☠️ "),
    ("base64", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0ODk+abcxyz/09"),
    ("json", "{\"id\":17,\"a\":[1,2.5e3,null],\"name\":\"x_y\"},"),
    ("code", "fn main() {\n\tlet x = a[i] >= 0x1f && !b;\r\n}\n"),
    ("marks", "e\u{301}a\u{308}\u{323}o\u{302}\u{301}\u{327}n\u{303}"),
    ("blanks", "a \u{a0}\u{3000}\t\n\r\n  \u{2003}\u{200b}\u{200d}\u{ad}b\u{feff}\u{1}"),
];

/// A long text; of one that fails, the beginning is shown.
#[derive(Clone)]
struct Long(String);

impl std::fmt::Debug for Long {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {:?}", self.0.len(), self.0.chars().take(200).collect::<String>())
    }
}

/// Texts longer than one segment: words of one or several scripts, with white space, without, or with runs of it.
fn long_text() -> impl Strategy<Value = Long> {
    let script = (0..SCRIPTS.len()).prop_map(|script| SCRIPTS[script].1.chars().collect::<Vec<_>>());
    let scripts = prop::collection::vec(script, 1..4);
    let glue = prop::sample::select(vec!["", "", " ", " ", "\n", "  ", "[SEP]", "<pad>", "\u{3000}"]);
    let run = prop::sample::select(vec![0_usize, 0, 0, 40, 700, 9000]);
    (scripts, glue, run, 4_000_usize..40_000, any::<u32>()).prop_map(|(scripts, glue, run, bytes, seed)| {
        let mut dice = seed;
        let mut draw = move |below: usize| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 8) as usize % below
        };
        let mut text = String::new();
        while text.len() < bytes {
            let script = &scripts[draw(scripts.len())];
            for _ in 0..=draw(60) {
                let from = draw(script.len());
                text.extend(&script[from..(from + 1 + draw(9)).min(script.len())]);
            }
            text.push_str(glue);
            if run > 0 && draw(40) == 0 {
                text.extend(std::iter::repeat_n(if glue == "\n" { '\n' } else { ' ' }, run));
            }
        }
        Long(text)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    // Cases A1 and A4: invariant 2 for texts of which only a part is read.
    #[test]
    fn ids_read_of_both_ends_are_the_librarys_of_the_whole_text(Long(text) in long_text(), wanted in 1_usize..900) {
        for family in &*FAMILIES {
            // What its normalizer makes a blank of between strips: see the module `reading`.
            if family.name == "deberta" && text.contains(['\u{200b}', '\u{200d}', '\u{feff}', '\u{ad}']) {
                continue;
            }
            let checked = family.check(&text, wanted);
            prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
        }
    }

    #[test]
    fn a_pair_is_that_of_the_whole_text(
        Long(text) in long_text(), query in 0_usize..700, most in prop::option::of(1_u32..900),
        left in any::<bool>(), windows in 1_u16..5, length in prop::option::of(4_u32..600),
    ) {
        let long_documents = if windows == 1 { LongDocuments::Truncate } else { LongDocuments::MaxPassage { windows } };
        let side = if left { CutSide::Left } else { CutSide::Right };
        let cut = Truncation { max_length: length, max_document: most, side, long_documents };
        let family = &FAMILIES[0];
        let query = family.ours.query(&"word ".repeat(query)).unwrap();
        let all = family.whole(&text);
        let fitted = family.ours.pair(&query, &text, &cut).unwrap();
        let limit = family.ours.limit(3, &cut);
        let room = limit - 3;
        let kept = keep(&all, most_read(query.ids.len(), room, &cut), side);
        let mut expected = family.ours.fit(&query, (kept, kept.len() == all.len()), (room, &cut));
        expected.cut |= kept.len() < all.len();
        if expected.cut != fitted.cut {
            // Only where it was not read to its end, though nothing but what makes no ids was left.
            prop_assert!(fitted.cut);
        }
        prop_assert!(fitted.windows.iter().all(|window| window.len() <= limit));
        let read = if left { family.end(&text, kept.len()) } else { family.beginning(&text, kept.len()) };
        prop_assert!(read.ids.len() < kept.len() && fitted.cut || fitted.windows == expected.windows, "other ids");
        let whole = family.ours.whole_pair(&query, &text, &cut);
        prop_assert_eq!(whole.is_err(), fitted.cut);
    }
}

/// Counts segments: each asks whether to go on.
fn segments(ours: &PairTokenizer, text: &str, cut: &Truncation) -> usize {
    let asked = Cell::new(0);
    let query = ours.query("how many people live in berlin").expect("a query");
    let keep_going = || {
        asked.set(asked.get() + 1);
        true
    };
    let fitted = ours.pair_while((&query, text), cut, &keep_going).expect("ids");
    assert!(fitted.windows.iter().all(|window| window.len() <= 512));
    asked.get()
}

/// Case A1: texts that the tokenizer was made to read to their end.
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let units: [(&str, &str); 20] = [
        ("exclamation marks", "!"),
        ("one Chinese character", "北"),
        ("one letter", "a"),
        ("one unbroken word", "supercalifragilisticexpialidocious"),
        ("base64", SCRIPTS[11].1),
        ("minified JSON", SCRIPTS[12].1),
        ("combining marks", "\u{301}\u{323}"),
        ("a letter with marks", "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}"),
        ("emoji", SCRIPTS[10].1),
        ("no-break spaces", "\u{a0}"),
        ("ideographic spaces", "\u{3000}"),
        ("spaces", " "),
        ("lines", "\n"),
        ("all white space", "\u{2003}\t\u{2028} \u{85}\u{205f}"),
        ("zero-width characters", "\u{200b}\u{200d}\u{2060}"),
        ("control characters", "\u{1}\u{7f}"),
        ("replacement characters", "\u{fffd}"),
        ("special tokens", "<pad>[SEP]<mask>[MASK]</s>"),
        ("a rare script", "𐐷𐑊𓀀𓁐"),
        ("words far apart", "word                                                                                  "),
    ];
    units.map(|(name, unit)| (name, unit.repeat(bytes / unit.len()))).into()
}

#[test]
fn what_is_read_of_a_text_is_bounded_by_the_window() {
    let segment = 1024;
    for (name, text) in hostile(1 << 20) {
        for family in &*FAMILIES {
            for side in [CutSide::Right, CutSide::Left] {
                for (long_documents, max_document, wanted) in [
                    (LongDocuments::Truncate, None, 512),
                    (LongDocuments::Truncate, Some(40), 170),
                    (LongDocuments::Truncate, Some(u32::MAX), 512),
                    (LongDocuments::MaxPassage { windows: 4 }, None, 2048),
                ] {
                    let cut = Truncation { max_length: None, max_document, side, long_documents };
                    let read = segments(&family.ours, &text, &cut);
                    let most = 2 + wanted * BYTES_PER_TOKEN / segment;
                    assert!(read <= most, "{}, {name}, {cut:?}: {read} segments, not {most}", family.name);
                }
            }
        }
    }
}

#[test]
fn a_query_is_bounded_as_documents_are() {
    for (name, text) in hostile(1 << 18) {
        for family in &*FAMILIES {
            let query = family.ours.query(&text).expect("a query");
            assert!(query.ids.len() <= 768, "{}, {name}: {} ids", family.name, query.ids.len());
            let fitted = family.ours.pair(&query, "a short document", &Truncation::MODEL).expect("ids");
            assert!(fitted.windows[0].len() <= 512);
            let is_blank = family.whole(&text.chars().take(300).collect::<String>()).is_empty();
            assert!(fitted.cut || is_blank, "{}, {name}: a query that was cut says so", family.name);
        }
    }
}

#[test]
fn a_word_without_end_is_the_unknown_token_that_it_is_as_a_whole() {
    let wordpiece = &FAMILIES[0];
    let word = "x".repeat(200_000);
    let unknown = wordpiece.whole(&word);
    assert_eq!(unknown.len(), 1);
    for read in [wordpiece.beginning(&word, 500), wordpiece.end(&word, 500)] {
        assert_eq!((read.ids, read.unread), (unknown.clone(), true));
    }
    // Shorter than what is read, it is as in the library.
    let among = format!("before {} after", "x".repeat(6_000));
    assert_eq!(wordpiece.beginning(&among, 500), Read { ids: wordpiece.whole(&among), unread: false });
}

#[test]
fn blanks_are_passed_over_however_many_there_are() {
    let blank = [" ", "\n", "\u{a0}", "\u{3000}", " \t\r\n", "\u{2003}\u{2028}"];
    // Of the others, one makes ids of blanks, and one of what stands beside them.
    for family in FAMILIES.iter().filter(|family| ["wordpiece", "xlmr"].contains(&family.name)) {
        for blank in blank {
            let run = blank.repeat(300_000 / blank.len());
            let text = format!("{run}many people{run}live in Berlin{run}");
            let all = family.whole("many people live in Berlin");
            for read in [family.beginning(&text, 500), family.end(&text, 500)] {
                let (ids, unread) = (read.ids, read.unread);
                assert_eq!((ids, unread), (all.clone(), false), "{}, {blank:?}", family.name);
            }
        }
    }
}

#[test]
fn reading_stops_when_nobody_waits_any_more() {
    let family = &FAMILIES[0];
    let query = family.ours.query("a query").expect("a query");
    let windows = Truncation { long_documents: LongDocuments::MaxPassage { windows: 64 }, ..Truncation::MODEL };
    let text = "北京".repeat(300_000);
    for patience in [0, 1, 3] {
        let asked = Cell::new(0);
        let keep_going = || {
            asked.set(asked.get() + 1);
            asked.get() <= patience
        };
        let stopped = family.ours.pair_while((&query, &text), &windows, &keep_going);
        assert_eq!((stopped, asked.get()), (Err(EncodeError::Stopped), patience + 1));
    }
}

#[test]
fn a_pair_that_must_not_be_cut_is_refused_without_its_rest() {
    let family = &FAMILIES[0];
    let query = family.ours.query("a query").expect("a query");
    for (name, text) in hostile(1 << 20) {
        match family.ours.whole_pair(&query, &text, &Truncation::MODEL) {
            Err(EncodeError::TooLong { tokens, limit: 512 }) => assert!(tokens > 512, "{name}: {tokens}"),
            other => assert!(
                other.is_ok() && family.whole(&text.chars().take(2500).collect::<String>()).is_empty(),
                "{name}: {other:?}"
            ),
        }
    }
    let fits = "word ".repeat(400);
    assert!(family.ours.whole_pair(&query, &fits, &Truncation::MODEL).is_ok());
}

// Case B8.
#[test]
fn two_documents_stay_apart_beside_a_query_of_any_length() {
    for family in &*FAMILIES {
        for (length, queries) in [(512, 380..700_usize), (64, 0..120), (16, 0..40), (9, 0..40)] {
            let cut = Truncation { max_length: Some(length), ..Truncation::MODEL };
            let mut kept_before = None;
            let all = family.whole(&"word ".repeat(700));
            let document = "e f ".repeat(600);
            for tokens in queries {
                let query = QueryIds { head: family.ours.template.head(), ids: all[..tokens].into(), unread: false };
                let fitted = family.ours.pair(&query, &document, &cut).expect("ids");
                let window = &fitted.windows[0];
                let kept = window.len() - window.document_starts() - family.ours.template.after.len();
                assert!(fitted.cut && window.len() <= length as usize);
                assert!(kept >= 64.min((length as usize - family.ours.constant_tokens()) / 2), "{tokens}: {kept}");
                if let Some(before) = kept_before.replace(kept) {
                    assert!(kept.abs_diff(before) <= 1, "{}, {length}, {tokens}: {before} to {kept}", family.name);
                }
            }
        }
    }
}

// Case B14.
#[test]
fn special_tokens_spelled_in_a_text_are_those_tokens_as_in_the_library() {
    for family in &*FAMILIES {
        for special in ["<pad>", "[SEP]", "<s>", "</s>", "[MASK]", "<mask>", "[PAD]", "<|im_end|>", "[UNK]"] {
            for text in [format!("a {special} b"), format!("a{special}{special}b"), special.to_owned()] {
                let query = family.ours.query(&text).expect("a query");
                assert_eq!(query.ids[..], family.whole(&text), "{} {text}", family.name);
                let fitted = family.ours.pair(&query, &text, &Truncation::MODEL).expect("ids");
                let pair = family.library_pair(&text);
                assert_eq!(fitted.windows[0].ids(), pair, "{} {text}", family.name);
            }
        }
    }
}

impl Family {
    fn library_pair(&self, text: &str) -> Vec<u32> {
        self.library.encode_fast((text, text), true).expect("ids").get_ids().to_vec()
    }
}

// Case B11.
#[test]
fn a_tokenizer_that_puts_nothing_between_two_texts_is_refused() {
    let token = |id: &str| serde_json::json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str, kind: u32| serde_json::json!({"Sequence": {"id": id, "type_id": kind}});
    let around = |second: u32| {
        let mut template = separated("<|im_start|>", "<|im_end|>");
        template["pair"] =
            serde_json::json!([token("<|im_start|>"), text("A", 0), text("B", second), token("<|im_end|>")]);
        template["pair"][3]["SpecialToken"]["type_id"] = second.into();
        template
    };
    for (why, post_processor) in [
        ("a decoder's", qwen()["post_processor"].clone()),
        ("none", serde_json::Value::Null),
        ("tokens before and after only", around(0)),
        ("the same with a type of its own", around(1)),
    ] {
        let mut json = qwen();
        json["post_processor"] = post_processor;
        let refused = open(&json, 512).expect_err(why);
        let said = refused.to_string();
        assert!(matches!(refused, TokenizerError::NoSeparator { .. }), "{why}: {said}");
        assert!(said.contains("tokenizer.json") && said.contains("post_processor"), "{why}: {said}");
    }
    let mut json = qwen();
    json["post_processor"] = separated("<|im_start|>", "<|im_end|>");
    assert!(open(&json, 512).is_ok());
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let missing = PairTokenizer::open(Path::new("nowhere/tokenizer.json"), 512).expect_err("no file");
    assert!(missing.to_string().contains("nowhere/tokenizer.json"));
}
