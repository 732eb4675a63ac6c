//! What it costs to have a selection of a path's objects.

use super::{Cost, Route, RouteFinder, RouteStep, Search, memo::SearchKey};
use crate::{
    SubgraphIndex,
    plan::PathId,
    selection::{Field, Selection},
    supergraph::Join,
    types::{TypeId, TypeSet},
};

/// A way to have something of each object type of a path: with the fetches that are there, or with one
/// to a further subgraph.
pub type WayByObjects = (Option<SubgraphIndex>, Cost);

impl<'a> RouteFinder<'_, 'a> {
    /// What it costs to know of which type an object is, where a path is for one type of several.
    pub(super) fn cost_of_type(&self, path: PathId) -> Cost {
        let Some(wider) = self.paths.wider(path) else {
            return Cost::ZERO;
        };
        if self.paths.ty(wider) == self.paths.ty(path) {
            return self.cost_of_type(wider);
        }
        match self.is_type_known_at(wider) {
            true => Cost::ZERO,
            false => Cost::ONE,
        }
    }

    /// The cheapest of a subgraph's keys to fetch a path's entities by, as `view`.
    pub fn cheapest_key(
        &self,
        path: PathId,
        subgraph: SubgraphIndex,
        view: TypeId,
    ) -> Option<&'a [Selection]> {
        let keys = &self.supergraph.view(subgraph, view)?.keys;
        let routes = self.routes(path);
        let mut costs = Vec::new();
        for key in keys {
            let cost = self.set_cost(path, &routes, key, 0, Search::default());
            costs.extend(cost.map(|cost| (cost, key)));
        }
        let (_, key) = costs.into_iter().min_by_key(|(cost, _)| *cost)?;
        Some(key)
    }

    /// What it costs to have a selection of a path's objects, by `routes`; none where it cannot be had.
    pub(super) fn set_cost(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        set: &'a [Selection],
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        if self.has_to_stop() {
            return None;
        }
        let mut asked = Vec::new();
        let costs = set.iter().map(|selection| {
            self.selection_cost(path, routes, selection, level, search, &mut asked)
        });
        costs.sum()
    }

    /// The same for one selection, if the subgraphs in `asked` cost nothing more; it adds to them.
    fn selection_cost(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        selection: &'a Selection,
        level: usize,
        search: Search<'_>,
        asked: &mut Vec<SubgraphIndex>,
    ) -> Option<Cost> {
        match selection {
            Selection::On(on) => {
                let mut cost = Cost::ZERO;
                let known = self.objects_by(path, routes);
                let wanted = known.intersection(self.supergraph.objects(on.ty));
                for object in wanted.iter() {
                    let narrowed = self.paths.narrowed(path, object, &[]);
                    let own = self.cost_below(narrowed, path, routes, &on.set, level, search);
                    cost = cost.max(own?);
                }
                Some(cost)
            }
            Selection::Field(field) => self
                .field_cost(path, routes, field, level, search, asked)
                .or_else(|| self.cost_by_objects(path, routes, selection, level, search))
                .or_else(|| self.cost_at_wider(path, selection, level, search)),
        }
    }

    /// What a selection costs at a path that is the other one or a narrower one.
    fn cost_below(
        &self,
        below: PathId,
        path: PathId,
        routes: &[Option<Route<'a>>],
        set: &'a [Selection],
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        if below == path {
            return self.set_cost(path, routes, set, level, search);
        }
        let without_keys = self.routes_without_keys(below, Some(routes));
        self.cost_without_routes(below, without_keys, set, level, search)
    }

    /// What a selection costs at a path for which no more than the routes `without_keys` are known.
    fn cost_without_routes(
        &self,
        path: PathId,
        without_keys: Vec<Option<Route<'a>>>,
        set: &'a [Selection],
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        // Keys are looked into only where there is no other way: they may have keys inside.
        self.set_cost(path, &without_keys, set, level, search)
            .or_else(|| {
                let settled = self.settled(path, without_keys, level, search);
                self.set_cost(path, &settled, set, level, search)
            })
    }

    fn field_cost(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        field: &'a Field,
        level: usize,
        search: Search<'_>,
        asked: &mut Vec<SubgraphIndex>,
    ) -> Option<Cost> {
        if field.is_typename() {
            return Some(Cost::ZERO);
        }
        self.memo.step(routes.len());
        let mut found: Vec<(Cost, SubgraphIndex, &'a Join)> = Vec::new();
        for (subgraph, route) in self.supergraph.subgraphs().zip(routes) {
            let Some(route) = route else { continue };
            let join = self.resolve(subgraph, route.view, &field.name, &route.provided);
            let Some(join) = join else { continue };
            let mut cost = match asked.contains(&subgraph) {
                true => Cost::ZERO,
                false => route.cost,
            };
            if !join.is_plain() {
                let requires = match level == self.request.levels_max {
                    true => {
                        self.memo.cut_off();
                        Some(Cost::UNCERTAIN)
                    }
                    false => self.needs_cost(path, routes, join, level + 1, search),
                };
                match requires {
                    Some(requires) => cost = cost.max(Cost::ONE) + requires,
                    None => continue,
                }
            }
            found.push((cost, subgraph, join));
        }
        if field.set.is_empty() {
            let (cost, subgraph, _) = found.into_iter().min_by_key(|(cost, ..)| *cost)?;
            asked.push(subgraph);
            return Some(cost);
        }
        let inner = self
            .supergraph
            .field(self.paths.ty(path), &field.name)?
            .inner?;
        let below = self.paths.below(path, field, inner);
        let mut without_keys = self.routes_without_keys(below, Some(routes));
        for (cost, subgraph, join) in found {
            let known = &mut without_keys[usize::from(subgraph.0)];
            if known.is_none()
                && let (Some(view), Some(route)) = (join.inner, &routes[usize::from(subgraph.0)])
            {
                *known = Some(Route {
                    cost,
                    by: RouteStep::FromAbove,
                    view,
                    provided: self.provided_below(&route.provided, route.view, join, &field.name),
                });
            }
        }
        self.cost_without_routes(below, without_keys, &field.set, level, search)
    }

    /// What it costs to have what a field requires, and what its arguments take from contexts.
    pub(super) fn needs_cost(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        join: &'a Join,
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        // What a field requires is in representations of its objects, which have a key.
        let mut keys = self.supergraph.view(join.subgraph, join.view)?.keys.iter();
        if !keys.any(|key| {
            self.requirement_cost(path, routes, key, level, search)
                .is_some()
        }) {
            return None;
        }
        let mut cost = match join.requires.is_empty() {
            true => Cost::ZERO,
            false => self.requirement_cost(path, routes, &join.requires, level, search)?,
        };
        for argument in &join.contexts {
            let above = self.setter(path, argument)?;
            cost += match search.is_settling(above) {
                true => Cost::UNCERTAIN,
                false => {
                    let routes = self.routes_within(above, level, search);
                    self.set_cost(above, &routes, &argument.selection, level, search)?
                }
            };
        }
        Some(cost)
    }

    /// What a field's requirements cost, or a key. That is found out once for the routes of a path:
    /// requirements may require others, which require others.
    pub(super) fn requirement_cost(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        requires: &'a [Selection],
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        let key = SearchKey::new(path, level, search, routes);
        let key = (key, requires.as_ptr().addr());
        if let Some(known) = self.memo.requirement_cost(&key, self.paths.version()) {
            return known;
        }
        let cost = self.set_cost(path, routes, requires, level, search);
        self.memo.remember_requirement_cost(key, cost);
        cost
    }

    /// What a field costs where each object type has to be asked for it.
    fn cost_by_objects(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        selection: &'a Selection,
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        let set = std::slice::from_ref(selection);
        let search = Search {
            is_narrow: true,
            ..search
        };
        let ways = self.ways_by_objects(path, routes, |narrowed, without_keys| {
            self.cost_without_routes(narrowed, without_keys, set, level, search)
        });
        ways.into_iter().map(|(_, cost)| cost).min()
    }

    /// The ways to have something of each object type of a path, with their costs, where `cost_of` gives
    /// the cost for one type: with the subgraphs that are asked anyway, or with one more, whose objects
    /// then are the path's. The objects of two are mixed only where no subgraph has it of all types, as
    /// they may be others.
    pub(super) fn ways_by_objects(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        cost_of: impl Fn(PathId, Vec<Option<Route<'a>>>) -> Option<Cost>,
    ) -> Vec<WayByObjects> {
        let mut ways = Vec::new();
        if self.supergraph.is_object(self.paths.ty(path)) {
            return ways;
        }
        let subgraphs = || self.supergraph.subgraphs().zip(routes);
        let own: Vec<_> = subgraphs()
            .map(
                |(subgraph, route)| match self.brings_others(path, routes, subgraph) {
                    true => None,
                    false => route.clone(),
                },
            )
            .collect();
        let others: Vec<_> = subgraphs()
            .filter(|(subgraph, _)| self.brings_others(path, routes, *subgraph))
            .filter_map(|(subgraph, route)| Some((Some(subgraph), route.clone()?)))
            .collect();
        let known = self.objects(path);
        let has_objects = own.iter().any(Option::is_some);
        let mine =
            has_objects.then(|| (None, own.clone(), Cost::ZERO, self.objects_by(path, &own)));
        let theirs = others.iter().cloned().filter_map(|(subgraph, route)| {
            let index = usize::from(subgraph?.0);
            let view = self.supergraph.view(subgraph?, route.view)?;
            let objects = match self.paths.fetches(path).is_empty() {
                true => known.intersection(&view.objects),
                false => known.clone(),
            };
            let mut only = vec![None; own.len()];
            let cost = route.cost;
            only[index] = Some(Route {
                cost: Cost::ZERO,
                ..route
            });
            Some((subgraph, only, cost, objects))
        });
        for (subgraph, above, cost, objects) in mine.into_iter().chain(theirs) {
            let most = self.most_of_objects(path, &above, &objects, &cost_of);
            ways.extend(most.map(|most| (subgraph, cost + most)));
        }
        if let (true, [(first, _), ..]) = (ways.is_empty(), &*others) {
            // No subgraph has it for all types: then those of two have to be the same after all.
            let most = self.most_of_objects(path, routes, &known, &cost_of);
            ways.extend(most.map(|most| (*first, Cost::ONE + most)));
        }
        ways
    }

    /// What it costs at most to have something of one of the object types, if it can be had of each.
    fn most_of_objects(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        objects: &TypeSet,
        cost_of: &impl Fn(PathId, Vec<Option<Route<'a>>>) -> Option<Cost>,
    ) -> Option<Cost> {
        let mut most = None;
        for object in objects.iter() {
            let narrowed = self.paths.narrowed(path, object, &[]);
            let without_keys = self.routes_without_keys(narrowed, Some(routes));
            let of_one = cost_of(narrowed, without_keys)?;
            most = most.max(Some(of_one));
        }
        most
    }

    /// What a field costs where the path with the same objects and others is asked for it.
    fn cost_at_wider(
        &self,
        path: PathId,
        selection: &'a Selection,
        level: usize,
        search: Search<'_>,
    ) -> Option<Cost> {
        let wider = self.paths.wider(path)?;
        if search.is_narrow
            || search.is_settling(wider)
            || !self.means_the_same(wider, path, selection)
        {
            return None;
        }
        let routes = self.routes_within(wider, level, search);
        self.set_cost(
            wider,
            &routes,
            std::slice::from_ref(selection),
            level,
            search,
        )
    }

    /// Whether a selection that was written for the objects of a path can be asked of those of a wider
    /// one, whose types may have other fields by the same name.
    pub(super) fn means_the_same(
        &self,
        wider: PathId,
        path: PathId,
        selection: &Selection,
    ) -> bool {
        let (wide, narrow) = (self.paths.ty(wider), self.paths.ty(path));
        let Selection::Field(field) = selection else {
            return wide == narrow;
        };
        wide == narrow
            || (field.set.is_empty()
                && self.objects(wider).iter().all(|object| {
                    let info = self.supergraph.field(object, &field.name);
                    info.is_some_and(|info| info.inner.is_none())
                }))
    }
}
