//! Which fields of an operation are planned apart, and the operation of each.

use apollo_compiler::{
    ExecutableDocument, Name, Node, Schema,
    ast::{OperationType, Type},
    executable::{Field, InlineFragment, Operation, Selection, SelectionSet},
    schema::FieldDefinition,
};
use hive_router_query_planner::planner::plan_nodes::FlattenNodePathSegment;

use super::view;
use crate::graph::types::TypeTable;

/// Fields of one entity at one place.
pub struct Cut {
    /// From the root of the response to the entity.
    pub path: Vec<FlattenNodePathSegment>,
    /// The fields as a query of the additional subgraph's.
    pub operation: String,
}

/// What stands in the operation where the cut of that number was.
pub fn marker(number: usize) -> String {
    format!("_cut{number}_")
}

/// Takes the fields out of the document's only operation. Those directly below its root stay where
/// they are if the operation `is_cut` out itself.
pub fn cut_out(
    schema: &Schema,
    types: &TypeTable,
    document: &mut ExecutableDocument,
    is_cut: bool,
) -> Vec<Cut> {
    let mut all = document
        .operations
        .anonymous
        .iter_mut()
        .chain(document.operations.named.values_mut());
    let Some(operation) = all.next() else {
        return Vec::new();
    };
    let mut cutter = Cutter {
        schema,
        types,
        template: query_like(operation),
        levels_kept: if is_cut { 2 } else { 1 },
        path: Vec::new(),
        cuts: Vec::new(),
    };
    let root = operation.object_type().clone();
    cutter.cut(&mut operation.make_mut().selection_set, &root);
    cutter.cuts
}

/// A query with the same variables, and no fields yet.
fn query_like(operation: &Operation) -> Operation {
    Operation {
        operation_type: OperationType::Query,
        name: None,
        variables: operation.variables.clone(),
        directives: Default::default(),
        selection_set: SelectionSet::new(view::QUERY),
    }
}

struct Cutter<'s> {
    schema: &'s Schema,
    types: &'s TypeTable,
    template: Operation,
    /// Objects of these levels keep their fields.
    levels_kept: usize,
    path: Vec<FlattenNodePathSegment>,
    cuts: Vec<Cut>,
}

impl Cutter<'_> {
    fn cut(&mut self, set: &mut SelectionSet, ty: &Name) {
        let level = 1 + self
            .path
            .iter()
            .filter(|segment| matches!(segment, FlattenNodePathSegment::Field(_)))
            .count();
        let may_cut = level > self.levels_kept && view::is_entity(self.schema, ty);
        let mut cut = Vec::new();
        let mut kept = Vec::new();
        for mut selection in std::mem::take(&mut set.selections) {
            match &mut selection {
                Selection::Field(field) => {
                    if may_cut && view::requires(self.schema, ty, &field.name) {
                        cut.push(selection);
                        continue;
                    }
                    let key = field.response_key().to_string();
                    self.below(
                        FlattenNodePathSegment::Field(key),
                        &mut field.make_mut().selection_set,
                    );
                }
                Selection::InlineFragment(fragment) => {
                    let fragment = fragment.make_mut();
                    let condition = fragment
                        .type_condition
                        .clone()
                        .unwrap_or_else(|| ty.clone());
                    let is_known_only_by_interface = level > self.levels_kept
                        && condition != *ty
                        && view::is_interface_object(self.schema, ty)
                        && view::is_entity(self.schema, &condition);
                    if is_known_only_by_interface {
                        let selections = std::mem::take(&mut fragment.selection_set.selections);
                        let mark = self.apart(&condition, selections);
                        fragment.selection_set.selections.push(mark);
                    } else if condition == *ty {
                        self.cut(&mut fragment.selection_set, &condition);
                    } else {
                        self.path.push(narrowed_to(&condition));
                        self.cut(&mut fragment.selection_set, &condition);
                        self.path.pop();
                    }
                }
                Selection::FragmentSpread(_) => {}
            }
            kept.push(selection);
        }
        if !cut.is_empty() {
            let mark = self.apart(ty, cut);
            let mut selection_set = SelectionSet::new(ty.clone());
            selection_set.selections.push(mark);
            kept.push(Selection::InlineFragment(Node::new(InlineFragment {
                type_condition: Some(ty.clone()),
                directives: Default::default(),
                selection_set,
            })));
        }
        set.selections = kept;
    }

    fn below(&mut self, segment: FlattenNodePathSegment, set: &mut SelectionSet) {
        if set.selections.is_empty() {
            return;
        }
        self.path.push(segment);
        let ty = set.ty.clone();
        self.cut(set, &ty);
        self.path.pop();
    }

    /// Notes a cut; what marks its place.
    fn apart(&mut self, ty: &Name, selections: Vec<Selection>) -> Selection {
        let number = self.cuts.len();
        let mut path = self.path.clone();
        if self.types.id(ty).is_some()
            && !matches!(path.last(), Some(last) if *last == narrowed_to(ty))
        {
            path.push(narrowed_to(ty));
        }
        let mut operation = self.template.clone();
        let mut entity = bare_field(view::root_field(ty));
        entity.selection_set.selections = selections;
        operation.selection_set.selections = vec![Selection::Field(Node::new(entity))];
        let mut document = ExecutableDocument::new();
        document.operations.insert(Node::new(operation));
        self.cuts.push(Cut {
            path,
            operation: document.to_string(),
        });
        Selection::Field(Node::new(bare_field(
            Name::new(&marker(number)).unwrap_or(view::QUERY),
        )))
    }
}

fn narrowed_to(ty: &Name) -> FlattenNodePathSegment {
    FlattenNodePathSegment::TypeCondition([ty.to_string()].into())
}

/// A field of which only the name will be printed.
fn bare_field(name: Name) -> Field {
    let definition = FieldDefinition {
        description: None,
        name: name.clone(),
        arguments: Vec::new(),
        ty: Type::Named(view::QUERY),
        directives: Default::default(),
    };
    Field::new(name, Node::new(definition))
}
