//! A query plan: its fetches, and the tree of paths that they are for.

mod fetches;
mod paths;
mod print;

pub use fetches::{
    Begin, Fetch, FetchContext, FetchId, FetchSet, Fetches, Item, SelectionSet, SelectionSetId,
};
pub(crate) use paths::PATHS_MAX;
pub use paths::{PathFetch, PathId, PathStep, Paths, Provided, ROOT};

use crate::Supergraph;

/// The fetches that answer an operation, and the paths that they are for.
pub struct Plan<'a> {
    pub(crate) supergraph: &'a Supergraph,
    /// All fetches, also those that turned out to select nothing: see [`Self::sent`].
    pub fetches: Fetches<'a>,
    /// The tree of paths, to find where the answer of a fetch belongs.
    pub paths: Paths<'a>,
    pub(crate) steps: u64,
}

impl<'a> Plan<'a> {
    /// How many steps the plan took, of the number that [`crate::PlanError::TooManySteps`] is for. They are
    /// the same for the same supergraph and operation, so that tests can compare them.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The fetches that are sent: those that select something. None comes before what it needs.
    pub fn sent(&self) -> impl Iterator<Item = (FetchId, &Fetch<'a>)> {
        let fetches = self.fetches.iter();
        fetches.filter(|(_, fetch)| !self.fetches.is_empty(fetch.set))
    }
}
