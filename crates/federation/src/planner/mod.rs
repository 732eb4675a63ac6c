//! The query planner: which subgraphs are asked for what, so that an operation is answered in full.
//!
//! ## Terms
//! A *place* is where the response has objects of one type: a path with type conditions. Who sees
//! the objects of a place is told by its *cursors*: a request that comes by there, and the selection
//! in which it asks of them. A subgraph *resolves* a field of a place if it has the field there itself,
//! and not only as `@external`.
//!
//! ## How it goes
//! The operation is walked from its root. At each place the fields are distributed over the subgraphs
//! that resolve them ([`choose`]): those that are asked anyway come first, then those that take most
//! and leave least to others ([`rest`]).
//! A subgraph without a cursor at the place gets one ([`Planner::open`]) in the cheapest way there
//! is ([`reach`], [`cost`]): by a field of the place above, by a request of its own at the root type, or
//! by an entity's key. What a key or `@requires` needs is asked for by the same rules as what the
//! client wants. So a plan exists wherever the subgraphs can answer at all.
//!
//! Fields of interfaces and unions are asked of the interface where the subgraph resolves them for
//! all implementations, and else of each implementation. Of an `@interfaceObject` nobody knows the
//! type: a subgraph with the real interface is asked first.
//!
//! The result is a set of requests, each with those that it comes after.

mod choose;
mod cost;
pub mod fetches;
mod need;
mod open;
pub mod places;
mod reach;
mod rest;

use std::{cell::RefCell, collections::HashMap, time::Instant};

use apollo_compiler::executable::OperationType;

use crate::{
    Operation, SubgraphIndex, Supergraph, selection, supergraph,
    types::{TypeId, TypeTable},
};
use fetches::{Fetches, From, SetId};
use places::{PlaceId, Places, ROOT, Step};
use reach::Table;
use selection::{Field, Selection};

pub use crate::PlanError;

/// The requests that answer an operation, and the places that they lead to.
pub struct Plan<'a> {
    /// The requests.
    pub fetches: Fetches<'a>,
    /// The places.
    pub places: Places<'a>,
}

/// How an operation is planned.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Where the requests of the operation stand in progressive overrides, in
    /// [`crate::PARTS_PER_PERCENT`]: an override holds below its percentage.
    pub override_position: u64,
    /// Until when there has to be a plan.
    pub deadline: Option<Instant>,
}

impl Default for PlanOptions {
    /// No progressive override holds, and there is no deadline.
    fn default() -> Self {
        Self {
            override_position: u64::MAX,
            deadline: None,
        }
    }
}

/// Plans an operation.
///
/// # Errors
/// When there is no plan, or none in time.
pub fn plan<'a>(
    supergraph: &'a Supergraph,
    operation: &'a Operation,
    options: PlanOptions,
) -> Result<Plan<'a>, PlanError> {
    let kind = operation.kind;
    let root = supergraph
        .root(kind)
        .ok_or_else(|| PlanError::Unreachable("the operation".into()))?;
    let mut planner = Planner {
        graph: supergraph,
        types: supergraph.types(),
        kind,
        rollout_place: options.override_position,
        deadline: options.deadline,
        typename: supergraph.typename(),
        fetches: Fetches::default(),
        places: Places::new(root),
        tables: HashMap::new(),
        settling: Vec::new(),
        without_wider: 0,
        rests: RefCell::default(),
        requirement_costs: HashMap::new(),
        version: 0,
        turn: 0,
        depth: 0,
        requiring: Vec::new(),
    };
    let set = &operation.selections;
    match kind {
        OperationType::Query => {
            planner.need(ROOT, set, Purpose::Client)?;
        }
        OperationType::Mutation | OperationType::Subscription => planner.in_order(set)?,
    }
    for place in planner.places.from_below() {
        if let Some((_, Step::Field(_))) = place.parent {
            // What a request begins with is of objects that others have brought.
            let brought = place.cursors.iter().filter(|cursor| {
                let fetch = planner.fetches.get(cursor.fetch);
                fetch.set != cursor.set
            });
            let sets: Vec<SetId> = brought.map(|cursor| cursor.set).collect();
            planner.fetches.spare(&sets);
        }
    }
    Ok(Plan {
        fetches: planner.fetches,
        places: planner.places,
    })
}

/// Who wants a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The client, for the objects of the place.
    Client,
    /// A request, for representations: it does no harm to ask more objects for it.
    Representation,
}

/// A selection, a subgraph, its type, and what is provided; selections by their addresses.
type RestKey = (usize, SubgraphIndex, TypeId, Vec<usize>);

