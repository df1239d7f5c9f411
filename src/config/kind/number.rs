//! Whole numbers.

use std::fmt::Display;
use std::str::FromStr;

use super::{Kind, Wrong, in_range};

/// A whole number in a range.
pub(in crate::config) struct Count<T> {
    pub(in crate::config) min: T,
    pub(in crate::config) max: T,
}

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
