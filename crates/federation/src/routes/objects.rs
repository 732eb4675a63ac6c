//! Which objects a path can have, and whether two routes to it lead to the same ones.

use super::{Cost, Route, RouteFinder, RouteStep};
use crate::{
    SubgraphIndex,
    plan::{Begin, FetchSet, PathId, PathStep},
    types::TypeSet,
};

/// The route of a subgraph that has a path's objects by resolving the field that leads there once
/// more, if so.
fn second_resolution<'r, 'a>(
    routes: &'r [Option<Route<'a>>],
    subgraph: SubgraphIndex,
) -> Option<&'r Route<'a>> {
    let route = routes[usize::from(subgraph.0)].as_ref()?;
    (route.cost > Cost::ZERO && matches!(route.by, RouteStep::FromAbove)).then_some(route)
}

impl<'a> RouteFinder<'_, 'a> {
    /// The object types that the objects of a path can have, whichever subgraphs bring them.
    pub fn objects(&self, path: PathId) -> TypeSet {
        let brought = self.objects_brought(path);
        match self.common_members(path) {
            Some(common) => brought.intersection(&common),
            None => brought,
        }
    }

    /// Whether the subgraphs that are asked for a path's objects can bring some that others cannot.
    pub fn has_uncommon_members(&self, path: PathId) -> bool {
        self.common_members(path).is_some_and(|common| {
            let brought = self.objects_brought(path);
            brought.intersection(&common) != brought
        })
    }

    /// The object types that the subgraphs that are asked for a path's objects can bring.
    fn objects_brought(&self, path: PathId) -> TypeSet {
        let ty = self.paths.ty(path);
        let all = self.supergraph.objects(ty);
        if self.supergraph.is_object(ty) {
            return all.clone();
        }
        let mut seen = TypeSet::default();
        for fetch in self.paths.fetches(path) {
            match self.supergraph.view(fetch.subgraph, fetch.view) {
                Some(view) if !view.is_interface_object => seen.extend(&view.objects),
                _ => {}
            }
        }
        if !seen.is_empty() {
            return all.intersection(&seen);
        }
        match self.paths.wider(path) {
            Some(wider) => all.intersection(&self.objects_brought(wider)),
            None => all.clone(),
        }
    }

    /// The same as [`Self::objects`] where no fetch selects of the path yet: of the types that the subgraphs
    /// know that can bring the objects.
    pub(super) fn objects_by(&self, path: PathId, routes: &[Option<Route<'a>>]) -> TypeSet {
        let known = self.objects(path);
        if !self.paths.fetches(path).is_empty() {
            return known;
        }
        let mut seen = TypeSet::default();
        for (subgraph, route) in self.supergraph.subgraphs().zip(routes) {
            let Some(route) = route else { continue };
            match self.supergraph.view(subgraph, route.view) {
                _ if !matches!(route.by, RouteStep::FromAbove) => {}
                Some(view) if !view.is_interface_object => seen.extend(&view.objects),
                _ => return known,
            }
        }
        match seen.is_empty() {
            true => known,
            false => known.intersection(&seen),
        }
    }

    /// Whether the objects that a subgraph has at a path by `routes` may be others than those that the
    /// path has: it resolves the field that leads there once more.
    pub(super) fn brings_others(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        if second_resolution(routes, subgraph).is_none() {
            return false;
        }
        match self.paths.wider(path) {
            None => true,
            Some(wider) => self
                .known_routes(wider)
                .is_none_or(|routes| self.brings_others(wider, &routes, subgraph)),
        }
    }

    /// Whether a subgraph would come to a path from above, by the key of an object there.
    pub(super) fn is_by_key_above(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        let is_from_above = |routes: &[Option<Route<'a>>]| {
            let route = routes[usize::from(subgraph.0)].as_ref()?;
            match route.by {
                RouteStep::FromAbove if route.cost > Cost::ZERO => Some(true),
                RouteStep::Key(_) => Some(false),
                _ => None,
            }
        };
        if is_from_above(routes) != Some(true) {
            return false;
        }
        // Conditions on the way lead to the same objects.
        let mut is_above = false;
        let mut next = self.paths.parent(path);
        while let Some((above, step)) = next {
            is_above |= matches!(step, PathStep::Field(_));
            match self
                .known_routes(above)
                .and_then(|routes| is_from_above(&routes))
            {
                Some(false) => return is_above,
                Some(true) => next = self.paths.parent(above),
                None => return false,
            }
        }
        false
    }

    /// Where a subgraph has a path's objects from a holder above that is asked for as an entity: the
    /// subgraph that brings both the holder and the objects. With a key of the objects from there, they
    /// can be asked for as entities in the same request, as it waits for nothing else.
    pub(super) fn bringer_for_holder(
        &self,
        path: PathId,
        route: Option<&Route<'a>>,
        subgraph: SubgraphIndex,
    ) -> Option<SubgraphIndex> {
        let route = route?;
        if route.cost > Cost::ZERO || !matches!(route.by, RouteStep::FromAbove) {
            return None;
        }
        let mut next = self.paths.parent(path);
        while let Some((above, step)) = next {
            if matches!(step, PathStep::On(when) if !when.is_empty()) {
                return None;
            }
            let mut fetches = self.paths.fetches(above).iter();
            if let Some(holder) = fetches.find(|it| it.subgraph == subgraph) {
                let fetch = self.fetches.get(holder.fetch);
                if matches!(fetch.begin, Begin::Entities { path, .. } if path == above) {
                    let mut here = self.paths.fetches(path).iter();
                    let bringer = here.find(|it| {
                        it.fetch != holder.fetch && fetch.after == FetchSet::from(it.fetch)
                    })?;
                    return Some(bringer.subgraph);
                }
            }
            next = self.paths.parent(above);
        }
        None
    }

    /// Whether a subgraph that would resolve the field to a path once more does not know all types that
    /// the path's objects can be of: then it cannot have the same objects, nor as many.
    pub(super) fn may_lack_objects(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        let Some(route) = second_resolution(routes, subgraph) else {
            return false;
        };
        if let Some(wider) = self.paths.wider(path) {
            let routes = self.known_routes(wider);
            return routes.is_some_and(|routes| self.may_lack_objects(wider, &routes, subgraph));
        }
        let objects = self.objects_brought(path);
        let view = self.supergraph.view(subgraph, route.view);
        view.is_some_and(|view| {
            !view.is_interface_object && objects.intersection(&view.objects) != objects
        })
    }

    /// Whether a fetch at a path, or at a wider one, knows the types of the objects.
    pub fn is_type_known(&self, path: PathId) -> bool {
        let mut paths = self.paths.with_wider(path);
        paths.any(|path| self.is_type_known_at(path))
    }

    pub(super) fn is_type_known_at(&self, path: PathId) -> bool {
        let mut fetches = self.paths.fetches(path).iter();
        fetches.any(|it| self.supergraph.knows_types(it.subgraph, it.view))
    }
}
