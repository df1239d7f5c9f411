//! Sizes in bytes: a whole number and a unit.

use super::{Kind, Wrong, in_range, split_unit};

/// Units with their bytes, the largest first; binary ones before decimal ones, because they are what is written.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A size in a range.
pub(in crate::config) struct Bytes {
    pub(in crate::config) min: u64,
    pub(in crate::config) max: u64,
}

impl Kind for Bytes {
    type Value = u64;

    fn parse(&self, text: &str) -> Result<u64, Wrong> {
        in_range(parse(text)?, &self.min, &self.max)
    }

    fn render(&self, value: &u64) -> String {
        render(*value)
    }

    fn values(&self) -> String {
        format!("{} to {}", render(self.min), render(self.max))
    }
}

fn parse(text: &str) -> Result<u64, Wrong> {
    let (digits, unit) = split_unit(text);
    let unit = unit.trim_start();
    if digits.is_empty() {
        return Err(Wrong::new("is not a size").hint("write a whole number and its unit, such as `256MiB`"));
    }
    if unit.starts_with(['.', ',']) {
        return Err(Wrong::new("is not a whole number").hint("take a smaller unit, such as `1536MiB` for 1.5 GiB"));
    }
    let factor = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() && digits.bytes().all(|digit| digit == b'0') => 0,
        None if unit.is_empty() => {
            return Err(Wrong::new("has no unit").hint(format!("write `{digits}MiB`, or `{digits}B` for bytes")));
        }
        None => {
            return Err(Wrong::new("has an unknown unit").hint("units are `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`"));
        }
    };
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|number| number.checked_mul(factor)).ok_or_else(|| Wrong::new("is too large"))
}

/// The largest unit that divides it.
fn render(bytes: u64) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    let (unit, factor) = UNITS.into_iter().find(|(_, each)| bytes.is_multiple_of(*each)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_size_is_read_back(bytes in any::<u64>(), unit in 0..UNITS.len()) {
            prop_assert_eq!(parse(&render(bytes)), Ok(bytes));
            let round = bytes % 1_000 * UNITS[unit].1;
            prop_assert_eq!(parse(&render(round)), Ok(round));
        }

        #[test]
        fn a_number_with_a_unit_is_that_many_of_the_unit(number in 0..1_000_u64, unit in 0..UNITS.len()) {
            let (name, factor) = UNITS[unit];
            for text in [format!("{number}{name}"), format!("{number} {}", name.to_lowercase())] {
                prop_assert_eq!(parse(&text), Ok(number * factor));
            }
        }

        #[test]
        fn a_number_alone_is_a_size_only_when_it_is_zero(number in any::<u128>()) {
            prop_assert_eq!(parse(&number.to_string()).is_ok(), number == 0);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Ok(bytes) = parse(&text) {
                prop_assert_eq!(parse(&render(bytes)), Ok(bytes));
            }
        }
    }

    #[test]
    fn zero_needs_no_unit() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(render(0), "0");
    }
}
