//! A query plan: its fetches, and the tree of paths that they are for.

mod fetches;
mod paths;
mod print;

pub use fetches::{
    Begin, Fetch, FetchContext, FetchId, FetchSet, Fetches, Item, SelectionSet, SelectionSetId,
};
pub use paths::{PathFetch, PathId, Paths, Provided, ROOT, Step};

use crate::Supergraph;

/// The fetches that answer an operation, and the paths that they are for.
pub struct Plan<'a> {
    pub(crate) supergraph: &'a Supergraph,
    /// The fetches.
    pub fetches: Fetches<'a>,
    /// The paths.
    pub paths: Paths<'a>,
}

impl<'a> Plan<'a> {
    /// The fetches that are sent: those that select something. None comes before what it needs.
    pub fn sent(&self) -> impl Iterator<Item = (FetchId, &Fetch<'a>)> {
        let fetches = self.fetches.iter();
        fetches.filter(|(_, fetch)| !self.fetches.is_empty(fetch.set))
    }
}
