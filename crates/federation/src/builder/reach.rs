//! Having subgraphs asked for the objects of a path: by fetches that are there, or by new ones.

use super::{Context, PlanBuilder};
use crate::{
    PlanError,
    plan::{Begin, FetchContext, FetchId, FetchSet, PathFetch, PathId, PathStep, Provided},
    routes::{Purpose, Reaching, Route, RouteStep},
    selection::{Field, Selection, are_exclusive},
    supergraph::{Join, SubgraphIndex},
    types::TypeId,
};

/// How a fetch asks for entities.
struct Entities<'a> {
    view: TypeId,
    requires: Vec<&'a [Selection]>,
    contexts: Vec<FetchContext<'a>>,
}

/// What a field requires of its own object, if anything.
fn required(join: &Join) -> Option<&[Selection]> {
    (!join.requires.is_empty()).then_some(&*join.requires)
}

impl<'a> PlanBuilder<'_, 'a> {
    /// Has a subgraph asked for a path's objects, by the cheapest route; which of the path's fetches
    /// does so.
    ///
    /// # Errors
    /// When there is no route.
    pub(super) fn reach(
        &mut self,
        path: PathId,
        subgraph: SubgraphIndex,
        context: Context<'_, 'a>,
    ) -> Result<usize, PlanError> {
        let mut fetches = self.paths.fetches(path).iter();
        if let Some(index) = fetches.position(|it| it.subgraph == subgraph) {
            return Ok(index);
        }
        let route = self.routes().routes(path)[usize::from(subgraph.0)].clone();
        let route = route.ok_or_else(|| self.unreachable(path))?;
        match (route.by, self.paths.parent(path)) {
            (RouteStep::Existing(index), _) => return Ok(index),
            (RouteStep::FromAbove, Some((above, step))) => {
                self.reach_from_above(path, above, step, subgraph, route, context)?;
            }
            (RouteStep::FromAbove, None) => return Err(self.unreachable(path)),
            (RouteStep::Root, parent) => {
                let begin = match parent {
                    None => Begin::Root,
                    Some(_) => Begin::Reentry(path),
                };
                let mut after = FetchSet::default();
                if parent.is_some() {
                    let paths = self.paths.with_wider(path);
                    let first = paths.filter_map(|at| self.paths.fetches(at).first());
                    after.extend(first.map(|it| it.fetch));
                }
                let (view, provided, turn) = (route.view, route.provided, context.turn);
                let fetch = self.add_fetch(path, subgraph, begin, view, provided, turn);
                self.fetches.get_mut(fetch).after = after;
            }
            (RouteStep::Key(key), _) => {
                let after = self.select_key(path, subgraph, key, context)?;
                let entities = Entities {
                    view: route.view,
                    requires: vec![key],
                    contexts: Vec::new(),
                };
                self.add_entities(path, subgraph, entities, after, context)?;
            }
        }
        Ok(self.paths.fetches(path).len() - 1)
    }

    /// Selects the key by which a subgraph finds a path's objects.
    fn select_key(
        &mut self,
        path: PathId,
        subgraph: SubgraphIndex,
        key: &'a [Selection],
        context: Context<'_, 'a>,
    ) -> Result<FetchSet, PlanError> {
        let reaching = Reaching {
            path,
            subgraph,
            outer: context.reaching,
        };
        let context = Context {
            purpose: Purpose::Representation,
            reaching: Some(&reaching),
            ..context
        };
        self.select(path, key, context)
    }

    fn unreachable(&self, path: PathId) -> PlanError {
        let ty = self.supergraph().name(self.paths.ty(path));
        PlanError::Unreachable(ty.to_string())
    }

    /// Has the fetch of the path above select what leads to a path.
    fn reach_from_above(
        &mut self,
        path: PathId,
        above: PathId,
        step: PathStep<'a>,
        subgraph: SubgraphIndex,
        route: Route<'a>,
        context: Context<'_, 'a>,
    ) -> Result<(), PlanError> {
        let index = self.reach(above, subgraph, context)?;
        let fetch = self.paths.fetches(above)[index].clone();
        let view = route.view;
        let set = match step {
            PathStep::On(when) if view == fetch.view && when.is_empty() => fetch.set,
            PathStep::On(when) => self.fetches.add_on(fetch.set, view, when),
            PathStep::Field(field) => self
                .fetches
                .add_field(fetch.set, field, Some(view))
                .ok_or_else(|| self.unreachable(path))?,
        };
        let at_path = PathFetch {
            view,
            set,
            provided: route.provided,
            ..fetch
        };
        self.paths.add_fetch(path, at_path);
        Ok(())
    }

    /// Has the subgraph of a field asked, with what the field requires in the representations.
    ///
    /// # Errors
    /// When no key leads there, or a requirement cannot be had.
    pub(super) fn reach_with_requirements(
        &mut self,
        path: PathId,
        field: &'a Field,
        join: &'a Join,
        context: Context<'_, 'a>,
    ) -> Result<PathFetch<'a>, PlanError> {
        let context = context.with(Purpose::Representation);
        let mut after = self.select(path, &join.requires, context)?;
        let contexts = self.select_contexts(path, field, join, context, &mut after)?;
        if let Some(fetch) = self.extendable(path, join, &after).cloned() {
            let extended = self.fetches.get_mut(fetch.fetch);
            extended.after.add_all(&after);
            if let Begin::Entities {
                requires,
                contexts: known,
                ..
            } = &mut extended.begin
            {
                requires.extend(required(join));
                for context in contexts {
                    let is_same = |other: &FetchContext<'_>| {
                        other.field == context.field && other.argument.name == context.argument.name
                    };
                    if !known.iter().any(is_same) {
                        known.push(context);
                    }
                }
            }
            return Ok(fetch);
        }
        let unreachable =
            || PlanError::Unreachable(self.request.supergraph.name(join.view).to_string());
        let key = self.routes().cheapest_key(path, join.subgraph, join.view);
        let key = key.ok_or_else(unreachable)?;
        let mut all = self.select_key(path, join.subgraph, key, context)?;
        all.add_all(&after);
        let requires = std::iter::once(key).chain(required(join)).collect();
        let entities = Entities {
            view: join.view,
            requires,
            contexts,
        };
        self.add_entities(path, join.subgraph, entities, all, context)?;
        let last = self.paths.fetches(path).last().cloned();
        last.ok_or_else(|| self.unreachable(path))
    }

    /// Has the values of a field's contexts selected of the objects above that set them.
    fn select_contexts(
        &mut self,
        path: PathId,
        field: &'a Field,
        join: &'a Join,
        context: Context<'_, 'a>,
        after: &mut FetchSet,
    ) -> Result<Vec<FetchContext<'a>>, PlanError> {
        let mut contexts = Vec::new();
        for argument in &join.contexts {
            let above = self.routes().setter(path, argument);
            let above = above.ok_or_else(|| self.unreachable(path))?;
            after.add_all(&self.select(above, &argument.selection, context)?);
            contexts.push(FetchContext {
                field: &field.name,
                argument,
                path: above,
            });
        }
        Ok(contexts)
    }

    /// A fetch of a path's entities whose representations can hold what a field requires, too.
    fn extendable(&self, path: PathId, join: &Join, after: &FetchSet) -> Option<&PathFetch<'a>> {
        let mut fetches = self.paths.fetches(path).iter();
        fetches.find(|here| {
            let is_for_path = match &self.fetches.get(here.fetch).begin {
                Begin::Entities {
                    path: other,
                    requires,
                    ..
                } => {
                    let mut sets = requires.iter();
                    *other == path && !sets.any(|set| are_exclusive(set, &join.requires))
                }
                Begin::Root | Begin::Reentry(_) => false,
            };
            let comes_before =
                |it: FetchId| it != here.fetch && !self.fetches.comes_after(it, here.fetch);
            here.subgraph == join.subgraph && is_for_path && after.iter().all(comes_before)
        })
    }

    /// Adds a fetch of a path's objects as entities.
    fn add_entities(
        &mut self,
        path: PathId,
        subgraph: SubgraphIndex,
        entities: Entities<'a>,
        mut after: FetchSet,
        context: Context<'_, 'a>,
    ) -> Result<(), PlanError> {
        after.insert(self.tell_types(path, context)?);
        let view = entities.view;
        let begin = Begin::Entities {
            path,
            view,
            requires: entities.requires,
            contexts: entities.contexts,
        };
        let fetch = self.add_fetch(
            path,
            subgraph,
            begin,
            view,
            Provided::default(),
            context.turn,
        );
        self.fetches.get_mut(fetch).after = after;
        Ok(())
    }
}
