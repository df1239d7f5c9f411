//! Twice the capacity: goodput, lateness, refusals, memory, and the time after.

use std::time::{Duration, Instant};

use super::Finding;
use super::load::{self, Random, Sent};
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

/// Runs it.
pub(crate) fn run(target: &Target, terms: Terms, time: Duration) -> Vec<Finding> {
    let (least, most) = terms.sizes;
    let size = move |random: &mut Random| {
        let (low, high) = ((least as f64).ln(), (most as f64).ln());
        (low + (high - low) * random.unit()).exp().round() as usize
    };
    let mean = (most - least) as f64 / (most as f64 / least as f64).ln();
    let clients = (8, (most / 4).max(8));
    load::closed(target, clients, Duration::from_secs(5));
    let capacity = load::closed(target, clients, Duration::from_secs(20));
    let rate = 2.0 * capacity / mean;
    let deadline = terms.deadline.max(Duration::from_secs_f64(PATIENCE * most as f64 / capacity));
    let terms = Terms { deadline, ..terms };
    println!(
        "capacity {capacity:.0} pairs/s; {rate:.1} requests/s of {least} to {most} documents (mean {mean:.0}), \
         deadline {} ms",
        deadline.as_millis()
    );
    let memory = || target.metric("rescored_process_resident_memory_bytes") / f64::from(1 << 20);
    // The first fifth fills queues, buffers and the score cache.
    load::open(target, (rate, &size), terms.deadline, time / 5);
    let before = memory();
    let scored = || target.metric("rescored_pairs_scored_total");
    let (scored_before, began) = (scored(), Instant::now());
    let sent = load::open(target, (rate, &size), terms.deadline, time);
    let rate_scored = (scored() - scored_before) / began.elapsed().as_secs_f64();
    println!("scored under load: {rate_scored:.0} pairs/s, {:.2} of the capacity", rate_scored / capacity);
    let after = memory();
    let recovered = recovery(target, clients);
    let mut findings = judge(&sent, terms, (capacity, time));
    let grown = after - before;
    findings.push(Finding::new(
        grown < before * 0.1,
        format!("resident memory {before:.0} MiB after the first {} s, {after:.0} MiB at the end", time.as_secs() / 5),
    ));
    findings.push(Finding::new(
        recovered > capacity * 0.95,
        format!("{recovered:.0} pairs/s from 2 s after the load's end, {:.2} of the capacity", recovered / capacity),
    ));
    findings
}

/// Pairs a second, beginning two seconds after the load.
fn recovery(target: &Target, clients: (usize, usize)) -> f64 {
    std::thread::sleep(Duration::from_secs(2));
    load::closed(target, clients, Duration::from_secs(8))
}

fn judge(sent: &[Sent], terms: Terms, (capacity, time): (f64, Duration)) -> Vec<Finding> {
    let of = |status: u16| sent.iter().filter(move |one| one.status == status);
    let in_time = of(200).filter(|one| one.took <= terms.deadline + GRACE && one.at <= time);
    let goodput = in_time.map(|one| one.pairs).sum::<usize>() as f64 / time.as_secs_f64();
    let took = |status: u16| of(status).map(|one| one.took).collect::<Vec<_>>();
    let latest = sent.iter().map(|one| one.took).max().unwrap_or_default();
    let late = sent.iter().filter(|one| one.took > terms.deadline + GRACE).count();
    let (refused, answered) = (took(429), took(200));
    let slow = refused.iter().filter(|time| **time > REFUSED_WITHIN).count();
    let others = sent.iter().filter(|one| !matches!(one.status, 200 | 429 | 504)).count();
    println!(
        "{} requests: {} answered (p50 {:?}, p99 {:?}), {} refused (p50 {:?}, p99 {:?}, p99.9 {:?}), {} past their deadline; sent late by {:?} at p99",
        sent.len(),
        answered.len(),
        load::quantile(answered.clone(), 0.5),
        load::quantile(answered, 0.99),
        refused.len(),
        load::quantile(refused.clone(), 0.5),
        load::quantile(refused.clone(), 0.99),
        load::quantile(refused.clone(), 0.999),
        of(504).count(),
        load::quantile(sent.iter().map(|one| one.lag).collect(), 0.99),
    );
    for (from, to) in [(0, 20), (20, 100), (100, 300), (300, 1001)] {
        let class = sent.iter().filter(|one| (from..to).contains(&one.pairs));
        let (all, good) = class.fold((0, 0), |(all, good), one| (all + 1, good + usize::from(one.status == 200)));
        println!("  {from} to {} documents: {good} of {all} answered", to - 1);
    }
    vec![
        Finding::new(
            goodput >= 0.9 * capacity,
            format!("goodput {goodput:.0} pairs/s, {:.2} of the capacity measured just before", goodput / capacity),
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
    ]
}
