//! Whether variables fit where they stand: inside lists and input objects, and where their default
//! is null.
//!
//! The validator compares a variable's type with the place's only where the variable is an argument's
//! whole value, and takes a default of null for one. The rule is the specification's (5.8.5, All
//! Variable Usages Are Allowed).

use std::collections::HashSet;

use apollo_compiler::{
    ExecutableDocument, Name, Node, Schema,
    ast::{DirectiveList, InputValueDefinition, Type, Value},
    executable::{Operation, Selection, SelectionSet},
};

use crate::error::{Code, Location, Message, RequestError};

/// Checks every operation of a document that is valid otherwise.
///
/// # Errors
/// When a variable stands where its type does not fit.
pub fn check(schema: &Schema, document: &ExecutableDocument) -> Result<(), RequestError> {
    let mut errors = Vec::new();
    for operation in document.operations.iter() {
        if operation.variables.is_empty() {
            continue;
        }
        let mut usages = Usages {
            schema,
            document,
            operation,
            seen: HashSet::new(),
            errors: &mut errors,
        };
        usages.directives(&operation.directives);
        usages.set(&operation.selection_set);
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(RequestError {
            code: Code::ValidationFailed,
            errors,
        }),
    }
}

struct Usages<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    /// Fragments are looked into once.
    seen: HashSet<&'a Name>,
    errors: &'a mut Vec<Message>,
}

/// Where a value stands.
struct Position<'a> {
    ty: &'a Type,
    has_default: bool,
    /// The one field of a `@oneOf` input object is never null.
    is_one_of: bool,
}

impl<'a> Position<'a> {
    fn of(definition: &'a InputValueDefinition) -> Self {
        Self {
            ty: &definition.ty,
            has_default: definition.default_value.is_some(),
            is_one_of: false,
        }
    }
}

impl<'a> Usages<'a> {
    fn set(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            self.directives(selection.directives());
            match selection {
                Selection::Field(field) => {
                    for argument in &field.arguments {
                        if let Some(definition) = field.definition.argument_by_name(&argument.name)
                        {
                            self.value(&argument.value, &Position::of(definition));
                        }
                    }
                    self.set(&field.selection_set);
                }
                Selection::InlineFragment(fragment) => self.set(&fragment.selection_set),
                Selection::FragmentSpread(spread) => {
                    if self.seen.insert(&spread.fragment_name)
                        && let Some(fragment) = spread.fragment_def(self.document)
                    {
                        self.directives(&fragment.directives);
                        self.set(&fragment.selection_set);
                    }
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a DirectiveList) {
        for directive in directives.iter() {
            let Some(definition) = self.schema.directive_definitions.get(&directive.name) else {
                continue;
            };
            for argument in &directive.arguments {
                if let Some(definition) = definition.argument_by_name(&argument.name) {
                    self.value(&argument.value, &Position::of(definition));
                }
            }
        }
    }

    fn value(&mut self, value: &Node<Value>, position: &Position<'_>) {
        let ty = position.ty;
        match &**value {
            Value::Variable(name) => self.variable(value, name, position),
            Value::List(items) if ty.is_list() => {
                let position = Position {
                    ty: ty.item_type(),
                    has_default: false,
                    is_one_of: false,
                };
                for item in items {
                    self.value(item, &position);
                }
            }
            Value::Object(fields) => {
                let Some(input) = self.schema.get_input_object(ty.inner_named_type()) else {
                    // Of a custom scalar: any value will do.
                    return;
                };
                for (name, value) in fields {
                    if let Some(definition) = input.fields.get(name) {
                        let position = Position {
                            is_one_of: input.directives.has("oneOf"),
                            ..Position::of(definition)
                        };
                        self.value(value, &position);
                    }
                }
            }
            _ => {}
        }
    }

    fn variable(&mut self, value: &Node<Value>, name: &Name, position: &Position<'_>) {
        let mut variables = self.operation.variables.iter();
        let Some(variable) = variables.find(|variable| variable.name == *name) else {
            return;
        };
        let is_never_null = position.ty.is_non_null() || position.is_one_of;
        let default = variable.default_value.as_ref();
        let has_default = position.has_default || default.is_some_and(|default| !default.is_null());
        let fits = if is_never_null && !variable.ty.is_non_null() {
            let nullable = position.ty.clone().nullable();
            has_default && variable.ty.is_assignable_to(&nullable)
        } else {
            variable.ty.is_assignable_to(position.ty)
        };
        if fits {
            return;
        }
        let at = value.line_column_range(&self.document.sources);
        self.errors.push(Message {
            message: format!(
                "Variable \"${name}\" of type \"{}\" used in position expecting type \"{}\".",
                variable.ty, position.ty
            ),
            locations: at
                .map(|at| Location {
                    line: at.start.line,
                    column: at.start.column,
                })
                .into_iter()
                .collect(),
        });
    }
}
