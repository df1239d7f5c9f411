//! Whole numbers.

use std::fmt::Display;
use std::str::FromStr;

use super::{Kind, Wrong, in_range, items};

/// A whole number in a range.
pub(in crate::config) struct Count<T> {
    pub(in crate::config) min: T,
    pub(in crate::config) max: T,
}

/// Numbers of devices, comma-separated, each once.
pub(in crate::config) struct Numbers;

/// Devices of a host that are distinguished.
const DEVICES: Count<u32> = Count { min: 0, max: 1023 };

impl<T: Copy + Display + FromStr + PartialOrd + Sync> Kind for Count<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, Wrong> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Wrong::new("is not a whole number").hint(format!("write digits only, such as `{}`", self.min)));
        }
        if digits.len() < text.len() {
            return Err(Wrong::new("is too small"));
        }
        // Digits alone fail only where they are too many.
        let value = text.parse().map_err(|_| Wrong::new("is too large"))?;
        in_range(value, &self.min, &self.max)
    }

    fn render(&self, value: &T) -> String {
        value.to_string()
    }

    fn values(&self) -> String {
        format!("{} to {}", self.min, self.max)
    }
}

impl Kind for Numbers {
    type Value = Vec<u32>;

    fn parse(&self, text: &str) -> Result<Vec<u32>, Wrong> {
        let mut numbers = Vec::new();
        for item in items(text)? {
            let number = DEVICES.parse(item)?;
            if numbers.contains(&number) {
                return Err(Wrong::new(format!("names {number} twice")).hint("name each once"));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn render(&self, value: &Vec<u32>) -> String {
        value.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        format!("numbers of {}, comma-separated", DEVICES.values())
    }
}
