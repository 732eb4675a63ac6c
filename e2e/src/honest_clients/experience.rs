//! What honest clients experience, by phase.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Only honest clients: the measure of the second phase.
    #[default]
    Quiet,
    /// The same clients while hostile ones attack.
    Hostile,
    /// After these have left.
    Recovery,
}

/// What was experienced in one phase.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    /// The time of each query, in microseconds.
    pub queries_us: Vec<u32>,
    /// The time of each mutation.
    pub mutations_us: Vec<u32>,
    /// The time of each resumption, to the history's last event.
    pub resumptions_us: Vec<u32>,
    /// What went wrong, by code or kind, with its number.
    pub failures: BTreeMap<String, u64>,
}

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Query,
    Mutation,
    Resumption,
}

#[derive(Default)]
pub(super) struct Experiences(Mutex<(Phase, [Experience; 3])>);

impl Experiences {
    pub(super) fn enter(&self, phase: Phase) {
        self.with(|(now, _)| *now = phase);
    }

    pub(super) fn phase(&self) -> Phase {
        self.with(|(now, _)| *now)
    }

    pub(super) fn of(&self, phase: Phase) -> Experience {
        self.with(|(_, all)| all[phase as usize].clone())
    }

    pub(super) fn answered(&self, phase: Phase, kind: Kind, elapsed: Duration) {
        let elapsed_us = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
        self.with(|(_, all)| {
            let experience = &mut all[phase as usize];
            match kind {
                Kind::Query => experience.queries_us.push(elapsed_us),
                Kind::Mutation => experience.mutations_us.push(elapsed_us),
                Kind::Resumption => experience.resumptions_us.push(elapsed_us),
            }
        });
    }

    pub(super) fn failed(&self, phase: Phase, kind: Kind, reason: &str) {
        let reason = format!("{kind:?}: {reason}");
        self.with(|(_, all)| {
            *all[phase as usize].failures.entry(reason).or_default() += 1;
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut (Phase, [Experience; 3])) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
