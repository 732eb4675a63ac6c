//! The planner's tree -> our plan: every name a number, every request's bytes ready.

pub mod keys;
mod order;
mod requests;
mod shapes;

use std::{collections::BTreeSet, sync::Arc};

use hive_router_query_planner::{
    ast::operation::SubgraphFetchOperation,
    planner::plan_nodes::{
        EntityBatchAlias, FetchNodePathSegment, FetchRewrite, FlattenNodePath,
        FlattenNodePathSegment, PlanNode, QueryPlan,
    },
    state::supergraph_state::OperationKind as HiveKind,
};

use super::{
    literals::Literals,
    plan::{
        Condition, EntityFetch, Key, Merge, PathSegment, Plan, Rename, Requirement, Step, Target,
        TypenameOverride,
    },
};
use crate::{
    error::{Code, RequestError},
    graph::{
        SubgraphIndex,
        types::{TypeId, TypeSet, TypeTable},
    },
    subgraphs::Subgraph,
};
use keys::Keys;
use shapes::Shapes;

/// What the names in a plan mean.
pub struct Names<'a> {
    /// The supergraph's types.
    pub types: &'a TypeTable,
    /// Its subgraphs.
    pub subgraphs: &'a [Arc<Subgraph>],
    /// The operation's variables, in the order declared.
    pub variables: &'a [String],
    /// The operation's numbers that the plan has names for.
    pub literals: &'a Literals,
}

/// Compiles a plan. `keys` holds the projection's response keys already, and gets the plan's.
///
/// # Errors
/// When the plan has a part that this gateway cannot run; that is a defect, not the client's fault.
pub fn compile(
    plan: &QueryPlan,
    names: &Names<'_>,
    keys: Vec<Box<str>>,
) -> Result<Plan, RequestError> {
    let mut leaves = Vec::new();
    if let Some(node) = &plan.node {
        collect(node, &mut Vec::new(), &mut Vec::new(), names, &mut leaves)?;
    }
    let mut compiler = Compiler {
        names,
        keys: Keys::new(keys),
        shapes: Shapes::default(),
    };
    let mut steps = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        steps.push(compiler.step(leaf)?);
    }
    let positions: Vec<&[Position]> = leaves.iter().map(|leaf| &*leaf.position).collect();
    let mut plan = Plan {
        steps,
        keys: compiler.keys.into_names(),
        client_keys: Vec::new(),
        shapes: compiler.shapes.into_shapes(),
        forwards: false,
    };
    order::connect(&mut plan, &positions);
    Ok(plan)
}

/// Where a request stands in the tree: at each level the child's number, and whether the level's
/// children follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    child: usize,
    in_sequence: bool,
}

/// A request of the tree with what its place adds.
struct Leaf<'p> {
    node: LeafNode<'p>,
    position: Vec<Position>,
    conditions: Vec<Condition>,
}

enum LeafNode<'p> {
    Fetch(
        &'p hive_router_query_planner::planner::plan_nodes::FetchNode,
        Option<&'p FlattenNodePath>,
    ),
    Batch(&'p hive_router_query_planner::planner::plan_nodes::BatchFetchNode),
}

fn collect<'p>(
    node: &'p PlanNode,
    position: &mut Vec<Position>,
    conditions: &mut Vec<Condition>,
    names: &Names<'_>,
    leaves: &mut Vec<Leaf<'p>>,
) -> Result<(), RequestError> {
    let leaf = match node {
        PlanNode::Sequence(sequence) => {
            return collect_children(&sequence.nodes, true, position, conditions, names, leaves);
        }
        PlanNode::Parallel(parallel) => {
            return collect_children(&parallel.nodes, false, position, conditions, names, leaves);
        }
        PlanNode::Condition(node) => {
            let variable = variable(names, &node.condition)?;
            for (expected, clause) in [(true, &node.if_clause), (false, &node.else_clause)] {
                if let Some(clause) = clause {
                    conditions.push(Condition { variable, expected });
                    collect(clause, position, conditions, names, leaves)?;
                    conditions.pop();
                }
            }
            return Ok(());
        }
        PlanNode::Fetch(fetch) => LeafNode::Fetch(fetch, None),
        PlanNode::Subscription(subscription) => LeafNode::Fetch(&subscription.primary, None),
        PlanNode::BatchFetch(batch) => LeafNode::Batch(batch),
        PlanNode::Flatten(flatten) => match &*flatten.node {
            PlanNode::Fetch(fetch) => LeafNode::Fetch(fetch, Some(&flatten.path)),
            _ => return Err(unsupported("a flattened node that is no fetch")),
        },
        PlanNode::Defer(_) => return Err(unsupported("a deferred part")),
    };
    leaves.push(Leaf {
        node: leaf,
        position: position.clone(),
        conditions: conditions.clone(),
    });
    Ok(())
}

