//! Interfaces and unions with members that clients must not see.
//!
//! The answer must not hold such an object, so its type has to be known even where the client does
//! not ask for it: the planner gets a `__typename` more.

use apollo_compiler::{
    ExecutableDocument, Node,
    executable::{Field, Selection, SelectionSet},
    name,
    schema::FieldDefinition,
    ty,
};

use crate::graph::types::{TypeId, TypeTable};

/// Whether the document selects anything that may be of a hidden type; nearly never.
pub fn are_possible(document: &ExecutableDocument, types: &TypeTable) -> bool {
    let mut sets = document
        .operations
        .iter()
        .map(|operation| &operation.selection_set)
        .chain(document.fragments.values().map(|it| &it.selection_set));
    sets.any(|set| is_possible_in(set, types))
}

fn is_possible_in(set: &SelectionSet, types: &TypeTable) -> bool {
    hides(set, types)
        || set.selections.iter().any(|selection| match selection {
            Selection::Field(field) => is_possible_in(&field.selection_set, types),
            Selection::InlineFragment(fragment) => is_possible_in(&fragment.selection_set, types),
            Selection::FragmentSpread(_) => false,
        })
}

/// Adds `__typename` to every selection of such an interface or union.
pub fn ask_for_types(document: &mut ExecutableDocument, types: &TypeTable) {
    let operations = &mut document.operations;
    for operation in operations
        .anonymous
        .iter_mut()
        .chain(operations.named.values_mut())
    {
        ask_in(&mut operation.make_mut().selection_set, types);
    }
    for fragment in document.fragments.values_mut() {
        ask_in(&mut fragment.make_mut().selection_set, types);
    }
}

fn ask_in(set: &mut SelectionSet, types: &TypeTable) {
    for selection in &mut set.selections {
        match selection {
            Selection::Field(field) => ask_in(&mut field.make_mut().selection_set, types),
            Selection::InlineFragment(fragment) => {
                ask_in(&mut fragment.make_mut().selection_set, types);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
    if hides(set, types) {
        set.selections.push(typename());
    }
}

/// `__typename`, as a selection.
pub fn typename() -> Selection {
    let definition = FieldDefinition {
        description: None,
        name: name!("__typename"),
        arguments: Vec::new(),
        ty: ty!(String!),
        directives: Default::default(),
    };
    Selection::Field(Node::new(Field::new(
        name!("__typename"),
        Node::new(definition),
    )))
}

fn hides(set: &SelectionSet, types: &TypeTable) -> bool {
    !set.selections.is_empty() && types.hides_members(types.id(&set.ty).unwrap_or(TypeId::UNKNOWN))
}
