//! Settling the routes to a path: without keys first, then by one key after the other.

use apollo_compiler::executable::OperationType;

use super::{Cost, Route, RouteFinder, RouteStep, Routes, Search, Settling, memo::SearchKey};
use crate::{
    SubgraphIndex,
    plan::{PathId, PathStep, Provided, ROOT},
    types::TypeId,
};

impl<'a> RouteFinder<'_, 'a> {
    /// The routes to a path for a search at a level.
    pub(super) fn routes_within(
        &self,
        path: PathId,
        level: usize,
        search: Search<'_>,
    ) -> Routes<'a> {
        if let Some(routes) = self.known_routes(path) {
            return routes;
        }
        let parent = self.paths.parent(path);
        let above = parent.map(|(parent, _)| self.routes_within(parent, level, search));
        let settling = Settling {
            path,
            outer: search.settling,
        };
        let search = Search {
            settling: Some(&settling),
            ..search
        };
        let without_keys = self.routes_without_keys(path, above.as_deref());
        if level > 0 {
            return self.settled(path, without_keys, level, search);
        }
        let routes: Routes<'a> = self.settle(path, without_keys, 0, search).into();
        self.memo
            .remember_routes(path, self.paths.version(), &routes);
        routes
    }

    /// The routes to a path, if they were found since the plan changed last.
    pub(super) fn known_routes(&self, path: PathId) -> Option<Routes<'a>> {
        self.memo.routes(path, self.paths.version())
    }

    /// The routes to a path that need no key there.
    pub(super) fn routes_without_keys(
        &self,
        path: PathId,
        above: Option<&[Option<Route<'a>>]>,
    ) -> Vec<Option<Route<'a>>> {
        let subgraphs = self.supergraph.subgraphs();
        self.memo.step(subgraphs.len());
        subgraphs
            .map(|subgraph| self.route_without_key(path, above, subgraph))
            .collect()
    }

    /// Adds the routes by keys, as far as that makes any cheaper.
    pub(super) fn settled(
        &self,
        path: PathId,
        without_keys: Vec<Option<Route<'a>>>,
        level: usize,
        search: Search<'_>,
    ) -> Routes<'a> {
        let key = SearchKey::new(path, level, search, &without_keys);
        if let Some(known) = self.memo.settled(&key, self.paths.version()) {
            return known;
        }
        let routes: Routes<'a> = self.settle(path, without_keys, level, search).into();
        self.memo.remember_settled(key, &routes);
        routes
    }

    fn settle(
        &self,
        path: PathId,
        mut routes: Vec<Option<Route<'a>>>,
        level: usize,
        search: Search<'_>,
    ) -> Vec<Option<Route<'a>>> {
        if path == ROOT {
            return routes;
        }
        if level == self.request.levels_max {
            self.memo.cut_off();
            return routes;
        }
        let mut is_settled = false;
        // When each subgraph was tried last, and when its route changed last, in tries.
        let (mut tried, mut changed) = (vec![0; routes.len()], vec![1; routes.len()]);
        let mut now = 1;
        while !is_settled && !self.has_to_stop() {
            is_settled = true;
            for subgraph in self.supergraph.subgraphs() {
                let index = usize::from(subgraph.0);
                let known = routes[index].as_ref();
                let mut known = known.map_or(Cost::MAX, |route| route.cost);
                // By a key, it needs no holder that the subgraph may not know.
                let bringer = self.bringer_for_holder(path, routes[index].as_ref(), subgraph);
                if bringer.is_none()
                    && (self.may_lack_objects(path, &routes, subgraph)
                        || self.is_by_key_above(path, &routes, subgraph))
                {
                    // At the same cost rather by what the objects are than by where they stand.
                    known += Cost::ONE;
                }
                // A key whose fields come by the subgraph's own route costs more than that.
                let mut others = (0..routes.len()).filter(|other| *other != index);
                let is_cheap = known <= Cost::ONE && bringer.is_none();
                if is_cheap || !others.any(|other| changed[other] > tried[index]) {
                    continue;
                }
                now += 1;
                tried[index] = now;
                let found = match bringer {
                    Some(bringer) => {
                        self.route_beside_holder(path, subgraph, &routes, bringer, level, search)
                    }
                    None => self.route_by_key(path, subgraph, &routes, known, level, search),
                };
                if found.is_some() {
                    routes[index] = found;
                    changed[index] = now;
                    is_settled = false;
                }
            }
        }
        routes
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
                provided: fetch.provided.clone(),
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
                provided: Provided::default(),
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
        step: PathStep<'a>,
        ty: TypeId,
        subgraph: SubgraphIndex,
    ) -> Option<Route<'a>> {
        let (view, provided) = match step {
            PathStep::On(_) => {
                let view = self.supergraph.narrow_view(subgraph, above.view, ty)?;
                (view, above.provided.clone())
            }
            PathStep::Field(field) => {
                // What changes something, or brings events, is not asked twice.
                if parent == ROOT && self.request.kind != OperationType::Query {
                    return None;
                }
                let join = self.resolve(subgraph, above.view, &field.name, &above.provided)?;
                if !join.is_plain() {
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

    /// The route by a key that `bringer` has, in the request that asks for the objects' holder.
    fn route_beside_holder(
        &self,
        path: PathId,
        subgraph: SubgraphIndex,
        routes: &[Option<Route<'a>>],
        bringer: SubgraphIndex,
        level: usize,
        search: Search<'_>,
    ) -> Option<Route<'a>> {
        let mut only = vec![None; routes.len()];
        let index = usize::from(bringer.0);
        only[index] = routes[index].clone();
        // One for the request, which is made anyway, and nothing for the key.
        let most = Cost::ONE + Cost::ONE;
        let route = self.route_by_key(path, subgraph, &only, most, level, search)?;
        let cost = Cost::ZERO;
        Some(Route { cost, ..route })
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
                self.memo.step(1);
                let Some(cost) = self.set_cost(path, routes, key, level + 1, search) else {
                    continue;
                };
                let cost = cost + Cost::ONE + self.cost_of_type(path);
                if cost < best.as_ref().map_or(known, |best| best.cost) {
                    best = Some(Route {
                        cost,
                        by: RouteStep::Key(key),
                        view: *view,
                        provided: Provided::default(),
                    });
                }
            }
        }
        best
    }
}
