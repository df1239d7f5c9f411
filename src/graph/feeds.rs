//! Samples as the inputs of a graph, for the proofs of `compile`.
//!
//! Pure: owns what each arrangement of a graph reads. It must not know what is proved.

use super::beginnings::Arranged;
use super::paging::Paged;

/// The token ids of a real pair that a written graph is checked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Token ids, specials included.
    pub ids: Vec<i64>,
    /// 0 for the query's tokens, 1 for the document's.
    pub types: Vec<i64>,
}

/// One named tensor of integers that enters a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The input's name.
    pub name: &'static str,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<i64>,
}

/// A sample as exporters' graphs read it: a batch of one, without padding.
pub fn padded(sample: &Sample) -> Vec<Feed> {
    let dims = vec![1, sample.ids.len()];
    let feed = |name, values| Feed { name, dims: dims.clone(), values };
    vec![
        feed("input_ids", sample.ids.clone()),
        feed("attention_mask", vec![1; sample.ids.len()]),
        feed("token_type_ids", sample.types.clone()),
    ]
}

/// Feeds of a pass whose results come in the order of its samples.
pub(super) fn in_order(feeds: Vec<Feed>, samples: &[&Sample]) -> (Vec<Feed>, Vec<usize>) {
    (feeds, (0..samples.len()).collect())
}

/// Samples as a packed graph of a causal model reads them, beginnings that are alike once, and the slot of each sample.
pub fn causal(samples: &[&Sample]) -> (Vec<Feed>, Vec<usize>) {
    let sequences: Vec<&[i64]> = samples.iter().map(|sample| sample.ids.as_slice()).collect();
    let Arranged { ids, lengths, beginnings, slots } = Arranged::new(&sequences);
    let feed = |name, values: Vec<i64>| Feed { name, dims: vec![values.len()], values };
    (vec![feed("input_ids", ids), feed("lengths", lengths), feed("beginnings", beginnings)], slots)
}

/// Samples as a decoder's graph for GPUs reads them, beginnings that are alike once.
pub fn paged(samples: &[&Sample]) -> Vec<Feed> {
    let sequences: Vec<&[i64]> = samples.iter().map(|sample| sample.ids.as_slice()).collect();
    let Paged { ids, cumulative, past, table, columns, lasts, blocks } = Paged::new(&sequences);
    let list = |name, values: Vec<i64>| Feed { name, dims: vec![values.len()], values };
    let slots = past.len();
    vec![
        list("input_ids", ids),
        list("cumulative_lengths", cumulative),
        list("past_lengths", past),
        Feed { name: "block_table", dims: vec![slots, columns], values: table },
        list("lasts", lasts),
        list("cache_blocks", vec![as_int(blocks)]),
    ]
}

/// Samples as a packed graph reads them, one after the other; free slots hold one padding token each.
pub fn packed(samples: &[&Sample], slots: usize) -> Vec<Feed> {
    let free = slots.saturating_sub(samples.len());
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).chain(vec![1; free]).collect();
    let gather = |pick: fn(&Sample) -> &[i64]| -> Vec<i64> {
        samples.iter().flat_map(|sample| pick(sample)).copied().chain(vec![0; free]).collect()
    };
    let positions = lengths.iter().flat_map(|&length| 0..length).map(as_int).collect();
    let tokens = vec![lengths.iter().sum()];
    vec![
        Feed { name: "input_ids", dims: tokens.clone(), values: gather(|sample| &sample.ids) },
        Feed { name: "token_type_ids", dims: tokens.clone(), values: gather(|sample| &sample.types) },
        Feed { name: "position_ids", dims: tokens, values: positions },
        Feed { name: "beginnings", dims: vec![lengths.len()], values: (0..lengths.len()).map(as_int).collect() },
        Feed { name: "lengths", dims: vec![lengths.len()], values: lengths.into_iter().map(as_int).collect() },
    ]
}

/// Samples as a graph for GPUs reads them, one after the other.
pub fn ragged(samples: &[&Sample]) -> Vec<Feed> {
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
    let (pairs, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    let bounds: Vec<i64> = std::iter::once(0).chain(ends).map(as_int).collect();
    let row = |(row, length): (usize, &usize)| (row * longest, row * longest + length, (row + 1) * longest);
    let rows = || lengths.iter().enumerate().map(row);
    let there = rows().flat_map(|(start, middle, _)| start..middle);
    let offset = there.chain(rows().flat_map(|(_, middle, end)| middle..end)).map(as_int).collect();
    let mut feeds = packed(samples, pairs);
    feeds.truncate(3);
    let feed = |name, dims, values| Feed { name, dims, values };
    feeds.extend([
        feed("starts", vec![pairs], bounds[..pairs].to_vec()),
        feed("cumulative_lengths", vec![pairs + 1], bounds),
        feed("token_offset", vec![pairs, longest], offset),
        feed("lengths", vec![pairs, 1, 1], lengths.iter().copied().map(as_int).collect()),
        feed("columns", vec![longest], (0..longest).map(as_int).collect()),
    ]);
    feeds
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ids: &[i64]) -> Sample {
        Sample { ids: ids.to_vec(), types: vec![1; ids.len()] }
    }

    #[test]
    fn packed_feeds_line_up_pairs_and_fill_free_slots_with_one_token() {
        let feeds = packed(&[&sample(&[7, 8]), &sample(&[9])], 4);
        let values: Vec<_> = feeds.iter().map(|feed| (feed.name, feed.values.as_slice())).collect();
        assert_eq!(
            values,
            [
                ("input_ids", [7, 8, 9, 0, 0].as_slice()),
                ("token_type_ids", &[1, 1, 1, 0, 0]),
                ("position_ids", &[0, 1, 0, 0, 0]),
                ("beginnings", &[0, 1, 2, 3]),
                ("lengths", &[2, 1, 1, 1]),
            ]
        );
        assert_eq!(feeds[0].dims, [5]);
    }
}
