//! Planning a selection set of a path's objects, with whatever fetches that takes.

use super::{Context, PlanBuilder};
use crate::{
    PlanError,
    plan::{FetchSet, PATHS_MAX, PathFetch, PathId, PathStep},
    routes::{Choice, Purpose, Requiring},
    selection::{Field, On, Selection},
    supergraph::{Join, SubgraphIndex},
    types::{TypeId, TypeSet},
};

/// Selection sets inside others beyond this many levels are refused: an operation of 50 levels stays far
/// below.
pub(crate) const DEPTH_MAX: usize = 400;
impl<'a> PlanBuilder<'_, 'a> {
    /// Plans a selection set of a path's objects; the fetches that bring it.
    ///
    /// # Errors
    /// When it cannot be had; then there is no plan.
    pub(super) fn select(
        &mut self,
        path: PathId,
        set: &'a [Selection],
        context: Context<'_, 'a>,
    ) -> Result<FetchSet, PlanError> {
        if context.depth >= DEPTH_MAX || self.paths.len() > PATHS_MAX {
            return Err(PlanError::TooLarge);
        }
        let context = Context {
            depth: context.depth + 1,
            ..context
        };
        self.inherit_fetches(path);
        let choices = self.routes().choose(path, set, context.wanted())?;
        self.reach_chosen(path, set, &choices, context)?;
        let mut brought = FetchSet::default();
        let (mut requiring, mut narrower) = (Vec::new(), Vec::new());
        for (index, selection) in set.iter().enumerate() {
            let only = &set[index..=index];
            match (selection, choices[index]) {
                // What is selected of all objects is not selected of some of them once more.
                (Selection::On(on), _) => narrower.push(on),
                (Selection::Field(field), Choice::Anywhere) => {
                    brought.insert(self.select_typename(path, field, context)?);
                }
                (Selection::Field(field), Choice::From(subgraph)) => {
                    // What requires something may find it in a fetch that is added until then.
                    let join = self.join(path, subgraph, field);
                    if join.is_some_and(|join| !join.is_plain()) {
                        requiring.push((field, subgraph));
                    } else {
                        brought.add_all(&self.select_field(path, field, subgraph, context)?);
                    }
                }
                (Selection::Field(_), Choice::ByObject(subgraph)) => {
                    brought.add_all(&self.select_by_object(path, only, subgraph, context)?);
                }
                (Selection::Field(_), Choice::Wider) => {
                    let wider = self.paths.wider(path).unwrap_or(path);
                    brought.add_all(&self.select(wider, only, context)?);
                }
            }
        }
        for (field, subgraph) in requiring {
            brought.add_all(&self.select_field(path, field, subgraph, context)?);
        }
        for on in narrower {
            brought.add_all(&self.select_on(path, on, context)?);
        }
        Ok(brought)
    }

    /// Has the subgraphs asked that were chosen for a selection set, the cheapest first: the keys of others may
    /// come from them.
    fn reach_chosen(
        &mut self,
        path: PathId,
        set: &'a [Selection],
        choices: &[Choice],
        context: Context<'_, 'a>,
    ) -> Result<(), PlanError> {
        let mut missing: Vec<SubgraphIndex> = Vec::new();
        for (selection, choice) in set.iter().zip(choices) {
            let (Selection::Field(field), Choice::From(subgraph)) = (selection, choice) else {
                continue;
            };
            let mut fetches = self.paths.fetches(path).iter();
            let is_there = fetches.any(|it| it.subgraph == *subgraph);
            let object = (path, std::ptr::from_ref(field).addr());
            let is_planned =
                context.purpose == Purpose::Representation && self.objects.contains_key(&object);
            if !is_there
                && !is_planned
                && !missing.contains(subgraph)
                && self.known_leaf(path, field).is_none()
                && self
                    .join(path, *subgraph, field)
                    .is_some_and(Join::is_plain)
            {
                missing.push(*subgraph);
            }
        }
        if missing.len() > 1 {
            let routes = self.routes().routes(path);
            let cost = |it: &SubgraphIndex| routes[usize::from(it.0)].as_ref().map(|it| it.cost);
            missing.sort_by_key(cost);
            for subgraph in missing {
                self.reach(path, subgraph, context)?;
            }
        }
        Ok(())
    }

    /// Gives a path the fetches of the wider one, as far as they have its objects: it costs nothing as
    /// long as nothing is selected by them.
    fn inherit_fetches(&mut self, path: PathId) {
        let Some((wider, PathStep::On(when))) = self.paths.parent(path) else {
            return;
        };
        self.inherit_fetches(wider);
        let ty = self.paths.ty(path);
        for index in 0..self.paths.fetches(wider).len() {
            let fetch = self.paths.fetches(wider)[index].clone();
            let mut here = self.paths.fetches(path).iter();
            if here.any(|it| it.subgraph == fetch.subgraph) {
                continue;
            }
            let view = self
                .supergraph()
                .narrow_view(fetch.subgraph, fetch.view, ty);
            let Some(view) = view else {
                continue;
            };
            let set = if view == fetch.view && when.is_empty() {
                fetch.set
            } else {
                self.fetches.add_on(fetch.set, view, when)
            };
            self.paths.add_fetch(path, PathFetch { view, set, ..fetch });
        }
    }

    /// Plans a selection of each object type by itself.
    fn select_by_object(
        &mut self,
        path: PathId,
        set: &'a [Selection],
        subgraph: Option<SubgraphIndex>,
        context: Context<'_, 'a>,
    ) -> Result<FetchSet, PlanError> {
        if let Some(subgraph) = subgraph {
            self.reach(path, subgraph, context)?;
        }
        let mut brought = FetchSet::default();
        for object in self.routes().objects(path).iter() {
            let narrowed = self.paths.narrowed(path, object, &[]);
            // Not by the wider path again.
            brought.add_all(&self.select(narrowed, set, context.with(Purpose::Client))?);
        }
        Ok(brought)
    }

    fn select_on(
        &mut self,
        path: PathId,
        on: &'a On,
        context: Context<'_, 'a>,
    ) -> Result<FetchSet, PlanError> {
        let objects = self.routes().objects(path);
        let wanted = objects.intersection(self.supergraph().objects(on.ty));
        let ty = self.paths.ty(path);
        let mut brought = FetchSet::default();
        if on.ty != ty {
            // What is selected of some types is also not answered for others.
            brought.insert(match context.purpose {
                Purpose::Client if !self.routes().is_type_known(path) => {
                    self.select_typename(path, self.typename(), context)?
                }
                _ => self.tell_types_apart(path, context)?,
            });
        }
        let narrow: Vec<TypeId> = if on.ty == ty {
            vec![ty]
        } else if wanted.is_empty() {
            Vec::new()
        } else if self.supergraph().is_object(on.ty) {
            vec![on.ty]
        } else if wanted == objects && !self.routes().has_uncommon_members(path) {
            vec![ty]
        } else if self.agree_on(path, on.ty, &wanted) {
            vec![on.ty]
        } else {
            wanted.iter().collect()
        };
        for ty in narrow {
            let narrowed = self.paths.narrowed(path, ty, &[]);
            let narrowed = self.paths.narrowed(narrowed, ty, &on.when);
            brought.add_all(&self.select(narrowed, &on.set, context)?);
        }
        Ok(brought)
    }

    /// Whether the subgraphs with fetches at a path mean `objects` by an interface or union.
    fn agree_on(&self, path: PathId, ty: TypeId, objects: &TypeSet) -> bool {
        let fetches = self.paths.fetches(path);
        let agrees = |fetch: &PathFetch<'a>| {
            let here = self.supergraph().view(fetch.subgraph, fetch.view);
            let narrow = self.supergraph().view(fetch.subgraph, ty);
            let (Some(here), Some(narrow)) = (here, narrow) else {
                return false;
            };
            !here.is_interface_object
                && !narrow.is_interface_object
                && narrow.objects.intersection(&here.objects) == objects.intersection(&here.objects)
        };
        !fetches.is_empty() && fetches.iter().all(agrees)
    }

    /// The field as the subgraph has it, by the cheapest route to it.
    fn join(&self, path: PathId, subgraph: SubgraphIndex, field: &'a Field) -> Option<&'a Join> {
        let routes = self.routes();
        let mut fetches = self.paths.fetches(path).iter();
        if let Some(fetch) = fetches.find(|it| it.subgraph == subgraph) {
            return routes.resolve(subgraph, fetch.view, &field.name, &fetch.provided);
        }
        let table = routes.routes(path);
        let route = table[usize::from(subgraph.0)].as_ref()?;
        routes.resolve(subgraph, route.view, &field.name, &route.provided)
    }

    fn select_field(
        &mut self,
        path: PathId,
        field: &'a Field,
        subgraph: SubgraphIndex,
        context: Context<'_, 'a>,
    ) -> Result<FetchSet, PlanError> {
        if let Some(brought) = self.known_leaf(path, field) {
            return Ok(brought);
        }
        let object = (path, std::ptr::from_ref(field).addr());
        if context.purpose == Purpose::Representation
            && let Some(brought) = self.objects.get(&object)
        {
            return Ok(brought.clone());
        }
        let unreachable = || PlanError::Unreachable(field.name.to_string());
        let join = self.join(path, subgraph, field).ok_or_else(unreachable)?;
        let fetch = self.fetch_for(path, field, subgraph, join, context)?;
        let below = self.fetches.add_field(fetch.set, field, join.inner);
        let mut brought = FetchSet::from(fetch.fetch);
        let (Some(set), Some(view)) = (below, join.inner) else {
            self.leaves.insert((path, &field.key), brought.clone());
            return Ok(brought);
        };
        let supergraph = self.supergraph();
        let info = supergraph
            .field(self.paths.ty(path), &field.name)
            .or_else(|| supergraph.field(fetch.view, &field.name));
        let inner = info.and_then(|info| info.inner).ok_or_else(unreachable)?;
        let at = self.paths.below(path, field, inner);
        if self.paths.fetches(at).iter().all(|it| it.set != set) {
            let routes = self.routes();
            let provided = routes.provided_below(&fetch.provided, fetch.view, join, &field.name);
            let below = PathFetch {
                view,
                set,
                provided,
                ..fetch
            };
            self.paths.add_fetch(at, below);
        }
        if context.purpose == Purpose::Representation {
            // An object inside a representation has to say what it is, where it could be several.
            brought.insert(self.tell_types(at, context)?);
        }
        brought.add_all(&self.select(at, &field.set, context)?);
        if context.purpose == Purpose::Representation {
            self.objects.insert(object, brought.clone());
        }
        Ok(brought)
    }

    /// A fetch at the path to the subgraph of a field, with what the field requires.
    fn fetch_for(
        &mut self,
        path: PathId,
        field: &'a Field,
        subgraph: SubgraphIndex,
        join: &'a Join,
        context: Context<'_, 'a>,
    ) -> Result<PathFetch<'a>, PlanError> {
        if join.is_plain() {
            let index = self.reach(path, subgraph, context)?;
            return Ok(self.paths.fetches(path)[index].clone());
        }
        let requiring = Requiring {
            path,
            field: &field.name,
            outer: context.requiring,
        };
        let context = Context {
            requiring: Some(&requiring),
            // A requirement takes twice the stack that a selection set does.
            depth: context.depth + 1,
            ..context
        };
        self.reach_with_requirements(path, field, join, context)
    }

    /// The fetches that bring a leaf that is selected already, at the path or a wider one.
    fn known_leaf(&self, path: PathId, field: &'a Field) -> Option<FetchSet> {
        if !field.set.is_empty() || !field.directives.is_empty() {
            return None;
        }
        let mut paths = self.paths.with_wider(path);
        paths
            .find_map(|path| self.leaves.get(&(path, &field.key)))
            .cloned()
    }
}
