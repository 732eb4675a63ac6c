//! Which subgraph each field of a path comes from.

use rustc_hash::FxHashMap;

use super::{Cost, Purpose, Reaching, Requiring, Route, RouteFinder, RouteStep, Search};
use crate::{
    PlanError, SubgraphIndex,
    plan::{PathId, Provided},
    selection::{Field, Selection},
};

/// Where a selection of a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// A subgraph that resolves it.
    From(SubgraphIndex),
    /// Each implementation by itself, the subgraph being asked of which type the objects are; none
    /// where some are asked anyway.
    ByObject(Option<SubgraphIndex>),
    /// The path with the same objects and others.
    Wider,
    /// It is no field, or one that every subgraph has.
    Anywhere,
}

/// A subgraph that can be asked for a field.
#[derive(Clone, Copy)]
struct Candidate {
    choice: Choice,
    /// To have the path's objects there.
    cost: Cost,
    /// For what it leaves to others.
    remaining: Cost,
}

impl Candidate {
    fn total(&self) -> Cost {
        self.cost + self.remaining
    }
}

/// What a selection is planned for, and which requirements and keys led to it.
#[derive(Clone, Copy)]
pub struct Wanted<'s, 'a> {
    pub purpose: Purpose,
    pub requiring: Option<&'s Requiring<'s, 'a>>,
    pub reaching: Option<&'s Reaching<'s>>,
}

/// A request more is better than the same selection for so many types more.
const OBJECTS_PER_REQUEST: usize = 8;

