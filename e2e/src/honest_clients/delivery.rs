//! Whether each created comment arrived at each watcher of its post exactly once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::watch::Watcher;

/// What arrived, and what did not.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Comments whose creation was confirmed.
    pub created: usize,
    /// Events that had to arrive: each comment once for each watcher of its post.
    pub expected: usize,
    /// Events that did not.
    pub lost: usize,
    /// Events that arrived more than once.
    pub doubled: usize,
    /// `SUBSCRIPTION_INTERRUPTED`, over all watchers.
    pub interruptions: usize,
    /// What else went wrong with subscriptions, with its number.
    pub faults: BTreeMap<String, u64>,
}

/// The comments whose creation was confirmed, each with the number of its post.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Vec<(usize, String)>>);

impl Ledger {
    pub(super) fn created(&self, post: usize, id: &str) {
        let mut created = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        created.push((post, id.to_owned()));
    }

    pub(super) fn compare(&self, watchers: &[Watcher]) -> Delivery {
        let created = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delivery = Delivery {
            created: created.len(),
            ..Delivery::default()
        };
        for watcher in watchers {
            let seen = watcher.seen();
            let arrived: HashSet<&str> = seen.comments.iter().map(String::as_str).collect();
            let of_post = created.iter().filter(|(post, _)| *post == watcher.post());
            let of_post: Vec<&str> = of_post.map(|(_, id)| id.as_str()).collect();
            delivery.expected += of_post.len();
            delivery.lost += of_post.iter().filter(|id| !arrived.contains(*id)).count();
            delivery.doubled += seen.comments.len() - arrived.len();
            delivery.interruptions += seen.interruptions;
            for fault in &seen.faults {
                *delivery.faults.entry(fault.clone()).or_default() += 1;
            }
        }
        delivery
    }
}
