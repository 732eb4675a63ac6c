//! Which subgraph each field of a place comes from.

use std::time::Instant;

use super::{
    NoPlan, Planner, Purpose,
    places::{PlaceId, Provided},
    reach::{Route, Table},
    selection::{Field, Selection},
};
use crate::graph::{SubgraphIndex, types::TypeId};

/// Where a selection of a place comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A subgraph that resolves it.
    From(SubgraphIndex),
    /// Each implementation by itself, the subgraph being asked of which type the objects are; none
    /// where some are asked anyway.
    ByObject(Option<SubgraphIndex>),
    /// The place with the same objects and others.
    Wider,
    /// It is no field, or one that every subgraph has.
    Anywhere,
}

/// A subgraph that can be asked for a field.
#[derive(Clone, Copy)]
struct Candidate {
    choice: Choice,
    /// In requests, to have the place's objects there.
    cost: usize,
    /// In requests, for what it leaves to others.
    rest: usize,
}

impl<'a> Planner<'a> {
    /// Distributes a selection over the subgraphs.
    pub fn choose(
        &mut self,
        place: PlaceId,
        set: &'a [Selection],
        purpose: Purpose,
    ) -> Result<Vec<Choice>, NoPlan> {
        if Instant::now() > self.deadline {
            return Err(NoPlan::OutOfTime);
        }
        let mut choices = vec![Choice::Anywhere; set.len()];
        let mut open = Vec::new();
        for (index, selection) in set.iter().enumerate() {
            match selection {
                Selection::Field(field) if !field.is_typename() => {
                    match self.at_hand(place, field) {
                        Some(subgraph) => choices[index] = Choice::From(subgraph),
                        None => open.push((index, field)),
                    }
                }
                _ => {}
            }
        }
        if open.is_empty() {
            return Ok(choices);
        }
        let table = self.reach(place);
        let mut undecided = Vec::new();
        for (index, field) in open {
            let candidates = self.candidates(place, &table, &set[index], field, purpose);
            if candidates.is_empty() {
                let ty = self.graph.name(self.places.get(place).ty);
                return Err(NoPlan::Unreachable(format!("{ty}.{}", field.name)));
            }
            undecided.push((index, candidates));
        }
        let mut asked: Vec<Choice> = choices.clone();
        while !undecided.is_empty() {
            // What has no choice, and what costs nothing more than is asked anyway.
            let single = undecided.iter().position(|(_, all)| all.len() == 1);
            let next = single
                .map(|at| (at, undecided[at].1[0].choice))
                .or_else(|| cheap(&undecided, &asked))
                .unwrap_or_else(|| widest(&undecided));
            let (at, choice) = next;
            let (index, _) = undecided.remove(at);
            choices[index] = choice;
            asked.push(choice);
        }
        Ok(choices)
    }

    /// A subgraph that is asked about the place anyway and resolves the field with all that is below,
    /// or is the only one that could be asked.
    fn at_hand(&self, place: PlaceId, field: &'a Field) -> Option<SubgraphIndex> {
        let here = self.places.get(place);
        here.cursors.iter().find_map(|cursor| {
            let subgraph = cursor.subgraph;
            let join = self.resolve(subgraph, cursor.view, &field.name, &cursor.provided)?;
            let is_enough = join.requires.is_empty()
                && (field.set.is_empty()
                    || join.inner.is_some_and(|inner| {
                        let provided =
                            self.provided_below(&cursor.provided, cursor.view, join, &field.name);
                        self.rest(&field.set, subgraph, inner, &provided) == 0
                    }));
            is_enough.then_some(subgraph)
        })
    }

    fn candidates(
        &mut self,
        place: PlaceId,
        table: &Table<'a>,
        selection: &'a Selection,
        field: &'a Field,
        purpose: Purpose,
    ) -> Vec<Candidate> {
        let mut all = Vec::new();
        for (subgraph, reach) in self.graph.subgraphs().zip(table.iter()) {
            let Some(reach) = reach else { continue };
            let join = self.resolve(subgraph, reach.view, &field.name, &reach.provided);
            let Some(join) = join else { continue };
            let mut cost = reach.cost;
            if !join.requires.is_empty() {
                if self.requiring.contains(&(place, &field.name)) {
                    continue;
                }
                match self.set_cost(place, table, &join.requires, 0) {
                    Some(requires) => cost = cost.max(1) + requires,
                    None => continue,
                }
            }
            let rest = join.inner.map_or(0, |inner| {
                let provided = self.provided_below(&reach.provided, reach.view, join, &field.name);
                self.rest(&field.set, subgraph, inner, &provided)
            });
            all.push(Candidate {
                choice: Choice::From(subgraph),
                cost,
                rest,
            });
        }
        let cheapest = all.iter().map(|it| it.cost + it.rest).min();
        if cheapest.is_none_or(|cost| cost > 0) {
            all.extend(self.other_candidates(place, selection, field, purpose));
        }
        all
    }

