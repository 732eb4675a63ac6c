//! Executes an operation over JSON data, as a small subgraph and as a monolith.

use std::collections::HashMap;

use apollo_compiler::{
    ExecutableDocument, Name, Schema,
    resolvers::{Execution, FieldError, ObjectValue, ResolveInfo, ResolvedValue},
    response::{ExecutionResponse, JsonMap},
    validation::Valid,
};
use serde_json::{Map, Value};

use super::subgraph::Answers;

/// Computes a field: from its object and its arguments.
pub type Resolver = Box<dyn Fn(&Value, &Value) -> Result<Value, String> + Send + Sync>;

/// A schema with its data.
pub struct Data {
    pub schema: Valid<Schema>,
    /// The root objects' fields: `{"Query": {...}, "Mutation": {...}}`.
    pub roots: Value,
    /// Objects with a `__typename`, found by the fields that another object shares with them.
    pub entities: Vec<Value>,
    pub resolvers: HashMap<(String, String), Resolver>,
}

impl Answers for Data {
    fn execute(&self, query: &str, variables: &Value) -> Value {
        executed(&self.schema, query, variables, |name| Object {
            data: self,
            type_name: name.to_string(),
            value: self
                .roots
                .get(name.as_str())
                .cloned()
                .unwrap_or_else(|| Value::Object(Map::new())),
        })
    }
}

/// Executes an operation: the response's JSON. `root` makes the root object of a type.
pub fn executed<O: ObjectValue>(
    schema: &Valid<Schema>,
    query: &str,
    variables: &Value,
    root: impl FnOnce(&Name) -> O,
) -> Value {
    let document = match ExecutableDocument::parse_and_validate(schema, query, "") {
        Ok(document) => document,
        Err(invalid) => {
            return serde_json::json!({"errors": [{"message": invalid.errors.to_string()}]});
        }
    };
    let variables: JsonMap = serde_json::from_value(variables.clone()).expect("variables");
    let execution = Execution::new(schema, &document).raw_variable_values(&variables);
    let operation = document.operations.get(None).expect("one operation");
    let root = root(operation.object_type());
    match execution.execute_sync(&root) {
        Ok(ExecutionResponse { data, errors }) if errors.is_empty() => {
            serde_json::json!({ "data": data })
        }
        Ok(response) => serde_json::json!({ "data": response.data, "errors": response.errors }),
        Err(error) => serde_json::json!({"errors": [{"message": error.message().to_string()}]}),
    }
}

impl Data {
    /// The entity of that type whose fields agree with `known` wherever both have one.
    fn entity(&self, type_name: &str, known: &Value) -> Option<&Value> {
        let agrees = |entity: &&Value| {
            let shared = entity
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, value)| {
                    *key != "__typename"
                        && !value.is_object()
                        && !value.is_array()
                        && known.get(key).is_some()
                });
            let mut any = false;
            let all = shared.into_iter().all(|(key, value)| {
                any = true;
                known.get(key) == Some(value)
            });
            all && (any || has_equal_object(entity, known)) && entity["__typename"] == type_name
        };
        self.entities.iter().find(agrees)
    }
}

/// Compound keys: a field that holds objects which agree in both.
fn has_equal_object(entity: &Value, known: &Value) -> bool {
    let mut fields = entity.as_object().into_iter().flatten();
    fields.any(|(key, value)| {
        (value.is_object() || value.is_array()) && known.get(key).is_some_and(|it| holds(value, it))
    })
}

/// Whether `value` has all that is `known`.
fn holds(value: &Value, known: &Value) -> bool {
    match (value, known) {
        (Value::Object(value), Value::Object(known)) => {
            !known.is_empty()
                && known.iter().all(|(key, known)| {
                    key == "__typename" || value.get(key).is_some_and(|value| holds(value, known))
                })
        }
        (Value::Array(values), Value::Array(known)) => {
            values.len() == known.len()
                && values
                    .iter()
                    .zip(known)
                    .all(|(value, known)| holds(value, known))
        }
        _ => value == known,
    }
}

