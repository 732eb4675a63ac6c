//! Answers `__Type.isOneOf`, which `apollo-compiler`'s introspection does not support yet.
//!
//! The type's name is selected in its place, and replaced with the answer afterwards.

use apollo_compiler::{
    ExecutableDocument, Node, Schema,
    executable::{Operation, Selection, SelectionSet},
    name,
    response::{JsonMap, JsonValue},
    validation::Valid,
};

const FIELD: &str = "isOneOf";
const TYPE: &str = "__Type";

/// The document and its operation with `name` in place of `isOneOf`; `None` if it is not selected.
pub fn names_instead(
    schema: &Schema,
    document: &ExecutableDocument,
    operation: &Operation,
) -> Option<(Valid<ExecutableDocument>, Node<Operation>)> {
    let mut document = document.clone();
    let mut operation = operation.clone();
    let mut is_asked = replace(schema, &mut operation.selection_set);
    for fragment in document.fragments.values_mut() {
        is_asked |= replace(schema, &mut fragment.make_mut().selection_set);
    }
    // `name` is valid wherever this field is.
    is_asked.then(|| (Valid::assume_valid(document), Node::new(operation)))
}

fn replace(schema: &Schema, set: &mut SelectionSet) -> bool {
    let mut is_asked = false;
    let is_type = set.ty == TYPE;
    for selection in &mut set.selections {
        is_asked |= match selection {
            Selection::Field(field) if is_type && field.name == FIELD => {
                let field = field.make_mut();
                field.alias.get_or_insert(name!("isOneOf"));
                field.name = name!("name");
                if let Ok(definition) = schema.type_field(TYPE, "name") {
                    field.definition = definition.node.clone();
                }
                true
            }
            Selection::Field(field) if field.selection_set.selections.is_empty() => false,
            Selection::Field(field) => replace(schema, &mut field.make_mut().selection_set),
            Selection::InlineFragment(fragment) => {
                replace(schema, &mut fragment.make_mut().selection_set)
            }
            Selection::FragmentSpread(_) => false,
        };
    }
    is_asked
}

/// Replaces the names in the answer to `set` with the values of `isOneOf`.
pub fn answer(
    schema: &Schema,
    document: &ExecutableDocument,
    set: &SelectionSet,
    data: &mut JsonMap,
) {
    for selection in &set.selections {
        match selection {
            Selection::Field(field) => {
                let Some(value) = data.get_mut(field.response_key().as_str()) else {
                    continue;
                };
                if set.ty == TYPE && field.name == FIELD {
                    // If it is selected twice, it may have been replaced already.
                    if let Some(name) = value.as_str() {
                        *value = is_one_of(schema, name).map_or(JsonValue::Null, JsonValue::Bool);
                    }
                } else {
                    answer_below(schema, document, &field.selection_set, value);
                }
            }
            Selection::InlineFragment(fragment) => {
                answer(schema, document, &fragment.selection_set, data);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = spread.fragment_def(document) {
                    answer(schema, document, &fragment.selection_set, data);
                }
            }
        }
    }
}

fn answer_below(
    schema: &Schema,
    document: &ExecutableDocument,
    set: &SelectionSet,
    value: &mut JsonValue,
) {
    match value {
        JsonValue::Object(data) => answer(schema, document, set, data),
        JsonValue::Array(items) => {
            for item in items {
                answer_below(schema, document, set, item);
            }
        }
        _ => {}
    }
}

/// Whether an input object is `@oneOf`; `None` for any other type.
fn is_one_of(schema: &Schema, name: &str) -> Option<bool> {
    let input = schema.get_input_object(name)?;
    Some(input.directives.has("oneOf"))
}
