//! What it costs, counted in requests, to have a selection of a place's objects.

use super::{
    Planner,
    places::PlaceId,
    reach::{LEVELS_MAX, Reach, Table},
    selection::{Field, Selection},
};
use crate::graph::{SubgraphIndex, types::TypeId};

impl<'a> Planner<'a> {
    /// What it costs to know of which type an object is, where a place is for one type of several.
    pub(super) fn cost_of_type(&self, place: PlaceId) -> usize {
        let Some(wider) = self.places.wider(place) else {
            return 0;
        };
        if self.places.get(wider).ty == self.places.get(place).ty {
            return self.cost_of_type(wider);
        }
        let is_known = self.places.get(wider).cursors.iter().any(|cursor| {
            let view = self.graph.view(cursor.subgraph, cursor.view);
            view.is_some_and(|view| !view.is_interface_object)
        });
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
                let wanted = self.objects(place).intersection(self.graph.objects(on.ty));
                for object in wanted.iter() {
                    let narrowed = self.places.narrowed(place, object, &[]);
                    let own = self.table_below(narrowed, place, table, level);
                    cost = cost.max(self.set_cost(narrowed, &own, &on.set, level + 1)?);
                }
                Some(cost)
            }
            Selection::Field(field) => {
                self.field_cost(place, table, selection, field, level, asked)
            }
        }
    }

    fn table_below(
        &mut self,
        below: PlaceId,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        level: usize,
    ) -> Table<'a> {
        if below == place {
            return table.into();
        }
        self.table(below, Some(&table.into()), level + 1)
    }

    fn field_cost(
        &mut self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        selection: &'a Selection,
        field: &'a Field,
        level: usize,
        asked: &mut Vec<SubgraphIndex>,
    ) -> Option<usize> {
        if field.is_typename() || level > LEVELS_MAX + 2 {
            return Some(0);
        }
        let mut best: Option<(usize, SubgraphIndex)> = None;
        for (subgraph, reach) in self.graph.subgraphs().zip(table) {
            let Some(reach) = reach else { continue };
            let join = self.resolve(subgraph, reach.view, &field.name, &reach.provided);
            let Some(join) = join else { continue };
            let mut cost = if asked.contains(&subgraph) {
                0
            } else {
                reach.cost
            };
            if !join.requires.is_empty() {
                match self.set_cost(place, table, &join.requires, level + 1) {
                    Some(requires) => cost = cost.max(1) + requires,
                    None => continue,
                }
            }
            if best.is_none_or(|(known, _)| cost < known) {
                best = Some((cost, subgraph));
            }
        }
        if let Some((_, subgraph)) = best {
            if !field.set.is_empty() {
                let inner = self
                    .graph
                    .field(self.places.get(place).ty, &field.name)?
                    .inner?;
                let below = self.places.below(place, field, inner);
                let own = self.table_below(below, place, table, level);
                return self.set_cost(below, &own, &field.set, level + 1);
            }
            asked.push(subgraph);
        }
        let mut best = best.map(|(cost, _)| cost);
        if best != Some(0)
            && let Some(wider) = self.places.wider(place)
            && !self.settling.contains(&wider)
        {
            let above = self.reach(wider);
            let cost = self.selection_cost(wider, &above, selection, level + 1, &mut Vec::new());
            best = [best, cost].into_iter().flatten().min();
        }
        let ty = self.places.get(place).ty;
        if best.is_none() && !self.graph.is_object(ty) {
            let mut all = 0;
            for object in self.objects(place).iter() {
                let narrowed = self.places.narrowed(place, object, &[]);
                let own = self.table_below(narrowed, place, table, level);
                // Of itself alone: to ask the place above again would not end.
                let cost = self.direct_cost(&own, object, field)?;
                all = all.max(cost);
            }
            best = Some(all);
        }
        best
    }

    /// What a leaf of an object type costs by its own subgraphs.
    fn direct_cost(
        &self,
        table: &[Option<Reach<'a>>],
        object: TypeId,
        field: &Field,
    ) -> Option<usize> {
        let joins = self.graph.field(object, &field.name)?.joins.iter();
        let costs = joins.filter_map(|join| {
            let reach = table[usize::from(join.subgraph.0)].as_ref()?;
            self.resolve(join.subgraph, reach.view, &field.name, &reach.provided)?;
            Some(reach.cost)
        });
        costs.min()
    }
}
