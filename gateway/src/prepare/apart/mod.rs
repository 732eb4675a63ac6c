//! A last way to a plan: fields that the planner cannot reach from where they stand are planned
//! apart, as if their entities were already there.
//!
//! The planner gives up where a field's requirements and its subgraph's key both come from a third
//! subgraph, and where only an interface object knows an entity that another subgraph extends. Such
//! fields are cut out of the operation ([`cuts`]). Each cut becomes an operation of its own, planned
//! over a supergraph with one subgraph more, which has every entity by its keys and with all that
//! other fields require ([`view`]). What the plan takes from there is asked for at the cut instead,
//! and the rest of it runs after the plan of what is left of the operation ([`join`]).

mod cuts;
mod join;
mod view;

use std::sync::OnceLock;

use apollo_compiler::{ExecutableDocument, Schema, ast::Document, validation::Valid};
use hive_router_query_planner::planner::plan_nodes::{PlanNode, QueryPlan, SequenceNode};

use super::{
    narrow,
    planner::{Deadline, Planned, Planner},
};
use crate::graph::types::TypeTable;
use cuts::Cut;

/// Cuts inside of cuts beyond this many levels are not planned.
const LEVELS_MAX: usize = 4;

/// Plans apart over one supergraph; made ready when it is first needed.
pub struct ApartPlanner {
    supergraph: String,
    ready: OnceLock<Option<Ready>>,
}

/// The supergraph with the additional subgraph.
struct Ready {
    planner: Planner,
    schema: Valid<Schema>,
    types: TypeTable,
}

/// How operations are planned now.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The graph's own planner.
    pub planner: &'a Planner,
    /// Which of the document's operations.
    pub operation_name: Option<&'a str>,
    /// Among the progressive overrides.
    pub place: u64,
    /// For all tries together.
    pub deadline: Deadline,
}

impl ApartPlanner {
    /// Over this supergraph SDL.
    pub fn new(supergraph: &str) -> Self {
        Self {
            supergraph: supergraph.to_owned(),
            ready: OnceLock::new(),
        }
    }

    /// Plans an operation without conditions; none if it cannot be done this way either.
    pub fn plan(&self, text: &str, attempt: Attempt<'_>) -> Option<Planned> {
        let ready = self.ready.get_or_init(|| Ready::new(&self.supergraph));
        let plan = ready.as_ref()?.plan(text, attempt, attempt.planner, 0)?;
        Some(Planned {
            plan,
            // The planner has seen only parts of it.
            normal_form: text.to_owned(),
            is_accepted: true,
        })
    }
}

impl Ready {
    fn new(supergraph: &str) -> Option<Self> {
        let document = Document::parse(supergraph, "supergraph.graphql").ok()?;
        let sdl = view::with_entities_at_hand(document)?;
        let schema = Valid::assume_valid(Schema::parse(&sdl, "supergraph.graphql").ok()?);
        Some(Self {
            planner: Planner::new(&sdl).ok()?,
            types: TypeTable::new(&schema, &schema),
            schema,
        })
    }

    fn plan(
        &self,
        text: &str,
        attempt: Attempt<'_>,
        planner: &Planner,
        level: usize,
    ) -> Option<QueryPlan> {
        if level > LEVELS_MAX {
            return None;
        }
        let document = ExecutableDocument::parse(&self.schema, text, "operation.graphql").ok()?;
        let operation = document.operations.get(attempt.operation_name).ok()?;
        let mut rest = narrow::written_out(&document, operation, &self.types);
        let cuts = cuts::cut_out(&self.schema, &self.types, &mut rest, level > 0);
        if cuts.is_empty() {
            return None;
        }
        let mut rest = rest.to_string();
        let mut nodes = Vec::new();
        for (number, cut) in cuts.iter().enumerate() {
            let own = self.plan_cut(cut, attempt, level)?;
            let own = join::at_place(own, cut)?;
            rest = rest.replace(&cuts::marker(number), &own.needs);
            nodes.extend(own.node);
        }
        let first = planner
            .plan(
                &rest,
                attempt.operation_name,
                attempt.place,
                attempt.deadline,
            )
            .ok()?;
        nodes.insert(0, first.plan.node?);
        Some(QueryPlan {
            node: Some(PlanNode::Sequence(SequenceNode { nodes })),
            ..first.plan
        })
    }

    /// The plan of one cut, which begins at the additional subgraph.
    fn plan_cut(&self, cut: &Cut, attempt: Attempt<'_>, level: usize) -> Option<QueryPlan> {
        let attempt = Attempt {
            operation_name: None,
            ..attempt
        };
        let whole = self
            .planner
            .plan(&cut.operation, None, attempt.place, attempt.deadline);
        match whole {
            Ok(planned) => Some(planned.plan),
            Err(_) => self.plan(&cut.operation, attempt, &self.planner, level + 1),
        }
    }
}
