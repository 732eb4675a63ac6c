//! Which subgraph each field of a place comes from.

use super::{
    PlanError, Planner, Purpose,
    places::PlaceId,
    reach::Table,
    selection::{Field, Selection},
};
use crate::SubgraphIndex;

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

/// A request more is better than the same selection for so many types more.
pub(super) const OBJECTS_PER_REQUEST: usize = 8;

impl<'a> Planner<'a> {
    /// Distributes a selection over the subgraphs.
    pub fn choose(
        &mut self,
        place: PlaceId,
        set: &'a [Selection],
        purpose: Purpose,
    ) -> Result<Vec<Choice>, PlanError> {
        if self.is_late() {
            return Err(PlanError::OutOfTime);
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
                if self.is_late() {
                    return Err(PlanError::OutOfTime);
                }
                let ty = self.graph.name(self.places.get(place).ty);
                return Err(PlanError::Unreachable(format!("{ty}.{}", field.name)));
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

    /// A subgraph that is asked about the place anyway and resolves the field with all that is below.
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
                match self.requirement_cost(place, table, &join.requires, 0) {
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
        if purpose == Purpose::Representation
            && let Some(wider) = self.places.wider(place)
            && self.means_the_same(wider, place, selection)
        {
            let table = self.reach(wider);
            let there = self.candidates(wider, &table, selection, field, purpose);
            let best = there.iter().min_by_key(|it| it.cost + it.rest);
            all.extend(best.map(|best| Candidate {
                choice: Choice::Wider,
                ..*best
            }));
        }
        let table = self.reach(place);
        let ways = self.ways_by_objects(place, &table, |planner, narrowed, base| {
            let table = planner.settled(narrowed, base, 0);
            let own = planner.candidates(narrowed, &table, selection, field, Purpose::Client);
            own.iter().map(|it| it.cost + it.rest).min()
        });
        let burden = self.burden(place, field);
        all.extend(ways.into_iter().map(|(subgraph, cost)| Candidate {
            choice: Choice::ByObject(subgraph),
            cost,
            rest: burden,
        }));
        all
    }

    /// What it is worth to ask for a field once and not for each object type of a place: what is below
    /// is written as often.
    fn burden(&self, place: PlaceId, field: &Field) -> usize {
        match field.set.is_empty() {
            true => 0,
            false => self.objects(place).iter().count() / OBJECTS_PER_REQUEST,
        }
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