    /// The ways to a field that lead over other places with the same objects.
    fn other_candidates(
        &mut self,
        place: PlaceId,
        selection: &'a Selection,
        field: &'a Field,
        purpose: Purpose,
    ) -> Vec<Candidate> {
        let mut all = Vec::new();
        let set = std::slice::from_ref(selection);
        if purpose == Purpose::Representation
            && let Some(wider) = self.places.wider(place)
        {
            let table = self.reach(wider);
            if let Some(cost) = self.set_cost(wider, &table, set, 0) {
                all.push(Candidate {
                    choice: Choice::Wider,
                    cost,
                    rest: 0,
                });
            }
        }
        if !self.graph.is_object(self.places.get(place).ty) {
            let by_object = self.cost_by_object(place, selection, field);
            all.extend(by_object.map(|cost| Candidate {
                choice: Choice::ByObject(None),
                cost,
                rest: 0,
            }));
            if by_object.is_none() {
                all.extend(self.elsewhere_by_object(place, field));
            }
        }
        all
    }

    /// What it costs to ask for a field of each object type that a place can have.
    fn cost_by_object(
        &mut self,
        place: PlaceId,
        selection: &'a Selection,
        field: &'a Field,
    ) -> Option<usize> {
        let mut cost = 0;
        for object in self.objects(place).iter() {
            let narrowed = self.places.narrowed(place, object, &[]);
            let table = self.reach(narrowed);
            let own = self.candidates(narrowed, &table, selection, field, Purpose::Client);
            let own = own.iter().filter(|candidate| match candidate.choice {
                // Another subgraph's objects at this place may be others.
                Choice::From(subgraph) => table[usize::from(subgraph.0)]
                    .as_ref()
                    .is_some_and(|it| it.cost == 0 || !matches!(it.route, Route::FromAbove)),
                _ => true,
            });
            cost = cost.max(own.map(|it| it.cost + it.rest).min()?);
        }
        Some(cost)
    }

    /// The subgraphs that have a place's objects too, and a field in every type of them.
    fn elsewhere_by_object(&mut self, place: PlaceId, field: &'a Field) -> Vec<Candidate> {
        let table = self.reach(place);
        let reaches = self.graph.subgraphs().zip(table.iter());
        let candidates = reaches.filter_map(|(subgraph, reach)| {
            let reach = reach.as_ref()?;
            let rest = self.rest_of_field(field, subgraph, reach.view, &reach.provided)?;
            (reach.cost > 0).then_some(Candidate {
                choice: Choice::ByObject(Some(subgraph)),
                cost: reach.cost,
                rest,
            })
        });
        candidates.collect()
    }

    /// About how many requests more it takes where a subgraph is asked for a selection.
    pub(super) fn rest(
        &self,
        set: &'a [Selection],
        subgraph: SubgraphIndex,
        view: TypeId,
        provided: &Provided<'a>,
    ) -> usize {
        let mut leaves_something = false;
        let mut below = 0;
        for selection in set {
            match selection {
                Selection::Field(field) if field.is_typename() => {
                    let here = self.graph.view(subgraph, view);
                    leaves_something |= here.is_some_and(|view| view.is_interface_object);
                }
                Selection::Field(field) => {
                    match self.rest_of_field(field, subgraph, view, provided) {
                        Some(rest) => below += rest,
                        None => leaves_something = true,
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
                        let is_known = self.graph.view(subgraph, on.ty).is_some();
                        leaves_something |= may_be || !is_known;
                    }
                },
            }
        }
        below + usize::from(leaves_something)
    }

    /// The same for a field; none where the subgraph does not resolve it at once.
    fn rest_of_field(
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
        each.try_fold(0, |most, rest| Some(most.max(rest?)))
    }
}

/// The first field whose cheapest way costs nothing more.
fn cheap(undecided: &[(usize, Vec<Candidate>)], asked: &[Choice]) -> Option<(usize, Choice)> {
    undecided.iter().enumerate().find_map(|(at, (_, all))| {
        let cost = |it: &Candidate| match it.choice {
            Choice::From(_) if asked.contains(&it.choice) => 0,
            _ => it.cost,
        };
        let best = all.iter().min_by_key(|it| (cost(it) + it.rest, cost(it)))?;
        (cost(best) == 0).then_some((at, best.choice))
    })
}

/// The cheapest way that most of the fields could take.
fn widest(undecided: &[(usize, Vec<Candidate>)]) -> (usize, Choice) {
    let mut best: Option<(usize, usize, usize, Choice)> = None;
    for (at, (_, all)) in undecided.iter().enumerate() {
        for candidate in all {
            let takes = undecided
                .iter()
                .filter(|(_, all)| all.iter().any(|it| it.choice == candidate.choice))
                .count();
            let price = candidate.cost + candidate.rest;
            let is_better = best.is_none_or(|(known, most, _, _)| {
                // Requests for each field that would come from there.
                (price * most, usize::MAX - takes) < (known * takes, usize::MAX - most)
            });
            if is_better {
                best = Some((price, takes, at, candidate.choice));
            }
        }
    }
    best.map_or((0, Choice::Anywhere), |(_, _, at, choice)| (at, choice))
}
