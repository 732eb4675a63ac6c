//! Selecting `__typename`: for clients, and where paths and representations need it.

use super::{Context, PlanBuilder};
use crate::{
    PlanError,
    plan::{FetchId, PathId},
    selection::Field,
};

impl<'a> PlanBuilder<'_, 'a> {
    /// Selects `__typename` in a subgraph that knows the types of a path's objects.
    pub(super) fn select_typename(
        &mut self,
        path: PathId,
        field: &'a Field,
        context: Context<'_, 'a>,
    ) -> Result<FetchId, PlanError> {
        let paths: Vec<PathId> = self.paths.with_wider(path).collect();
        for at in paths.iter().copied() {
            let mut fetches = self.paths.fetches(at).iter();
            let known = fetches.find(|it| self.supergraph().knows_types(it.subgraph, it.view));
            if let Some(known) = known {
                let (set, fetch) = (known.set, known.fetch);
                if std::ptr::eq(field, self.typename()) {
                    self.fetches.add_typename(set, field);
                } else {
                    self.fetches.add_field(set, field, None);
                }
                return Ok(fetch);
            }
        }
        let widest = paths[paths.len() - 1];
        let routes = self.routes().routes(widest);
        let subgraphs = self.supergraph().subgraphs().zip(routes.iter());
        let known = subgraphs.filter_map(|(subgraph, route)| {
            let route = route.as_ref()?;
            let knows = self.supergraph().knows_types(subgraph, route.view);
            knows.then_some((route.cost, subgraph))
        });
        let (_, subgraph) = known.min_by_key(|(cost, _)| *cost).ok_or_else(|| {
            let ty = self.supergraph().name(self.paths.ty(widest));
            PlanError::Unreachable(format!("{ty}.__typename"))
        })?;
        self.reach(widest, subgraph, context)?;
        self.select_typename(widest, field, context)
    }

    /// Has a path's objects tell their types, as representations and paths need it, unless they can
    /// only be of one. Where nothing but interface objects has a fetch, the path's own type will do, if
    /// it is not one of several.
    pub(super) fn tell_types(
        &mut self,
        path: PathId,
        context: Context<'_, 'a>,
    ) -> Result<FetchId, PlanError> {
        let widest = self.paths.ty(self.paths.widest(path));
        self.tell(path, widest == self.paths.ty(path), context)
    }

    /// The same, where the path's own type may not be enough.
    pub(super) fn tell_types_apart(
        &mut self,
        path: PathId,
        context: Context<'_, 'a>,
    ) -> Result<FetchId, PlanError> {
        self.tell(path, false, context)
    }

    fn tell(
        &mut self,
        path: PathId,
        is_enough: bool,
        context: Context<'_, 'a>,
    ) -> Result<FetchId, PlanError> {
        let paths: Vec<PathId> = self.paths.with_wider(path).collect();
        let widest = paths[paths.len() - 1];
        let may_be_several = !self.supergraph().is_object(self.paths.ty(widest));
        for at in paths.into_iter().rev() {
            let mut fetches = self.paths.fetches(at).iter();
            let known =
                fetches.find(|it| is_enough || self.supergraph().knows_types(it.subgraph, it.view));
            if let Some(known) = known {
                let (set, fetch) = (known.set, known.fetch);
                if may_be_several {
                    self.fetches
                        .add_typename(set, self.request.supergraph.typename());
                }
                return Ok(fetch);
            }
        }
        self.select_typename(path, self.typename(), context)
    }
}