fn collect_children<'p>(
    nodes: &'p [PlanNode],
    in_sequence: bool,
    position: &mut Vec<Position>,
    conditions: &mut Vec<Condition>,
    names: &Names<'_>,
    leaves: &mut Vec<Leaf<'p>>,
) -> Result<(), RequestError> {
    for (child, node) in nodes.iter().enumerate() {
        position.push(Position { child, in_sequence });
        collect(node, position, conditions, names, leaves)?;
        position.pop();
    }
    Ok(())
}

struct Compiler<'a> {
    names: &'a Names<'a>,
    keys: Keys,
    shapes: Shapes,
}

impl Compiler<'_> {
    fn step(&mut self, leaf: &Leaf<'_>) -> Result<Step, RequestError> {
        match leaf.node {
            LeafNode::Fetch(fetch, path) => {
                let merge = match (path, &fetch.requires) {
                    (Some(path), Some(requires)) => Merge::Entities(vec![EntityFetch {
                        key: self.keys.intern("_entities"),
                        variable: b"\"representations\":["[..].into(),
                        targets: vec![self.target(path)],
                        shares_across_targets: false,
                        requires: self.requirements(&requires.items),
                        typename_overrides: self.typename_overrides(
                            fetch.input_rewrites.as_deref().unwrap_or_default(),
                        )?,
                        renames: self
                            .renames(fetch.output_rewrites.as_deref().unwrap_or_default())?,
                    }]),
                    (path, _) => {
                        let renames =
                            self.renames(fetch.output_rewrites.as_deref().unwrap_or_default())?;
                        match path {
                            Some(path) => Merge::Reentry {
                                path: self.path(path),
                                renames,
                            },
                            None => Merge::Root { renames },
                        }
                    }
                };
                let kind = fetch.operation_kind.as_ref();
                self.finish(leaf, &fetch.service_name, kind, &fetch.operation, merge)
            }
            LeafNode::Batch(batch) => {
                let mut fetches: Vec<EntityFetch> = Vec::new();
                let mut variables = BTreeSet::new();
                for alias in &batch.entity_batch.aliases {
                    let is_first = variables.insert(alias.representations_variable_name.as_str());
                    fetches.push(self.entity_fetch(alias, is_first)?);
                }
                let kind = batch.operation_kind.as_ref();
                let merge = Merge::Entities(fetches);
                self.finish(leaf, &batch.service_name, kind, &batch.operation, merge)
            }
        }
    }

    fn finish(
        &mut self,
        leaf: &Leaf<'_>,
        service: &str,
        kind: Option<&HiveKind>,
        operation: &SubgraphFetchOperation,
        merge: Merge,
    ) -> Result<Step, RequestError> {
        let subgraph = self
            .names
            .subgraphs
            .iter()
            .position(|subgraph| subgraph.name() == service)
            .and_then(|index| u16::try_from(index).ok())
            .ok_or_else(|| unsupported("a subgraph that the supergraph does not name"))?;
        let document = &operation.document;
        let (shape, root_keys) = self.shapes.add(document, &mut self.keys);
        let representations: Vec<&[u8]> = match &merge {
            Merge::Entities(fetches) => fetches.iter().map(|fetch| &*fetch.variable).collect(),
            Merge::Root { .. } | Merge::Reentry { .. } => Vec::new(),
        };
        let request = requests::template(
            operation,
            self.names.variables,
            &representations,
            self.names.literals,
        );
        Ok(Step {
            subgraph: SubgraphIndex(subgraph),
            is_mutation: kind.is_some_and(HiveKind::is_mutation),
            conditions: leaf.conditions.clone(),
            waits_for: 0,
            wakes: Vec::new(),
            request,
            shape,
            root_keys,
            merge,
        })
    }

    fn entity_fetch(
        &mut self,
        alias: &EntityBatchAlias,
        is_first: bool,
    ) -> Result<EntityFetch, RequestError> {
        let mut targets: Vec<Target> = Vec::new();
        for path in &alias.merge_paths {
            let target = self.target(path);
            if !targets.iter().any(|other| other.path == target.path) {
                targets.push(target);
            }
        }
        let variable = if is_first {
            format!("\"{}\":[", alias.representations_variable_name)
        } else {
            String::new()
        };
        Ok(EntityFetch {
            key: self.keys.intern(&alias.alias),
            variable: variable.into_bytes().into(),
            targets,
            shares_across_targets: false,
            requires: self.requirements(&alias.requires.items),
            typename_overrides: self
                .typename_overrides(alias.input_rewrites.as_deref().unwrap_or_default())?,
            renames: self.renames(alias.output_rewrites.as_deref().unwrap_or_default())?,
        })
    }

    fn target(&mut self, path: &FlattenNodePath) -> Target {
        Target {
            path: self.path(path),
            may_share: false,
        }
    }

    fn path(&mut self, path: &FlattenNodePath) -> Vec<PathSegment> {
        path.as_slice()
            .iter()
            .filter_map(|segment| match segment {
                FlattenNodePathSegment::Field(name) => {
                    Some(PathSegment::Key(self.keys.intern(name)))
                }
                FlattenNodePathSegment::TypeCondition(names) => {
                    Some(PathSegment::Type(self.satisfying(names)))
                }
                // Lists are passed through wherever they are.
                FlattenNodePathSegment::List => None,
            })
            .collect()
    }

    fn satisfying(&self, names: &BTreeSet<String>) -> TypeSet {
        let mut types = TypeSet::default();
        for name in names {
            let id = self.names.types.id(name).unwrap_or(TypeId::UNKNOWN);
            types.extend(&self.names.types.satisfied_by(id));
        }
        types
    }

    fn requirements(
        &mut self,
        items: &[hive_router_query_planner::ast::selection_item::SelectionItem],
    ) -> Vec<Requirement> {
        use hive_router_query_planner::ast::selection_item::SelectionItem;
        items
            .iter()
            .filter_map(|item| match item {
                SelectionItem::Field(field) => {
                    let name = field.selection_identifier();
                    Some(Requirement::Field {
                        source: self.keys.intern(&field.name),
                        fallback: self.keys.intern(name),
                        name: format!("\"{name}\":").into_bytes().into(),
                        requires: self.requirements(&field.selections.items),
                    })
                }
                SelectionItem::InlineFragment(fragment) => {
                    let condition = &fragment.type_condition;
                    let id = self.names.types.id(condition).unwrap_or(TypeId::UNKNOWN);
                    let mut types = self.names.types.satisfied_by(id);
                    // A requirement on a type also holds for an object known only by an interface
                    // of that type: the planner writes conditions in either direction.
                    types.extend(&self.names.types.satisfied_in_reverse(id));
                    Some(Requirement::Fragment {
                        types,
                        type_name: format!("\"{condition}\"").into_bytes().into(),
                        requires: self.requirements(&fragment.selections.items),
                    })
                }
                // The planner writes fragments in requirements out.
                SelectionItem::FragmentSpread(_) => None,
            })
            .collect()
    }

    fn typename_overrides(
        &self,
        rewrites: &[FetchRewrite],
    ) -> Result<Vec<TypenameOverride>, RequestError> {
        rewrites
            .iter()
            .map(|rewrite| {
                let FetchRewrite::ValueSetter(setter) = rewrite else {
                    return Err(unsupported("an input rewrite that renames"));
                };
                let value = format!("\"{}\"", setter.set_value_to).into_bytes().into();
                match &*setter.path {
                    [
                        FetchNodePathSegment::TypenameEquals(names),
                        FetchNodePathSegment::Key(key),
                    ] if key == "__typename" => Ok((self.satisfying(names), value)),
                    _ => Err(unsupported(
                        "an input rewrite of something else than __typename",
                    )),
                }
            })
            .collect()
    }

    fn renames(&mut self, rewrites: &[FetchRewrite]) -> Result<Vec<Rename>, RequestError> {
        rewrites
            .iter()
            .map(|rewrite| {
                let FetchRewrite::KeyRenamer(renamer) = rewrite else {
                    return Err(unsupported("an output rewrite that sets a value"));
                };
                let Some((FetchNodePathSegment::Key(from), path)) = renamer.path.split_last()
                else {
                    return Err(unsupported("an output rewrite that ends in a type"));
                };
                let path = path
                    .iter()
                    .map(|segment| match segment {
                        FetchNodePathSegment::Key(name) => PathSegment::Key(self.keys.intern(name)),
                        FetchNodePathSegment::TypenameEquals(names) => {
                            PathSegment::Type(self.satisfying(names))
                        }
                    })
                    .collect();
                Ok(Rename {
                    path,
                    from: self.keys.intern(from),
                    to: self.keys.intern(&renamer.rename_key_to),
                })
            })
            .collect()
    }
}

fn variable(names: &Names<'_>, name: &str) -> Result<usize, RequestError> {
    names
        .variables
        .iter()
        .position(|variable| variable == name)
        .ok_or_else(|| unsupported("a condition on a variable that the operation does not declare"))
}

fn unsupported(what: &str) -> RequestError {
    RequestError::new(Code::PlanFailed, format!("the plan has {what}"))
}

/// The keys of a path, without its type conditions.
fn keys_of(path: &[PathSegment]) -> impl Iterator<Item = Key> + '_ {
    path.iter().filter_map(|segment| match segment {
        PathSegment::Key(key) => Some(*key),
        PathSegment::Type(_) => None,
    })
}
