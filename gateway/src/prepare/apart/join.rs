//! The plan of a cut, put where the cut was.

use hive_router_query_planner::{
    ast::selection_item::SelectionItem,
    planner::plan_nodes::{
        FetchNode, FlattenNodePath, FlattenNodePathSegment, ParallelNode, PlanNode, QueryPlan,
        SequenceNode,
    },
};

use super::{cuts::Cut, view};

/// A cut's plan without its beginning.
pub struct Joined {
    /// What the entity has to bring along, as selections.
    pub needs: String,
    /// The requests that follow; none where that is all.
    pub node: Option<PlanNode>,
}

/// Takes the request to the additional subgraph away, and has the others begin at the cut's place.
/// None where the plan is of another form.
pub fn at_place(plan: QueryPlan, cut: &Cut) -> Option<Joined> {
    let mut joiner = Joiner { cut, needs: None };
    let node = joiner.node(plan.node?).ok()?;
    Some(Joined {
        needs: joiner.needs?,
        node,
    })
}

/// A part of a plan that cannot begin inside another.
struct Misplaced;

struct Joiner<'c> {
    cut: &'c Cut,
    needs: Option<String>,
}

impl Joiner<'_> {
    fn node(&mut self, node: PlanNode) -> Result<Option<PlanNode>, Misplaced> {
        match node {
            PlanNode::Fetch(fetch) if fetch.service_name == view::SUBGRAPH => {
                self.needs = Some(selected(&fetch));
                Ok(None)
            }
            PlanNode::Flatten(mut flatten) => {
                flatten.path = self.path(&flatten.path).ok_or(Misplaced)?;
                Ok(Some(PlanNode::Flatten(flatten)))
            }
            PlanNode::BatchFetch(mut batch) => {
                for alias in &mut batch.entity_batch.aliases {
                    for path in &mut alias.merge_paths {
                        *path = self.path(path).ok_or(Misplaced)?;
                    }
                }
                Ok(Some(PlanNode::BatchFetch(batch)))
            }
            PlanNode::Sequence(sequence) => {
                let nodes = self.nodes(sequence.nodes)?;
                Ok((!nodes.is_empty()).then_some(PlanNode::Sequence(SequenceNode { nodes })))
            }
            PlanNode::Parallel(parallel) => {
                let nodes = self.nodes(parallel.nodes)?;
                Ok((!nodes.is_empty()).then_some(PlanNode::Parallel(ParallelNode { nodes })))
            }
            PlanNode::Fetch(_)
            | PlanNode::Condition(_)
            | PlanNode::Subscription(_)
            | PlanNode::Defer(_) => Err(Misplaced),
        }
    }

    fn nodes(&mut self, nodes: Vec<PlanNode>) -> Result<Vec<PlanNode>, Misplaced> {
        let nodes = nodes
            .into_iter()
            .filter_map(|node| self.node(node).transpose());
        nodes.collect()
    }

    /// The path with the cut's place for its first field.
    fn path(&self, path: &FlattenNodePath) -> Option<FlattenNodePath> {
        let [FlattenNodePathSegment::Field(_), below @ ..] = path.as_slice() else {
            return None;
        };
        let segments: Vec<_> = self.cut.path.iter().chain(below).collect();
        // The type has no constructor, but it is read as the list of its segments.
        serde_json::from_value(serde_json::to_value(segments).ok()?).ok()
    }
}

/// What a request asks of the additional subgraph's only field.
fn selected(fetch: &FetchNode) -> String {
    let mut all = String::from("__typename");
    for item in &fetch.operation.document.operation.selection_set.items {
        if let SelectionItem::Field(entity) = item {
            for item in &entity.selections.items {
                all.push(' ');
                all.push_str(&item.to_string());
            }
        }
    }
    all
}
