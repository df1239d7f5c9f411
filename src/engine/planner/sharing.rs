//! Which model's turn it is: models share forward passes by weight.
//!
//! Start-time fair queueing (Goyal, Vin and Chen 1996): each model has an account of virtual time, which a pass moves on
//! by its tokens divided by the model's weight, and the model whose account is furthest behind goes next. A model that had
//! nothing ready begins where the others are: it is owed nothing for the time it did not use, and owes nothing. So
//! two models that both have work all the while never differ by more than a pass of each, by weight, and a burst on
//! one costs the other its share and no more. Pure; it must not know requests.

use super::fluid;

/// See the module.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Where the pass began that was handed out last.
    now: u128,
    accounts: Vec<Account>,
}

/// A model's.
#[derive(Debug)]
struct Account {
    weight: u32,
    /// Where its last pass ended.
    end: u128,
}

impl Sharing {
    /// Models of these weights.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        Self { now: 0, accounts: weights.map(|weight| Account { weight: weight.max(1), end: 0 }).collect() }
    }

    /// Where a model's next pass begins, after so many tokens that it is sure to be given before: the least goes first.
    pub(super) fn turn(&self, model: usize, tokens: u64) -> u128 {
        let Some(account) = self.accounts.get(model) else { return u128::MAX };
        account.end.max(self.now) + account.span(tokens)
    }

    /// A model was given a pass of so many tokens.
    pub(super) fn serve(&mut self, model: usize, tokens: u64) {
        let begin = self.turn(model, 0);
        let Some(account) = self.accounts.get_mut(model) else { return };
        account.end = begin + account.span(tokens);
        self.now = begin;
    }
}

impl Account {
    fn span(&self, tokens: u64) -> u128 {
        fluid::span(tokens) / u128::from(self.weight)
    }
}