struct Object<'d> {
    data: &'d Data,
    type_name: String,
    value: Value,
}

impl ObjectValue for Object<'_> {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let field = info.field_name();
        let arguments = serde_json::to_value(info.arguments()).expect("JSON");
        if field == "_entities" {
            let representations = arguments["representations"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let found = representations
                .into_iter()
                .map(|it| self.found(it))
                .collect();
            return Ok(resolved(Value::Array(found), "_Entity", self.data));
        }
        let key = (self.type_name.clone(), field.to_owned());
        let value = match self.data.resolvers.get(&key) {
            Some(resolver) => {
                resolver(&self.whole(), &arguments).map_err(|message| FieldError { message })?
            }
            None => self.field(field),
        };
        if let Some(message) = value.get("@error").and_then(Value::as_str) {
            return Err(FieldError {
                message: message.to_owned(),
            });
        }
        Ok(resolved(
            value,
            info.field_definition().ty.inner_named_type(),
            self.data,
        ))
    }
}

impl Object<'_> {
    /// An entity with what its representation adds; null if there is none.
    fn found(&self, representation: Value) -> Value {
        let type_name = representation["__typename"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // A representation by an interface finds the entity of any type that has the interface.
        let implements =
            |name: &str| name == type_name || self.data.schema.is_subtype(&type_name, name);
        let names = self
            .data
            .entities
            .iter()
            .filter_map(|entity| entity["__typename"].as_str());
        let mut names: Vec<&str> = names.filter(|name| implements(name)).collect();
        names.dedup();
        for name in names {
            let is_only_type = representation.as_object().is_some_and(|it| it.len() == 1);
            let mut entities = self.data.entities.iter();
            let entity = match is_only_type {
                true => entities.find(|entity| entity["__typename"] == name),
                false => self.data.entity(name, &representation),
            };
            if let Some(entity) = entity {
                let mut entity = entity.clone();
                for (key, value) in representation.as_object().into_iter().flatten() {
                    if entity.get(key).is_none() {
                        entity[key] = value.clone();
                    }
                }
                return entity;
            }
        }
        Value::Null
    }

    fn whole(&self) -> Value {
        let mut whole = self
            .data
            .entity(&self.type_name, &self.value)
            .cloned()
            .unwrap_or_default();
        if whole.is_null() {
            whole = Value::Object(Map::new());
        }
        for (key, value) in self.value.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        whole
    }

    fn field(&self, field: &str) -> Value {
        match self.value.get(field) {
            Some(value) => value.clone(),
            None => {
                let entity = self.data.entity(&self.type_name, &self.value);
                entity
                    .and_then(|entity| entity.get(field))
                    .cloned()
                    .unwrap_or_default()
            }
        }
    }
}

fn resolved<'d>(value: Value, declared: &str, data: &'d Data) -> ResolvedValue<'d> {
    let is_leaf = data
        .schema
        .types
        .get(declared)
        .is_none_or(|it| it.is_leaf());
    match value {
        Value::Null => ResolvedValue::null(),
        Value::Array(items) if !(is_leaf && is_custom(data, declared)) => {
            let declared = declared.to_owned();
            ResolvedValue::list(
                items
                    .into_iter()
                    .map(move |item| resolved(item, &declared, data)),
            )
        }
        value if is_leaf => ResolvedValue::leaf(
            serde_json::from_value::<apollo_compiler::response::JsonValue>(value).expect("JSON"),
        ),
        value => {
            let type_name = value["__typename"].as_str().unwrap_or(declared).to_owned();
            ResolvedValue::object(Object {
                data,
                type_name,
                value,
            })
        }
    }
}

fn is_custom(data: &Data, name: &str) -> bool {
    data.schema
        .types
        .get(name)
        .is_some_and(|it| it.is_scalar() && !it.is_built_in())
}
