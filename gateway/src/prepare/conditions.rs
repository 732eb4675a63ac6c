//! `@skip` and `@include`, decided before planning: an operation is planned once for each way in
//! which the variables of its conditions stand.
//!
//! A condition decides not only on a field but on the requests that the field takes: with constants in
//! the place of the variables, a plan asks for nothing but what is wanted, in as few requests as that
//! takes, and a mutation does what it has to.

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

/// A query with more condition variables than these is planned as it stands: each more would double its
/// plans, which have their place in the cache beside all others'. Then subgraphs get the conditions, and
/// may be asked for nothing.
const READING_MAX: usize = 8;
/// As many as [`ConditionValues`] holds. A mutation with more is refused: it must not do what is left out.
const MUTATION_MAX: usize = u64::BITS as usize;

/// The variables that an operation's conditions ask for.
#[derive(Debug, Default)]
pub struct Conditions {
    /// By their places among the declared ones, in that order.
    variables: Box<[usize]>,
    /// Whether there is a plan for each of their values.
    are_planned_apart: bool,
}

/// The value of each condition variable, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConditionValues(u64);

impl Conditions {
    /// Finds the variables in the conditions of `operation` and its fragments.
    ///
    /// # Errors
    /// `MAX_VARIABLES_EXCEEDED` for a mutation with more of them than can be told apart.
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
                let message =
                    format!("more than {MUTATION_MAX} variables decide a mutation's conditions");
                return Err(RequestError::new(Code::MaxVariables, message));
            }
            // Subscriptions with equal selections are one at the subgraph, whatever decided them.
            OperationType::Mutation | OperationType::Subscription => MUTATION_MAX,
            OperationType::Query => READING_MAX,
        };
        Ok(Self {
            are_planned_apart: !variables.is_empty() && variables.len() <= max,
            variables,
        })
    }

    /// By their places among the declared variables.
    pub fn variables(&self) -> &[usize] {
        &self.variables
    }

    /// Whether the operation has a plan only for values of its conditions.
    pub fn are_planned_apart(&self) -> bool {
        self.are_planned_apart
    }

    /// How they stand; none where the plan does not depend on it.
    pub fn values(&self, variables: &Variables) -> Option<ConditionValues> {
        if !self.are_planned_apart {
            return None;
        }
        let bits = self.variables.iter().enumerate();
        Some(ConditionValues(bits.fold(0, |bits, (bit, variable)| {
            bits | (u64::from(variables.is(*variable, true)) << bit)
        })))
    }

    /// The document with constants for the variables.
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
    /// Those that were looked at.
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