/// A plan in the making.
struct Planner<'a> {
    graph: &'a Supergraph,
    types: &'a TypeTable,
    kind: OperationType,
    rollout_place: u64,
    deadline: Option<Instant>,
    /// `__typename`, as requests add it.
    typename: &'a Field,
    fetches: Fetches<'a>,
    places: Places<'a>,
    /// What was found out about places, at which version.
    tables: HashMap<PlaceId, (usize, Table<'a>)>,
    /// The places that are being found out about.
    settling: Vec<PlaceId>,
    /// Above 0, costs are looked for without the places with more objects, which led here.
    without_wider: usize,
    /// What selections leave to other subgraphs.
    rests: RefCell<HashMap<RestKey, usize>>,
    /// What requirements cost, by their addresses and levels, at which version.
    requirement_costs: HashMap<(PlaceId, usize, usize), (usize, Option<usize>)>,
    /// Changes with every cursor.
    version: usize,
    /// The number of the mutation's request that is being planned for.
    turn: usize,
    /// How many needs led to the present one.
    depth: usize,
    /// The fields whose requirements are being planned, where.
    requiring: Vec<(PlaceId, &'a str)>,
}

impl<'a> Planner<'a> {
    /// Whether there is no time left; then costs are not found out any more.
    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Plans the root fields of a mutation one after the other. What comes from one subgraph without
    /// another's in between is one request.
    fn in_order(&mut self, set: &'a [Selection]) -> Result<(), PlanError> {
        for selection in set {
            let field = match selection {
                Selection::Field(field) => field,
                Selection::On(on) => {
                    self.in_order(&on.set)?;
                    continue;
                }
            };
            let root = self.places.get(ROOT);
            let (ty, last) = (root.ty, root.cursors.first().map(|cursor| cursor.subgraph));
            let subgraph = self.root_subgraph(ty, field, last)?;
            if last != Some(subgraph) {
                self.places.get_mut(ROOT).cursors.clear();
                self.turn += 1;
                let fetch = self.add_fetch(subgraph, From::Root, ty);
                self.add_cursor(ROOT, subgraph, ty, fetch, [].into());
            }
            self.need(ROOT, std::slice::from_ref(selection), Purpose::Client)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apollo_compiler::ExecutableDocument;

    use super::{need::DEPTH_MAX, *};

    /// `b` can be found by `id`, which only `a` has; `c` has nothing but a value of its own.
    const SUPERGRAPH: &str = r#"
        enum join__Graph { A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") }
        type Query @join__type(graph: A) @join__type(graph: C) {
          thing: Thing @join__field(graph: A)
          other: Thing @join__field(graph: C) }
        type Thing @join__type(graph: A, key: "id") @join__type(graph: B, key: "id") @join__type(graph: C) {
          id: ID @join__field(graph: A) @join__field(graph: B)
          next: Thing @join__field(graph: A)
          far: Int @join__field(graph: B)
          own: Int @join__field(graph: C) }"#;

    fn planned(query: &str, deadline: Instant) -> Result<usize, PlanError> {
        let supergraph = Supergraph::parse(SUPERGRAPH).expect("a supergraph");
        let document = ExecutableDocument::parse(supergraph.api_schema(), query, "");
        let document = document.expect("a query");
        let operation = document.operations.get(None).expect("one operation");
        let operation = Operation::new(&supergraph, &document, operation);
        let options = PlanOptions {
            deadline: Some(deadline),
            ..PlanOptions::default()
        };
        plan(&supergraph, &operation, options).map(|plan| plan.fetches.iter().count())
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_field_is_reached_by_a_key_or_not_at_all() {
        assert_eq!(
            planned("{ thing { far next { far } } }", in_a_minute()),
            Ok(3)
        );
        assert_eq!(planned("{ other { own } }", in_a_minute()), Ok(1));
        assert_eq!(
            planned("{ other { own far } }", in_a_minute()),
            Err(PlanError::Unreachable("Thing.far".into()))
        );
    }

    #[test]
    fn a_plan_that_takes_too_long_is_given_up() {
        let late = planned("{ thing { far } }", Instant::now());
        assert_eq!(late, Err(PlanError::OutOfTime));
    }

    /// On the stack that an operation is prepared on.
    #[test]
    fn what_is_too_deep_is_refused_before_the_stack_ends() {
        let nested = |depth: usize| {
            let query = format!(
                "{{ thing {}{{ id }}{} }}",
                "{ next ".repeat(depth),
                "}".repeat(depth)
            );
            let planned = move || planned(&query, in_a_minute());
            let thread = std::thread::Builder::new()
                .stack_size(2 << 20)
                .spawn(planned);
            thread.expect("a thread").join().expect("an end")
        };
        assert_eq!(nested(100), Ok(1));
        assert_eq!(nested(DEPTH_MAX), Err(PlanError::TooLarge));
    }
}
