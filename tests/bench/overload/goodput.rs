//! Twice the capacity: goodput, lateness, refusals, memory, and the time after.
//!
//! Loads and windows in which the capacity is measured take turns, and a load is judged by its two neighbours: some hosts
//! change their pace within minutes.

use std::time::{Duration, Instant};

use rescored_core::random::Seeded;

use super::load::{self, Sent};
use super::page::Finding;
use super::target::Target;

/// What suits a target.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// Documents of a request, from and to; sizes are spread evenly on a logarithmic scale.
    sizes: (usize, usize),
    /// Raised to [`PATIENCE`] times what the largest request takes alone.
    deadline: Duration,
}

/// 1,000 documents take a quarter of the deadline.
pub(crate) const TIMED: Terms = Terms { sizes: (10, 1000), deadline: Duration::from_secs(1) };

/// On two cores 1,000 documents take longer than a second, alone.
pub(crate) const REAL: Terms = Terms { sizes: (5, 100), deadline: Duration::from_secs(1) };

/// How often the largest request fits into its time, at least: less leaves no room beside one that was admitted, and the
/// simulator, whose clock is exact, falls from 0.97 of the capacity at 4 to 0.88 at 2 (`PATIENCE` in
/// src/server/rerank/simulation/overload.rs).
const PATIENCE: f64 = 4.0;

/// Lateness that is allowed: the answer's way.
const GRACE: Duration = Duration::from_millis(50);
const REFUSED_WITHIN: Duration = Duration::from_millis(20);

/// An odd number, so that one of them is the median.
const LOADS: usize = 3;
const LOAD: Duration = Duration::from_secs(20);
/// How long the capacity is measured before the first load and after each.
const WINDOW: Duration = Duration::from_secs(10);
/// From a load's end to the window after it.
const PAUSE: Duration = Duration::from_secs(2);

/// A load, and what is left of the capacity in it and after it.
struct Load {
    sent: Vec<Sent>,
    deadline: Duration,
    /// Share of the mean capacity before and after.
    goodput: f64,
    /// Capacity after, as a share of that before.
    recovered: f64,
}

impl Terms {
    /// A load of twice this capacity, for one deadline and then `time`: its deadline, and how it was answered. Before the
    /// first deadline the queue fills: less is answered than is done.
    fn load(self, target: &Target, capacity: f64, time: Duration, notes: &mut Vec<String>) -> (Duration, Vec<Sent>) {
        let (least, most) = (self.sizes.0 as f64, self.sizes.1 as f64);
        let size = |random: &mut Seeded| (least * (most / least).powf(random.share())).round() as usize;
        let mean = (most - least) / (most / least).ln();
        let rate = 2.0 * capacity / mean;
        let deadline = self.deadline.max(Duration::from_secs_f64(PATIENCE * most / capacity));
        notes.push(format!(
            "{rate:.1} requests/s of {least} to {most} documents (mean {mean:.0}), deadline {deadline:.2?}"
        ));
        (deadline, load::open(target, rate, size, deadline, deadline + time))
    }

    /// Pairs a second that eight clients are given who wait for their answers.
    fn capacity(self, target: &Target, time: Duration) -> f64 {
        load::closed(target, 8, (self.sizes.1 / 4).max(8), time)
    }
}

/// Runs it.
pub(crate) fn run(target: &Target, terms: Terms) -> (Vec<String>, Vec<Finding>) {
    let mut notes = Vec::new();
    let memory = || target.metric("rescored_process_resident_memory_bytes") / f64::from(1 << 20);
    // Fills queues, buffers and the score cache.
    let rough = terms.capacity(target, WINDOW / 2);
    terms.load(target, rough, WINDOW, &mut Vec::new());
    std::thread::sleep(PAUSE);
    let before = memory();
    let mut capacity = terms.capacity(target, WINDOW);
    notes.push(format!("capacity {capacity:.0} pairs/s"));
    let mut loads = Vec::new();
    for _ in 0..LOADS {
        let load = one(target, terms, capacity, &mut notes);
        capacity *= load.recovered;
        loads.push(load);
    }
    let after = memory();
    let mut findings = judge(&loads);
    findings.push(Finding::new(
        after - before < before * 0.1,
        format!("resident memory {before:.0} MiB before the loads, {after:.0} MiB at the end"),
    ));
    (notes, findings)
}

