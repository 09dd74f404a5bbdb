//! Whether somebody may do something on a channel.
//!
//! In: a [`Principal`], [`Pattern`]s, an [`Action`]. Out: a [`Verdict`] for each. Invariant: this is the only door;
//! nobody asks the policies or the database's function beside it, and what cannot be decided is not allowed.

mod function;
mod rights;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::channel::Pattern;
use crate::domain::policy::{Action, Denial, Grant, Policies};
use crate::domain::principal::Principal;
use crate::domain::rights::Version;

pub use crate::domain::policy::Verdict;
pub use function::Function;
pub use rights::Rights;

pub struct Access {
    policies: ArcSwap<Policies>,
    function: Option<Function>,
    rights: Arc<Rights>,
}

/// What was decided, and the version of rights at which it was asked: whoever uses it holds back what a later change
/// concerns, until that is judged too.
pub struct Judgement {
    pub verdicts: Vec<(Pattern, Verdict)>,
    pub version: Version,
}

impl Access {
    /// With a function, that has the last word on what the policies allow; without any policy it decides alone.
    pub fn new(policies: Policies, function: Option<Function>, rights: Arc<Rights>) -> Self {
        Self { policies: ArcSwap::from_pointee(policies), function, rights }
    }

    /// From the next judgement on.
    pub fn set_policies(&self, policies: Policies) {
        self.policies.store(Arc::new(policies));
    }

    /// Tells the log what is wrong with the function, before a client comes.
    pub async fn check(&self) {
        if let Some(function) = &self.function {
            function.check().await;
        }
    }

    pub async fn judge(
        &self,
        principal: &Principal,
        patterns: Vec<Pattern>,
        action: Action,
    ) -> Judgement {
        let version = self.rights.version();
        let verdicts = self.verdicts(principal, &patterns, action, version).await;
        Judgement { verdicts: patterns.into_iter().zip(verdicts).collect(), version }
    }

    async fn verdicts(
        &self,
        principal: &Principal,
        patterns: &[Pattern],
        action: Action,
        version: Version,
    ) -> Vec<Verdict> {
        let policies = self.policies.load();
        let Some(function) = &self.function else {
            let decide = |pattern| policies.decide(principal, pattern, action).into();
            return patterns.iter().map(decide).collect();
        };
        let mut verdicts: Vec<_> =
            patterns.iter().map(|pattern| before(&policies, principal, pattern, action)).collect();
        let asked: Vec<usize> = (0..verdicts.len()).filter(|at| verdicts[*at].is_none()).collect();
        let channels: Vec<&Pattern> = asked.iter().map(|at| &patterns[*at]).collect();
        let answers = function.ask(principal, &channels, action, version, &self.rights).await;
        for (at, answer) in asked.into_iter().zip(answers) {
            verdicts[at] = Some(answer);
        }
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Undecided)).collect()
    }
}

/// What the function is not asked about.
fn before(
    policies: &Policies,
    principal: &Principal,
    pattern: &Pattern,
    action: Action,
) -> Option<Verdict> {
    let is_open = !pattern.is_reserved() && !pattern.is_below_user();
    match policies.decide(principal, pattern, action) {
        // Everybody's own channel.
        Ok(Grant { policy: None }) => Some(Verdict::Allowed),
        Ok(Grant { policy: Some(_) }) => None,
        Err(Denial) if policies.is_empty() && is_open => None,
        Err(Denial) => Some(Verdict::Forbidden),
    }
}
