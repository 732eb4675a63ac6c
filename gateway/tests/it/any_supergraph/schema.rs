//! A subgraph's schema, as far as its supergraph describes it.

use std::fmt::Write as _;

use apollo_compiler::{
    Name,
    ast::{Directive, Type},
    schema::{Component, ExtendedType, InputValueDefinition},
};

use super::joins::{Joins, fields_of, text};

/// The SDL of a subgraph, with what it answers to gateways.
pub fn subgraph(joins: &Joins, graph: usize) -> String {
    let mut sdl = String::from("scalar _Any\n");
    if let Some(mark) = joins.schema.directive_definitions.get("mark") {
        let _ = writeln!(sdl, "{mark}");
    }
    let definition = &joins.schema.schema_definition;
    let mut roots = String::new();
    let kinds = [
        ("query", &definition.query),
        ("mutation", &definition.mutation),
    ];
    for (kind, name) in kinds {
        let Some(name) = name else { continue };
        if kind == "query" || !fields(joins, name, graph).is_empty() {
            let _ = write!(roots, "{kind}: {} ", name.name);
        }
    }
    let query = definition.query.as_ref().map(|it| it.name.as_str());
    let _ = writeln!(sdl, "schema {{ {roots}}}");
    let mut entities = Vec::new();
    for (name, ty) in &joins.schema.types {
        let is_query = query == Some(name);
        if joins.types(name, graph).next().is_none() && !is_query {
            continue;
        }
        let is_interface_object = joins.is_interface_object(name, graph);
        let is_entity = !joins.keys(name, graph).is_empty();
        if is_entity && (ty.is_object() || is_interface_object) {
            entities.push(name.as_str());
        }
        if let Some(text) = definition_of(joins, name, ty, graph, is_query) {
            let _ = writeln!(sdl, "{text}");
        }
    }
    if let (Some(query), false) = (query, entities.is_empty()) {
        let _ = writeln!(sdl, "union _Entity = {}", entities.join(" | "));
        let _ = writeln!(
            sdl,
            "extend type {query} {{ _entities(representations: [_Any!]!): [_Entity]! }}"
        );
    }
    sdl
}

fn definition_of(
    joins: &Joins,
    name: &Name,
    ty: &ExtendedType,
    graph: usize,
    is_query: bool,
) -> Option<String> {
    let is_here = |it: &Directive| joins.graph(it) == Some(graph);
    let is_of = |all: &[&Directive]| all.is_empty() || all.iter().any(|it| is_here(it));
    Some(match ty {
        ExtendedType::Scalar(_) => format!("scalar {name}"),
        ExtendedType::Object(_) | ExtendedType::Interface(_) => {
            let mut fields = fields(joins, name, graph);
            if is_query {
                fields.push("_service: String".to_owned());
            }
            if fields.is_empty() {
                return None;
            }
            let keyword = match ty.is_object() || joins.is_interface_object(name, graph) {
                true => "type",
                false => "interface",
            };
            let implements = ty.directives().get_all("join__implements");
            let implements: Vec<&str> = implements
                .filter(|it| is_here(it))
                .filter_map(|it| text(it, "interface"))
                .collect();
            let implements = match &*implements {
                [] => String::new(),
                all => format!("implements {}", all.join(" & ")),
            };
            format!("{keyword} {name} {implements} {{ {} }}", fields.join(" "))
        }
        ExtendedType::Union(_) => {
            let members = joins.objects(name, graph);
            let members: Vec<&str> = members.iter().map(Name::as_str).collect();
            format!("union {name} = {}", members.join(" | "))
        }
        ExtendedType::Enum(it) => {
            let values = it.values.values().filter(|value| {
                let all: Vec<&Directive> = value
                    .directives
                    .get_all("join__enumValue")
                    .map(|it| &**it)
                    .collect();
                is_of(&all)
            });
            let values: Vec<&str> = values.map(|value| value.value.as_str()).collect();
            format!("enum {name} {{ {} }}", values.join(" "))
        }
        ExtendedType::InputObject(it) => {
            let mut fields = Vec::new();
            for field in it.fields.values() {
                let all = field.directives.get_all("join__field").map(|it| &**it);
                let all: Vec<&Directive> = all.collect();
                if is_of(&all) {
                    let own = all.iter().find(|it| is_here(it));
                    let own = own.and_then(|it| text(it, "type"));
                    fields.push(input(field, own.map(str::to_owned)));
                }
            }
            format!("input {name} {{ {} }}", fields.join(" "))
        }
    })
}

fn fields(joins: &Joins, name: &Name, graph: usize) -> Vec<String> {
    let mut fields = Vec::new();
    for field in joins
        .schema
        .types
        .get(name)
        .map(fields_of)
        .unwrap_or_default()
    {
        let all = joins.fields(name, &field.name).iter();
        for join in all.filter(|it| it.graph == graph) {
            let arguments = field.arguments.iter().map(|it| argument(it));
            let contexts = join.contexts.iter();
            let contexts = contexts.map(|it| format!("{}: {}", it.name, it.ty));
            let arguments: Vec<String> = arguments.chain(contexts).collect();
            let arguments = match &*arguments {
                [] => String::new(),
                all => format!("({})", all.join(" ")),
            };
            fields.push(format!("{}{arguments}: {}", field.name, join.ty));
        }
    }
    fields
}

fn argument(argument: &InputValueDefinition) -> String {
    written(argument, argument.ty.to_string())
}

fn input(field: &Component<InputValueDefinition>, own: Option<String>) -> String {
    let ty: &Type = &field.ty;
    written(field, own.unwrap_or_else(|| ty.to_string()))
}

fn written(value: &InputValueDefinition, ty: String) -> String {
    match &value.default_value {
        Some(default) => format!("{}: {ty} = {default}", value.name),
        None => format!("{}: {ty}", value.name),
    }
}
