//! Subgraphs, and the whole, that answer from a [`Universe`].
//!
//! A subgraph tells of a fault where it is asked for what it does not resolve: an external field that
//! is not provided, an entity without one of its keys, a field without what it requires.

use std::{collections::BTreeSet, sync::Arc};

use apollo_compiler::{
    Name, Schema,
    executable::{Selection, SelectionSet},
    resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue},
    validation::Valid,
};
use serde_json::Value;

use super::universe::{Object, Stored, Universe};
use crate::support::{data::executed, subgraph::Answers};

/// What the whole says of a field whose context nothing above sets: no gateway has a plan for it.
pub const NO_CONTEXT: &str = "no context above";
/// What the whole says of a field that the client may not see.
pub const UNAUTHORIZED: &str = "not for this client";

/// One subgraph, or the whole.
pub struct Simulated {
    pub universe: Arc<Universe>,
    pub schema: Valid<Schema>,
    /// None for the whole.
    pub graph: Option<usize>,
    /// Fields of object types that fail before they are resolved.
    pub unseen: BTreeSet<(Name, Name)>,
}

impl Answers for Simulated {
    fn execute(&self, query: &str, variables: &Value) -> Value {
        executed(&self.schema, query, variables, |root| Seen {
            by: self,
            view: root.to_string(),
            object: Object {
                ty: root.clone(),
                number: 0,
            },
            provided: Vec::new(),
            known: Value::Null,
            above: Vec::new(),
        })
    }
}

/// An object as a subgraph sees it.
struct Seen<'s> {
    by: &'s Simulated,
    object: Object,
    /// The object's type in the subgraph.
    view: String,
    provided: Vec<&'s SelectionSet>,
    /// What its representation has.
    known: Value,
    /// The objects on the way to it.
    above: Vec<Object>,
}

impl ObjectValue for Seen<'_> {
    fn type_name(&self) -> &str {
        &self.view
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let field = info.field_name();
        let key = (Name::new(&self.view), Name::new(field));
        if let (Ok(ty), Ok(field)) = key
            && self.by.unseen.contains(&(ty, field))
        {
            return fault(UNAUTHORIZED.to_owned());
        }
        let mut arguments = serde_json::to_value(info.arguments()).expect("JSON");
        if let ("_entities", Some(graph)) = (field, self.by.graph) {
            let all = arguments["representations"].as_array().cloned();
            let all = all.unwrap_or_default();
            let found: Result<Vec<_>, _> =
                all.into_iter().map(|it| self.entity(graph, it)).collect();
            return Ok(ResolvedValue::list(found?));
        }
        let mut provided = Vec::new();
        if let Some(graph) = self.by.graph {
            provided = self.checked(graph, field)?;
        }
        if self.by.graph.is_none() {
            self.add_contexts(field, &mut arguments)?;
        }
        // The subgraphs' own directive changes what the field gives.
        let marks = info.field_selections().iter();
        let mark = marks.flat_map(|it| it.directives.get_all("mark")).next();
        if let Some(mark) = mark {
            arguments["@mark"] = mark.to_string().into();
        }
        let stored = self.by.universe.value(&self.object, field, &arguments);
        let declared = info.field_definition().ty.inner_named_type();
        let mut above = self.above.clone();
        above.push(self.object.clone());
        Ok(self.by.resolved(stored, declared, &provided, &above))
    }
}

impl<'s> Seen<'s> {
    /// Adds the arguments that a gateway gives a field from the objects above it.
    ///
    /// # Errors
    /// [`NO_CONTEXT`] where no object above sets one of them.
    fn add_contexts(&self, field: &str, arguments: &mut Value) -> Result<(), FieldError> {
        let universe = &self.by.universe;
        let schema = &universe.joins.schema;
        let joins = universe.joins.fields(&self.view, field).iter();
        for context in joins.flat_map(|join| &join.contexts) {
            let value = self.above.iter().rev().find_map(|above| {
                let mut sets = context.selections.iter();
                let (_, set) =
                    sets.find(|(ty, _)| *ty == above.ty || schema.is_subtype(ty, &above.ty))?;
                Some(the_value(&universe.tell(set, above)))
            });
            let Some(value) = value else {
                return fault(NO_CONTEXT.to_owned());
            };
            arguments[&*context.name] = value;
        }
        Ok(())
    }

