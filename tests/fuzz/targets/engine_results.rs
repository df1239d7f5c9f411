//! Engine results: read, rescored with made-up scores, some of them missing, and written; what is written is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rescored_core::domain::{Activation, Logit, Scored};
use rescored_server::rescore::{Engine, Job, Options};

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let engine = if first & 1 == 0 { Engine::OpenSearch } else { Engine::Vespa };
    let options = Options { max_hits: 1000, ..Options::default() };
    let Ok(mut job) = Job::parse(engine, body, &options) else { return };
    let mut seed = u32::from(*first);
    while let Some(stage) = job.next_stage() {
        let scored: Vec<Option<Scored>> = (0..stage.texts.pairs.len())
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let logit = Logit::new(f32::from_bits(seed)).filter(|_| seed % 5 != 0)?;
                Some(Scored { logit, tokens: 7, cut: seed % 3 == 0 })
            })
            .collect();
        job.settle(&scored, Activation::Sigmoid).expect("as many as the stage asked for");
    }
    let output = job.finish();
    serde_json::from_slice::<serde::de::IgnoredAny>(&output.bytes).expect("what is written is JSON");
});
