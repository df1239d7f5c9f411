//! `make bench-hostile`: what hostile texts cost, and whom they keep waiting.
//!
//! Parts, both unless arguments name one. `cost`: one text of 1 MiB of each of several kinds, tokenised as a document and as
//! a query, from either end and in windows; CPU time and peak resident memory as multiples of what English prose takes,
//! each kind in a process of its own. `wait`: one-line requests of another client beside hostile ones over HTTP, against
//! three forward passes of the largest size and 50 ms. Figures are printed, and
//! written to the file that `BENCH_REPORT` names; a bound that is not kept ends with exit code 1.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints its figures and dies when it cannot measure, as tests do"
)]

use std::process::ExitCode;

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;
#[path = "hostile/cost.rs"]
mod cost;
#[path = "hostile/kinds.rs"]
mod kinds;
mod page;
mod program;
#[path = "hostile/wait.rs"]
mod wait;

use page::Page;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [child, family, kind] = words.as_slice()
        && child == cost::CHILD
    {
        cost::measure(family, kind);
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let chosen = if words.is_empty() { String::new() } else { format!(" PART='{}'", words.join(" ")) };
    let mut page = Page::begin("Hostile texts", &format!("make bench-hostile{chosen}"));
    if wanted("cost") {
        page.judge(cost::run);
    }
    if wanted("wait") {
        page.judge(wait::run);
    }
    page.end()
}