    /// What a subgraph provides of a field's objects, if it resolves the field here.
    fn checked(&self, graph: usize, field: &str) -> Result<Vec<&'s SelectionSet>, FieldError> {
        let universe = &self.by.universe;
        let mut joins = universe.joins.fields(&self.view, field).iter();
        let Some(join) = joins.find(|join| join.graph == graph) else {
            return fault(format!("{}.{field} is not here", self.view));
        };
        let mut below = Vec::new();
        let mut is_provided = false;
        for set in &self.provided {
            self.provided_of(set, field, &mut is_provided, &mut below);
        }
        if join.is_external && !is_provided {
            return fault(format!("{}.{field} is external", self.view));
        }
        if let Some(set) = &join.requires {
            let expected = universe.tell(set, &self.object);
            if !holds(&self.known, &expected) {
                return fault(format!(
                    "{}.{field} requires {expected}, not {}",
                    self.view, self.known
                ));
            }
        }
        below.extend(&join.provides);
        Ok(below)
    }

    fn provided_of(
        &self,
        set: &'s SelectionSet,
        name: &str,
        is_provided: &mut bool,
        below: &mut Vec<&'s SelectionSet>,
    ) {
        let schema = &self.by.universe.joins.schema;
        for selection in &set.selections {
            match selection {
                Selection::Field(field) if field.name == name => {
                    *is_provided = true;
                    below.push(&field.selection_set);
                }
                Selection::InlineFragment(on) => {
                    let is_meant = on.type_condition.as_ref().is_none_or(|ty| {
                        *ty == self.object.ty || schema.is_subtype(ty, &self.object.ty)
                    });
                    if is_meant {
                        self.provided_of(&on.selection_set, name, is_provided, below);
                    }
                }
                _ => {}
            }
        }
    }

    fn entity(&self, graph: usize, known: Value) -> Result<ResolvedValue<'s>, FieldError> {
        let universe = &self.by.universe;
        let joins = &universe.joins;
        let ty = known["__typename"].as_str().unwrap_or_default();
        let keys = joins.keys(ty, graph);
        let has = |set: &SelectionSet| {
            let mut fields = set.selections.iter();
            fields.all(|it| match it {
                Selection::Field(field) => known.get(field.name.as_str()).is_some(),
                _ => true,
            })
        };
        let Some(key) = keys.iter().find(|key| has(key)) else {
            return fault(format!("no key of {ty} is in {known}"));
        };
        for object in joins.objects(ty, graph) {
            for number in 0..universe.objects_of(&object) {
                let object = Object {
                    ty: object.clone(),
                    number,
                };
                if holds(&known, &universe.tell(key, &object)) {
                    let by = self.by;
                    let view = by.view(&object, ty);
                    return Ok(ResolvedValue::object(Seen {
                        by,
                        object,
                        view,
                        provided: Vec::new(),
                        known,
                        above: Vec::new(),
                    }));
                }
            }
        }
        fault(format!("there is no {known}"))
    }
}

impl Simulated {
    fn view(&self, object: &Object, declared: &str) -> String {
        let joins = &self.universe.joins;
        match self.graph {
            Some(graph) if joins.is_interface_object(declared, graph) => declared.to_owned(),
            _ => object.ty.to_string(),
        }
    }

    fn resolved<'s>(
        &'s self,
        stored: Stored,
        declared: &str,
        provided: &[&'s SelectionSet],
        above: &[Object],
    ) -> ResolvedValue<'s> {
        match stored {
            Stored::Null => ResolvedValue::null(),
            Stored::Leaf(value) => ResolvedValue::leaf(
                serde_json::from_value::<apollo_compiler::response::JsonValue>(value)
                    .expect("JSON"),
            ),
            Stored::List(items) => {
                let items = items.into_iter();
                let items = items.map(|item| self.resolved(item, declared, provided, above));
                ResolvedValue::list(items.collect::<Vec<_>>())
            }
            Stored::Object(object) => ResolvedValue::object(Seen {
                by: self,
                view: self.view(&object, declared),
                object,
                provided: provided.to_vec(),
                known: Value::Null,
                above: above.to_vec(),
            }),
        }
    }
}

/// The one value that a selection has.
fn the_value(told: &Value) -> Value {
    match told {
        Value::Object(fields) => fields.values().next().map_or(Value::Null, the_value),
        Value::Array(items) => items.iter().map(the_value).collect(),
        leaf => leaf.clone(),
    }
}

fn fault<T>(message: String) -> Result<T, FieldError> {
    Err(FieldError { message })
}

/// Whether `known` has all of `expected`.
fn holds(known: &Value, expected: &Value) -> bool {
    match (known, expected) {
        (Value::Object(known), Value::Object(expected)) => {
            let mut expected = expected.iter();
            expected.all(|(name, value)| known.get(name).is_some_and(|it| holds(it, value)))
        }
        (Value::Array(known), Value::Array(expected)) => {
            known.len() == expected.len()
                && known
                    .iter()
                    .zip(expected)
                    .all(|(known, it)| holds(known, it))
        }
        (Value::Number(known), Value::Number(expected)) => known.as_f64() == expected.as_f64(),
        _ => known == expected,
    }
}
