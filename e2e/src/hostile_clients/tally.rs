//! How many requests an attack made, and how they were answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Kinds of answers that are told apart; the rest is one kind.
const KINDS_MAX: usize = 40;

/// Counts of one attack.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Requests, sockets or frames that were sent.
    pub requests: u64,
    /// Answers by error code, or by what happened instead.
    pub by_code: BTreeMap<String, u64>,
}

#[derive(Default)]
pub(super) struct Tally(Mutex<Answers>);

impl Tally {
    pub(super) fn requested(&self, count: u64) {
        self.with(|answers| answers.requests += count);
    }

    pub(super) fn answered(&self, code: &str) {
        self.with(|answers| {
            let is_known = answers.by_code.contains_key(code);
            let code = if is_known || answers.by_code.len() < KINDS_MAX {
                code
            } else {
                "others"
            };
            *answers.by_code.entry(code.to_owned()).or_default() += 1;
        });
    }

    pub(super) fn answers(&self) -> Answers {
        self.with(|answers| answers.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Answers) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
