//! `make bench-overload`: what the server does when it is asked too much, by the wrong people, or to stop.
//!
//! Parts, all of them unless arguments name some: `overload` (twice the capacity for a minute in three loads, with
//! documents of several kinds; `overload-words`, `overload-code`, `overload-chinese` or `overload-base64` for one), `disconnects`
//! (1,000 clients that go away), `loris` (500 connections that send a byte now and then), `stops` (SIGTERM under load,
//! 50 times). Each runs against the real model in the program (`real`) and, where the size of requests matters, against
//! a model that takes its time without computing (`timed`): on a small machine the real one is too slow for 1,000
//! documents in a second, and the load's own work would slow it down. Figures are printed, and
//! written to the file that `BENCH_REPORT` names; a bound that is not kept is reported and ends with exit code 1.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench prints its figures and dies when it cannot measure, as tests do; its numbers are small"
)]

use std::process::ExitCode;

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;
#[path = "overload/disconnects.rs"]
mod disconnects;
#[path = "../api/support/fake.rs"]
#[expect(dead_code, reason = "the tests of the server know more kinds of models")]
mod fake;
#[path = "overload/goodput.rs"]
mod goodput;
#[path = "overload/load.rs"]
mod load;
#[path = "overload/loris.rs"]
mod loris;
mod page;
mod program;
#[path = "overload/stops.rs"]
mod stops;
#[path = "overload/target.rs"]
mod target;

use rescored_lab::bench::report::Section;

use load::Kind;
use page::{Finding, Page};
use target::Target;

/// A part with bounds, as a section.
fn part(title: &str, notes: Vec<String>, findings: Vec<Finding>) -> (Section, Vec<Finding>) {
    let section = Section {
        id: title.split(',').next().unwrap_or(title).replace(' ', "-"),
        title: title.to_owned(),
        question: "Are the bounds kept?".to_owned(),
        notes,
        ..Section::default()
    };
    (section, findings)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let chosen = if words.is_empty() { String::new() } else { format!(" PART='{}'", words.join(" ")) };
    let mut page =
        Page::begin("Overload, disconnects, slow clients and stops", &format!("make bench-overload{chosen}"));
    if wanted("overload") {
        page.judge(|| {
            let (notes, findings) = goodput::run(&Target::timed(), goodput::TIMED);
            part("overload, timed model", notes, findings)
        });
    }
    for kind in Kind::ALL {
        if wanted("overload") || words.contains(&format!("overload-{}", kind.word())) {
            page.judge(|| {
                let (notes, findings) = goodput::run(&Target::real().of(kind), goodput::REAL);
                part(&format!("overload, real model, documents of {}", kind.word()), notes, findings)
            });
        }
    }
    // The former name of the part works, too.
    if wanted("disconnects") || words.iter().any(|word| word == "leavers") {
        let run = || disconnects::run(&Target::real());
        page.judge(|| part("clients that disconnect, real model", Vec::new(), run()));
    }
    if wanted("loris") {
        page.judge(|| part("slow clients, timed model", Vec::new(), loris::run(&Target::timed())));
    }
    if wanted("stops") {
        page.judge(|| part("SIGTERM under load, real model", Vec::new(), stops::run()));
    }
    page.end()
}