/// One load, and the window after it.
fn one(target: &Target, terms: Terms, before: f64, notes: &mut Vec<String>) -> Load {
    let scored = || target.metric("rescored_pairs_scored_total");
    let (scored_before, began) = (scored(), Instant::now());
    let (deadline, sent) = terms.load(target, before, LOAD, notes);
    let scored = (scored() - scored_before) / began.elapsed().as_secs_f64();
    describe(&sent, notes);
    std::thread::sleep(PAUSE);
    let after = terms.capacity(target, WINDOW);
    let counted = deadline..deadline + LOAD;
    let good = sent.iter().filter(|one| one.status == 200 && counted.contains(&one.at));
    let in_time = good.filter(|one| one.took <= deadline + GRACE);
    let goodput = in_time.map(|one| one.pairs).sum::<usize>() as f64 / LOAD.as_secs_f64();
    let capacity = f64::midpoint(before, after);
    notes.push(format!(
        "goodput {goodput:.0} pairs/s, {:.2} of the capacity around it: {before:.0} pairs/s before, {after:.0} from 2 s \
         after its end; scored meanwhile: {scored:.0} pairs/s",
        goodput / capacity
    ));
    Load { sent, deadline, goodput: goodput / capacity, recovered: after / before }
}

/// Notes how one load was answered.
fn describe(sent: &[Sent], notes: &mut Vec<String>) {
    let took = |status: u16| sent.iter().filter(|one| one.status == status).map(|one| one.took).collect::<Vec<_>>();
    let (answered, refused) = (took(200), took(429));
    notes.push(format!(
        "{} requests: {} answered (p50 {:?}, p99 {:?}), {} refused (p50 {:?}, p99 {:?}, p99.9 {:?}), {} past their deadline; sent late by {:?} at p99",
        sent.len(),
        answered.len(),
        load::quantile(answered.clone(), 0.5),
        load::quantile(answered, 0.99),
        refused.len(),
        load::quantile(refused.clone(), 0.5),
        load::quantile(refused.clone(), 0.99),
        load::quantile(refused, 0.999),
        took(504).len(),
        load::quantile(sent.iter().map(|one| one.lag).collect(), 0.99),
    ));
    for (from, to) in [(0, 20), (20, 100), (100, 300), (300, 1001)] {
        let class = sent.iter().filter(|one| (from..to).contains(&one.pairs));
        let (all, good) = class.fold((0, 0), |(all, good), one| (all + 1, good + usize::from(one.status == 200)));
        notes.push(format!("{from} to {} documents: {good} of {all} answered", to - 1));
    }
}

fn judge(loads: &[Load]) -> Vec<Finding> {
    let median = |share: fn(&Load) -> f64| {
        let mut shares: Vec<f64> = loads.iter().map(share).collect();
        shares.sort_by(f64::total_cmp);
        let all: Vec<String> = shares.iter().map(|share| format!("{share:.2}")).collect();
        (shares[shares.len() / 2], all.join(", "))
    };
    let ((goodput, goodputs), (recovered, recoveries)) = (median(|load| load.goodput), median(|load| load.recovered));
    let sent = || loads.iter().flat_map(|load| &load.sent);
    let late = loads.iter().flat_map(|load| load.sent.iter().filter(|one| one.took > load.deadline + GRACE)).count();
    let latest = sent().map(|one| one.took).max().unwrap_or_default();
    let refused: Vec<Duration> = sent().filter(|one| one.status == 429).map(|one| one.took).collect();
    let slow = refused.iter().filter(|time| **time > REFUSED_WITHIN).count();
    let others = sent().filter(|one| !matches!(one.status, 200 | 429 | 504)).count();
    vec![
        Finding::new(
            goodput >= 0.9,
            format!("goodput {goodput:.2} of the capacity around it, the median of {goodputs}"),
        ),
        Finding::new(late == 0, format!("{late} answers later than deadline + 50 ms; the latest took {latest:?}")),
        Finding::new(
            slow == 0,
            format!(
                "{slow} of {} refusals took more than 20 ms; the slowest {:?}",
                refused.len(),
                refused.iter().max().copied().unwrap_or_default()
            ),
        ),
        Finding::new(others == 0, format!("{others} answers of another status than 200, 429, 504")),
        Finding::new(
            recovered > 0.95,
            format!("from 2 s after a load's end {recovered:.2} of the capacity before it, the median of {recoveries}"),
        ),
    ]
}
