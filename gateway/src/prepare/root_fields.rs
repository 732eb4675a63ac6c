//! The fields at an operation's root that the gateway answers itself.

use apollo_compiler::{
    ExecutableDocument, Name,
    executable::{Operation, Selection, SelectionSet},
    name,
};

/// Which of them an operation has.
#[derive(Default)]
pub struct RootFields {
    /// `__schema` or `__type`.
    pub introspection: bool,
    /// `__typename`.
    pub typename: bool,
}

impl RootFields {
    /// Looks through the root's fragments, too.
    pub fn of(operation: &Operation, document: &ExecutableDocument) -> Self {
        let mut fields = Self::default();
        for field in operation.root_fields(document) {
            match field.name.as_str() {
                "__schema" | "__type" => fields.introspection = true,
                "__typename" => fields.typename = true,
                _ => {}
            }
        }
        fields
    }
}

/// Takes the fields out of the document that the gateway answers itself. They are dropped where
/// something else stays, and are a `__typename` where nothing would.
pub fn drop_own_fields(document: &mut ExecutableDocument, root: &Name) {
    let operations = &mut document.operations;
    for operation in operations
        .anonymous
        .iter_mut()
        .chain(operations.named.values_mut())
    {
        drop_in(&mut operation.make_mut().selection_set, root);
    }
    for fragment in document.fragments.values_mut() {
        drop_in(&mut fragment.make_mut().selection_set, root);
    }
}

fn drop_in(set: &mut SelectionSet, root: &Name) {
    let is_root = set.ty == *root;
    let is_own = |selection: &Selection| match selection {
        Selection::Field(field) => match field.name.as_str() {
            "__schema" | "__type" => true,
            "__typename" => is_root,
            _ => false,
        },
        _ => false,
    };
    let kept = set
        .selections
        .iter()
        .filter(|selection| !is_own(selection))
        .count();
    if kept > 0 {
        set.selections.retain(|selection| !is_own(selection));
    } else if let Some(Selection::Field(field)) = set.selections.first_mut() {
        let field = field.make_mut();
        field.name = name!("__typename");
        field.alias = None;
        field.arguments.clear();
        field.selection_set.selections.clear();
        set.selections.truncate(1);
    }
    for selection in &mut set.selections {
        if let Selection::InlineFragment(fragment) = selection {
            drop_in(&mut fragment.make_mut().selection_set, root);
        }
    }
}
