//! Computes the cost of a response by the rules of the estimate, for development and for tuning a
//! schema's costs.

use std::{cell::RefCell, collections::HashMap};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    executable::{Field, Operation, OperationType, Selection, SelectionSet},
    schema::FieldDefinition,
    validation::Valid,
};
use serde_json::{Map, Value};

use super::{
    MUTATION,
    count::{CostCounter, definition_of},
    formula::Evaluation,
};
use crate::{
    coerce::Variables,
    graph::{Graph, costs::FieldCosts},
};

/// An operation whose responses' costs are computed.
pub struct Counted {
    document: Valid<ExecutableDocument>,
    operation: Node<Operation>,
}

impl Counted {
    /// Keeps the operation to compare responses with.
    pub fn new(document: Valid<ExecutableDocument>, operation: Node<Operation>) -> Self {
        Self {
            document,
            operation,
        }
    }

    /// The document of the operation, with its fragments.
    pub fn document(&self) -> &ExecutableDocument {
        &self.document
    }

    /// The cost of a whole response: each object and leaf counts as often as it is in it. `None` if
    /// `body` is not JSON.
    pub fn cost(&self, graph: &Graph, variables: &Variables, body: &[u8]) -> Option<u64> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let begin = match self.operation.operation_type {
            OperationType::Mutation => MUTATION,
            OperationType::Query | OperationType::Subscription => 0.0,
        };
        let answer = AnswerCounter {
            graph,
            variables,
            counted: self,
            arguments: RefCell::default(),
        };
        let root = &self.operation.selection_set;
        let cost = match body.get("data") {
            Some(Value::Object(data)) => answer.object(&[root], self.operation.object_type(), data),
            _ => 0.0,
        };
        Some((begin + cost).max(0.0).round() as u64)
    }
}

struct AnswerCounter<'a> {
    graph: &'a Graph,
    variables: &'a Variables,
    counted: &'a Counted,
    /// The cost of a field's arguments, by the field's address in memory.
    arguments: RefCell<HashMap<usize, f64>>,
}

/// A field of the operation, and the type on which it is selected.
type SelectedField<'a> = (&'a Node<Field>, &'a Name);

impl<'a> AnswerCounter<'a> {
    fn object(
        &self,
        sets: &[&'a SelectionSet],
        type_name: &Name,
        object: &Map<String, Value>,
    ) -> f64 {
        let mut asked: Vec<SelectedField<'a>> = Vec::new();
        for set in sets {
            self.flatten(set, &mut asked);
        }
        let members = object.iter().map(|(key, value)| {
            let same: Vec<SelectedField<'a>> = asked
                .iter()
                .filter(|(field, _)| field.response_key() == key.as_str())
                .copied()
                .collect();
            self.field(&same, type_name, value)
        });
        members.sum()
    }

    fn flatten(&self, set: &'a SelectionSet, asked: &mut Vec<SelectedField<'a>>) {
        for selection in &set.selections {
            let set = match selection {
                Selection::Field(field) => {
                    asked.push((field, &set.ty));
                    continue;
                }
                Selection::InlineFragment(fragment) => &fragment.selection_set,
                Selection::FragmentSpread(spread) => {
                    match spread.fragment_def(&self.counted.document) {
                        Some(fragment) => &fragment.selection_set,
                        None => continue,
                    }
                }
            };
            self.flatten(set, asked);
        }
    }

    fn field(&self, same: &[SelectedField<'a>], object_type: &Name, value: &Value) -> f64 {
        let Some((field, asked_of)) = same.first() else {
            return 0.0;
        };
        if field.name.starts_with("__") {
            return 0.0;
        }
        let costs = &self.graph.costs;
        let costs = costs
            .field(object_type, &field.name)
            .or_else(|| costs.field(asked_of, &field.name));
        let definition = definition_of(self.graph, object_type, field);
        let sets: Vec<&SelectionSet> = same.iter().map(|(it, _)| &it.selection_set).collect();
        let weight = costs.and_then(|costs| costs.weight);
        let values = self.value(&sets, definition.ty.inner_named_type(), weight, value);
        let place = std::ptr::from_ref::<Field>(field) as usize;
        let known = self.arguments.borrow().get(&place).copied();
        let arguments = known.unwrap_or_else(|| {
            let cost = self.of_arguments(field, definition, costs);
            self.arguments.borrow_mut().insert(place, cost);
            cost
        });
        (values + arguments).max(0.0)
    }

    fn of_arguments(
        &self,
        field: &Field,
        definition: &FieldDefinition,
        costs: Option<&FieldCosts>,
    ) -> f64 {
        let Counted {
            document,
            operation,
        } = self.counted;
        let mut counter = CostCounter::new(self.graph, document, &operation.variables, 0);
        let cost = counter.arguments(field, definition, costs);
        let mut evaluation = Evaluation::new(&counter.nodes, self.graph, self.variables);
        evaluation.value(cost)
    }

    fn value(
        &self,
        sets: &[&'a SelectionSet],
        type_name: &Name,
        weight: Option<f64>,
        value: &Value,
    ) -> f64 {
        let of_type = |name| self.graph.costs.of_type(self.graph.api(), name);
        match value {
            Value::Null => 0.0,
            Value::Array(items) => {
                let items = items.iter();
                items
                    .map(|it| self.value(sets, type_name, weight, it))
                    .sum()
            }
            // An object may also be a custom scalar.
            Value::Object(object) if self.graph.types().id(type_name).is_some() => {
                // The type is known only if the client selected `__typename`.
                let told = object.get("__typename").and_then(Value::as_str);
                let told = told.and_then(|name| Name::new(name).ok());
                let type_name = told.as_ref().unwrap_or(type_name);
                weight.unwrap_or_else(|| of_type(type_name)) + self.object(sets, type_name, object)
            }
            _ => weight.unwrap_or_else(|| of_type(type_name)),
        }
    }
}
