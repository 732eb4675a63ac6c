//! The API schema without what a client may not see, for introspection (`AUTHORIZATION_HIDES_SCHEMA`).

use apollo_compiler::{
    Name, Schema,
    ast::FieldDefinition,
    collections::HashMap,
    schema::{Component, ExtendedType, Implementers},
    validation::Valid,
};
use federation::TypeId;
use rustc_hash::FxHashSet;

use crate::graph::Graph;

/// A part of the API schema. It answers introspection, and need not be valid for anything else: an object may lack a
/// field of its interface.
pub struct VisibleSchema {
    pub schema: Valid<Schema>,
    pub implementers: HashMap<Name, Implementers>,
}

impl VisibleSchema {
    /// The fields that `sees` shows, and the types that they lead to. Types to which nothing led before stay.
    pub fn of(graph: &Graph, sees: &dyn Fn(TypeId, &str) -> bool) -> Self {
        let before = reached(graph.api());
        let mut schema = Schema::clone(graph.api());
        for (name, definition) in &mut schema.types {
            let Some(id) = graph.types().id(name) else {
                continue;
            };
            keep_fields(definition, &|field| sees(id, &field.name));
        }
        // A type without a field is hidden, and so are the fields that lead to it. A schema needs a query type.
        let query = schema.schema_definition.query.as_ref();
        let query = query.map(|root| root.name.clone());
        loop {
            let is_hidden = |(name, definition): (&Name, &ExtendedType)| {
                let is_empty = match definition {
                    ExtendedType::Object(it) => it.fields.is_empty(),
                    ExtendedType::Interface(it) => it.fields.is_empty(),
                    ExtendedType::Union(it) => it.members.is_empty(),
                    _ => false,
                };
                (is_empty && query.as_ref() != Some(name)).then(|| name.clone())
            };
            let hidden: FxHashSet<Name> = schema.types.iter().filter_map(is_hidden).collect();
            if hidden.is_empty() {
                break;
            }
            remove(&mut schema, &hidden);
        }
        let after = reached(&schema);
        let is_left = |name: &&Name| before.contains(*name) && !after.contains(*name);
        let left: FxHashSet<Name> = schema.types.keys().filter(is_left).cloned().collect();
        remove(&mut schema, &left);
        Self {
            implementers: schema.implementers_map(),
            schema: Valid::assume_valid(schema),
        }
    }
}

fn remove(schema: &mut Schema, hidden: &FxHashSet<Name>) {
    schema.types.retain(|name, _| !hidden.contains(name));
    let root = schema.schema_definition.make_mut();
    for root in [&mut root.mutation, &mut root.subscription] {
        root.take_if(|root| hidden.contains(&root.name));
    }
    for definition in schema.types.values_mut() {
        keep_fields(definition, &|field| {
            !hidden.contains(field.ty.inner_named_type())
        });
        match definition {
            ExtendedType::Object(it) => {
                let interfaces = &mut it.make_mut().implements_interfaces;
                interfaces.retain(|it| !hidden.contains(&it.name));
            }
            ExtendedType::Interface(it) => {
                let interfaces = &mut it.make_mut().implements_interfaces;
                interfaces.retain(|it| !hidden.contains(&it.name));
            }
            ExtendedType::Union(it) => {
                let members = &mut it.make_mut().members;
                members.retain(|it| !hidden.contains(&it.name));
            }
            _ => {}
        }
    }
}

fn keep_fields(definition: &mut ExtendedType, keeps: &dyn Fn(&FieldDefinition) -> bool) {
    let keeps = |field: &Component<FieldDefinition>| field.name.starts_with("__") || keeps(field);
    match definition {
        ExtendedType::Object(it) if !it.fields.values().all(keeps) => {
            it.make_mut().fields.retain(|_, field| keeps(field));
        }
        ExtendedType::Interface(it) if !it.fields.values().all(keeps) => {
            it.make_mut().fields.retain(|_, field| keeps(field));
        }
        _ => {}
    }
}

fn roots(schema: &Schema) -> FxHashSet<Name> {
    let root = &schema.schema_definition;
    let roots = [&root.query, &root.mutation, &root.subscription];
    let roots = roots.into_iter().flatten();
    roots.map(|root| root.name.clone()).collect()
}

/// The types to which something leads, from the roots, directives and the introspection types on.
fn reached(schema: &Schema) -> FxHashSet<Name> {
    let mut open: Vec<Name> = roots(schema).into_iter().collect();
    let built_in = schema.types.iter().filter(|(_, it)| it.is_built_in());
    open.extend(built_in.map(|(name, _)| name.clone()));
    let arguments = schema.directive_definitions.values();
    let arguments = arguments.flat_map(|it| &it.arguments);
    open.extend(arguments.map(|it| it.ty.inner_named_type().clone()));
    let implementers = schema.implementers_map();
    let mut reached: FxHashSet<Name> = FxHashSet::default();
    while let Some(name) = open.pop() {
        let Some(definition) = schema.types.get(&name) else {
            continue;
        };
        if !reached.insert(name.clone()) {
            continue;
        }
        let mut fields = |fields: &mut dyn Iterator<Item = &Component<FieldDefinition>>| {
            for field in fields {
                open.push(field.ty.inner_named_type().clone());
                let arguments = field.arguments.iter();
                open.extend(arguments.map(|it| it.ty.inner_named_type().clone()));
            }
        };
        match definition {
            ExtendedType::Object(it) => {
                fields(&mut it.fields.values());
                open.extend(it.implements_interfaces.iter().map(|it| it.name.clone()));
            }
            ExtendedType::Interface(it) => {
                fields(&mut it.fields.values());
                open.extend(it.implements_interfaces.iter().map(|it| it.name.clone()));
                let of = implementers.get(&name).into_iter();
                open.extend(of.flat_map(|it| it.iter().cloned()));
            }
            ExtendedType::Union(it) => {
                open.extend(it.members.iter().map(|it| it.name.clone()));
            }
            ExtendedType::InputObject(it) => {
                let fields = it.fields.values();
                open.extend(fields.map(|it| it.ty.inner_named_type().clone()));
            }
            ExtendedType::Scalar(_) | ExtendedType::Enum(_) => {}
        }
    }
    reached
}
