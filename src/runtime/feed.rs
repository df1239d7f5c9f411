//! What the inputs of a graph are fed with from a batch.
//!
//! Owns the names of inputs and the width of their integers. It must not know how sessions are built.

use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, TensorRef};
use rescored_graph::beginnings::Arranged;

use super::{Batch, ScorerError};

/// Which tensor of the graph is fed with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    Ids,
    Mask,
    Types,
    Positions,
    Lengths,
    /// Of a graph that takes shared beginnings once, with which ids and lengths are those of [`Arranged`].
    Beginnings,
}

impl Feed {
    /// Names that exporters give to the three inputs of a BERT-family encoder, and the two more of a packed graph.
    fn of(name: &str) -> Option<Self> {
        match name {
            "input_ids" | "input" => Some(Self::Ids),
            "attention_mask" | "input_mask" => Some(Self::Mask),
            "token_type_ids" | "segment_ids" => Some(Self::Types),
            "position_ids" => Some(Self::Positions),
            "lengths" => Some(Self::Lengths),
            "beginnings" => Some(Self::Beginnings),
            _ => None,
        }
    }

    /// Dimensions and values of this tensor; where beginnings are shared, of the pass as it is arranged then.
    fn of_batch<'b>(self, batch: &'b Batch, arranged: Option<&'b Arranged>) -> (Vec<usize>, &'b [i64]) {
        let all = |values: &'b [i64]| (vec![values.len()], values);
        let feed = match (self, arranged) {
            (Self::Ids, Some(arranged)) => return all(&arranged.ids),
            (Self::Lengths, Some(arranged)) => return all(&arranged.lengths),
            (Self::Beginnings, Some(arranged)) => return all(&arranged.beginnings),
            (other, _) => other,
        };
        let values = match feed {
            Self::Ids => batch.ids(),
            Self::Mask => batch.mask(),
            Self::Types => batch.types(),
            Self::Positions => batch.positions(),
            Self::Lengths | Self::Beginnings => return all(batch.lengths()),
        };
        (batch.shape().to_vec(), values)
    }
}

/// How wide the integers are that an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// 64 bits.
    Long,
    /// 32 bits.
    Short,
}

/// An input, and what it is fed with.
#[derive(Debug)]
pub(super) struct Fed {
    name: String,
    feed: Feed,
    width: Width,
}

impl Fed {
    /// The input's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The value of this input for a batch.
    pub(super) fn value<'b>(
        &self,
        batch: &'b Batch,
        arranged: Option<&'b Arranged>,
    ) -> ort::Result<SessionInputValue<'b>> {
        let (shape, values) = self.feed.of_batch(batch, arranged);
        Ok(match self.width {
            Width::Long => TensorRef::from_array_view((shape, values))?.into(),
            Width::Short => {
                // Ids, lengths and places of one pass are far below the limit.
                let values: Vec<i32> = values.iter().map(|&value| i32::try_from(value).unwrap_or(i32::MAX)).collect();
                Tensor::from_array((shape, values))?.into()
            }
        })
    }
}

/// Whether a graph takes the beginnings once that pairs share.
pub(super) fn share_beginnings(feeds: &[Fed]) -> bool {
    feeds.iter().any(|fed| fed.feed == Feed::Beginnings)
}

/// What each input of a graph is fed with.
///
/// # Errors
/// [`ScorerError`] for one that is none of those that are known, or takes other values.
pub(super) fn feeds(session: &Session) -> Result<Vec<Fed>, ScorerError> {
    let known = |name: &str, kind: Option<TensorElementType>| {
        let refused = |message| ScorerError::Graph { message };
        let feed = Feed::of(name).ok_or_else(|| {
            refused(format!(
                "input `{name}` is not one of input_ids, attention_mask, token_type_ids, position_ids, lengths"
            ))
        })?;
        let width = match kind {
            Some(TensorElementType::Int64) => Width::Long,
            Some(TensorElementType::Int32) => Width::Short,
            Some(other) => {
                return Err(refused(format!("input `{name}` takes values of type {other}, served are i64 and i32")));
            }
            None => return Err(refused(format!("input `{name}` is no tensor"))),
        };
        Ok(Fed { name: name.to_owned(), feed, width })
    };
    session.inputs().iter().map(|input| known(input.name(), input.dtype().tensor_type())).collect()
}
