//! At what cost, counted in requests, each subgraph can be asked about the objects of a place.
//!
//! A subgraph has a place's objects if a request to it leads there: by a field of the place above, by
//! the root type, or by a key whose fields other subgraphs have. Each of them costs what it is built
//! on, so that the costs of a place settle as shortest paths do (Bellman and Ford): from the
//! requests that are there already, by one key after the other, until nothing gets cheaper.

use std::rc::Rc;

use apollo_compiler::executable::OperationType;

use super::{
    Planner,
    places::{PlaceId, Provided, ROOT, Step},
    selection::Selection,
    supergraph::Join,
};
use crate::{
    SubgraphIndex,
    types::{TypeId, TypeSet},
};

/// Keys and requirements inside others beyond this many levels are not looked into.
pub(super) const LEVELS_MAX: usize = 3;

/// How a subgraph can be asked about a place's objects.
#[derive(Clone)]
pub struct Reach<'a> {
    /// In requests more than there are.
    pub cost: usize,
    /// By what.
    pub route: Route<'a>,
    /// As which type the subgraph has them.
    pub view: TypeId,
    /// What is provided of them there.
    pub provided: Provided<'a>,
}

/// The last part of the way to a place.
#[derive(Clone, Copy)]
pub enum Route<'a> {
    /// A request is there: this one of the place's cursors.
    Open(usize),
    /// From the place above.
    FromAbove,
    /// A new request at the root type.
    Root,
    /// A new request for entities by this key.
    Key(&'a [Selection]),
}

/// By subgraph.
pub type Table<'a> = Rc<[Option<Reach<'a>>]>;

/// How a subgraph has a place's objects by resolving the field that leads there once more, if so.
fn anew<'t, 'a>(table: &'t [Option<Reach<'a>>], subgraph: SubgraphIndex) -> Option<&'t Reach<'a>> {
    let reach = table[usize::from(subgraph.0)].as_ref()?;
    (reach.cost > 0 && matches!(reach.route, Route::FromAbove)).then_some(reach)
}

