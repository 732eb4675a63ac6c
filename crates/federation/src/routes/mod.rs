//! Finding routes: at what cost each subgraph can be asked for the objects of a path.
//!
//! A [`RouteFinder`] reads the supergraph and the plan as far as it is made, and changes neither. What it
//! finds out it remembers until the plan changes.
//!
//! A subgraph has a path's objects if a fetch to it leads there: by a field of the path above, by the
//! root type, or by a key whose fields other subgraphs have. Each of them costs what it is built on, so
//! that the costs of a path settle as shortest paths do (Bellman and Ford): from the fetches that are
//! there already, by one key after the other, until nothing gets cheaper.

mod choose;
mod contexts;
mod cost;
mod members;
mod memo;
mod objects;
mod remaining;
mod resolve;
mod selection_cost;
mod settle;

use std::{rc::Rc, time::Instant};

use apollo_compiler::executable::OperationType;

pub use choose::{Choice, Wanted};
pub use cost::Cost;
pub use memo::Memo;

use crate::{
    Overrides, PlanError, SubgraphIndex, Supergraph,
    plan::{Fetches, PathId, Paths, Provided},
    selection::Selection,
    types::TypeId,
};

/// How many levels of keys and requirements inside others are looked into: where there is no plan, in
/// the next attempt more. Nearly all graphs need no more than the first.
pub const LEVELS: [usize; 4] = [3, 6, 12, 24];

/// How a subgraph can be asked for a path's objects.
#[derive(Clone)]
pub struct Route<'a> {
    /// In requests more than the plan has.
    pub cost: Cost,
    /// How the objects are asked for: the last step of the route.
    pub by: RouteStep<'a>,
    /// The type that the subgraph has the objects as.
    pub view: TypeId,
    /// What is provided of them there.
    pub provided: Provided<'a>,
}

/// The last step of a route.
#[derive(Clone, Copy)]
pub enum RouteStep<'a> {
    /// A fetch is there: this one of the path's.
    Existing(usize),
    /// From the path above.
    FromAbove,
    /// A new fetch at the root type.
    Root,
    /// A new fetch of entities by this key.
    Key(&'a [Selection]),
}

/// The routes to a path, by subgraph.
pub type Routes<'a> = Rc<[Option<Route<'a>>]>;

/// What is being planned, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub supergraph: &'a Supergraph,
    pub kind: OperationType,
    pub overrides: Overrides,
    pub deadline: Option<Instant>,
    /// How many levels of keys and requirements are looked into: one of [`LEVELS`].
    pub levels_max: usize,
}

impl Request<'_> {
    /// Whether there is no time left; then costs are not found out any more.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() > deadline)
    }
}

/// Why a selection is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For the client, of the objects of the path.
    Client,
    /// For representations: it does no harm to select it of more objects.
    Representation,
}

/// The fields whose requirements are being planned, the innermost first.
#[derive(Clone, Copy)]
pub struct Requiring<'s, 'a> {
    pub path: PathId,
    pub field: &'a str,
    pub outer: Option<&'s Requiring<'s, 'a>>,
}

impl Requiring<'_, '_> {
    fn includes(&self, path: PathId, field: &str) -> bool {
        let mut next = Some(self);
        while let Some(here) = next {
            if here.path == path && here.field == field {
                return true;
            }
            next = here.outer;
        }
        false
    }
}

/// The subgraphs for which keys are being planned, the innermost first. A key is no way to itself.
#[derive(Clone, Copy)]
pub struct Reaching<'s> {
    pub path: PathId,
    pub subgraph: SubgraphIndex,
    pub outer: Option<&'s Reaching<'s>>,
}

impl Reaching<'_> {
    fn includes(&self, path: PathId, subgraph: SubgraphIndex) -> bool {
        let mut all = std::iter::successors(Some(self), |it| it.outer);
        all.any(|it| it.path == path && it.subgraph == subgraph)
    }
}

/// What a search for routes is part of.
#[derive(Clone, Copy, Default)]
pub struct Search<'s> {
    /// The paths whose routes are being found, the innermost first.
    settling: Option<&'s Settling<'s>>,
    /// Whether the paths with more objects are left out: the search came from there.
    is_narrow: bool,
}

struct Settling<'s> {
    path: PathId,
    outer: Option<&'s Settling<'s>>,
}

impl Search<'_> {
    fn is_settling(&self, path: PathId) -> bool {
        let mut next = self.settling;
        while let Some(here) = next {
            if here.path == path {
                return true;
            }
            next = here.outer;
        }
        false
    }
}

/// Finds the cheapest routes to the objects of a path, and the best subgraph for each selection.
#[derive(Clone, Copy)]
pub struct RouteFinder<'p, 'a> {
    request: Request<'a>,
    supergraph: &'a Supergraph,
    paths: &'p Paths<'a>,
    fetches: &'p Fetches<'a>,
    memo: &'p Memo<'a>,
}

impl<'p, 'a> RouteFinder<'p, 'a> {
    pub fn new(
        request: Request<'a>,
        paths: &'p Paths<'a>,
        fetches: &'p Fetches<'a>,
        memo: &'p Memo<'a>,
    ) -> Self {
        Self {
            request,
            supergraph: request.supergraph,
            paths,
            fetches,
            memo,
        }
    }

    /// Whether a search has to end without having looked everywhere: then there is no plan.
    fn has_to_stop(&self) -> bool {
        self.memo.is_used_up(self.paths) || self.request.is_late()
    }

    /// # Errors
    /// When a search has to stop; `place` is what was looked for.
    fn check(&self, place: impl Fn() -> String) -> Result<(), PlanError> {
        if self.request.is_late() {
            return Err(PlanError::OutOfTime);
        }
        match self.memo.is_used_up(self.paths) {
            true => Err(PlanError::TooManySteps(place())),
            false => Ok(()),
        }
    }

    /// The routes to a path.
    pub fn routes(&self, path: PathId) -> Routes<'a> {
        self.routes_within(path, 0, Search::default())
    }
}
