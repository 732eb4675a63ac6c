//! Computes the cost of arguments: 1 for each object in them, or their `@cost`.

use apollo_compiler::{
    Name, Schema,
    ast::Value,
    schema::{ExtendedType, Type},
};

use super::{
    count::CostCounter,
    formula::{Input, Node, Term},
};
use crate::graph::Graph;

impl CostCounter<'_> {
    /// The cost of a value of an argument or an input field. `weight` is its own `@cost`.
    pub fn input(&mut self, value: &Value, ty: &Type, weight: Option<f64>) -> Term {
        let name = ty.inner_named_type();
        let own = weight.unwrap_or_else(|| self.graph.costs.of_type(self.graph.api(), name));
        match value {
            Value::Null => Term::Constant(0.0),
            Value::List(items) => {
                let terms = items.iter().map(|item| self.input(item, ty, weight));
                let terms = terms.collect();
                self.sum(0.0, terms)
            }
            Value::Object(members) => {
                let mut terms = Vec::new();
                for (field, value) in members {
                    if let Some((ty, weight)) = self.input_field(name, field) {
                        let term = self.input(value, &ty, weight);
                        terms.push(term);
                    }
                }
                self.sum(own, terms)
            }
            Value::Variable(variable) => self.input_variable(variable, ty, weight, own),
            _ => Term::Constant(own),
        }
    }

    fn input_field(&self, type_name: &Name, field: &Name) -> Option<(Type, Option<f64>)> {
        let input = self.graph.api().get_input_object(type_name)?;
        let ty = (*input.fields.get(field)?.ty).clone();
        Some((ty, self.graph.costs.input_field(type_name, field)))
    }

    fn input_variable(
        &mut self,
        variable: &Name,
        ty: &Type,
        weight: Option<f64>,
        own: f64,
    ) -> Term {
        let mut variables = self.variables.iter();
        let Some(index) = variables.position(|it| it.name == *variable) else {
            return Term::Constant(0.0);
        };
        let name = ty.inner_named_type();
        let is_given = self.variables[index].ty.is_non_null() && !ty.is_list();
        if has_flat_cost(self.graph, name) && (own == 0.0 || is_given) {
            return Term::Constant(own);
        }
        let origin = (index, name.clone(), weight.map(f64::to_bits));
        if let Some(term) = self.inputs.get(&origin) {
            return *term;
        }
        let default = self.variables[index].default_value.clone();
        let default = default.map_or(Term::Constant(0.0), |it| self.input(&it, ty, weight));
        let term = self.node(Node::Input(Input {
            variable: index,
            type_name: name.clone(),
            weight,
            default,
        }));
        self.inputs.insert(origin, term);
        term
    }
}

/// Whether the content of a value of this type costs nothing: then it need not be read.
fn has_flat_cost(graph: &Graph, name: &Name) -> bool {
    let Some(input) = graph.api().get_input_object(name) else {
        return true;
    };
    input.fields.iter().all(|(field, definition)| {
        let ty = definition.ty.inner_named_type();
        let weight = graph.costs.input_field(name, field);
        weight.unwrap_or_else(|| graph.costs.of_type(graph.api(), ty)) == 0.0
            && !is_input_object(graph.api(), ty)
    })
}

fn is_input_object(schema: &Schema, name: &Name) -> bool {
    matches!(schema.types.get(name), Some(ExtendedType::InputObject(_)))
}

/// The cost of a variable's value, which must fit its type.
pub fn of_json(graph: &Graph, json: &[u8], type_name: &Name, weight: Option<f64>) -> f64 {
    let json = serde_json::from_slice(json).unwrap_or_default();
    of_value(graph, &json, type_name, weight)
}

fn of_value(graph: &Graph, json: &serde_json::Value, type_name: &Name, weight: Option<f64>) -> f64 {
    let own = weight.unwrap_or_else(|| graph.costs.of_type(graph.api(), type_name));
    match json {
        serde_json::Value::Null => 0.0,
        serde_json::Value::Array(items) => {
            let items = items.iter();
            items.map(|it| of_value(graph, it, type_name, weight)).sum()
        }
        serde_json::Value::Object(members) => {
            let Some(input) = graph.api().get_input_object(type_name) else {
                return own;
            };
            let of_member = |(key, value): (&String, &serde_json::Value)| {
                let (name, definition) = input.fields.get_key_value(key.as_str())?;
                let weight = graph.costs.input_field(type_name, name);
                let ty = definition.ty.inner_named_type();
                Some(of_value(graph, value, ty, weight))
            };
            own + members.iter().filter_map(of_member).sum::<f64>()
        }
        _ => own,
    }
}
