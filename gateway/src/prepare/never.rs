//! Selections whose conditions are written out and never hold: `@skip(if: true)`.
//!
//! The planner leaves out a field of which nothing else is selected. The object must still be asked
//! for, since the answer tells whether it is there: a `__typename` stands for what is left out.

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::{Directive, DirectiveList},
    executable::{Selection, SelectionSet},
};

use super::hidden_types::typename;

/// Whether the document has any.
pub fn are_written(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|it| &it.selection_set);
    let fragments = document.fragments.values().map(|it| &it.selection_set);
    operations.chain(fragments).any(has_any)
}

fn has_any(set: &SelectionSet) -> bool {
    set.selections.iter().any(|selection| {
        is_never(selection.directives())
            || match selection {
                Selection::Field(field) => has_any(&field.selection_set),
                Selection::InlineFragment(fragment) => has_any(&fragment.selection_set),
                Selection::FragmentSpread(_) => false,
            }
    })
}

/// Takes them out.
pub fn drop_all(document: &mut ExecutableDocument) {
    let operations = &mut document.operations;
    for operation in operations
        .anonymous
        .iter_mut()
        .chain(operations.named.values_mut())
    {
        drop_in(&mut operation.make_mut().selection_set);
    }
    for fragment in document.fragments.values_mut() {
        drop_in(&mut fragment.make_mut().selection_set);
    }
}

fn drop_in(set: &mut SelectionSet) {
    let before = set.selections.len();
    set.selections
        .retain(|selection| !is_never(selection.directives()));
    if before > 0 && set.selections.is_empty() {
        set.selections.push(typename());
    }
    for selection in &mut set.selections {
        match selection {
            Selection::Field(field) => drop_in(&mut field.make_mut().selection_set),
            Selection::InlineFragment(fragment) => drop_in(&mut fragment.make_mut().selection_set),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn is_never(directives: &DirectiveList) -> bool {
    let is_constant = |directive: &Node<Directive>, name: &str, value: bool| {
        let condition = directive.specified_argument_by_name("if");
        directive.name == name && condition.and_then(|it| it.to_bool()) == Some(value)
    };
    directives
        .iter()
        .any(|it| is_constant(it, "skip", true) || is_constant(it, "include", false))
}
