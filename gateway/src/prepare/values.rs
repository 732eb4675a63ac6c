//! Checks values in an operation that the validator of `apollo-compiler` does not check.
//!
//! The validator checks a variable's type only if the variable is the whole value of an argument,
//! and accepts a default of null (specification 5.8.5, All Variable Usages Are Allowed). It accepts
//! duplicate fields of an input object (5.6.3, Input Object Field Uniqueness), and a `@oneOf` input
//! object with any number of fields, or with null (5.6.1, Values of Correct Type).

use std::collections::HashSet;

use apollo_compiler::{
    ExecutableDocument, Name, Node, Schema,
    ast::{DirectiveList, InputValueDefinition, Type, Value},
    executable::{Operation, Selection, SelectionSet},
};

use crate::error::{Code, Location, Message, RequestError};

/// Checks all operations of a document that is otherwise valid.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED` if a variable's type does not fit where it is used, an input object
/// has a field twice, or a `@oneOf` input object does not have exactly one non-null field.
pub fn check(schema: &Schema, document: &ExecutableDocument) -> Result<(), RequestError> {
    let mut errors = Vec::new();
    for operation in document.operations.iter() {
        let mut values = ValueChecker {
            schema,
            document,
            operation,
            seen: HashSet::new(),
            errors: &mut errors,
        };
        for variable in &operation.variables {
            values.directives(&variable.directives);
            if let Some(default) = &variable.default_value {
                let position = InputPosition {
                    ty: &variable.ty,
                    has_default: false,
                    one_of: None,
                };
                values.value(default, Some(&position));
            }
        }
        values.directives(&operation.directives);
        values.set(&operation.selection_set);
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(RequestError::several(
            Code::ValidationFailed,
            errors.len(),
            errors.into_iter(),
        )),
    }
}

struct ValueChecker<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    /// The fragments that were checked already.
    seen: HashSet<&'a Name>,
    errors: &'a mut Vec<Message>,
}

/// The position of an input value: its expected type.
struct InputPosition<'a> {
    ty: &'a Type,
    has_default: bool,
    /// The `@oneOf` input object whose field it is, if any: such a field must not be null.
    one_of: Option<&'a Name>,
}

impl<'a> InputPosition<'a> {
    fn of(definition: &'a InputValueDefinition) -> Self {
        Self {
            ty: &definition.ty,
            has_default: definition.default_value.is_some(),
            one_of: None,
        }
    }
}

impl<'a> ValueChecker<'a> {
    fn set(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            self.directives(selection.directives());
            match selection {
                Selection::Field(field) => {
                    for argument in &field.arguments {
                        let definition = field.definition.argument_by_name(&argument.name);
                        let position = definition.map(|it| InputPosition::of(it));
                        self.value(&argument.value, position.as_ref());
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
            let definition = self.schema.directive_definitions.get(&directive.name);
            for argument in &directive.arguments {
                let definition = definition.and_then(|it| it.argument_by_name(&argument.name));
                let position = definition.map(|it| InputPosition::of(it));
                self.value(&argument.value, position.as_ref());
            }
        }
    }

    /// `position` is `None` inside a custom scalar, where any value is valid.
    fn value(&mut self, value: &Node<Value>, position: Option<&InputPosition<'_>>) {
        match &**value {
            Value::Variable(name) => {
                if let Some(position) = position {
                    self.variable(value, name, position);
                }
            }
            Value::List(items) => {
                let list = position.filter(|position| position.ty.is_list());
                let position = list.map(|position| InputPosition {
                    ty: position.ty.item_type(),
                    has_default: false,
                    one_of: None,
                });
                for item in items {
                    self.value(item, position.as_ref());
                }
            }
            Value::Object(fields) => {
                let ty = position.map(|position| position.ty.inner_named_type());
                let input = ty.and_then(|ty| self.schema.get_input_object(ty));
                let one_of = input.filter(|input| input.directives.has("oneOf"));
                let one_of = one_of.map(|input| &input.name);
                if let Some(name) = one_of.filter(|_| fields.len() != 1) {
                    let message = format!(
                        "the value for the @oneOf input object \"{name}\" must have exactly one field"
                    );
                    self.refuse(value, message);
                }
                let mut names = HashSet::new();
                for (name, value) in fields {
                    if !names.insert(name) {
                        self.refuse(
                            value,
                            format!("There can be only one input field named \"{name}\"."),
                        );
                    }
                    if let Some(one_of) = one_of.filter(|_| value.is_null() && fields.len() == 1) {
                        let message = format!(
                            "the field \"{name}\" of the @oneOf input object \"{one_of}\" must not be \
                             null"
                        );
                        self.refuse(value, message);
                    }
                    let position = input.and_then(|input| {
                        Some(InputPosition {
                            one_of,
                            ..InputPosition::of(input.fields.get(name)?)
                        })
                    });
                    self.value(value, position.as_ref());
                }
            }
            _ => {}
        }
    }

    fn variable(&mut self, value: &Node<Value>, name: &Name, position: &InputPosition<'_>) {
        let mut variables = self.operation.variables.iter();
        let Some(variable) = variables.find(|variable| variable.name == *name) else {
            return;
        };
        if let Some(one_of) = position.one_of.filter(|_| !variable.ty.is_non_null()) {
            let message = format!(
                "Variable \"${name}\" is of type \"{}\" but must be non-nullable to be used for OneOf \
                 Input Object \"{one_of}\".",
                variable.ty
            );
            return self.refuse(value, message);
        }
        let default = variable.default_value.as_ref();
        let has_default = position.has_default || default.is_some_and(|default| !default.is_null());
        let fits = if position.ty.is_non_null() && !variable.ty.is_non_null() {
            let nullable = position.ty.clone().nullable();
            has_default && variable.ty.is_assignable_to(&nullable)
        } else {
            variable.ty.is_assignable_to(position.ty)
        };
        if !fits {
            let message = format!(
                "Variable \"${name}\" of type \"{}\" used in position expecting type \"{}\".",
                variable.ty, position.ty
            );
            self.refuse(value, message);
        }
    }

    fn refuse(&mut self, value: &Node<Value>, message: String) {
        let at = value.line_column_range(&self.document.sources);
        let location = at.map(|at| Location {
            line: at.start.line,
            column: at.start.column,
        });
        self.errors.push(Message {
            message,
            locations: location.into_iter().collect(),
        });
    }
}
