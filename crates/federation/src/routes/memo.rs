//! What searches for routes remember, and the limit of their work.
//!
//! Keys and requirements have keys and requirements inside. Two things keep that from multiplying. A search
//! that comes to the same path with the same routes once more takes the result of the first time. And each
//! attempt at a plan has a number of steps: when they are used up, the attempt ends with
//! [`crate::PlanError::TooManySteps`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rustc_hash::FxHashMap;

use super::{Cost, Route, RouteStep, Routes, Search, members::Holders, remaining::RemainingKey};
use crate::{
    plan::{PATHS_MAX, PathId, Paths},
    types::{TypeId, TypeSet},
};

/// Steps of one attempt at a plan, whatever the operation is. A step looks at one subgraph for one selection,
/// key or path.
const STEPS: u64 = 600_000;
/// Further ones for each of its selections.
const STEPS_PER_SELECTION: u64 = 5_000;
/// Results that are remembered at a time.
const REMEMBERED_MAX: usize = 20_000;

/// What an attempt at a plan has found out.
///
/// What a subgraph leaves to others depends on no plan, nor do the subgraphs that could have a path's
/// objects, nor the members that all of them know. The rest holds until the plan changes.
#[derive(Default)]
pub struct Memo<'a> {
    steps_max: u64,
    steps: Cell<u64>,
    /// Whether a search has found that the attempt may go no further.
    is_stopped: Cell<bool>,
    /// Whether a search has left something out because it was too many levels down.
    is_cut_off: Cell<bool>,
    /// The version of the plan that the following hold for.
    version: Cell<usize>,
    routes: RefCell<FxHashMap<PathId, Routes<'a>>>,
    settled: RefCell<FxHashMap<SearchKey, Routes<'a>>>,
    requirement_costs: RefCell<FxHashMap<(SearchKey, usize), Option<Cost>>>,
    pub(super) remaining: RefCell<FxHashMap<RemainingKey, Cost>>,
    pub(super) holders: RefCell<FxHashMap<PathId, Holders<'a>>>,
    pub(super) common_members: RefCell<FxHashMap<PathId, Option<Rc<TypeSet>>>>,
}

/// What the result of a search inside another one depends on. Outer settling paths and the routes known at level 0
/// are left out: they change what a route costs, and not whether there is one.
#[derive(PartialEq, Eq, Hash)]
pub struct SearchKey {
    path: PathId,
    level: usize,
    is_narrow: bool,
    /// The innermost path whose routes are being found.
    settling: Option<PathId>,
    routes: Box<[RouteKey]>,
}

/// A route, with the place of its subgraph. Field sets are told apart by their addresses.
#[derive(PartialEq, Eq, Hash)]
struct RouteKey {
    subgraph: usize,
    cost: Cost,
    by: (u8, usize),
    view: TypeId,
    provided: Box<[usize]>,
}

impl SearchKey {
    pub fn new(
        path: PathId,
        level: usize,
        search: Search<'_>,
        routes: &[Option<Route<'_>>],
    ) -> Self {
        let routes = routes.iter().enumerate();
        let keys = routes.filter_map(|(subgraph, route)| {
            let route = route.as_ref()?;
            let sets = route.provided.iter();
            Some(RouteKey {
                subgraph,
                cost: route.cost,
                by: match route.by {
                    RouteStep::Existing(index) => (0, index),
                    RouteStep::FromAbove => (1, 0),
                    RouteStep::Root => (2, 0),
                    RouteStep::Key(key) => (3, key.as_ptr().addr()),
                },
                view: route.view,
                provided: sets.map(|set| set.as_ptr().addr()).collect(),
            })
        });
        Self {
            path,
            level,
            is_narrow: search.is_narrow,
            settling: search.settling.map(|it| it.path),
            routes: keys.collect(),
        }
    }
}

impl<'a> Memo<'a> {
    /// For an attempt at a plan for so many selections.
    pub fn new(selections: usize) -> Self {
        Self {
            steps_max: STEPS + STEPS_PER_SELECTION * selections as u64,
            ..Self::default()
        }
    }

    pub(super) fn step(&self, count: usize) {
        self.steps
            .update(|steps| steps.saturating_add(count as u64));
    }

    /// How many steps were counted.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether the attempt may go no further. The paths that searches look at are made for them, so they
    /// count as well.
    pub(super) fn is_used_up(&self, paths: &Paths<'a>) -> bool {
        let is_used_up = self.steps.get() > self.steps_max || paths.len() > PATHS_MAX;
        self.is_stopped.set(self.is_stopped.get() || is_used_up);
        is_used_up
    }

    /// Whether a search has stopped before its end.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    /// Notes that something was left out for being too many levels down.
    pub(super) fn cut_off(&self) {
        self.is_cut_off.set(true);
    }

    /// Whether a search that goes more levels down could find more.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.get()
    }

    /// Forgets what an earlier version of the plan had.
    fn at_version(&self, version: usize) {
        if self.version.replace(version) != version {
            self.routes.borrow_mut().clear();
            self.settled.borrow_mut().clear();
            self.requirement_costs.borrow_mut().clear();
        }
    }

    pub(super) fn routes(&self, path: PathId, version: usize) -> Option<Routes<'a>> {
        self.at_version(version);
        self.routes.borrow().get(&path).cloned()
    }

    pub(super) fn remember_routes(&self, path: PathId, version: usize, routes: &Routes<'a>) {
        self.at_version(version);
        self.routes.borrow_mut().insert(path, Rc::clone(routes));
    }

    pub(super) fn settled(&self, key: &SearchKey, version: usize) -> Option<Routes<'a>> {
        self.at_version(version);
        self.settled.borrow().get(key).cloned()
    }

    pub(super) fn remember_settled(&self, key: SearchKey, routes: &Routes<'a>) {
        let mut settled = self.settled.borrow_mut();
        if settled.len() < REMEMBERED_MAX {
            settled.insert(key, Rc::clone(routes));
        }
    }

    pub(super) fn requirement_cost(
        &self,
        key: &(SearchKey, usize),
        version: usize,
    ) -> Option<Option<Cost>> {
        self.at_version(version);
        self.requirement_costs.borrow().get(key).copied()
    }

    pub(super) fn remember_requirement_cost(&self, key: (SearchKey, usize), cost: Option<Cost>) {
        let mut costs = self.requirement_costs.borrow_mut();
        if costs.len() < REMEMBERED_MAX {
            costs.insert(key, cost);
        }
    }
}
