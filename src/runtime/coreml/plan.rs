//! Which pairs share a run, of which shape.
//!
//! Pure. Every shape has a price; a plan puts every pair into exactly one row, and no cheaper shape would have held what a
//! run holds. Long pairs get rows of their own, short ones may be packed several to a row where that is cheaper. It must
//! not know what a price is made of.

use rescored_graph::coreml::Shape;

/// Ways to part long pairs from short ones that are looked at: with more pairs than that, not every one.
const SPLITS: usize = 64;

/// A shape and what one run of it costs, in any unit that all shapes share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priced {
    /// The shape.
    pub shape: Shape,
    /// Its price; positive.
    pub price: f64,
}

/// One run: the pairs of each row, by their position in what was planned. Rows that are left over are not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The shape.
    pub shape: Shape,
    /// Pairs by row.
    pub rows: Vec<Vec<usize>>,
}

/// A run as it is being chosen: its shape, and how many of the units in question it takes.
type Step = (Shape, usize);

/// The cheapest runs for pairs of these lengths: those too long for every shape are left out.
pub fn plan(lengths: &[usize], shapes: &[Priced]) -> Vec<Run> {
    let longest = shapes.iter().map(|priced| priced.shape.length).max().unwrap_or(0);
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&pair| lengths[pair] <= longest).collect();
    order.sort_by_key(|&pair| std::cmp::Reverse(lengths[pair]));
    let (packed, padded): (Vec<Priced>, Vec<Priced>) = shapes.iter().partition(|priced| priced.shape.is_packed());

    let sorted: Vec<usize> = order.iter().map(|&pair| lengths[pair]).collect();
    let alone = prefixes(&sorted, &padded);
    // The first `split` pairs, the longest, get rows of their own; the others are packed.
    let mut best: Option<(f64, usize, Vec<Vec<usize>>)> = None;
    let step = order.len().div_ceil(SPLITS).max(1);
    for split in (0..=order.len()).rev().step_by(step).chain((step > 1).then_some(0)) {
        let Some((price, _)) = alone[split] else { continue };
        let rows = fill(&sorted[split..], &packed);
        let Some(rest) = rows.as_ref().and_then(|rows| price_of_rows(rows.len(), &packed)) else { continue };
        if best.as_ref().is_none_or(|(cheapest, ..)| price + rest < *cheapest) {
            best = Some((price + rest, split, rows.unwrap_or_default()));
        }
    }
    let Some((_, split, rows)) = best else { return Vec::new() };
    let mut runs = own_rows(&order[..split], &alone);
    let mut rows = rows.into_iter().map(|row| row.into_iter().map(|at| order[split + at]).collect::<Vec<_>>());
    for (shape, taken) in steps(&by_rows(rows.len(), &packed), rows.len()) {
        runs.push(Run { shape, rows: rows.by_ref().take(taken).collect() });
    }
    runs
}

/// The cheapest way to give the first `n` pairs, longest first, rows of their own, for every `n`: its price and last run.
fn prefixes(sorted: &[usize], padded: &[Priced]) -> Vec<Option<(f64, Step)>> {
    let nothing = (0.0, (Shape::padded(0, 0), 0));
    let mut best = vec![Some(nothing)];
    for end in 1..=sorted.len() {
        let mut cheapest: Option<(f64, Step)> = None;
        for priced in padded {
            // The run's pairs are those just before `end`: as many as its rows, as far back as they fit its length.
            let mut start = end;
            while start > 0 && end - start < priced.shape.batch && sorted[start - 1] <= priced.shape.length {
                start -= 1;
            }
            if start == end {
                continue;
            }
            // Taking fewer never helps: prices of prefixes do not fall as they grow.
            if let Some((before, _)) = best[start]
                && cheapest.is_none_or(|(price, _)| before + priced.price < price)
            {
                cheapest = Some((before + priced.price, (priced.shape, end - start)));
            }
        }
        best.push(cheapest);
    }
    best
}

/// The runs behind the price of a prefix.
fn own_rows(order: &[usize], best: &[Option<(f64, Step)>]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut end = order.len();
    while let Some((_, (shape, taken))) = best.get(end).copied().flatten().filter(|(_, (_, taken))| *taken > 0) {
        runs.push(Run { shape, rows: order[end - taken..end].iter().map(|&pair| vec![pair]).collect() });
        end -= taken;
    }
    runs
}

/// Pairs put into packed rows, the longest first, each into the first row that has room: positions by row. `None` when one
/// does not fit any row.
fn fill(sorted: &[usize], packed: &[Priced]) -> Option<Vec<Vec<usize>>> {
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    let Some(shape) = packed.first().map(|priced| priced.shape) else {
        return sorted.is_empty().then(Vec::new);
    };
    for (at, &length) in sorted.iter().enumerate() {
        if length > shape.length {
            return None;
        }
        match rows.iter_mut().find(|(room, pairs)| *room >= length && pairs.len() < shape.slots) {
            Some((room, pairs)) => {
                *room -= length;
                pairs.push(at);
            }
            None => rows.push((shape.length - length, vec![at])),
        }
    }
    Some(rows.into_iter().map(|(_, pairs)| pairs).collect())
}

/// The cheapest runs for so many packed rows, for every number of rows up to it: price and last run.
fn by_rows(rows: usize, packed: &[Priced]) -> Vec<Option<(f64, Step)>> {
    // Every row takes a whole one, whatever it holds.
    let Some(length) = packed.first().map(|priced| priced.shape.length) else {
        return vec![Some((0.0, (Shape::padded(0, 0), 0)))];
    };
    prefixes(&vec![length; rows], packed)
}

fn price_of_rows(rows: usize, packed: &[Priced]) -> Option<f64> {
    by_rows(rows, packed).get(rows).copied().flatten().map(|(price, _)| price)
}

fn steps(best: &[Option<(f64, Step)>], rows: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut end = rows;
    while let Some((_, step)) = best.get(end).copied().flatten().filter(|(_, (_, taken))| *taken > 0) {
        steps.push(step);
        end -= step.1;
    }
    steps
}

#[cfg(test)]
mod tests;
