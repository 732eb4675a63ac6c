//! Having subgraphs asked about the objects of a place: by requests that are there, or by new ones.

use std::collections::BTreeSet;

use super::{
    PlanError, Planner, Purpose,
    fetches::{FetchId, From},
    places::{Cursor, PlaceId, Provided, Step},
    reach::Route,
    selection::{Selection, are_exclusive},
    supergraph::Join,
};
use crate::{SubgraphIndex, types::TypeId};

impl<'a> Planner<'a> {
    /// Has a subgraph asked about a place's objects; which of the place's cursors does so.
    pub(super) fn open(
        &mut self,
        place: PlaceId,
        subgraph: SubgraphIndex,
    ) -> Result<usize, PlanError> {
        let unreachable = |planner: &Self| {
            let ty = planner.graph.name(planner.places.get(place).ty);
            PlanError::Unreachable(ty.to_string())
        };
        let table = self.reach(place);
        let reach = table[usize::from(subgraph.0)]
            .clone()
            .ok_or_else(|| unreachable(self))?;
        match (reach.route, self.places.get(place).parent) {
            (Route::Open(index), _) => return Ok(index),
            (Route::FromAbove, Some((above, step))) => {
                let index = self.open(above, subgraph)?;
                let cursor = self.places.get(above).cursors[index].clone();
                let set = match step {
                    Step::On(when) if reach.view == cursor.view && when.is_empty() => cursor.set,
                    Step::On(when) => self.fetches.add_on(cursor.set, reach.view, when),
                    Step::Field(field) => self
                        .fetches
                        .add_field(cursor.set, field, Some(reach.view))
                        .ok_or_else(|| unreachable(self))?,
                };
                self.places.get_mut(place).cursors.push(Cursor {
                    view: reach.view,
                    set,
                    provided: reach.provided,
                    ..cursor
                });
                self.version += 1;
            }
            (Route::FromAbove, None) => return Err(unreachable(self)),
            (Route::Root, None) => {
                let fetch = self.add_fetch(subgraph, From::Root, reach.view);
                self.add_cursor(place, subgraph, reach.view, fetch, reach.provided);
            }
            (Route::Root, Some(_)) => {
                let mut after = BTreeSet::new();
                let mut next = Some(place);
                while let Some(at) = next {
                    after.extend(self.places.get(at).cursors.first().map(|it| it.fetch));
                    next = self.places.wider(at);
                }
                let fetch = self.add_fetch(subgraph, From::Reentry(place), reach.view);
                self.fetches.get_mut(fetch).after = after;
                self.add_cursor(place, subgraph, reach.view, fetch, reach.provided);
            }
            (Route::Key(key), _) => {
                let after = self.need(place, key, Purpose::Representation)?;
                self.add_entities(place, subgraph, reach.view, vec![key], after)?;
            }
        }
        Ok(self.places.get(place).cursors.len() - 1)
    }

    /// Has the subgraph of a field asked, with what the field requires in the representations.
    pub(super) fn open_for(
        &mut self,
        place: PlaceId,
        join: &'a Join,
    ) -> Result<Cursor<'a>, PlanError> {
        let after = self.need(place, &join.requires, Purpose::Representation)?;
        let mut cursors = self.places.get(place).cursors.iter();
        let extendable = cursors.find(|cursor| {
            let is_for_place = match &self.fetches.get(cursor.fetch).from {
                From::Entities {
                    place: other,
                    requires,
                    ..
                } => {
                    let mut sets = requires.iter();
                    *other == place && !sets.any(|set| are_exclusive(set, &join.requires))
                }
                From::Root | From::Reentry(_) => false,
            };
            let comes_before =
                |it: &FetchId| *it != cursor.fetch && !self.fetches.comes_after(*it, cursor.fetch);
            cursor.subgraph == join.subgraph && is_for_place && after.iter().all(comes_before)
        });
        if let Some(cursor) = extendable.cloned() {
            let fetch = self.fetches.get_mut(cursor.fetch);
            fetch.after.extend(after);
            if let From::Entities { requires, .. } = &mut fetch.from {
                requires.push(&join.requires);
            }
            return Ok(cursor);
        }
        let view = self.graph.view(join.subgraph, join.view);
        let keys = view.map_or(&[][..], |view| &view.keys);
        let table = self.reach(place);
        let mut costs = Vec::new();
        for key in keys {
            let cost = self.set_cost(place, &table, key, 0);
            costs.extend(cost.map(|cost| (cost, key)));
        }
        let (_, key) = costs
            .into_iter()
            .min_by_key(|(cost, _)| *cost)
            .ok_or_else(|| PlanError::Unreachable(self.graph.name(join.view).to_string()))?;
        let mut all = self.need(place, key, Purpose::Representation)?;
        all.extend(after);
        let requires = vec![&key[..], &join.requires];
        self.add_entities(place, join.subgraph, join.view, requires, all)?;
        let cursors = &self.places.get(place).cursors;
        let last = cursors.last().cloned();
        last.ok_or_else(|| PlanError::Unreachable(self.graph.name(join.view).to_string()))
    }

    /// Adds a request for a place's objects as entities.
    fn add_entities(
        &mut self,
        place: PlaceId,
        subgraph: SubgraphIndex,
        view: TypeId,
        requires: Vec<&'a [Selection]>,
        mut after: BTreeSet<FetchId>,
    ) -> Result<(), PlanError> {
        after.insert(self.tell_type(place)?);
        let from = From::Entities {
            place,
            view,
            requires,
        };
        let fetch = self.add_fetch(subgraph, from, view);
        self.fetches.get_mut(fetch).after = after;
        self.add_cursor(place, subgraph, view, fetch, [].into());
        Ok(())
    }

    pub(super) fn add_fetch(
        &mut self,
        subgraph: SubgraphIndex,
        from: From<'a>,
        ty: TypeId,
    ) -> FetchId {
        let fetch = self.fetches.add(subgraph, from, ty);
        self.fetches.get_mut(fetch).turn = self.turn;
        fetch
    }

    pub(super) fn add_cursor(
        &mut self,
        place: PlaceId,
        subgraph: SubgraphIndex,
        view: TypeId,
        fetch: FetchId,
        provided: Provided<'a>,
    ) {
        let set = self.fetches.get(fetch).set;
        self.places.get_mut(place).cursors.push(Cursor {
            subgraph,
            view,
            fetch,
            set,
            provided,
        });
        self.version += 1;
    }
}
