//! About how many requests a subgraph leaves to others where it is asked for a selection.
//!
//! An estimate for choosing between subgraphs, without looking at what else is asked: it depends on
//! nothing but the selection, the subgraph, and what is provided there.

use super::{Cost, RouteFinder, choose::repetitions};
use crate::{
    SubgraphIndex,
    plan::Provided,
    selection::{Field, Selection},
    supergraph::Join,
    types::TypeId,
};

/// A selection, a subgraph, its type, and what is provided; selections by their addresses.
pub type RemainingKey = (usize, SubgraphIndex, TypeId, Vec<usize>);

/// What it costs more if what remains cannot be had from there at all: the objects have to be asked
/// for once more, from above.
const WITHOUT_WAY: Cost = Cost::requests(2);
/// How many keys may lead to each other, one found by the next: there are graphs whose every key is
/// found by another one, and what looks into them takes stack for each.
const WAYS_MAX: usize = 24;

impl<'a> RouteFinder<'_, 'a> {
    /// What a subgraph that has objects as `view` leaves to others of a selection.
    pub(super) fn remaining(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> Cost {
        self.remaining_within(set, subgraph, view, provided, 0)
    }

    /// The same, that many ways by keys from where it began.
    fn remaining_within(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        ways: usize,
    ) -> Cost {
        if self.has_to_stop() {
            return Cost::ZERO;
        }
        self.memo.step(1 + set.len());
        let key: RemainingKey = (
            set.as_ptr().addr(),
            subgraph,
            view,
            provided.iter().map(|set| set.as_ptr().addr()).collect(),
        );
        if let Some(known) = self.memo.remaining.borrow().get(&key) {
            return *known;
        }
        // Keys may lead to themselves; that is no way.
        let mut memo = self.memo.remaining.borrow_mut();
        memo.insert(key.clone(), WITHOUT_WAY);
        drop(memo);
        let remaining = self.remaining_of(set, subgraph, view, provided, ways);
        self.memo.remaining.borrow_mut().insert(key, remaining);
        remaining
    }

    /// The same of what is selected below a field that the subgraph resolves.
    pub(super) fn remaining_below(
        &self,
        field: &'a Field,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        join: &'a Join,
    ) -> Cost {
        self.remaining_below_within(field, subgraph, view, provided, join, 0)
    }

    fn remaining_below_within(
        &self,
        field: &'a Field,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        join: &'a Join,
        ways: usize,
    ) -> Cost {
        join.inner.map_or(Cost::ZERO, |inner| {
            let provided = self.provided_below(provided, view, join, &field.name);
            self.remaining_within(&field.set, subgraph, inner, &provided, ways)
        })
    }

    fn remaining_of(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        ways: usize,
    ) -> Cost {
        // For each part that is left, its owners; for a type none in particular.
        let mut left: Vec<Vec<SubgraphIndex>> = Vec::new();
        let mut below = Cost::ZERO;
        for selection in set {
            match selection {
                Selection::Field(field) if field.is_typename() => {
                    let here = self.supergraph.view(subgraph, view);
                    if here.is_some_and(|view| view.is_interface_object) {
                        left.push(Vec::new());
                    }
                }
                Selection::Field(field) => {
                    match self.remaining_of_field(field, subgraph, view, provided, ways) {
                        Some(remaining) => below += remaining,
                        None => left.push(self.others_with(field, view, subgraph)),
                    }
                }
                Selection::On(on) => match self.supergraph.narrow_view(subgraph, view, on.ty) {
                    Some(narrow) => {
                        below += self.remaining_within(&on.set, subgraph, narrow, provided, ways);
                    }
                    None => {
                        let here = self.supergraph.view(subgraph, view);
                        let may_be = here.is_none_or(|here| {
                            let common = here.objects.intersection(self.supergraph.objects(on.ty));
                            here.is_interface_object || !common.is_empty()
                        });
                        if may_be || self.supergraph.view(subgraph, on.ty).is_none() {
                            left.push(Vec::new());
                        }
                    }
                },
            }
        }
        let has_way = |owners: &Vec<SubgraphIndex>| {
            let mut others = owners.iter();
            owners.is_empty()
                || others.any(|owner| self.leads_to(*owner, subgraph, view, provided, ways))
        };
        let stuck = match left.iter().all(has_way) {
            true => Cost::ZERO,
            false => WITHOUT_WAY,
        };
        below + requests_for(left) + stuck
    }

    /// The same for a field; none where the subgraph does not resolve it at once.
    fn remaining_of_field(
        &self,
        field: &'a Field,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        ways: usize,
    ) -> Option<Cost> {
        if let Some(join) = self.resolve(subgraph, view, &field.name, provided) {
            return join
                .is_plain()
                .then(|| self.remaining_below_within(field, subgraph, view, provided, join, ways));
        }
        if self.supergraph.is_object(view) {
            return None;
        }
        let here = self.supergraph.view(subgraph, view)?;
        if here.is_interface_object {
            return None;
        }
        let objects = here.objects.iter();
        let mut each =
            objects.map(|object| self.remaining_of_field(field, subgraph, object, provided, ways));
        let most = each.try_fold(Cost::ZERO, |most, one| Some(most.max(one?)))?;
        Some(match field.set.is_empty() {
            true => most,
            false => most + repetitions(here.objects.iter().count()),
        })
    }

    /// The subgraphs that have a field of a type, but for one.
    fn others_with(
        &self,
        field: &Field,
        view: TypeId,
        subgraph: SubgraphIndex,
    ) -> Vec<SubgraphIndex> {
        let info = self.supergraph.field(view, &field.name).into_iter();
        let joins = info.flat_map(|info| &info.joins);
        let others = joins.filter(|join| {
            !join.is_external
                && join.is_available(self.request.overrides)
                && join.subgraph != subgraph
        });
        others.map(|join| join.subgraph).collect()
    }

    /// Whether other subgraphs than one resolve the fields of a key.
    pub(super) fn is_had_by_others(
        &self,
        key: &[Selection],
        ty: TypeId,
        subgraph: SubgraphIndex,
    ) -> bool {
        key.iter().all(|selection| match selection {
            Selection::Field(field) => {
                field.is_typename() || !self.others_with(field, ty, subgraph).is_empty()
            }
            Selection::On(_) => true,
        })
    }

    /// Whether another subgraph has the objects by a key that this one resolves.
    fn leads_to(
        &self,
        other: SubgraphIndex,
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
        ways: usize,
    ) -> bool {
        if ways == WAYS_MAX {
            return false;
        }
        let views = self.supergraph.entity_views(view).iter();
        let mut keys = views
            .filter_map(|view| self.supergraph.view(other, *view))
            .flat_map(|there| &there.keys);
        let is_here = |selection: &'a Selection| match selection {
            Selection::Field(field) => {
                field.is_typename()
                    || self.remaining_of_field(field, subgraph, view, provided, ways + 1)
                        == Some(Cost::ZERO)
            }
            Selection::On(_) => true,
        };
        keys.any(|key| key.iter().all(is_here))
    }
}

/// The fewest requests, about, that bring all parts: first for those that only one subgraph has.
fn requests_for(mut left: Vec<Vec<SubgraphIndex>>) -> Cost {
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
    Cost::requests(asked.len().max(usize::from(has_unknown)))
}
