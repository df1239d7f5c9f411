//! What stands around the texts of a pair: special tokens of an encoder's pairs, or a decoder's whole prompt.
//!
//! An encoder's is read off the tokenizer itself by probing it, so that `[CLS] a [SEP] b [SEP]` of BERT,
//! `<s> a </s></s> b </s>` of RoBERTa and their kin need no code of their own; a prompt's is made by `layout`. It must not
//! know truncation.

use tokenizers::Tokenizer;

use super::{EncodeError, Encoding};

/// Everything around the texts, and the type of the second segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    /// Tokens before all that depends on the instruction; of a template without one, before the query.
    pub(super) start: Box<[u32]>,
    /// Where a request's instruction goes.
    pub(super) instruction: Option<InstructionSlot>,
    /// What surrounds the query's text.
    pub(super) query: Slot,
    /// Tokens between query and document.
    pub(super) between: Box<[u32]>,
    /// What surrounds the document's text.
    pub(super) document: Slot,
    /// Tokens behind the document.
    pub(super) after: Box<[u32]>,
    /// Type of the second segment.
    pub(super) document_type: u32,
    /// Tokens of a document without text.
    pub(super) no_document: Box<[u32]>,
}

/// The place of a text, with the constant text beside it that may share tokens with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Text that is tokenised before it.
    pub(super) lead: String,
    /// Text that is tokenised behind it.
    pub(super) closing: String,
    /// Tokens that stand for `lead` before a text whose beginning was cut; none where it is blank.
    pub(super) lead_ids: Box<[u32]>,
    /// Tokens that stand for `closing` behind a text whose end was cut.
    pub(super) closing_ids: Box<[u32]>,
}

/// The place of the instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InstructionSlot {
    /// Tokens between `start` and it.
    pub(super) before: Box<[u32]>,
    /// What surrounds its text.
    pub(super) slot: Slot,
    /// Tokens between it and the query.
    pub(super) after: Box<[u32]>,
    /// Tokens between `start` and the query where a request brings none, its default's included.
    pub(super) default: Box<[u32]>,
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

impl Slot {
    /// Tokens that a text keeps for what surrounds it when it is cut.
    pub(super) const fn reserved(&self) -> usize {
        self.lead_ids.len() + self.closing_ids.len()
    }

    /// The text with what is tokenised with it.
    pub(super) fn around<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        if self.lead.is_empty() && self.closing.is_empty() {
            return std::borrow::Cow::Borrowed(text);
        }
        std::borrow::Cow::Owned([&self.lead, text, &self.closing].concat())
    }

    /// A part of a text's tokens, with what surrounds the text put back where the part does not reach its ends.
    pub(super) fn part(&self, ids: &[u32], (begins, ends): (bool, bool)) -> Vec<u32> {
        let lead: &[u32] = if begins { &[] } else { &self.lead_ids };
        let closing: &[u32] = if ends { &[] } else { &self.closing_ids };
        [lead, ids, closing].concat()
    }
}

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
            start: all[..query_at].into(),
            between: all[query_end..document_at].into(),
            after: all[document_end..].into(),
            document_type,
            ..Self::default()
        })
    }

    /// Tokens before the query of requests that bring no instruction.
    pub(super) fn head(&self) -> Box<[u32]> {
        let default = self.instruction.as_ref().map_or(&[][..], |slot| &slot.default);
        [&self.start, default].concat().into()
    }

    /// Tokens before the query, given the instruction's.
    ///
    /// # Errors
    /// [`EncodeError::Refused`] of a template without a place for one.
    pub(super) fn head_with(&self, instruction: &[u32]) -> Result<Box<[u32]>, EncodeError> {
        let slot = self.instruction.as_ref().ok_or(EncodeError::Refused)?;
        Ok([&self.start, &slot.before, instruction, &slot.after].concat().into())
    }

    /// Tokens around two texts, of which `head` stand before the query.
    pub(super) const fn constant(&self, head: usize) -> usize {
        head + self.between.len() + self.after.len()
    }

    /// Tokens of both texts at least: one of each, and what surrounds them.
    pub(super) const fn least_room(&self) -> usize {
        2 + self.query.reserved() + self.document.reserved()
    }

    /// Two texts with the tokens around them.
    pub(super) fn join(&self, head: &[u32], query: &[u32], document: &[u32]) -> Encoding {
        let ids = [head, query, &self.between, document, &self.after].concat();
        let starts = head.len() + query.len() + self.between.len();
        Encoding::new(ids, super::saturate(starts), self.document_type)
    }

    /// The document's tokens of an encoding that [`Template::join`] made.
    pub(super) fn document_of<'e>(&self, encoding: &'e Encoding) -> &'e [u32] {
        let end = encoding.len().saturating_sub(self.after.len());
        encoding.ids().get(encoding.document_starts()..end).unwrap_or_default()
    }
}

/// Where `part` stands in `all`, from `from` on.
fn find(all: &[u32], part: &[u32], from: usize) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    all.get(from..)?.windows(part.len()).position(|window| window == part).map(|at| at + from)
}
