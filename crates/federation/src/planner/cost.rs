//! What it costs, counted in requests, to have a selection of a place's objects.

use super::{
    Planner,
    places::PlaceId,
    reach::{LEVELS_MAX, Reach, Route},
    selection::{Field, Selection},
    supergraph::Join,
};
use crate::{SubgraphIndex, types::TypeSet};

/// What is not found out costs more than anything that is.
const UNCERTAIN: usize = 1_000;

impl<'a> Planner<'a> {
    /// What it costs to know of which type an object is, where a place is for one type of several.
    pub(super) fn cost_of_type(&self, place: PlaceId) -> usize {
        let Some(wider) = self.places.wider(place) else {
            return 0;
        };
        if self.places.get(wider).ty == self.places.get(place).ty {
            return self.cost_of_type(wider);
        }
        let mut cursors = self.places.get(wider).cursors.iter();
        let is_known = cursors.any(|it| self.graph.knows_types(it.subgraph, it.view));
        usize::from(!is_known)
    }

    /// What it costs to have a selection of a place's objects, by `table`; none where it cannot be had.
    pub fn set_cost(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        set: &'a [Selection],
        level: usize,
    ) -> Option<usize> {
        if self.is_late() {
            return None;
        }
        let mut asked = Vec::new();
        let mut cost = 0;
        for selection in set {
            cost += self.selection_cost(place, table, selection, level, &mut asked)?;
        }
        Some(cost)
    }

    /// The same for one selection, if the subgraphs in `asked` cost nothing more; it adds to them.
    fn selection_cost(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        selection: &'a Selection,
        level: usize,
        asked: &mut Vec<SubgraphIndex>,
    ) -> Option<usize> {
        match selection {
            Selection::On(on) => {
                let mut cost = 0;
                let known = self.objects_by(place, table);
                let wanted = known.intersection(self.graph.objects(on.ty));
                for object in wanted.iter() {
                    let narrowed = self.places.narrowed(place, object, &[]);
                    let own = self.cost_below(narrowed, place, table, &on.set, level);
                    cost = cost.max(own?);
                }
                Some(cost)
            }
            Selection::Field(field) => self
                .field_cost(place, table, field, level, asked)
                .or_else(|| self.cost_by_objects(place, table, selection, level))
                .or_else(|| self.cost_at_wider(place, selection, level)),
        }
    }

    /// What a selection costs at a place that is the other one or a narrower one.
    fn cost_below(
        &mut self,
        below: PlaceId,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        set: &'a [Selection],
        level: usize,
    ) -> Option<usize> {
        if below == place {
            return self.set_cost(place, table, set, level);
        }
        let base = self.base_table(below, Some(table));
        self.cost_by_base(below, base, set, level)
    }

    /// What a selection costs at a place that is reached like `base`, if need be by keys.
    fn cost_by_base(
        &mut self,
        place: PlaceId,
        base: Vec<Option<Reach<'a>>>,
        set: &'a [Selection],
        level: usize,
    ) -> Option<usize> {
        // Keys are looked into only where there is no other way: they may have keys inside.
        self.set_cost(place, &base, set, level).or_else(|| {
            let settled = self.settled(place, base, level);
            self.set_cost(place, &settled, set, level)
        })
    }

