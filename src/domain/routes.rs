//! The routing table: which subscribers a channel's events go to.
//!
//! In: subscriptions and the channels of events. Out: subscriber numbers. Invariant: the work for an event is
//! proportional to the subscribers it reaches, never to the subscribers there are.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexSet;

use super::channel::{Channel, Pattern};

/// A subscriber's number in the hub.
pub type SubscriberId = usize;

#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<Channel, Members>,
    below: HashMap<Channel, Members>,
}

impl Routes {
    pub fn insert(&mut self, pattern: &Pattern, id: SubscriberId, user: Option<&Arc<str>>) {
        let (table, name) = self.table(pattern);
        table.entry(name.clone()).or_default().insert(id, user);
    }

    pub fn remove(&mut self, pattern: &Pattern, id: SubscriberId, user: Option<&Arc<str>>) {
        let (table, name) = self.table(pattern);
        if let Some(members) = table.get_mut(name) {
            members.remove(id, user);
            if members.all.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Visits the subscribers of a channel; one that subscribed to it in several ways comes several times.
    pub fn visit(
        &self,
        channel: &Channel,
        audience: Option<&[Box<str>]>,
        mut visit: impl FnMut(SubscriberId),
    ) {
        if let Some(members) = self.exact.get(channel) {
            members.visit(audience, &mut visit);
        }
        if self.below.is_empty() {
            return;
        }
        for ancestor in channel.ancestors() {
            if let Some(members) = self.below.get(ancestor) {
                members.visit(audience, &mut visit);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    fn table<'a>(&mut self, pattern: &'a Pattern) -> (&mut HashMap<Channel, Members>, &'a Channel) {
        match pattern {
            Pattern::Exact(name) => (&mut self.exact, name),
            Pattern::Below(prefix) => (&mut self.below, prefix),
        }
    }
}

/// The subscribers of one name, and the same by user for events with an audience.
#[derive(Debug, Default)]
struct Members {
    all: IndexSet<SubscriberId>,
    by_user: HashMap<Arc<str>, IndexSet<SubscriberId>>,
}

impl Members {
    fn insert(&mut self, id: SubscriberId, user: Option<&Arc<str>>) {
        self.all.insert(id);
        if let Some(user) = user {
            self.by_user.entry(Arc::clone(user)).or_default().insert(id);
        }
    }

    fn remove(&mut self, id: SubscriberId, user: Option<&Arc<str>>) {
        self.all.swap_remove(&id);
        let Some(user) = user else { return };
        if let Some(sessions) = self.by_user.get_mut(user) {
            sessions.swap_remove(&id);
            if sessions.is_empty() {
                self.by_user.remove(user);
            }
        }
    }

    fn visit(&self, audience: Option<&[Box<str>]>, visit: &mut impl FnMut(SubscriberId)) {
        let Some(users) = audience else { return self.all.iter().copied().for_each(visit) };
        for user in users {
            self.by_user.get(&**user).into_iter().flatten().copied().for_each(&mut *visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Subscription {
        pattern: &'static str,
        id: SubscriberId,
    }

    const PATTERNS: [&str; 6] = ["a", "a:*", "a:b", "a:b:*", "a:b:c", "b"];

    /// Even subscribers are anonymous, odd ones are the users `u0` and `u1`.
    fn user(id: SubscriberId) -> Option<Arc<str>> {
        (id % 2 == 1).then(|| format!("u{}", id / 2 % 2).into())
    }

    fn steps() -> impl Strategy<Value = Vec<(bool, Subscription)>> {
        let subscription = (0..PATTERNS.len(), 0..8usize)
            .prop_map(|(pattern, id)| Subscription { pattern: PATTERNS[pattern], id });
        proptest::collection::vec((any::<bool>(), subscription), 0..60)
    }

    proptest! {
        #[test]
        fn a_visit_reaches_whom_a_search_through_all_subscriptions_finds(
            steps in steps(),
            channel in proptest::sample::select(vec!["a", "a:b", "a:b:c", "a:b:d", "b", "c"]),
            audience in proptest::option::of(proptest::collection::vec(
                proptest::sample::select(vec!["u0", "u1", "u2"]), 0..3)),
        ) {
            let mut routes = Routes::default();
            let mut model: Vec<Subscription> = Vec::new();
            for (add, step) in steps {
                let pattern = Pattern::parse(step.pattern).unwrap();
                model.retain(|s| (s.pattern, s.id) != (step.pattern, step.id));
                if add {
                    routes.insert(&pattern, step.id, user(step.id).as_ref());
                    model.push(step);
                } else {
                    routes.remove(&pattern, step.id, user(step.id).as_ref());
                }
            }
            let channel = Channel::parse(channel).unwrap();
            let audience: Option<Vec<Box<str>>> =
                audience.map(|users| users.into_iter().map(Box::from).collect());

            let mut reached = std::collections::BTreeSet::new();
            routes.visit(&channel, audience.as_deref(), |id| { reached.insert(id); });

            let expected = model.iter()
                .filter(|s| Pattern::parse(s.pattern).unwrap().covers(&channel))
                .filter(|s| audience.as_ref().is_none_or(|users| {
                    user(s.id).is_some_and(|user| users.iter().any(|u| **u == *user))
                }))
                .map(|s| s.id)
                .collect();
            prop_assert_eq!(reached, expected);
        }

        #[test]
        fn a_table_that_lost_every_subscription_holds_nothing(steps in steps()) {
            let mut routes = Routes::default();
            for (_, step) in &steps {
                routes.insert(&Pattern::parse(step.pattern).unwrap(), step.id, user(step.id).as_ref());
            }
            for (_, step) in &steps {
                routes.remove(&Pattern::parse(step.pattern).unwrap(), step.id, user(step.id).as_ref());
            }
            prop_assert!(routes.is_empty());
        }
    }
}
