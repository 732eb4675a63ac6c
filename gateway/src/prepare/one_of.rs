//! `__Type.isOneOf`, which the introspection of the GraphQL crate does not have yet.
//!
//! The crate is asked for the type's name in its place, and the name is replaced by the answer.

use apollo_compiler::{
    ExecutableDocument, Node, Schema,
    executable::{Operation, Selection, SelectionSet},
    name,
    response::{JsonMap, JsonValue},
    validation::Valid,
};

const FIELD: &str = "isOneOf";
const TYPE: &str = "__Type";

/// The document and its operation with names in the place of the field; none where it is not asked
/// for.
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
    // A type's name may be asked for wherever this field may.
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

/// Replaces the names in the answer to `set`.
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
                    // Where it is asked for twice, it may be answered already.
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

/// None where the type is no input object.
fn is_one_of(schema: &Schema, name: &str) -> Option<bool> {
    let input = schema.get_input_object(name)?;
    Some(input.directives.has("oneOf"))
}
