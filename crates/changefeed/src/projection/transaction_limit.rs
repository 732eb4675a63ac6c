//! How much one transaction may take: less after a fault, more again with each commit.
//!
//! The server ends a transaction after 60 s, or when its cache is short. A batch that is too much for
//! the server of this hour would be tried again and again as it is: so it comes back as a smaller one.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of the limit after a fault is this part of it.
const FAULT_DIVISOR: usize = 4;
const COMMIT_FACTOR: usize = 2;

/// The limit of one instance, in changes or targets.
#[derive(Debug)]
pub(crate) struct TransactionLimit {
    most: usize,
    now: AtomicUsize,
}

impl TransactionLimit {
    /// A limit that never grows beyond `most`.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            now: AtomicUsize::new(most),
        }
    }

    /// So many changes or targets a transaction may take.
    pub fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// A transaction of this size was given up.
    pub fn shrink(&self, size: usize) {
        let less = self.get().min(size) / FAULT_DIVISOR;
        self.now.store(less.max(1), Ordering::Relaxed);
    }

    /// A transaction was committed.
    pub fn grow(&self) {
        let more = self.get().saturating_mul(COMMIT_FACTOR).min(self.most);
        self.now.store(more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_leaves_a_quarter_and_commits_bring_it_back() {
        let limit = TransactionLimit::new(32_768);
        limit.shrink(1_000);
        assert_eq!(limit.get(), 250);
        limit.shrink(250);
        limit.shrink(62);
        limit.shrink(15);
        limit.shrink(3);
        limit.shrink(1);
        assert_eq!(limit.get(), 1, "something must always fit");
        (0..20).for_each(|_| limit.grow());
        assert_eq!(limit.get(), 32_768);
    }
}
