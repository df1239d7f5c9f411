//! Outside the replaced spans every byte is as it came: random responses, put together from parts, so that the expected
//! answer is put together from the same parts in another order.

use proptest::collection::vec;
use proptest::prelude::*;
use rescored_core::domain::window::{ScoreMode, Window};

use super::*;

/// A response in parts: before and behind each score's value, in the order of the response.
#[derive(Clone, Debug)]
struct Parts {
    head: String,
    /// What stands around `max_score`'s value, before the list or behind it.
    max_score: Option<bool>,
    hits: Vec<Part>,
    tail: String,
}

#[derive(Clone, Debug)]
struct Part {
    before: String,
    /// The score's value, spelled in one of many ways.
    score: String,
    after: String,
    /// White space around the hit in the list.
    gap: String,
    second: f32,
}

fn space() -> impl Strategy<Value = String> {
    "[ \n\t\r]{0,3}"
}

/// JSON text of any value in odd spellings.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        proptest::sample::select(vec![
            "0",
            "-0",
            "1.0",
            "1.50",
            "1e5",
            "1E+05",
            "-0.10e-2",
            "123456789012345678901234567890"
        ])
        .prop_map(str::to_owned),
        "\"[ -!#-\\[\\]-~éß€😀]{0,6}\"",
        proptest::sample::select(vec![r#""\u00e9\ud83d\ude00""#, r#""\"_score\":9,\\""#, r#""\/\b\ud800""#])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let member = (proptest::sample::select(KEYS.to_vec()), space(), inner.clone(), space())
            .prop_map(|(key, before, value, after)| format!("{before}\"{key}\"{after}:{before}{value}{after}"));
        prop_oneof![
            vec((space(), inner), 0..4).prop_map(|items| {
                let items: Vec<String> =
                    items.into_iter().map(|(space, item)| format!("{space}{item}{space}")).collect();
                format!("[{}]", items.join(","))
            }),
            vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// Keys inside values that are not ours: at that depth even our own names mean nothing.
const KEYS: &[&str] =
    &["a", "_score", "hits", "max_score", "relevance", "children", "sort", "ключ", "\\u005fscore", "a", ""];

/// Members that the rewriting must not know, each with a comma behind it.
fn strangers() -> impl Strategy<Value = String> {
    let names = vec!["_index", "highlight", "inner_hits", "_explanation", "matched_queries", "x\\\"y", "é", "took"];
    vec((space(), proptest::sample::select(names), space(), value()), 0..3).prop_map(|members| {
        let members: Vec<String> = members
            .into_iter()
            .map(|(space, name, other, value)| format!("{space}\"{name}\"{other}:{space}{value}{other},"))
            .collect();
        members.concat()
    })
}

fn score() -> impl Strategy<Value = String> {
    (-2000i32..2000, 0usize..5).prop_map(|(number, spelling)| {
        let value = f64::from(number) / 16.0;
        match spelling {
            0 => format!("{value:?}"),
            1 => format!("{value:e}"),
            2 => format!("{value:.6}"),
            3 => format!("\"{value}\""),
            _ => format!("{value}"),
        }
    })
}

fn part() -> impl Strategy<Value = Part> {
    (strangers(), space(), score(), strangers(), space(), -64i32..64).prop_map(
        |(first, space, score, last, gap, second)| {
            // `last` ends in a comma; a last member of ours makes it JSON.
            let last = last.trim_end_matches(',').to_owned();
            let after = if last.is_empty() { format!("{space}}}") } else { format!("{space},{last}}}") };
            #[expect(clippy::cast_precision_loss, reason = "small integers")]
            let second = second as f32 / 8.0;
            Part { before: format!("{{{first}\"KEY\"{space}:{space}"), score, after, gap, second }
        },
    )
}

fn parts() -> impl Strategy<Value = Parts> {
    (strangers(), proptest::option::of(any::<bool>()), vec(part(), 0..9), strangers())
        .prop_map(|(head, max_score, hits, tail)| Parts { head, max_score, hits, tail })
}

impl Parts {
    /// The response with the hits in `order` and with `scores` by hit.
    fn render(&self, engine: Engine, order: &[usize], scores: &[String]) -> String {
        let (open, list, close, key) = match engine {
            Engine::OpenSearch => ("\"hits\":{", "\"hits\":[", "}", "_score"),
            Engine::Vespa => ("\"root\":{", "\"children\":[", "}", "relevance"),
        };
        let best = order.first().map_or("null", |&hit| scores[hit].as_str());
        let max = |at: bool| match self.max_score {
            Some(place) if place == at && engine == Engine::OpenSearch => format!("\"max_score\" : {best} ,"),
            _ => String::new(),
        };
        // White space belongs to the slot, the rest to the hit.
        let slots: Vec<String> = self
            .hits
            .iter()
            .zip(order)
            .map(|(slot, &hit)| {
                let part = &self.hits[hit];
                format!("{gap}{}{}{}{gap}", part.before.replace("KEY", key), scores[hit], part.after, gap = slot.gap)
            })
            .collect();
        let list = format!("{}{list}{}],{}\"z\":0", max(true), slots.join(","), max(false));
        format!("{{{}{open}{}{list}{close},{}\"y\":1}}", self.head, self.tail, self.tail)
    }
}

fn mode() -> impl Strategy<Value = (String, ScoreMode)> {
    proptest::sample::select(ScoreMode::NAMES.to_vec()).prop_map(|(name, mode)| (name.to_uppercase(), mode))
}

fn stage() -> impl Strategy<Value = (String, Window)> {
    let tails = vec![("VESPA", Tail::KeptBelow), ("opensearch", Tail::MayOvertake), ("Below", Tail::Below)];
    let tails = proptest::sample::select(tails);
    (1usize..12, -8i8..8, -8i8..8, mode(), tails).prop_map(|(size, first, second, (name, mode), (word, tail))| {
        let (query_weight, rescore_query_weight) = (f32::from(first) / 4.0, f32::from(second) / 4.0);
        let text = format!(
            r#"{{"window_size":{size},"tail":"{word}","query":{{"query_weight":{query_weight},"rescore_query_weight":"{rescore_query_weight}","score_mode":"{name}"}}}}"#
        );
        (text, Window { size, query_weight, rescore_query_weight, mode, tail })
    })
}

/// The formulas once more, written the slow way.
fn reference(window: &Window, list: &[(usize, f32)], second: impl Fn(usize) -> f32) -> Vec<(usize, f32)> {
    let reach = window.size.min(list.len());
    let combined = list[..reach].iter().map(|&(hit, first)| {
        let (p, s) = (first * window.query_weight, second(hit) * window.rescore_query_weight);
        let score = match window.mode {
            ScoreMode::Total => p + s,
            ScoreMode::Multiply => p * s,
            ScoreMode::Avg => 0.5 * (p + s),
            // Java holds 0.0 for larger than -0.0.
            ScoreMode::Max => {
                if p.total_cmp(&s).is_gt() {
                    p
                } else {
                    s
                }
            }
            ScoreMode::Min => {
                if p.total_cmp(&s).is_lt() {
                    p
                } else {
                    s
                }
            }
        };
        (hit, score)
    });
    let mut after: Vec<(usize, f32)> = combined.collect();
    let extreme = |scores: &[(usize, f32)]| {
        let scores = scores.iter().map(|&(_, score)| f64::from(score));
        (scores.clone().fold(f64::INFINITY, f64::min), scores.fold(f64::NEG_INFINITY, f64::max))
    };
    let ((initial_low, initial_high), (final_low, final_high)) = (extreme(&list[..reach]), extreme(&after));
    let scale = (final_high - final_low).max(1.0) / (initial_high - initial_low).max(1.0);
    let bias = final_low - initial_low * scale;
    // The hits of a list that is not sorted may stand above the window's lowest; the production code then shifts by them.
    let waiting = extreme(&list[reach..]).1;
    let bias = if waiting > initial_low { final_low - waiting * scale } else { bias };
    let weight = if window.query_weight > 0.0 { window.query_weight } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, reason = "they were floats of 32 bits")]
    let (worst, best_waiting) = (final_low as f32, waiting as f32);
    let step_below = worst.next_down();
    for &(hit, first) in &list[reach..] {
        let score = match window.tail {
            Tail::Below if best_waiting * weight < worst => first * weight,
            #[expect(clippy::cast_possible_truncation, reason = "rounded once, as documented")]
            Tail::Below => {
                let bias = f64::from(step_below) - waiting * scale;
                ((f64::from(first) * scale + bias) as f32).min(step_below)
            }
            Tail::MayOvertake => first * window.query_weight,
            #[expect(clippy::cast_possible_truncation, reason = "rounded once, as documented")]
            Tail::KeptBelow if initial_low.max(waiting) > final_low => {
                ((f64::from(first) * scale + bias) as f32).min(final_low as f32)
            }
            Tail::KeptBelow => first,
        };
        after.push((hit, score));
    }
    after.sort_by(|a, b| b.1.total_cmp(&a.1));
    after
}

fn number(text: &str) -> f32 {
    text.trim_matches('"').parse().unwrap()
}

/// Builds the request, runs it with one second score a hit, and builds the expected answer.
fn check(engine: Engine, parts: &Parts, stages: &[(String, Window)]) -> Result<(), TestCaseError> {
    let spelled: Vec<String> = parts.hits.iter().map(|hit| hit.score.clone()).collect();
    let as_given: Vec<usize> = (0..spelled.len()).collect();
    let response = parts.render(engine, &as_given, &spelled);
    let texts: Vec<&str> = stages.iter().map(|(text, _)| text.as_str()).collect();
    let body = format!(
        r#"{{"rescore":[{}],"{}" : {response} ,"query":"q","fields":["t"],"raw_scores":true}}"#,
        texts.join(","),
        engine.key()
    );
    let mut list: Vec<(usize, f32)> = as_given.iter().map(|&hit| (hit, number(&spelled[hit]))).collect();
    if engine == Engine::Vespa && !stages.is_empty() {
        list.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    let mut job = Job::parse(engine, body.as_bytes(), &Options::default()).unwrap();
    for (_, window) in stages {
        let Some(request) = job.next_stage() else { break };
        let reach = request.texts.pairs.len();
        prop_assert_eq!(reach, window.size.min(list.len()));
        let scored: Vec<_> = list[..reach].iter().map(|&(hit, _)| logit(parts.hits[hit].second)).collect();
        job.settle(&scored, Activation::Sigmoid).unwrap();
        list = reference(window, &list, |hit| parts.hits[hit].second);
    }
    let mut scores = spelled.clone();
    for &(hit, score) in &list {
        if score.to_bits() != number(&spelled[hit]).to_bits() {
            scores[hit] = format!("{score:?}");
        }
    }
    let order: Vec<usize> = list.iter().map(|&(hit, _)| hit).collect();
    let mut expected = parts.render(engine, &order, &scores);
    if let (Some(&best), Some(before)) = (order.first(), spelled.first())
        && number(&scores[best]).to_bits() == number(before).to_bits()
        && !before.starts_with('"')
    {
        // The best score is the same number as before: `max_score` keeps its spelling.
        let (new, old) = (format!("\"max_score\" : {} ,", scores[best]), format!("\"max_score\" : {before} ,"));
        expected = expected.replace(&new, &old);
    }
    prop_assert_eq!(String::from_utf8(job.finish().bytes).unwrap(), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_opensearch_response_changes_in_scores_and_order_only(parts in parts(), stages in vec(stage(), 1..3)) {
        check(Engine::OpenSearch, &parts, &stages)?;
    }

    #[test]
    fn a_vespa_result_changes_in_relevance_and_order_only(parts in parts(), stages in vec(stage(), 1..3)) {
        check(Engine::Vespa, &parts, &stages)?;
    }

    #[test]
    fn a_job_without_stages_gives_every_byte_back(parts in parts()) {
        for engine in [Engine::OpenSearch, Engine::Vespa] {
            check(engine, &parts, &[])?;
        }
    }

    #[test]
    fn printed_scores_read_back_and_stay_short(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        let body = r#"{"query":"q","fields":"t","replace":true,"raw_scores":true,"response":{"hits":{"hits":[{"_score":null}]}}}"#;
        let (answer, _) = run(Engine::OpenSearch, body, |_, _| logit(value));
        let literal = answer.strip_prefix(r#"{"hits":{"hits":[{"_score":"#).unwrap().strip_suffix("}]}}").unwrap();
        // Logits know one zero only, and none as low as that of a document without text.
        let reported = logit(value).unwrap().logit.get();
        prop_assert_eq!(literal.parse::<f32>().unwrap().to_bits(), reported.to_bits());
        prop_assert!(literal.len() <= 18 && literal.contains(['.', 'e']), "{}", literal);
        prop_assert!(serde_json::from_str::<f64>(literal).is_ok());
    }

    #[test]
    fn damaged_bodies_are_refused_or_rescored_to_json_but_never_panic(
        parts in parts(), at in any::<proptest::sample::Index>(), damage in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,3}", length in 0usize..4,
    ) {
        let spelled: Vec<String> = parts.hits.iter().map(|hit| hit.score.clone()).collect();
        let order: Vec<usize> = (0..spelled.len()).collect();
        let response = parts.render(Engine::OpenSearch, &order, &spelled);
        let mut body = format!(r#"{{"query":"q","fields":["t","a.b"],"explain":true,"response":{response}}}"#).into_bytes();
        let start = at.index(body.len());
        let end = (start + length).min(body.len());
        body.splice(start..end, damage.bytes());
        let Ok(mut job) = Job::parse(Engine::OpenSearch, &body, &Options::default()) else { return Ok(()) };
        while let Some(request) = job.next_stage() {
            job.settle(&vec![logit(1.0); request.texts.pairs.len()], Activation::Sigmoid).unwrap();
        }
        let bytes = job.finish().bytes;
        prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
    }
}
