//! `@skip` and `@include`, decided before planning: an operation has one plan for each combination
//! of values of its condition variables.
//!
//! A condition decides not only about a field but also about the requests that the field needs.
//! With constants in place of the variables, a plan fetches only what is selected, in the fewest
//! requests, and a mutation executes only the selected fields.

use std::collections::HashSet;

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{DirectiveList, Value},
    executable::{Operation, OperationType, Selection, SelectionSet},
    validation::Valid,
};

use crate::{
    coerce::Variables,
    error::{Code, RequestError},
};

/// A query with more condition variables than this has a single plan, because each further variable
/// would double the number of plans in the cache. Its conditions are sent to the subgraphs, and a
/// request may then select nothing.
const READING_MAX: usize = 8;
/// The number of bits in [`ConditionValues`]. A mutation with more condition variables is refused,
/// because it must not execute fields that are left out.
const MUTATION_MAX: usize = u64::BITS as usize;

/// The variables that an operation's conditions use.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Their indexes among the declared variables, ascending.
    variables: Box<[usize]>,
    /// Whether each combination of their values has its own plan.
    are_planned_apart: bool,
}

/// The value of each condition variable, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConditionValues(u64);

impl Conditions {
    /// Finds the variables in the conditions of `operation` and of the fragments that it uses.
    ///
    /// # Errors
    /// `MAX_VARIABLES_EXCEEDED` for a mutation with more than 64 of them.
    pub fn of(document: &ExecutableDocument, operation: &Operation) -> Result<Self, RequestError> {
        let mut finder = ConditionFinder {
            document,
            fragments: HashSet::new(),
            variables: HashSet::new(),
        };
        finder.set(&operation.selection_set);
        let declared = operation.variables.iter().enumerate();
        let variables: Box<[usize]> = declared
            .filter(|(_, definition)| finder.variables.contains(&definition.name))
            .map(|(index, _)| index)
            .collect();
        let max = match operation.operation_type {
            OperationType::Mutation if variables.len() > MUTATION_MAX => {
                let message = format!(
                    "more than {MUTATION_MAX} variables are used in @skip and @include of a mutation"
                );
                return Err(RequestError::new(Code::MaxVariables, message));
            }
            // Subscriptions with equal selections share one upstream, whatever their conditions
            // were.
            OperationType::Mutation | OperationType::Subscription => MUTATION_MAX,
            OperationType::Query => READING_MAX,
        };
        Ok(Self {
            are_planned_apart: !variables.is_empty() && variables.len() <= max,
            variables,
        })
    }

    /// Their indexes among the declared variables.
    pub fn variables(&self) -> &[usize] {
        &self.variables
    }

    /// Whether the operation has a plan only for given values of its condition variables.
    pub fn are_planned_apart(&self) -> bool {
        self.are_planned_apart
    }

    /// The values of the condition variables; `None` if the plan does not depend on them.
    pub fn values(&self, variables: &Variables) -> Option<ConditionValues> {
        if !self.are_planned_apart {
            return None;
        }
        let bits = self.variables.iter().enumerate();
        Some(ConditionValues(bits.fold(0, |bits, (bit, variable)| {
            bits | (u64::from(variables.is(*variable, true)) << bit)
        })))
    }

    /// The document with constants in place of the condition variables.
    pub fn decided(
        &self,
        document: &ExecutableDocument,
        operation: &Operation,
        values: ConditionValues,
    ) -> Valid<ExecutableDocument> {
        let known = self.variables.iter().enumerate();
        let decider = ConditionDecider(
            known
                .map(|(bit, variable)| {
                    let name = &operation.variables[*variable].name;
                    (name, (values.0 >> bit) & 1 == 1)
                })
                .collect(),
        );
        let mut document = document.clone();
        let operations = &mut document.operations;
        for other in operations
            .anonymous
            .iter_mut()
            .chain(operations.named.values_mut())
            .filter(|other| other.name == operation.name)
        {
            decider.set(&mut other.make_mut().selection_set);
        }
        for fragment in document.fragments.values_mut() {
            decider.set(&mut fragment.make_mut().selection_set);
        }
        // A condition is as valid with a constant as with a variable.
        Valid::assume_valid(document)
    }
}

struct ConditionFinder<'d> {
    document: &'d ExecutableDocument,
    /// The fragments that were visited.
    fragments: HashSet<&'d Name>,
    variables: HashSet<&'d Name>,
}

impl<'d> ConditionFinder<'d> {
    fn set(&mut self, set: &'d SelectionSet) {
        for selection in &set.selections {
            self.directives(selection.directives());
            match selection {
                Selection::Field(field) => self.set(&field.selection_set),
                Selection::InlineFragment(fragment) => self.set(&fragment.selection_set),
                Selection::FragmentSpread(spread) => {
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = spread.fragment_def(self.document)
                    {
                        self.set(&fragment.selection_set);
                    }
                }
            }
        }
    }

    fn directives(&mut self, directives: &'d DirectiveList) {
        for name in ["skip", "include"] {
            let directive = directives.get(name);
            let value = directive.and_then(|it| it.specified_argument_by_name("if"));
            self.variables
                .extend(value.and_then(|value| value.as_variable()));
        }
    }
}

/// The value of each variable.
struct ConditionDecider<'d>(Vec<(&'d Name, bool)>);

impl ConditionDecider<'_> {
    fn set(&self, set: &mut SelectionSet) {
        for selection in &mut set.selections {
            match selection {
                Selection::Field(field) => {
                    let field = field.make_mut();
                    self.directives(&mut field.directives);
                    self.set(&mut field.selection_set);
                }
                Selection::InlineFragment(fragment) => {
                    let fragment = fragment.make_mut();
                    self.directives(&mut fragment.directives);
                    self.set(&mut fragment.selection_set);
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&mut spread.make_mut().directives);
                }
            }
        }
    }

    fn directives(&self, directives: &mut DirectiveList) {
        let conditions = directives.0.iter_mut();
        for directive in conditions.filter(|it| it.name == "skip" || it.name == "include") {
            for argument in &mut directive.make_mut().arguments {
                let variable = argument.value.as_variable();
                let known = self.0.iter().find(|(name, _)| Some(*name) == variable);
                if let Some((_, value)) = known {
                    argument.make_mut().value = Node::new(Value::Boolean(*value));
                }
            }
        }
    }
}