    fn field_cost(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        field: &'a Field,
        level: usize,
        asked: &mut Vec<SubgraphIndex>,
    ) -> Option<usize> {
        if field.is_typename() {
            return Some(0);
        }
        let mut found: Vec<(usize, SubgraphIndex, &'a Join)> = Vec::new();
        for (subgraph, reach) in self.graph.subgraphs().zip(table) {
            let Some(reach) = reach else { continue };
            let join = self.resolve(subgraph, reach.view, &field.name, &reach.provided);
            let Some(join) = join else { continue };
            let mut cost = match asked.contains(&subgraph) {
                true => 0,
                false => reach.cost,
            };
            if !join.requires.is_empty() {
                let requires = match level {
                    LEVELS_MAX => Some(UNCERTAIN),
                    _ => self.requirement_cost(place, table, &join.requires, level + 1),
                };
                match requires {
                    Some(requires) => cost = cost.max(1) + requires,
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
        let ty = self.places.get(place).ty;
        let inner = self.graph.field(ty, &field.name)?.inner?;
        let below = self.places.below(place, field, inner);
        let mut base = self.base_table(below, Some(table));
        for (cost, subgraph, join) in found {
            let known = &mut base[usize::from(subgraph.0)];
            if known.is_none()
                && let (Some(view), Some(reach)) = (join.inner, &table[usize::from(subgraph.0)])
            {
                *known = Some(Reach {
                    cost,
                    route: Route::FromAbove,
                    view,
                    provided: self.provided_below(&reach.provided, reach.view, join, &field.name),
                });
            }
        }
        self.cost_by_base(below, base, &field.set, level)
    }

    /// What a field's requirements cost. They are found out once by what is known of a place: they
    /// may require others, which require others.
    pub(super) fn requirement_cost(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        requires: &'a [Selection],
        level: usize,
    ) -> Option<usize> {
        let is_settled = self.tables.get(&place).is_some_and(|(version, known)| {
            *version == self.version && std::ptr::eq(&**known, table)
        });
        if !is_settled {
            return self.set_cost(place, table, requires, level);
        }
        let key = (place, requires.as_ptr().addr(), level);
        if let Some((version, known)) = self.requirement_costs.get(&key)
            && *version == self.version
        {
            return *known;
        }
        let cost = self.set_cost(place, table, requires, level);
        let known = (self.version, cost);
        self.requirement_costs.insert(key, known);
        cost
    }

    /// What a field costs where each object type has to be asked for it.
    fn cost_by_objects(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        selection: &'a Selection,
        level: usize,
    ) -> Option<usize> {
        let set = std::slice::from_ref(selection);
        self.without_wider += 1;
        let ways = self.ways_by_objects(place, table, |planner, narrowed, base| {
            planner.cost_by_base(narrowed, base, set, level)
        });
        self.without_wider -= 1;
        ways.into_iter().map(|(_, cost)| cost).min()
    }

    /// The ways to have something of each object type of a place, with their costs, where `cost_of` tells
    /// what it costs of one: with the subgraphs that are asked anyway, or with one more, whose objects
    /// then are the place's. The objects of two are mixed only where nobody has it of all types, as they
    /// may be others.
    pub(super) fn ways_by_objects(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        mut cost_of: impl FnMut(&mut Self, PlaceId, Vec<Option<Reach<'a>>>) -> Option<usize>,
    ) -> Vec<(Option<SubgraphIndex>, usize)> {
        let mut ways = Vec::new();
        if self.graph.is_object(self.places.get(place).ty) {
            return ways;
        }
        let own: Vec<_> = self
            .graph
            .subgraphs()
            .zip(table)
            .map(
                |(subgraph, reach)| match self.brings_others(place, table, subgraph) {
                    true => None,
                    false => reach.clone(),
                },
            )
            .collect();
        let others = self.graph.subgraphs().zip(table);
        let others = others.filter(|(subgraph, _)| self.brings_others(place, table, *subgraph));
        let others: Vec<_> = others
            .filter_map(|(subgraph, reach)| Some((Some(subgraph), reach.clone()?)))
            .collect();
        let known = self.objects(place);
        let has_objects = own.iter().any(Option::is_some);
        let mine = has_objects.then(|| (None, own.clone(), 0, self.objects_by(place, &own)));
        let theirs = others.iter().cloned().filter_map(|(subgraph, reach)| {
            let index = usize::from(subgraph?.0);
            let view = self.graph.view(subgraph?, reach.view)?;
            let objects = match self.places.get(place).cursors.is_empty() {
                true => known.intersection(&view.objects),
                false => known.clone(),
            };
            let mut base = vec![None; own.len()];
            let cost = reach.cost;
            base[index] = Some(Reach { cost: 0, ..reach });
            Some((subgraph, base, cost, objects))
        });
        let tried: Vec<_> = mine.into_iter().chain(theirs).collect();
        for (subgraph, above, cost, objects) in tried {
            let most = self.most_of_objects(place, &above, &objects, &mut cost_of);
            ways.extend(most.map(|most| (subgraph, cost + most)));
        }
        if let (true, [(first, _), ..]) = (ways.is_empty(), &*others) {
            // Nobody has it for all types: then those of two have to be the same after all.
            let most = self.most_of_objects(place, table, &known, &mut cost_of);
            ways.extend(most.map(|most| (*first, 1 + most)));
        }
        ways
    }

    /// What it costs at most to have something of one of the object types, if it can be had of each.
    fn most_of_objects(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        objects: &TypeSet,
        cost_of: &mut impl FnMut(&mut Self, PlaceId, Vec<Option<Reach<'a>>>) -> Option<usize>,
    ) -> Option<usize> {
        let mut most = None;
        for object in objects.iter() {
            let narrowed = self.places.narrowed(place, object, &[]);
            let base = self.base_table(narrowed, Some(table));
            let of_one = cost_of(self, narrowed, base)?;
            most = most.max(Some(of_one));
        }
        most
    }

    /// What a field costs where the place with the same objects and others is asked for it.
    fn cost_at_wider(
        &mut self,
        place: PlaceId,
        selection: &'a Selection,
        level: usize,
    ) -> Option<usize> {
        let wider = self.places.wider(place)?;
        if self.without_wider > 0
            || self.settling.contains(&wider)
            || !self.means_the_same(wider, place, selection)
        {
            return None;
        }
        let table = self.reach(wider);
        self.set_cost(wider, &table, std::slice::from_ref(selection), level)
    }

    /// Whether a selection that was written for the objects of a place can be asked of those of a wider
    /// one, whose types may have other fields by the same name.
    pub(super) fn means_the_same(
        &self,
        wider: PlaceId,
        place: PlaceId,
        selection: &Selection,
    ) -> bool {
        let (wide, narrow) = (self.places.get(wider).ty, self.places.get(place).ty);
        let Selection::Field(field) = selection else {
            return wide == narrow;
        };
        wide == narrow
            || (field.set.is_empty()
                && self.objects(wider).iter().all(|object| {
                    let info = self.graph.field(object, &field.name);
                    info.is_some_and(|info| info.inner.is_none())
                }))
    }
}
