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
mod cost;
mod objects;
mod remaining;
mod resolve;
mod selection_cost;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Instant,
};

use apollo_compiler::executable::OperationType;

pub use choose::{Choice, Wanted};
pub use cost::Cost;

use crate::{
    SubgraphIndex, Supergraph,
    plan::{PathId, Paths, Provided, ROOT, Step},
    selection::Selection,
    types::TypeId,
};
use remaining::RemainingKey;

/// How many levels of keys and requirements inside others are looked into: where there is no plan, in
/// the next attempt more. Nearly all graphs need no more than the first.
pub const LEVELS: [usize; 4] = [3, 6, 12, 24];
/// Keys that are tried for the routes to one path in the attempts after the first. Each level can
/// multiply them.
const KEYS_TRIED_MAX: usize = 20_000;

/// How a subgraph can be asked for a path's objects.
#[derive(Clone)]
pub struct Route<'a> {
    /// In requests more than the plan has.
    pub cost: Cost,
    /// The last step.
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
    pub override_position: u64,
    pub deadline: Option<Instant>,
    /// One of [`LEVELS`].
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

/// What was found out. All but `remaining` holds for one version of the plan.
#[derive(Default)]
pub struct Memo<'a> {
    routes: RefCell<HashMap<PathId, (usize, Routes<'a>)>>,
    /// By the requirements' addresses, and by levels.
    requirement_costs: RefCell<HashMap<(PathId, usize, usize), (usize, Option<Cost>)>>,
    remaining: RefCell<HashMap<RemainingKey, Cost>>,
    /// Since the last search began that is not part of another one.
    keys_tried: Cell<usize>,
}

/// Finds the cheapest routes to the objects of a path, and the best subgraph for each selection.
#[derive(Clone, Copy)]
pub struct RouteFinder<'p, 'a> {
    request: Request<'a>,
    supergraph: &'a Supergraph,
    paths: &'p Paths<'a>,
    memo: &'p Memo<'a>,
}

impl<'p, 'a> RouteFinder<'p, 'a> {
    pub fn new(request: Request<'a>, paths: &'p Paths<'a>, memo: &'p Memo<'a>) -> Self {
        Self {
            request,
            supergraph: request.supergraph,
            paths,
            memo,
        }
    }

    /// Whether a search has to end without having looked everywhere.
    fn has_to_stop(&self) -> bool {
        let is_first_attempt = self.request.levels_max == LEVELS[0];
        (!is_first_attempt && self.memo.keys_tried.get() > KEYS_TRIED_MAX) || self.request.is_late()
    }

