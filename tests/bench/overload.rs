//! `make bench-overload`: what the server does when it is asked too much, by the wrong people, or to stop.
//!
//! Parts, all of them unless arguments name some: `overload` (twice the capacity for a minute in three loads, with
//! documents of several kinds; `overload-words`, `overload-code`, `overload-chinese` or `overload-base64` for one), `disconnects`
//! (1,000 clients that go away), `loris` (500 connections that send a byte now and then), `stops` (SIGTERM under load,
//! 50 times). Each runs against the real model in the program (`real`) and, where the size of requests matters, against
//! a model that takes its time without computing (`timed`): on a small machine the real one is too slow for 1,000
//! documents in a second, and the load's own work would slow it down. Figures are printed; a bound that is not kept is
//! said and ends with exit code 1.

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
#[path = "overload/stops.rs"]
mod stops;
#[path = "overload/target.rs"]
mod target;

use load::Kind;
use target::Target;

/// A figure and the bound it has to keep.
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) kept: bool,
}

impl Finding {
    pub(crate) fn new(kept: bool, what: impl Into<String>) -> Self {
        Self { what: what.into(), kept }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let mut broken = 0;
    let mut tell = |part: &str, findings: Vec<Finding>| {
        println!("\n## {part}\n");
        for finding in findings {
            println!("- {} {}", if finding.kept { "kept:" } else { "NOT KEPT:" }, finding.what);
            broken += usize::from(!finding.kept);
        }
    };
    if wanted("overload") {
        tell("overload, timed model", goodput::run(&Target::timed(), goodput::TIMED));
    }
    for kind in Kind::ALL {
        let named = format!("overload-{}", kind.word());
        if wanted("overload") || words.contains(&named) {
            let target = Target::real(&[]);
            let part = format!("overload, real model, documents of {}", kind.word());
            tell(&part, goodput::run(&target.of(kind), goodput::REAL));
        }
    }
    // The former name of the part works, too.
    if wanted("disconnects") || words.iter().any(|word| word == "leavers") {
        tell("clients that go away, real model", disconnects::run(&Target::real(&[])));
    }
    if wanted("loris") {
        tell("slow clients, timed model", loris::run(&Target::timed()));
    }
    if wanted("stops") {
        tell("SIGTERM under load, real model", stops::run());
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
