//! What the variables weigh. async-graphql copies a variable's value for each argument that refers to it, so
//! a large one weighs as often as it is referred to.

use std::collections::HashMap;

use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::{ConstValue, Value};

use super::LimitError;

/// What the variables may weigh, each as often as the document refers to it, in bytes.
const WEIGHT_MAX: u64 = 8 << 20;
/// What a value weighs beside its text, in bytes.
const VALUE_WEIGHT: u64 = 16;

/// How often a document refers to each variable, fragments as they stand.
#[derive(Debug, Default)]
pub(super) struct References(HashMap<Name, u64>);

impl References {
    pub(super) fn of(document: &ExecutableDocument) -> Self {
        let mut references = Self::default();
        for (_, operation) in document.operations.iter() {
            references.add_directives(&operation.node.directives);
            references.add_set(&operation.node.selection_set.node);
        }
        for fragment in document.fragments.values() {
            references.add_directives(&fragment.node.directives);
            references.add_set(&fragment.node.selection_set.node);
        }
        references
    }

    /// Checks a request's variables.
    ///
    /// # Errors
    /// When one is nested deeper than `depth_max`, or all of them weigh too much.
    pub(super) fn check(&self, variables: &Variables, depth_max: usize) -> Result<(), LimitError> {
        let mut total = 0_u64;
        for (name, value) in variables.iter() {
            let Some(weight) = weigh_within(value, depth_max) else {
                return Err(LimitError::Variables {
                    reason: format!("they may be nested {depth_max} deep"),
                });
            };
            let references = self.0.get(name).copied().unwrap_or_default();
            total = total.saturating_add(weight.saturating_mul(references));
        }
        if total > WEIGHT_MAX {
            return Err(LimitError::Variables {
                reason: format!(
                    "they may have {WEIGHT_MAX} bytes, each as often as the document refers to it"
                ),
            });
        }
        Ok(())
    }

    fn add_set(&mut self, set: &SelectionSet) {
        for selection in &set.items {
            self.add_directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    self.add_arguments(&field.node.arguments);
                    self.add_set(&field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    self.add_set(&fragment.node.selection_set.node);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn add_directives(&mut self, directives: &[Positioned<Directive>]) {
        for directive in directives {
            self.add_arguments(&directive.node.arguments);
        }
    }

    fn add_arguments(&mut self, arguments: &[(Positioned<Name>, Positioned<Value>)]) {
        for (_, value) in arguments {
            each_variable(&value.node, &mut |name| {
                *self.0.entry(name.clone()).or_default() += 1;
            });
        }
    }
}

/// Calls `found` for each variable in a value.
pub(super) fn each_variable<'v>(value: &'v Value, found: &mut impl FnMut(&'v Name)) {
    match value {
        Value::Variable(name) => found(name),
        Value::List(items) => items.iter().for_each(|item| each_variable(item, found)),
        Value::Object(members) => members
            .values()
            .for_each(|member| each_variable(member, found)),
        _ => {}
    }
}

/// What a literal weighs, without the variables in it, in bytes.
pub(super) fn literal_weight(value: &Value) -> u64 {
    VALUE_WEIGHT
        + match value {
            Value::String(text) => text.len() as u64,
            Value::List(items) => items.iter().map(literal_weight).sum(),
            Value::Object(members) => members.values().map(literal_weight).sum(),
            _ => 0,
        }
}

/// What a value weighs, in bytes.
pub(super) fn weight(value: &ConstValue) -> u64 {
    weigh_within(value, usize::MAX).unwrap_or(u64::MAX)
}

/// What a value weighs, in bytes; none when it is nested deeper than `depth_max`.
fn weigh_within(value: &ConstValue, depth_max: usize) -> Option<u64> {
    let inner = depth_max.checked_sub(1);
    let content = match value {
        ConstValue::String(text) => text.len() as u64,
        ConstValue::List(items) => {
            let inner = inner?;
            sum(items.iter().map(|item| weigh_within(item, inner)))?
        }
        ConstValue::Object(members) => {
            let inner = inner?;
            sum(members.iter().map(|(name, member)| {
                Some(weigh_within(member, inner)? + VALUE_WEIGHT + name.len() as u64)
            }))?
        }
        _ => 0,
    };
    Some(VALUE_WEIGHT + content)
}

fn sum(weights: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    weights.sum()
}