    /// The routes to a path.
    pub fn routes(&self, path: PathId) -> Routes<'a> {
        self.memo.keys_tried.set(0);
        self.routes_within(path, Search::default())
    }

    fn routes_within(&self, path: PathId, search: Search<'_>) -> Routes<'a> {
        let version = self.paths.version();
        if let Some((known, routes)) = self.memo.routes.borrow().get(&path)
            && *known == version
        {
            return Rc::clone(routes);
        }
        let parent = self.paths.parent(path);
        let above = parent.map(|(parent, _)| self.routes_within(parent, search));
        let settling = Settling {
            path,
            outer: search.settling,
        };
        let search = Search {
            settling: Some(&settling),
            ..search
        };
        let without_keys = self.routes_without_keys(path, above.as_deref());
        let routes = self.settled(path, without_keys, 0, search);
        let mut memo = self.memo.routes.borrow_mut();
        memo.insert(path, (version, Rc::clone(&routes)));
        routes
    }

    /// The routes that were found last, even if the plan has changed since.
    fn last_routes(&self, path: PathId) -> Option<Routes<'a>> {
        let memo = self.memo.routes.borrow();
        memo.get(&path).map(|(_, routes)| Rc::clone(routes))
    }

    /// The routes to a path that need no key there.
    fn routes_without_keys(
        &self,
        path: PathId,
        above: Option<&[Option<Route<'a>>]>,
    ) -> Vec<Option<Route<'a>>> {
        let subgraphs = self.supergraph.subgraphs();
        subgraphs
            .map(|subgraph| self.route_without_key(path, above, subgraph))
            .collect()
    }

    /// Adds the routes by keys, as far as that makes any cheaper.
    fn settled(
        &self,
        path: PathId,
        mut routes: Vec<Option<Route<'a>>>,
        level: usize,
        search: Search<'_>,
    ) -> Routes<'a> {
        let mut is_settled = level == self.request.levels_max || path == ROOT;
        // When each subgraph was tried last, and when its route changed last, in tries.
        let (mut tried, mut changed) = (vec![0; routes.len()], vec![1; routes.len()]);
        let mut now = 1;
        while !is_settled && !self.has_to_stop() {
            is_settled = true;
            for subgraph in self.supergraph.subgraphs() {
                let index = usize::from(subgraph.0);
                let known = routes[index].as_ref();
                let mut known = known.map_or(Cost::MAX, |route| route.cost);
                if self.may_lack_objects(path, &routes, subgraph)
                    || self.is_by_key_above(path, &routes, subgraph)
                {
                    // At the same cost rather by what the objects are than by where they stand.
                    known += Cost::ONE;
                }
                // A key whose fields come by the subgraph's own route costs more than that.
                let mut others = (0..routes.len()).filter(|other| *other != index);
                if known <= Cost::ONE || !others.any(|other| changed[other] > tried[index]) {
                    continue;
                }
                now += 1;
                tried[index] = now;
                let found = self.route_by_key(path, subgraph, &routes, known, level, search);
                if found.is_some() {
                    routes[index] = found;
                    changed[index] = now;
                    is_settled = false;
                }
            }
        }
        routes.into()
    }

    /// The route to a path that needs no key there.
    fn route_without_key(
        &self,
        path: PathId,
        above: Option<&[Option<Route<'a>>]>,
        subgraph: SubgraphIndex,
    ) -> Option<Route<'a>> {
        let mut fetches = self.paths.fetches(path).iter().enumerate();
        if let Some((index, fetch)) = fetches.find(|(_, it)| it.subgraph == subgraph) {
            return Some(Route {
                cost: Cost::ZERO,
                by: RouteStep::Existing(index),
                view: fetch.view,
                provided: Rc::clone(&fetch.provided),
            });
        }
        let ty = self.paths.ty(path);
        let is_query = self.supergraph.root(OperationType::Query) == Some(ty);
        let at_root = || {
            let is_there = is_query && self.supergraph.view(subgraph, ty).is_some();
            is_there.then(|| Route {
                cost: Cost::ONE,
                by: RouteStep::Root,
                view: ty,
                provided: [].into(),
            })
        };
        let Some((parent, step)) = self.paths.parent(path) else {
            return at_root();
        };
        let above = above.and_then(|above| above[usize::from(subgraph.0)].as_ref());
        let from_above =
            above.and_then(|above| self.route_from_above(above, parent, step, ty, subgraph));
        match (from_above, at_root()) {
            (Some(one), Some(other)) if other.cost < one.cost => Some(other),
            (one, other) => one.or(other),
        }
    }

    fn route_from_above(
        &self,
        above: &Route<'a>,
        parent: PathId,
        step: Step<'a>,
        ty: TypeId,
        subgraph: SubgraphIndex,
    ) -> Option<Route<'a>> {
        let (view, provided) = match step {
            Step::On(_) => {
                let view = self.supergraph.narrow_view(subgraph, above.view, ty)?;
                (view, Rc::clone(&above.provided))
            }
            Step::Field(field) => {
                // What changes something, or brings events, is not asked twice.
                if parent == ROOT && self.request.kind != OperationType::Query {
                    return None;
                }
                let join = self.resolve(subgraph, above.view, &field.name, &above.provided)?;
                if !join.requires.is_empty() {
                    return None;
                }
                let provided = self.provided_below(&above.provided, above.view, join, &field.name);
                (join.inner?, provided)
            }
        };
        Some(Route {
            cost: above.cost,
            by: RouteStep::FromAbove,
            view,
            provided,
        })
    }

    /// The cheapest route by a key, if it costs less than `known`.
    fn route_by_key(
        &self,
        path: PathId,
        subgraph: SubgraphIndex,
        routes: &[Option<Route<'a>>],
        known: Cost,
        level: usize,
        search: Search<'_>,
    ) -> Option<Route<'a>> {
        let views = self.supergraph.entity_views(self.paths.ty(path));
        let mut best: Option<Route<'a>> = None;
        for view in views {
            let Some(here) = self.supergraph.view(subgraph, *view) else {
                continue;
            };
            // An interface's keys find its implementations where the subgraph knows them.
            if view != views.first()? && !here.is_interface_object {
                continue;
            }
            for key in &here.keys {
                self.memo.keys_tried.update(|tried| tried + 1);
                let Some(cost) = self.set_cost(path, routes, key, level + 1, search) else {
                    continue;
                };
                let cost = cost + Cost::ONE + self.cost_of_type(path);
                if cost < best.as_ref().map_or(known, |best| best.cost) {
                    best = Some(Route {
                        cost,
                        by: RouteStep::Key(key),
                        view: *view,
                        provided: [].into(),
                    });
                }
            }
        }
        best
    }
}
