//! Durations: a whole number and a unit.

use std::time::Duration;

use super::{Kind, Wrong, in_range, split_unit};

/// Units with their milliseconds, the largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration in a range, to the millisecond.
pub(in crate::config) struct Period {
    pub(in crate::config) min: Duration,
    pub(in crate::config) max: Duration,
}

impl Kind for Period {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, Wrong> {
        in_range(parse(text)?, &self.min, &self.max)
    }

    fn render(&self, value: &Duration) -> String {
        render(*value)
    }

    fn values(&self) -> String {
        format!("{} to {}", render(self.min), render(self.max))
    }
}

fn parse(text: &str) -> Result<Duration, Wrong> {
    let (digits, unit) = split_unit(text);
    if digits.is_empty() {
        return Err(Wrong::new("is not a duration").hint("write a whole number and its unit, such as `250ms` or `30s`"));
    }
    if unit.is_empty() {
        return Err(
            Wrong::new("has no unit").hint(format!("write `{digits}s` for seconds, `{digits}ms` for milliseconds"))
        );
    }
    if unit.starts_with(['.', ',']) {
        return Err(
            Wrong::new("is not a whole number").hint("take a smaller unit, such as `1500ms` for a second and a half")
        );
    }
    let Some((_, milliseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Wrong::new("has an unknown unit").hint("units are `ms`, `s`, `m` and `h`, right behind the number"));
    };
    let number: Option<u64> = digits.parse().ok();
    let total = number.and_then(|number| number.checked_mul(*milliseconds));
    total.map(Duration::from_millis).ok_or_else(|| Wrong::new("is too large"))
}

/// The largest unit that divides it; milliseconds are the finest.
fn render(duration: Duration) -> String {
    let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if total == 0 {
        return "0s".to_owned();
    }
    let (unit, milliseconds) = UNITS.into_iter().find(|(_, each)| total.is_multiple_of(*each)).unwrap_or(("ms", 1));
    format!("{}{unit}", total / milliseconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(milliseconds in any::<u64>()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&render(duration)), Ok(duration));
        }

        #[test]
        fn a_number_with_a_unit_is_that_many_of_the_unit(number in 0..1_000_000_u64, unit in 0..UNITS.len()) {
            let (name, milliseconds) = UNITS[unit];
            prop_assert_eq!(parse(&format!("{number}{name}")), Ok(Duration::from_millis(number * milliseconds)));
        }

        #[test]
        fn a_number_alone_is_never_a_duration(number in any::<u128>()) {
            prop_assert!(parse(&number.to_string()).is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&render(duration)), Ok(duration));
            }
        }
    }
}
