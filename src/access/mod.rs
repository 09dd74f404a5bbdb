//! Whether somebody may do something on a channel.
//!
//! In: a [`Principal`], a [`Pattern`], an [`Action`]. Out: a [`Grant`] or the [`Denial`]. Invariant: this
//! is the only door; nobody asks the policies beside it.

use crate::domain::channel::Pattern;
use crate::domain::policy::{Action, Denial, Grant, Policies};
use crate::domain::principal::Principal;

#[derive(Clone, Debug)]
pub struct Access {
    policies: Policies,
}

impl Access {
    pub fn new(policies: Policies) -> Self {
        Self { policies }
    }

    pub fn decide(
        &self,
        principal: &Principal,
        pattern: &Pattern,
        action: Action,
    ) -> Result<Grant, Denial> {
        self.policies.decide(principal, pattern, action)
    }
}
