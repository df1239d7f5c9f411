//! `Accept`: which of several types a caller wants most.
//!
//! Owns the reading of media ranges and their weights (RFC 9110, 12.5.1). It must not know what the types are for.

use actix_web::http::header::{ACCEPT, HeaderMap};

/// A type that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// As `text/plain`.
    pub(super) kind: &'static str,
    /// Values of the parameter `version` that this is; a range without one takes any.
    pub(super) versions: &'static [&'static str],
}

/// One media range.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    weight: u32,
}

/// The offer that the headers prefer, by weight, then as named before its rival, then the first. Where none is accepted
/// it is the first, too: whoever asks gets something to read.
pub(super) fn preferred<const N: usize>(headers: &HeaderMap, offers: &[Offer; N]) -> usize {
    let given: Vec<&str> = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = given.iter().flat_map(|value| value.split(',')).filter_map(read).collect();
    let mut best = (0, (0, 0));
    for (at, offer) in offers.iter().enumerate() {
        let Some((specific, position, weight)) = best_range(&ranges, offer) else { continue };
        // A wildcard prefers nothing.
        let named = if specific > 1 { ranges.len() - position } else { 0 };
        if weight > 0 && (weight, named) > best.1 {
            best = (at, (weight, named));
        }
    }
    best.0
}

/// How closely the closest range names the offer, its place among the ranges, and its weight.
fn best_range(ranges: &[Range<'_>], offer: &Offer) -> Option<(u8, usize, u32)> {
    let close = |range: &Range<'_>| match range.version {
        _ if range.kind == "*/*" => Some(0),
        _ if range.kind.strip_suffix("/*").is_some_and(|kind| offer.kind.split('/').next() == Some(kind)) => Some(1),
        _ if !range.kind.eq_ignore_ascii_case(offer.kind) => None,
        None => Some(2),
        Some(version) if offer.versions.contains(&version) => Some(3),
        Some(_) => None,
    };
    let fitting = ranges.iter().enumerate().filter_map(|(at, range)| Some((close(range)?, at, range.weight)));
    // Of several equally close ones, versions that are one offer, the heaviest counts, and its place.
    fitting.max_by_key(|&(close, at, weight)| (close, weight, usize::MAX - at))
}

fn read(range: &str) -> Option<Range<'_>> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| kind.contains('/'))?;
    let (mut version, mut weight) = (None, 1000);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("version") {
            version = Some(value);
        } else if name.trim().eq_ignore_ascii_case("q") {
            weight = thousandths(value)?;
        }
    }
    Some(Range { kind, version, weight })
}

/// A weight from 0 to 1 with at most three decimals; more are cut.
fn thousandths(value: &str) -> Option<u32> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits: String = decimals.chars().chain("000".chars()).take(3).collect();
    let weight = whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const OFFERS: [Offer; 2] = [
        Offer { kind: "text/plain", versions: &["0.0.4", "1.0.0"] },
        Offer { kind: "application/openmetrics-text", versions: &["1.0.0", "0.0.1"] },
    ];

    // Case B18.
    #[test]
    fn the_type_that_is_asked_for_most_is_given() {
        for (accept, wanted, case) in [
            ("", 0, "no header"),
            ("*/*", 0, "curl"),
            ("text/plain;version=0.0.4", 0, "an old scraper"),
            ("text/plain; charset=utf-8", 0, "other parameters do not matter"),
            ("application/openmetrics-text", 1, "the newer one alone"),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", 1, "any letter case, quotes"),
            ("application/openmetrics-text; version=9.0.0", 0, "a version that is not there"),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;\
                 q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                1,
                "Prometheus 3",
            ),
            ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 1, "Prometheus 2"),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.8", 0, "weights"),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.9", 0, "weights, the other order"),
            ("application/openmetrics-text;q=0, text/plain", 0, "refused"),
            ("text/plain;q=0, application/openmetrics-text;q=0.001", 1, "refused, the other one"),
            ("application/openmetrics-text, text/plain", 1, "equal weights: the first named"),
            ("text/plain, application/openmetrics-text", 0, "equal weights, the other order"),
            ("application/openmetrics-text, */*", 1, "named beside anything"),
            ("text/*;q=0.5, application/*", 1, "a wildcard of one kind"),
            ("application/json", 0, "nothing that is there"),
            ("nonsense, ;;;, text/plain;q=x", 0, "nothing that can be read"),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            }
            assert_eq!(preferred(&headers, &OFFERS), wanted, "{case}");
        }
        let mut headers = HeaderMap::new();
        for line in ["text/plain;q=0.1", "application/openmetrics-text"] {
            headers.append(ACCEPT, HeaderValue::from_static(line));
        }
        assert_eq!(preferred(&headers, &OFFERS), 1, "several headers are one list");
    }
}
