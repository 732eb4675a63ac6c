//! Whether a planned request is one that its subgraph accepts.
//!
//! Fields that share a response key at one place must have one type, also where the place's types
//! exclude each other (the specification's SameResponseShape). The planner merges requests for several
//! types into one, and gives such fields aliases of their own, but not in every combination of
//! conditions and requirements.

use std::collections::HashMap;

use hive_router_query_planner::{
    ast::{document::Document, selection_item::SelectionItem, selection_set::SelectionSet},
    planner::plan_nodes::PlanNode,
    state::supergraph_state::{SupergraphState, TypeNode},
};

/// Whether fields of different types share a response key in some request of the plan.
pub fn has_conflict(node: &PlanNode, supergraph: &SupergraphState) -> bool {
    let below = |nodes: &[PlanNode]| nodes.iter().any(|node| has_conflict(node, supergraph));
    let in_request = |service: &str, document: &Document| {
        let subgraphs = &supergraph.known_subgraphs;
        let graph = subgraphs.iter().find(|(_, name)| name.as_str() == service);
        let checker = Checker {
            document,
            supergraph,
            graph: graph.map_or("", |(graph, _)| graph),
        };
        // The root's fields are the subgraph's own; what is below `_entities` tells its types.
        checker.conflicts(&[("", &document.operation.selection_set)])
    };
    match node {
        PlanNode::Fetch(fetch) => in_request(&fetch.service_name, &fetch.operation.document),
        PlanNode::BatchFetch(batch) => in_request(&batch.service_name, &batch.operation.document),
        PlanNode::Subscription(subscription) => {
            let fetch = &subscription.primary;
            in_request(&fetch.service_name, &fetch.operation.document)
        }
        PlanNode::Sequence(sequence) => below(&sequence.nodes),
        PlanNode::Parallel(parallel) => below(&parallel.nodes),
        PlanNode::Flatten(flatten) => has_conflict(&flatten.node, supergraph),
        PlanNode::Condition(node) => [&node.if_clause, &node.else_clause]
            .into_iter()
            .flatten()
            .any(|clause| has_conflict(clause, supergraph)),
        PlanNode::Defer(_) => false,
    }
}

struct Checker<'p> {
    document: &'p Document,
    supergraph: &'p SupergraphState,
    /// The subgraph in `join__Graph`.
    graph: &'p str,
}

/// What is asked for under one response key.
#[derive(Default)]
struct Asked<'p> {
    ty: Option<&'p TypeNode>,
    below: Vec<(&'p str, &'p SelectionSet)>,
}

impl<'p> Checker<'p> {
    /// Whether the sets, each with its type, conflict anywhere.
    fn conflicts(&self, sets: &[(&'p str, &'p SelectionSet)]) -> bool {
        let mut asked: HashMap<&'p str, Asked<'p>> = HashMap::new();
        let here = sets
            .iter()
            .any(|(parent, set)| self.conflicts_with(parent, &set.items, &mut asked));
        here || asked
            .values()
            .any(|asked| !asked.below.is_empty() && self.conflicts(&asked.below))
    }

    fn conflicts_with(
        &self,
        parent: &'p str,
        items: &'p [SelectionItem],
        asked: &mut HashMap<&'p str, Asked<'p>>,
    ) -> bool {
        items.iter().any(|item| match item {
            SelectionItem::Field(field) => {
                let ty = self.field_type(parent, &field.name);
                let asked = asked.entry(field.selection_identifier()).or_default();
                if !field.selections.is_empty() {
                    let inner = ty.map_or("", |ty| ty.inner_type());
                    asked.below.push((inner, &field.selections));
                }
                match (asked.ty, ty) {
                    (Some(other), Some(ty)) => !self.can_share_a_key(other, ty),
                    (None, ty) => {
                        asked.ty = ty;
                        false
                    }
                    (Some(_), None) => false,
                }
            }
            SelectionItem::InlineFragment(fragment) => {
                self.conflicts_with(&fragment.type_condition, &fragment.selections.items, asked)
            }
            SelectionItem::FragmentSpread(name) => {
                let mut fragments = self.document.fragments.iter();
                fragments.find(|it| it.name == *name).is_some_and(|it| {
                    self.conflicts_with(&it.type_condition, &it.selection_set.items, asked)
                })
            }
        })
    }

    fn field_type(&self, parent: &str, field: &str) -> Option<&'p TypeNode> {
        let definition = self.supergraph.definitions.get(parent)?;
        let field = definition.fields().get(field)?;
        let mut joins = field.join_field.iter();
        let own = joins.find(|join| join.graph_id.as_deref() == Some(self.graph));
        own.and_then(|join| join.type_in_graph.as_ref())
            .or(Some(&field.field_type))
    }

    /// Objects are compared by what is selected of them, all else by its name; lists and non-null
    /// must be the same in any case.
    fn can_share_a_key(&self, one: &TypeNode, other: &TypeNode) -> bool {
        match (one, other) {
            (TypeNode::List(one), TypeNode::List(other))
            | (TypeNode::NonNull(one), TypeNode::NonNull(other)) => {
                self.can_share_a_key(one, other)
            }
            (TypeNode::Named(one), TypeNode::Named(other)) => {
                let is_composite = |name: &str| {
                    let definition = self.supergraph.definitions.get(name);
                    definition.is_some_and(|it| it.is_composite_type())
                };
                one == other || (is_composite(one) && is_composite(other))
            }
            _ => false,
        }
    }
}
