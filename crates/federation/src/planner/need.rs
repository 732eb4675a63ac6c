//! Asking for what is needed at a place, by whatever requests that takes.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    PlanError, Planner, Purpose,
    choose::Choice,
    fetches::FetchId,
    places::{Cursor, PlaceId, Provided, Step},
    selection::{Field, On, Selection},
    supergraph::Join,
};
use crate::{
    SubgraphIndex,
    types::{TypeId, TypeSet},
};

/// Needs inside needs beyond this many levels are refused: an operation of 50 levels stays far below.
pub(super) const DEPTH_MAX: usize = 400;
/// Places beyond so many are refused: each implementation of an interface is one, at each place of it.
const PLACES_MAX: usize = 20_000;

impl<'a> Planner<'a> {
    /// Asks for a selection of a place's objects; the requests that bring it.
    ///
    /// # Errors
    /// When it cannot be had; then there is no plan.
    pub(super) fn need(
        &mut self,
        place: PlaceId,
        set: &'a [Selection],
        purpose: Purpose,
    ) -> Result<BTreeSet<FetchId>, PlanError> {
        if self.depth == DEPTH_MAX || self.places.len() > PLACES_MAX {
            return Err(PlanError::TooLarge);
        }
        self.depth += 1;
        let brought = self.need_here(place, set, purpose);
        self.depth -= 1;
        brought
    }

    fn need_here(
        &mut self,
        place: PlaceId,
        set: &'a [Selection],
        purpose: Purpose,
    ) -> Result<BTreeSet<FetchId>, PlanError> {
        self.come_along(place);
        let choices = self.choose(place, set, purpose)?;
        let mut brought = BTreeSet::new();
        let (mut later, mut narrower) = (Vec::new(), Vec::new());
        for (index, selection) in set.iter().enumerate() {
            let of_one = &set[index..=index];
            match (selection, choices[index]) {
                // What is asked of all objects is not asked of some of them once more.
                (Selection::On(on), _) => narrower.push(on),
                (Selection::Field(field), Choice::Anywhere) => {
                    brought.insert(self.need_type(place, field)?);
                }
                (Selection::Field(field), Choice::From(subgraph)) => {
                    // What requires something may find it in a request that is made until then.
                    let requires = self.requires(place, subgraph, field);
                    if requires.is_some_and(|join| !join.requires.is_empty()) {
                        later.push((field, subgraph));
                    } else {
                        brought.extend(self.need_field(place, field, subgraph, purpose)?);
                    }
                }
                (Selection::Field(_), Choice::ByObject(subgraph)) => {
                    if let Some(subgraph) = subgraph {
                        self.open(place, subgraph)?;
                    }
                    for object in self.objects(place).iter() {
                        let narrowed = self.places.narrowed(place, object, &[]);
                        // Not by the wider place again.
                        brought.extend(self.need(narrowed, of_one, Purpose::Client)?);
                    }
                }
                (Selection::Field(_), Choice::Wider) => {
                    let wider = self.places.wider(place).unwrap_or(place);
                    brought.extend(self.need(wider, of_one, purpose)?);
                }
            }
        }
        for (field, subgraph) in later {
            brought.extend(self.need_field(place, field, subgraph, purpose)?);
        }
        for on in narrower {
            brought.extend(self.need_on(place, on, purpose)?);
        }
        Ok(brought)
    }

    /// Gives a place the cursors of the wider one, as far as they have its objects: it costs nothing
    /// as long as nothing is asked by them.
    fn come_along(&mut self, place: PlaceId) {
        let Some((wider, Step::On(when))) = self.places.get(place).parent else {
            return;
        };
        self.come_along(wider);
        let ty = self.places.get(place).ty;
        for index in 0..self.places.get(wider).cursors.len() {
            let cursor = self.places.get(wider).cursors[index].clone();
            let here = &self.places.get(place).cursors;
            if here.iter().any(|it| it.subgraph == cursor.subgraph) {
                continue;
            }
            let Some(view) = self.narrow_view(cursor.subgraph, cursor.view, ty) else {
                continue;
            };
            let set = if view == cursor.view && when.is_empty() {
                cursor.set
            } else {
                self.fetches.add_on(cursor.set, view, when)
            };
            let cursor = Cursor {
                view,
                set,
                ..cursor
            };
            self.places.get_mut(place).cursors.push(cursor);
            self.version += 1;
        }
    }

