//! Tests of the whole way: body in, stages settled by hand-made scores, response out.

mod faithful;
mod malformed;
mod speed;
mod stories;
mod vespa;

use rescored_core::domain::{Activation, Logit, Scored};

use super::*;

/// A score of the model, as a stage takes it.
#[expect(clippy::unnecessary_wraps, reason = "stages take optional scores")]
fn logit(value: f32) -> Option<Scored> {
    Some(Scored { logit: Logit::new(value).unwrap(), tokens: 7, cut: false })
}

/// Runs every stage with logits that a passage's text decides, and raw activation.
fn run(engine: Engine, body: &str, judge: impl Fn(usize, &str) -> Option<Scored>) -> (String, Counters) {
    let mut job = Job::parse(engine, body.as_bytes(), &Options::default()).unwrap();
    let mut stage = 0;
    while let Some(request) = job.next_stage() {
        let scored: Vec<_> = request.texts.pairs.iter().map(|pair| judge(stage, &pair.document)).collect();
        job.settle(&scored, Activation::Identity).unwrap();
        stage += 1;
    }
    let output = job.finish();
    (String::from_utf8(output.bytes).unwrap(), output.counters)
}

/// A logit out of a passage that spells it.
fn spelled(_: usize, passage: &str) -> Option<Scored> {
    logit(passage.parse().unwrap())
}
