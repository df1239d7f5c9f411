//! Which special tokens a tokenizer puts around the two texts of a pair.
//!
//! Read off the tokenizer itself by probing it, so that `[CLS] a [SEP] b [SEP]` of BERT, `<s> a </s></s> b </s>` of
//! RoBERTa and their kin need no code of their own. It must not know truncation.

use tokenizers::Tokenizer;

use super::Encoding;

/// Special tokens before, between and after the two texts, and the type of the second segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    before: Box<[u32]>,
    between: Box<[u32]>,
    after: Box<[u32]>,
    document_type: u32,
}

/// Why a tokenizer's pairs cannot be assembled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing stands between the two texts.
    NoSeparator,
    /// A sentence that says what does not fit.
    Other(&'static str),
}

/// Two texts of which every tokenizer makes at least one token each, different from one another.
const PROBES: [(&str, &str); 2] = [("a", "the"), ("one two", "7")];

impl Template {
    /// Reads the template off a tokenizer that neither pads nor truncates.
    ///
    /// # Errors
    /// When pairs are not made of their parts and constant special tokens, one of them between the parts.
    pub(super) fn probe(tokenizer: &Tokenizer) -> Result<Self, Unknown> {
        let [first, second] = PROBES.map(|(query, document)| Self::read_off(tokenizer, query, document));
        let first = first.map_err(Unknown::Other)?;
        if first != second.map_err(Unknown::Other)? {
            return Err(Unknown::Other("special tokens depend on the texts"));
        }
        if first.between.is_empty() {
            return Err(Unknown::NoSeparator);
        }
        Ok(first)
    }

    fn read_off(tokenizer: &Tokenizer, query: &str, document: &str) -> Result<Self, &'static str> {
        let ids = |text: &str| tokenizer.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec());
        let refused = |_| "the probe was refused";
        let (query_ids, document_ids) = (ids(query).map_err(refused)?, ids(document).map_err(refused)?);
        let pair = tokenizer.encode_fast((query, document), true).map_err(refused)?;
        let all = pair.get_ids();
        let query_at = find(all, &query_ids, 0).ok_or("the first text is not part of the pair as it stands")?;
        let query_end = query_at + query_ids.len();
        let document_at =
            find(all, &document_ids, query_end).ok_or("the second text is not part of the pair as it stands")?;
        let document_end = document_at + document_ids.len();
        let (head, tail) = pair.get_type_ids().split_at(document_at);
        let document_type = tail[0];
        if head.iter().any(|&kind| kind != 0) || tail.iter().any(|&kind| kind != document_type) {
            return Err("segment types change elsewhere than at the second text");
        }
        Ok(Self {
            before: all[..query_at].into(),
            between: all[query_end..document_at].into(),
            after: all[document_end..].into(),
            document_type,
        })
    }

    /// Special tokens of a pair.
    pub(super) fn specials(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }

    /// Special tokens behind the document.
    pub(super) const fn after(&self) -> usize {
        self.after.len()
    }

    /// Two texts with the special tokens around them.
    pub(super) fn join(&self, query: &[u32], document: &[u32]) -> Encoding {
        let ids = [&self.before, query, &self.between, document, &self.after].concat();
        let starts = self.before.len() + query.len() + self.between.len();
        Encoding::new(ids, super::saturate(starts), self.document_type)
    }
}

/// Where `part` stands in `all`, from `from` on.
fn find(all: &[u32], part: &[u32], from: usize) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    all.get(from..)?.windows(part.len()).position(|window| window == part).map(|at| at + from)
}