    fn need_on(
        &mut self,
        place: PlaceId,
        on: &'a On,
        purpose: Purpose,
    ) -> Result<BTreeSet<FetchId>, PlanError> {
        let objects = self.objects(place);
        let wanted = objects.intersection(self.graph.objects(on.ty));
        let mut brought = BTreeSet::new();
        if on.ty != self.places.get(place).ty {
            // What is asked of some types is also not answered for others.
            brought.insert(match purpose {
                Purpose::Client if !self.knows_types(place) => {
                    self.need_type(place, self.typename)?
                }
                _ => self.tell_type_of(place, false)?,
            });
        }
        let narrow: Vec<TypeId> = if wanted.is_empty() {
            Vec::new()
        } else if self.graph.is_object(on.ty) {
            vec![on.ty]
        } else if wanted == objects {
            vec![self.places.get(place).ty]
        } else if self.agrees(place, on.ty, &wanted) {
            vec![on.ty]
        } else {
            wanted.iter().collect()
        };
        for ty in narrow {
            let narrowed = self.places.narrowed(place, ty, &[]);
            let narrowed = self.places.narrowed(narrowed, ty, &on.when);
            brought.extend(self.need(narrowed, &on.set, purpose)?);
        }
        Ok(brought)
    }

    /// Whether the subgraphs that are asked about a place mean `objects` by an interface or union.
    fn agrees(&self, place: PlaceId, ty: TypeId, objects: &TypeSet) -> bool {
        let cursors = &self.places.get(place).cursors;
        let agrees = |cursor: &Cursor<'a>| {
            let here = self.graph.view(cursor.subgraph, cursor.view);
            let narrow = self.graph.view(cursor.subgraph, ty);
            let (Some(here), Some(narrow)) = (here, narrow) else {
                return false;
            };
            !here.is_interface_object
                && !narrow.is_interface_object
                && narrow.objects.intersection(&here.objects) == objects.intersection(&here.objects)
        };
        !cursors.is_empty() && cursors.iter().all(agrees)
    }

    /// The field as the subgraph has it, by the cheapest way to it.
    fn requires(
        &mut self,
        place: PlaceId,
        subgraph: SubgraphIndex,
        field: &'a Field,
    ) -> Option<&'a Join> {
        let cursors = &self.places.get(place).cursors;
        if let Some(cursor) = cursors.iter().find(|it| it.subgraph == subgraph) {
            let (view, provided) = (cursor.view, Rc::clone(&cursor.provided));
            return self.resolve(subgraph, view, &field.name, &provided);
        }
        let table = self.reach(place);
        let reach = table[usize::from(subgraph.0)].as_ref()?;
        self.resolve(subgraph, reach.view, &field.name, &reach.provided)
    }

    fn need_field(
        &mut self,
        place: PlaceId,
        field: &'a Field,
        subgraph: SubgraphIndex,
        purpose: Purpose,
    ) -> Result<BTreeSet<FetchId>, PlanError> {
        if let Some(brought) = self.known_leaf(place, field) {
            return Ok(brought);
        }
        let unreachable = || PlanError::Unreachable(field.name.to_string());
        let join = self
            .requires(place, subgraph, field)
            .ok_or_else(unreachable)?;
        let cursor = if join.requires.is_empty() {
            let index = self.open(place, subgraph)?;
            self.places.get(place).cursors[index].clone()
        } else {
            self.requiring.push((place, &field.name));
            let opened = self.open_for(place, join);
            self.requiring.pop();
            opened?
        };
        let below = self.fetches.add_field(cursor.set, field, join.inner);
        let mut brought = BTreeSet::from([cursor.fetch]);
        let (Some(set), Some(view)) = (below, join.inner) else {
            let leaves = &mut self.places.get_mut(place).leaves;
            leaves.insert(&field.key, brought.clone());
            return Ok(brought);
        };
        let ty = self.places.get(place).ty;
        let info = self
            .graph
            .field(ty, &field.name)
            .or_else(|| self.graph.field(cursor.view, &field.name));
        let inner = info.and_then(|info| info.inner).ok_or_else(unreachable)?;
        let at = self.places.below(place, field, inner);
        let is_new = self.places.get(at).cursors.iter().all(|it| it.set != set);
        if is_new {
            let provided = self.provided_below(&cursor.provided, cursor.view, join, &field.name);
            self.places.get_mut(at).cursors.push(Cursor {
                view,
                set,
                provided,
                ..cursor
            });
            self.version += 1;
        }
        if purpose == Purpose::Representation {
            // An object inside a representation has to say what it is, where it could be several.
            brought.insert(self.tell_type(at)?);
        }
        brought.extend(self.need(at, &field.set, purpose)?);
        Ok(brought)
    }

    /// Who brings a leaf that is asked for already, at the place or a wider one.
    fn known_leaf(&self, place: PlaceId, field: &'a Field) -> Option<BTreeSet<FetchId>> {
        if !field.set.is_empty() {
            return None;
        }
        let mut next = Some(place);
        while let Some(place) = next {
            if let Some(brought) = self.places.get(place).leaves.get(&field.key) {
                return Some(brought.clone());
            }
            next = self.places.wider(place);
        }
        None
    }

    /// Asks for `__typename`, of somebody who knows.
    fn need_type(&mut self, place: PlaceId, field: &'a Field) -> Result<FetchId, PlanError> {
        let mut next = Some(place);
        while let Some(at) = next {
            let here = self.places.get(at);
            let mut cursors = here.cursors.iter();
            if let Some(cursor) = cursors.find(|it| self.graph.knows_types(it.subgraph, it.view)) {
                let (set, fetch) = (cursor.set, cursor.fetch);
                if std::ptr::eq(field, self.typename) {
                    self.fetches.add_typename(set, field);
                } else {
                    self.fetches.add_field(set, field, None);
                }
                return Ok(fetch);
            }
            if self.places.wider(at).is_none() {
                let table = self.reach(at);
                let subgraphs = self.graph.subgraphs().zip(table.iter());
                let known = subgraphs.filter_map(|(subgraph, reach)| {
                    let reach = reach.as_ref()?;
                    let knows = self.graph.knows_types(subgraph, reach.view);
                    knows.then_some((reach.cost, subgraph))
                });
                let (_, subgraph) = known.min_by_key(|(cost, _)| *cost).ok_or_else(|| {
                    let ty = self.graph.name(self.places.get(at).ty);
                    PlanError::Unreachable(format!("{ty}.__typename"))
                })?;
                self.open(at, subgraph)?;
                return self.need_type(at, field);
            }
            next = self.places.wider(at);
        }
        Err(PlanError::Unreachable("__typename".into()))
    }

    /// Whether anybody who is asked about a place, or a wider one, knows the types of its objects.
    fn knows_types(&self, place: PlaceId) -> bool {
        let mut next = Some(place);
        while let Some(here) = next {
            let mut cursors = self.places.get(here).cursors.iter();
            if cursors.any(|it| self.graph.knows_types(it.subgraph, it.view)) {
                return true;
            }
            next = self.places.wider(here);
        }
        false
    }

    /// Has a place's objects tell their types, as representations and paths need it, unless they can
    /// only be of one. Where nobody but interface objects has been asked, the place's own type will
    /// do, if it is not one of several.
    pub(super) fn tell_type(&mut self, place: PlaceId) -> Result<FetchId, PlanError> {
        self.tell_type_of(place, true)
    }

    /// The same, where the place's own type may not be enough.
    fn tell_type_of(&mut self, place: PlaceId, is_enough: bool) -> Result<FetchId, PlanError> {
        let mut wider = vec![place];
        while let Some(next) = self.places.wider(wider[wider.len() - 1]) {
            wider.push(next);
        }
        let widest = self.places.get(wider[wider.len() - 1]).ty;
        let is_all = is_enough && widest == self.places.get(place).ty;
        let is_told = !self.graph.is_object(widest);
        for here in wider.into_iter().rev() {
            let mut cursors = self.places.get(here).cursors.iter();
            let known = cursors.find(|it| is_all || self.graph.knows_types(it.subgraph, it.view));
            if let Some(cursor) = known {
                let (set, fetch) = (cursor.set, cursor.fetch);
                if is_told {
                    self.fetches.add_typename(set, self.typename);
                }
                return Ok(fetch);
            }
        }
        self.need_type(place, self.typename)
    }

    /// Where a root field of a mutation or subscription comes from: if possible, from where the last
    /// one came.
    pub(super) fn root_subgraph(
        &self,
        ty: TypeId,
        field: &'a Field,
        last: Option<SubgraphIndex>,
    ) -> Result<SubgraphIndex, PlanError> {
        let none: Provided<'a> = [].into();
        let candidates = self.graph.subgraphs().filter_map(|subgraph| {
            let join = self.resolve(subgraph, ty, &field.name, &none)?;
            let rest = join.inner.map_or(0, |inner| {
                let provided = self.provided_below(&none, ty, join, &field.name);
                self.rest(&field.set, subgraph, inner, &provided)
            });
            Some((rest, Some(subgraph) != last, subgraph))
        });
        let best = candidates.min_by_key(|(rest, is_other, _)| (*rest, *is_other));
        best.map(|(_, _, subgraph)| subgraph).ok_or_else(|| {
            PlanError::Unreachable(format!("{}.{}", self.graph.name(ty), field.name))
        })
    }
}