impl<'a> Planner<'a> {
    /// The field of a subgraph's type, if the subgraph resolves it for all objects that can be there.
    pub fn resolve(
        &self,
        subgraph: SubgraphIndex,
        view: TypeId,
        name: &str,
        provided: &Provided<'a>,
    ) -> Option<&'a Join> {
        let join = self.resolve_in(subgraph, view, name, provided)?;
        let here = self.graph.view(subgraph, view)?;
        if !self.graph.is_object(view) && !here.is_interface_object {
            let mut objects = here.objects.iter();
            let is_plain = objects.all(|object| {
                let join = self.resolve_in(subgraph, object, name, provided);
                join.is_some_and(|join| join.requires.is_empty())
            });
            if !is_plain {
                return None;
            }
        }
        Some(join)
    }

    fn resolve_in(
        &self,
        subgraph: SubgraphIndex,
        view: TypeId,
        name: &str,
        provided: &Provided<'a>,
    ) -> Option<&'a Join> {
        let join = self.graph.join(subgraph, view, name)?;
        let is_there = !join.is_external || !self.provided_of(provided, view, name).is_empty();
        (is_there && join.is_available(self.rollout_place)).then_some(join)
    }

    /// What `provided` has below a field; nothing where it does not have the field.
    fn provided_of(
        &self,
        provided: &[&'a [Selection]],
        ty: TypeId,
        name: &str,
    ) -> Vec<&'a [Selection]> {
        let mut found = Vec::new();
        for selection in provided.iter().copied().flatten() {
            match selection {
                Selection::Field(field) if field.name == name => found.push(&*field.set),
                Selection::Field(_) => {}
                Selection::On(on) if self.types.satisfies(ty, on.ty) => {
                    found.extend(self.provided_of(&[&on.set], ty, name));
                }
                Selection::On(_) => {}
            }
        }
        found
    }

    /// What is provided of the objects that a field holds.
    pub fn provided_below(
        &self,
        provided: &[&'a [Selection]],
        view: TypeId,
        join: &'a Join,
        name: &str,
    ) -> Provided<'a> {
        let mut below = self.provided_of(provided, view, name);
        below.retain(|set| !set.is_empty());
        if !join.provides.is_empty() {
            below.push(&join.provides);
        }
        below.into()
    }

    /// As which type a subgraph has those objects of its `view` that are of type `ty`.
    pub fn narrow_view(&self, subgraph: SubgraphIndex, view: TypeId, ty: TypeId) -> Option<TypeId> {
        if view == ty {
            return Some(view);
        }
        let here = self.graph.view(subgraph, view)?;
        if here.is_interface_object {
            return None;
        }
        if self.graph.is_object(view) {
            return self.types.satisfies(view, ty).then_some(view);
        }
        let narrow = self.graph.view(subgraph, ty)?;
        let common = narrow.objects.intersection(&here.objects);
        (!narrow.is_interface_object && !common.is_empty()).then_some(ty)
    }

    /// The object types that the objects of a place can have.
    pub fn objects(&self, place: PlaceId) -> TypeSet {
        let here = self.places.get(place);
        let all = self.graph.objects(here.ty);
        if self.graph.is_object(here.ty) {
            return all.clone();
        }
        let mut seen = TypeSet::default();
        for cursor in &here.cursors {
            match self.graph.view(cursor.subgraph, cursor.view) {
                Some(view) if !view.is_interface_object => seen.extend(&view.objects),
                _ => {}
            }
        }
        if !seen.is_empty() {
            return all.intersection(&seen);
        }
        match self.places.wider(place) {
            Some(wider) => all.intersection(&self.objects(wider)),
            None => all.clone(),
        }
    }

    /// The same where no request has come by yet: as far as those tell who can bring the objects.
    pub(super) fn objects_by(&self, place: PlaceId, table: &[Option<Reach<'a>>]) -> TypeSet {
        let known = self.objects(place);
        if !self.places.get(place).cursors.is_empty() {
            return known;
        }
        let mut seen = TypeSet::default();
        for (subgraph, reach) in self.graph.subgraphs().zip(table) {
            let Some(reach) = reach else { continue };
            match self.graph.view(subgraph, reach.view) {
                _ if !matches!(reach.route, Route::FromAbove) => {}
                Some(view) if !view.is_interface_object => seen.extend(&view.objects),
                _ => return known,
            }
        }
        match seen.is_empty() {
            true => known,
            false => known.intersection(&seen),
        }
    }

    /// Whether the objects that a subgraph has at a place by `table` may be others than those that the
    /// place has: it resolves the field that leads there once more.
    pub fn brings_others(
        &self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        if anew(table, subgraph).is_none() {
            return false;
        }
        match self.places.wider(place) {
            None => true,
            Some(wider) => self
                .tables
                .get(&wider)
                .is_none_or(|(_, table)| self.brings_others(wider, table, subgraph)),
        }
    }

    /// Whether a subgraph would come to a place from above, by the key of an object there.
    fn by_key_above(
        &self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        let is_from_above = |table: &[Option<Reach<'a>>]| {
            let reach = table[usize::from(subgraph.0)].as_ref()?;
            match reach.route {
                Route::FromAbove if reach.cost > 0 => Some(true),
                Route::Key(_) => Some(false),
                _ => None,
            }
        };
        if is_from_above(table) != Some(true) {
            return false;
        }
        // Conditions on the way lead to the same objects.
        let mut is_above = false;
        let mut next = self.places.get(place).parent;
        while let Some((above, step)) = next {
            is_above |= matches!(step, Step::Field(_));
            let table = self.tables.get(&above);
            match table.and_then(|(_, table)| is_from_above(table)) {
                Some(false) => return is_above,
                Some(true) => next = self.places.get(above).parent,
                None => return false,
            }
        }
        false
    }

    /// Whether a subgraph that would resolve the field to a place once more does not know all types that
    /// the place's objects can be of: then it cannot have the same objects, nor as many.
    fn may_lack_objects(
        &self,
        place: PlaceId,
        table: &[Option<Reach<'a>>],
        subgraph: SubgraphIndex,
    ) -> bool {
        let Some(reach) = anew(table, subgraph) else {
            return false;
        };
        if let Some(wider) = self.places.wider(place) {
            let table = self.tables.get(&wider);
            return table.is_some_and(|(_, table)| self.may_lack_objects(wider, table, subgraph));
        }
        let objects = self.objects(place);
        let view = self.graph.view(subgraph, reach.view);
        view.is_some_and(|view| {
            !view.is_interface_object && objects.intersection(&view.objects) != objects
        })
    }

    /// At what cost each subgraph can be asked about a place.
    pub fn reach(&mut self, place: PlaceId) -> Table<'a> {
        if let Some((version, table)) = self.tables.get(&place)
            && *version == self.version
        {
            return Rc::clone(table);
        }
        let parent = self.places.get(place).parent;
        let above = parent.map(|(parent, _)| self.reach(parent));
        self.settling.push(place);
        let base = self.base_table(place, above.as_deref());
        let table = self.settled(place, base, 0);
        self.settling.pop();
        let version = self.version;
        self.tables.insert(place, (version, Rc::clone(&table)));
        table
    }

    /// The ways to a place that need no key there.
    pub(super) fn base_table(
        &self,
        place: PlaceId,
        above: Option<&[Option<Reach<'a>>]>,
    ) -> Vec<Option<Reach<'a>>> {
        let subgraphs = self.graph.subgraphs();
        subgraphs
            .map(|subgraph| self.without_key(place, above, subgraph))
            .collect()
    }

    /// Adds the ways by keys, as far as that makes any cheaper.
    pub(super) fn settled(
        &mut self,
        place: PlaceId,
        mut table: Vec<Option<Reach<'a>>>,
        level: usize,
    ) -> Table<'a> {
        let ty = self.places.get(place).ty;
        let mut is_settled = level == LEVELS_MAX || place == ROOT;
        while !is_settled && !self.is_late() {
            is_settled = true;
            for subgraph in self.graph.subgraphs() {
                let known = table[usize::from(subgraph.0)].as_ref();
                let mut known = known.map_or(usize::MAX, |reach| reach.cost);
                if self.may_lack_objects(place, &table, subgraph)
                    || self.by_key_above(place, &table, subgraph)
                {
                    // At the same cost rather by what the objects are than by where they stand.
                    known += 1;
                }
                if known <= 1 {
                    continue;
                }
                let found = self.by_key(place, ty, subgraph, &table, known, level);
                if found.is_some() {
                    table[usize::from(subgraph.0)] = found;
                    is_settled = false;
                }
            }
        }
        table.into()
    }

    /// The way to a place that needs no key there.
    fn without_key(
        &self,
        place: PlaceId,
        above: Option<&[Option<Reach<'a>>]>,
        subgraph: SubgraphIndex,
    ) -> Option<Reach<'a>> {
        let here = self.places.get(place);
        let mut cursors = here.cursors.iter().enumerate();
        if let Some((index, cursor)) = cursors.find(|(_, it)| it.subgraph == subgraph) {
            return Some(Reach {
                cost: 0,
                route: Route::Open(index),
                view: cursor.view,
                provided: Rc::clone(&cursor.provided),
            });
        }
        let is_query = self.graph.root(OperationType::Query) == Some(here.ty);
        let at_root = || {
            let is_there = is_query && self.graph.view(subgraph, here.ty).is_some();
            is_there.then(|| Reach {
                cost: 1,
                route: Route::Root,
                view: here.ty,
                provided: [].into(),
            })
        };
        let Some((parent, step)) = here.parent else {
            return at_root();
        };
        let from_above = above.and_then(|above| {
            let above = above[usize::from(subgraph.0)].as_ref()?;
            let (view, provided) = match step {
                Step::On(_) => {
                    let view = self.narrow_view(subgraph, above.view, here.ty)?;
                    (view, Rc::clone(&above.provided))
                }
                Step::Field(field) => {
                    // What changes something, or brings events, is not asked twice.
                    if parent == ROOT && self.kind != OperationType::Query {
                        return None;
                    }
                    let join = self.resolve(subgraph, above.view, &field.name, &above.provided)?;
                    if !join.requires.is_empty() {
                        return None;
                    }
                    let provided =
                        self.provided_below(&above.provided, above.view, join, &field.name);
                    (join.inner?, provided)
                }
            };
            Some(Reach {
                cost: above.cost,
                route: Route::FromAbove,
                view,
                provided,
            })
        });
        match (from_above, at_root()) {
            (Some(one), Some(other)) if other.cost < one.cost => Some(other),
            (one, other) => one.or(other),
        }
    }

    /// The cheapest way by a key, if it costs less than `known`.
    fn by_key(
        &mut self,
        place: PlaceId,
        ty: TypeId,
        subgraph: SubgraphIndex,
        table: &[Option<Reach<'a>>],
        known: usize,
        level: usize,
    ) -> Option<Reach<'a>> {
        let graph = self.graph;
        let mut best: Option<Reach<'a>> = None;
        for view in graph.entity_views(ty) {
            let Some(here) = graph.view(subgraph, *view) else {
                continue;
            };
            // An interface's keys find its implementations where the subgraph knows them.
            if view != graph.entity_views(ty).first()? && !here.is_interface_object {
                continue;
            }
            for key in &here.keys {
                let Some(cost) = self.set_cost(place, table, key, level + 1) else {
                    continue;
                };
                let cost = cost + 1 + self.cost_of_type(place);
                if cost < best.as_ref().map_or(known, |best| best.cost) {
                    best = Some(Reach {
                        cost,
                        route: Route::Key(key),
                        view: *view,
                        provided: [].into(),
                    });
                }
            }
        }
        best
    }
}
