//! About how many requests more it takes where a subgraph is asked for a selection.
//!
//! An estimate for choosing between subgraphs, without looking at what else is asked: it depends on
//! nothing but the selection, the subgraph, and what is provided there.

use super::{
    Planner, RestKey,
    choose::OBJECTS_PER_REQUEST,
    places::Provided,
    selection::{Field, Selection},
};
use crate::{SubgraphIndex, types::TypeId};

/// What it costs more if the rest cannot be had from there at all: the objects have to be asked for
/// once more, from above.
const WITHOUT_WAY: usize = 2;

impl<'a> Planner<'a> {
    /// What a subgraph that has objects as `view` leaves to others of a selection.
    pub(super) fn rest(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> usize {
        if self.is_late() {
            return 0;
        }
        let key: RestKey = (
            set.as_ptr().addr(),
            subgraph,
            view,
            provided.iter().map(|set| set.as_ptr().addr()).collect(),
        );
        if let Some(known) = self.rests.borrow().get(&key) {
            return *known;
        }
        // Keys may lead to themselves; that is no way.
        self.rests.borrow_mut().insert(key.clone(), WITHOUT_WAY);
        let rest = self.rest_of(set, subgraph, view, provided);
        self.rests.borrow_mut().insert(key, rest);
        rest
    }

    fn rest_of(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> usize {
        // For each part that is left, who has it; nobody in particular for a type.
        let mut left: Vec<Vec<SubgraphIndex>> = Vec::new();
        let mut below = 0;
        for selection in set {
            match selection {
                Selection::Field(field) if field.is_typename() => {
                    let here = self.graph.view(subgraph, view);
                    if here.is_some_and(|view| view.is_interface_object) {
                        left.push(Vec::new());
                    }
                }
                Selection::Field(field) => {
                    match self.rest_of_field(field, subgraph, view, provided) {
                        Some(rest) => below += rest,
                        None => left.push(self.others_with(field, view, subgraph)),
                    }
                }
                Selection::On(on) => match self.narrow_view(subgraph, view, on.ty) {
                    Some(narrow) => below += self.rest(&on.set, subgraph, narrow, provided),
                    None => {
                        let here = self.graph.view(subgraph, view);
                        let may_be = here.is_none_or(|here| {
                            let common = here.objects.intersection(self.graph.objects(on.ty));
                            here.is_interface_object || !common.is_empty()
                        });
                        if may_be || self.graph.view(subgraph, on.ty).is_none() {
                            left.push(Vec::new());
                        }
                    }
                },
            }
        }
        let has_way = |owners: &Vec<SubgraphIndex>| {
            owners.is_empty()
                || owners
                    .iter()
                    .any(|owner| self.leads_to(*owner, subgraph, view, provided))
        };
        let is_stuck = !left.iter().all(has_way);
        below + requests_for(left) + if is_stuck { WITHOUT_WAY } else { 0 }
    }

    /// The same for a field; none where the subgraph does not resolve it at once.
    pub(super) fn rest_of_field(
        &self,
        field: &'a Field,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> Option<usize> {
        if let Some(join) = self.resolve(subgraph, view, &field.name, provided) {
            if !join.requires.is_empty() {
                return None;
            }
            return Some(join.inner.map_or(0, |inner| {
                let provided = self.provided_below(provided, view, join, &field.name);
                self.rest(&field.set, subgraph, inner, &provided)
            }));
        }
        if self.graph.is_object(view) {
            return None;
        }
        let here = self.graph.view(subgraph, view)?;
        if here.is_interface_object {
            return None;
        }
        let objects = here.objects.iter();
        let mut each = objects.map(|object| self.rest_of_field(field, subgraph, object, provided));
        let most = each.try_fold(0, |most, rest| Some(most.max(rest?)))?;
        let times = match field.set.is_empty() {
            true => 0,
            false => here.objects.iter().count() / OBJECTS_PER_REQUEST,
        };
        Some(most + times)
    }

    /// The subgraphs that have a field of a type, but for one.
    fn others_with(
        &self,
        field: &Field,
        view: TypeId,
        subgraph: SubgraphIndex,
    ) -> Vec<SubgraphIndex> {
        let info = self.graph.field(view, &field.name).into_iter();
        let joins = info.flat_map(|info| &info.joins);
        let others = joins.filter(|join| {
            !join.is_external && join.is_available(self.rollout_place) && join.subgraph != subgraph
        });
        others.map(|join| join.subgraph).collect()
    }

    /// Whether another subgraph has the objects by a key that this one resolves.
    fn leads_to(
        &self,
        other: SubgraphIndex,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> bool {
        let views = self.graph.entity_views(view).iter();
        let mut keys = views
            .filter_map(|view| self.graph.view(other, *view))
            .flat_map(|there| &there.keys);
        keys.any(|key| {
            key.iter().all(|selection| match selection {
                Selection::Field(field) => {
                    field.is_typename()
                        || self.rest_of_field(field, subgraph, view, provided) == Some(0)
                }
                Selection::On(_) => true,
            })
        })
    }
}

/// The fewest requests, about, that bring all parts: first for those that only one subgraph has.
fn requests_for(mut left: Vec<Vec<SubgraphIndex>>) -> usize {
    left.sort_by_key(Vec::len);
    let mut asked: Vec<SubgraphIndex> = Vec::new();
    let mut has_unknown = false;
    for owners in &left {
        match owners.first() {
            None => has_unknown = true,
            Some(first) if !owners.iter().any(|owner| asked.contains(owner)) => asked.push(*first),
            Some(_) => {}
        }
    }
    asked.len().max(usize::from(has_unknown))
}