impl<'a> RouteFinder<'_, 'a> {
    /// Distributes a selection over the subgraphs: a choice for each part.
    ///
    /// # Errors
    /// When a part cannot be had.
    pub fn choose(
        &self,
        path: PathId,
        set: &'a [Selection],
        wanted: Wanted<'_, 'a>,
    ) -> Result<Vec<Choice>, PlanError> {
        self.check(|| self.supergraph.name(self.paths.ty(path)).to_string())?;
        let mut choices = vec![Choice::Anywhere; set.len()];
        let mut open = Vec::new();
        for (index, selection) in set.iter().enumerate() {
            match selection {
                Selection::Field(field) if !field.is_typename() => {
                    let at_hand = match self.is_set_by_some(path, field) {
                        true => None,
                        false => self.at_hand(path, field),
                    };
                    match at_hand {
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
        let routes = self.routes(path);
        let mut undecided = Vec::new();
        for (index, field) in open {
            let candidates = self.candidates(path, &routes, &set[index], field, wanted);
            let place = || {
                let ty = self.supergraph.name(self.paths.ty(path));
                format!("{ty}.{}", field.name)
            };
            // What a search that had to stop has found may not be the best, nor all.
            self.check(place)?;
            if candidates.is_empty() {
                return Err(PlanError::Unreachable(place()));
            }
            undecided.push((index, candidates));
        }
        let mut asked: Vec<Choice> = Vec::new();
        let add = |asked: &mut Vec<Choice>, choice: Choice| {
            if !asked.contains(&choice) {
                asked.push(choice);
            }
        };
        choices.iter().for_each(|choice| add(&mut asked, *choice));
        while !undecided.is_empty() {
            self.memo.step(undecided.len());
            self.check(|| self.supergraph.name(self.paths.ty(path)).to_string())?;
            // What has no choice, and what costs nothing more than is asked anyway.
            let single = undecided.iter().position(|(_, all)| all.len() == 1);
            let next = single
                .map(|at| (at, undecided[at].1[0].choice))
                .or_else(|| cheap(&undecided, &asked))
                .unwrap_or_else(|| widest(&undecided));
            let (at, choice) = next;
            let (index, _) = undecided.remove(at);
            choices[index] = choice;
            add(&mut asked, choice);
        }
        Ok(choices)
    }

    /// A subgraph that has a fetch at the path and resolves the field with all that is below.
    fn at_hand(&self, path: PathId, field: &'a Field) -> Option<SubgraphIndex> {
        self.paths.fetches(path).iter().find_map(|fetch| {
            let subgraph = fetch.subgraph;
            let join = self.resolve(subgraph, fetch.view, &field.name, &fetch.provided)?;
            let is_enough = join.is_plain()
                && (field.set.is_empty()
                    || join.inner.is_some_and(|inner| {
                        let provided =
                            self.provided_below(&fetch.provided, fetch.view, join, &field.name);
                        self.remaining(&field.set, subgraph, inner, &provided) == Cost::ZERO
                    }));
            is_enough.then_some(subgraph)
        })
    }

    fn candidates(
        &self,
        path: PathId,
        routes: &[Option<Route<'a>>],
        selection: &'a Selection,
        field: &'a Field,
        wanted: Wanted<'_, 'a>,
    ) -> Vec<Candidate> {
        if self.is_set_by_some(path, field) {
            return self.ways_by_object(path, selection, field, wanted);
        }
        self.memo.step(routes.len());
        let mut all = Vec::new();
        for (subgraph, route) in self.supergraph.subgraphs().zip(routes.iter()) {
            let Some(route) = route else { continue };
            let join = self.resolve(subgraph, route.view, &field.name, &route.provided);
            let Some(join) = join else { continue };
            if self.leads_to_itself(path, subgraph, route, wanted) {
                continue;
            }
            let mut cost = route.cost;
            if !join.is_plain() {
                let mut requiring = wanted.requiring.iter();
                if requiring.any(|it| it.includes(path, &field.name)) {
                    continue;
                }
                let search = Search::default();
                match self.needs_cost(path, routes, join, 0, search) {
                    Some(requires) => cost = cost.max(Cost::ONE) + requires,
                    None => continue,
                }
            }
            all.push(Candidate {
                choice: Choice::From(subgraph),
                cost,
                remaining: self.remaining_below(field, subgraph, route.view, &route.provided, join),
            });
        }
        let cheapest = all.iter().map(Candidate::total).min();
        if cheapest.is_none_or(|cost| cost > Cost::ZERO) {
            all.extend(self.other_candidates(path, selection, field, wanted));
        }
        all
    }

    /// Whether a route needs a key that is being planned for it.
    fn leads_to_itself(
        &self,
        path: PathId,
        subgraph: SubgraphIndex,
        route: &Route<'a>,
        wanted: Wanted<'_, 'a>,
    ) -> bool {
        let Some(reaching) = wanted.reaching else {
            return false;
        };
        let (mut path, mut by) = (path, route.by);
        loop {
            match (by, self.paths.parent(path)) {
                (RouteStep::Key(_), _) => return reaching.includes(path, subgraph),
                (RouteStep::FromAbove, Some((above, _))) => {
                    let routes = self.routes(above);
                    let Some(route) = &routes[usize::from(subgraph.0)] else {
                        return false;
                    };
                    (path, by) = (above, route.by);
                }
                _ => return false,
            }
        }
    }

    /// The ways to a field that lead over other paths with the same objects.
    fn other_candidates(
        &self,
        path: PathId,
        selection: &'a Selection,
        field: &'a Field,
        wanted: Wanted<'_, 'a>,
    ) -> Vec<Candidate> {
        let mut all = Vec::new();
        if wanted.purpose == Purpose::Representation
            && let Some(wider) = self.paths.wider(path)
            && self.means_the_same(wider, path, selection)
        {
            let routes = self.routes(wider);
            let there = self.candidates(wider, &routes, selection, field, wanted);
            let best = there.iter().min_by_key(|it| it.total());
            all.extend(best.map(|best| Candidate {
                choice: Choice::Wider,
                ..*best
            }));
        }
        all.extend(self.ways_by_object(path, selection, field, wanted));
        all
    }

    /// The ways that ask each object type by itself.
    fn ways_by_object(
        &self,
        path: PathId,
        selection: &'a Selection,
        field: &'a Field,
        wanted: Wanted<'_, 'a>,
    ) -> Vec<Candidate> {
        let routes = self.routes(path);
        let for_client = Wanted {
            purpose: Purpose::Client,
            ..wanted
        };
        let ways = self.ways_by_objects(path, &routes, |narrowed, without_keys| {
            let routes = self.settled(narrowed, without_keys, 0, Search::default());
            let own = self.candidates(narrowed, &routes, selection, field, for_client);
            own.iter().map(Candidate::total).min()
        });
        let burden = match field.set.is_empty() {
            true => Cost::ZERO,
            false => repetitions(self.objects(path).iter().count()),
        };
        let ways = ways.into_iter().filter(|(subgraph, _)| {
            let route = subgraph.and_then(|it| Some((it, routes[usize::from(it.0)].as_ref()?)));
            route.is_none_or(|(subgraph, route)| {
                !self.leads_to_itself(path, subgraph, route, wanted)
            })
        });
        let ways = ways.map(|(subgraph, cost)| Candidate {
            choice: Choice::ByObject(subgraph),
            cost,
            remaining: burden,
        });
        ways.collect()
    }

    /// The subgraph of a root field of a mutation or subscription: if possible, that of the last one.
    ///
    /// # Errors
    /// When no subgraph has it.
    pub fn root_subgraph(
        &self,
        path: PathId,
        field: &'a Field,
        last: Option<SubgraphIndex>,
    ) -> Result<SubgraphIndex, PlanError> {
        let ty = self.paths.ty(path);
        let none = Provided::default();
        let candidates = self.supergraph.subgraphs().filter_map(|subgraph| {
            let join = self.resolve(subgraph, ty, &field.name, &none)?;
            let remaining = self.remaining_below(field, subgraph, ty, &none, join);
            Some((remaining, Some(subgraph) != last, subgraph))
        });
        let best = candidates.min_by_key(|(remaining, is_other, _)| (*remaining, *is_other));
        best.map(|(_, _, subgraph)| subgraph).ok_or_else(|| {
            PlanError::Unreachable(format!("{}.{}", self.supergraph.name(ty), field.name))
        })
    }
}

/// What it is worth to select a field with others below once, and not for each of so many types.
pub(super) fn repetitions(objects: usize) -> Cost {
    Cost::requests(objects / OBJECTS_PER_REQUEST)
}

/// The first field whose cheapest way costs nothing more.
fn cheap(undecided: &[(usize, Vec<Candidate>)], asked: &[Choice]) -> Option<(usize, Choice)> {
    undecided.iter().enumerate().find_map(|(at, (_, all))| {
        let cost = |it: &Candidate| match it.choice {
            Choice::From(_) if asked.contains(&it.choice) => Cost::ZERO,
            _ => it.cost,
        };
        let best = all
            .iter()
            .min_by_key(|it| (cost(it) + it.remaining, cost(it)))?;
        (cost(best) == Cost::ZERO).then_some((at, best.choice))
    })
}

/// The cheapest way that most of the fields could take.
fn widest(undecided: &[(usize, Vec<Candidate>)]) -> (usize, Choice) {
    let mut fields: FxHashMap<Choice, usize> = FxHashMap::default();
    for (_, all) in undecided {
        for (index, candidate) in all.iter().enumerate() {
            let mut before = all[..index].iter();
            if !before.any(|it| it.choice == candidate.choice) {
                *fields.entry(candidate.choice).or_default() += 1;
            }
        }
    }
    let mut best: Option<(Cost, usize, usize, Choice)> = None;
    for (at, (_, all)) in undecided.iter().enumerate() {
        for candidate in all {
            let takes = fields.get(&candidate.choice).copied().unwrap_or_default();
            let cost = candidate.total();
            let is_better = best.is_none_or(|(known, most, _, _)| {
                // By requests for each field that would come from there.
                let order = cost.compare_per_part(takes, known, most);
                order.then(most.cmp(&takes)).is_lt()
            });
            if is_better {
                best = Some((cost, takes, at, candidate.choice));
            }
        }
    }
    best.map_or((0, Choice::Anywhere), |(_, _, at, choice)| (at, choice))
}
