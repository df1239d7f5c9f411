//! Names of what a request asks for and nobody reads, so that it can be reported.
//!
//! Owns what may be repeated of them: a name is a caller's text, so only short ones of plain characters are, and few. It must
//! not know where the names stood or who reads them.

/// Names that are repeated; the others are counted.
const REPORTED: usize = 16;

/// Characters of a name that is repeated.
const LONGEST: usize = 64;

/// Keys that were not read, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    names: Vec<String>,
    others: usize,
}

impl Unread {
    /// Takes a name, with the path to it.
    pub fn note(&mut self, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(plain) || self.names.len() == REPORTED {
            self.others += usize::from(!self.names.iter().any(|known| known == name));
        } else if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    /// Takes those names that are there.
    pub fn note_any(&mut self, names: impl IntoIterator<Item = Option<&'static str>>) {
        names.into_iter().flatten().for_each(|name| self.note(name));
    }

    /// Takes over all of another's, below a path.
    pub fn extend(&mut self, path: &str, other: &Self) {
        for name in &other.names {
            self.note(&format!("{path}{name}"));
        }
        self.others += other.others;
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.others == 0
    }

    /// The first name that may be repeated.
    pub fn first(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    /// The names as a header lists them: ASCII, 17 entries at most.
    pub fn header(&self) -> String {
        let others = (self.others > 0).then(|| format!("+{}", self.others));
        self.names.iter().cloned().chain(others).collect::<Vec<_>>().join(", ")
    }

    /// A sentence a name.
    pub fn sentences(&self) -> Vec<String> {
        let others = (self.others > 0).then(|| format!("{} further keys: not served here, ignored", self.others));
        self.names.iter().map(|name| format!("{name}: not served here, ignored")).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_names_are_reported_and_few_of_them() {
        let mut unread = Unread::default();
        assert!(unread.is_empty());
        for name in ["top_N", "top_N", "rescore[0].x", "a secret text", "é", "", "a\r\nb: c", &"y".repeat(65)] {
            unread.note(name);
        }
        assert_eq!(unread.header(), "top_N, rescore[0].x, +5");
        assert_eq!(unread.sentences()[0], "top_N: not served here, ignored");
        for number in 0..100 {
            unread.note(&format!("key{number}"));
        }
        assert!(unread.header().is_ascii() && unread.header().ends_with("key13, +91"), "{}", unread.header());
        assert_eq!(unread.sentences().len(), 17);
    }
}
