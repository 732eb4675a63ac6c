//! A supergraph in which no two `@provides` of a subgraph are taken for one.
//!
//! The planner numbers what a field provides within the type that has the field. Where fields of two
//! types in one subgraph lead to the same type, the first of each have one number, and the planner
//! believes of both that they provide what either does: it asks a subgraph for a field that is not
//! there, and gets null. Providing is never necessary, so the later ones are taken out.

use std::{borrow::Cow, collections::HashSet};

use apollo_compiler::{
    Name, Schema,
    ast::{Definition, Document, OperationDefinition, Selection, Value},
};

/// What a field of `holder` provides in a subgraph.
struct View {
    graph: Name,
    holder: Name,
    ty: Name,
    provided: String,
    /// The types that it has fields of.
    types: HashSet<Name>,
}

impl View {
    fn is_mistaken_for(&self, other: &Self) -> bool {
        let is_same = self.ty == other.ty && self.provided == other.provided;
        self.graph == other.graph
            && self.holder != other.holder
            && !is_same
            && !self.types.is_disjoint(&other.types)
    }
}

/// The supergraph's SDL without the `@provides` that would be mistaken for another.
pub fn with_one_view_each<'a>(sdl: &'a str, supergraph: &Schema) -> Cow<'a, str> {
    let Ok(mut document) = Document::parse(sdl, "supergraph.graphql") else {
        return Cow::Borrowed(sdl);
    };
    let mut kept: Vec<View> = Vec::new();
    let mut is_changed = false;
    for definition in &mut document.definitions {
        let (holder, fields) = match definition {
            Definition::ObjectTypeDefinition(object) => {
                let object = object.make_mut();
                (&object.name, &mut object.fields)
            }
            Definition::InterfaceTypeDefinition(interface) => {
                let interface = interface.make_mut();
                (&interface.name, &mut interface.fields)
            }
            _ => continue,
        };
        for field in fields {
            let field = field.make_mut();
            let joins = field.directives.0.iter_mut();
            for join in joins.filter(|directive| directive.name == "join__field") {
                let argument = |name: &str| join.specified_argument_by_name(name);
                let (Some(Value::Enum(graph)), Some(provided)) = (
                    argument("graph").map(|graph| &**graph),
                    argument("provides").and_then(|provided| provided.as_str()),
                ) else {
                    continue;
                };
                let ty = field.ty.inner_named_type();
                let view = View {
                    graph: graph.clone(),
                    holder: holder.clone(),
                    ty: ty.clone(),
                    provided: provided.to_owned(),
                    types: types_in(supergraph, ty, provided),
                };
                if kept.iter().any(|other| view.is_mistaken_for(other)) {
                    let arguments = &mut join.make_mut().arguments;
                    arguments.retain(|argument| argument.name != "provides");
                    is_changed = true;
                } else {
                    kept.push(view);
                }
            }
        }
    }
    if is_changed {
        Cow::Owned(document.to_string())
    } else {
        Cow::Borrowed(sdl)
    }
}

fn types_in(schema: &Schema, ty: &Name, fields: &str) -> HashSet<Name> {
    let mut types = HashSet::new();
    let document = Document::parse(format!("{{ {fields} }}"), "provides.graphql");
    let operations = document.iter().flat_map(|document| &document.definitions);
    for definition in operations {
        if let Definition::OperationDefinition(operation) = definition {
            let OperationDefinition { selection_set, .. } = &**operation;
            add_types(schema, ty, selection_set, &mut types);
        }
    }
    types
}

fn add_types(schema: &Schema, ty: &Name, selections: &[Selection], types: &mut HashSet<Name>) {
    types.insert(ty.clone());
    for selection in selections {
        match selection {
            Selection::Field(field) if field.selection_set.is_empty() => {}
            Selection::Field(field) => {
                if let Ok(definition) = schema.type_field(ty, &field.name) {
                    let ty = definition.ty.inner_named_type();
                    add_types(schema, ty, &field.selection_set, types);
                }
            }
            Selection::InlineFragment(fragment) => {
                let ty = fragment.type_condition.as_ref().unwrap_or(ty);
                add_types(schema, ty, &fragment.selection_set, types);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provided(fields: &str) -> Vec<String> {
        let sdl = format!(
            "type A @join__type(graph: X) {{ e: E {0} }}
             type B @join__type(graph: X) {{ {fields} }}
             type E @join__type(graph: X) {{ f: Int g: Int h: H }} type H @join__type(graph: X) {{ f: Int }}",
            "@join__field(graph: X, provides: \"f h { f }\")"
        );
        let schema = Schema::parse(&sdl, "").expect("SDL");
        let sdl = with_one_view_each(&sdl, &schema);
        let rest = sdl.split("provides: \"").skip(2);
        rest.map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn what_two_types_provide_of_a_third_is_kept_once() {
        for (fields, kept) in [
            ("x: E @join__field(graph: X, provides: \"g\")", vec![]),
            ("x: [H!] @join__field(graph: X, provides: \"f\")", vec![]),
            (
                "x: E @join__field(graph: X, provides: \"f h { f }\")",
                vec!["f h { f }"],
            ),
            ("x: E @join__field(graph: Y, provides: \"g\")", vec!["g"]),
            (
                "x: B @join__field(graph: X, provides: \"y\") y: Int",
                vec!["y"],
            ),
        ] {
            assert_eq!(provided(fields), kept, "{fields}");
        }
    }
}
