//! `@tag`: names that the authors of subgraphs give to parts of their schemas. Composition keeps them.

use std::collections::HashSet;

use apollo_compiler::{
    Name, Schema,
    ast::Directive,
    schema::{ExtendedType, FieldDefinition},
};

use crate::specifications;

/// The fields of a supergraph's object and interface types that have the tag, as pairs of the type's and the field's
/// name.
///
/// The specification is <https://specs.apollo.dev/tag/v0.3>. The directive may be imported by another name.
pub fn tagged_fields(supergraph: &Schema, tag: &str) -> HashSet<(Name, Name)> {
    let names = specifications::local_names(supergraph, "tag");
    let is_tag = |directive: &Directive| {
        let name = directive.specified_argument_by_name("name");
        names.iter().any(|known| *known == directive.name.as_str())
            && name.and_then(|name| name.as_str()) == Some(tag)
    };
    let has_tag = |field: &FieldDefinition| field.directives.iter().any(|it| is_tag(it));
    let mut fields = HashSet::new();
    for (ty, definition) in &supergraph.types {
        let all = match definition {
            ExtendedType::Object(object) => &object.fields,
            ExtendedType::Interface(interface) => &interface.fields,
            _ => continue,
        };
        let tagged = all.iter().filter(|(_, field)| has_tag(field));
        fields.extend(tagged.map(|(name, _)| (ty.clone(), name.clone())));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(links: &str, fields: &str) -> Vec<String> {
        let sdl = format!(
            "schema {links} {{ query: Query }}\n\
             directive @link(url: String, as: String, import: [String]) repeatable on SCHEMA\n\
             type Query {{ {fields} }}\n interface Node {{ a: Int @tag(name: \"x\") }}"
        );
        let schema = Schema::parse(sdl, "supergraph.graphql").expect("valid enough");
        let fields = tagged_fields(&schema, "x").into_iter();
        let mut fields: Vec<String> = fields.map(|(ty, name)| format!("{ty}.{name}")).collect();
        fields.sort();
        fields
    }

    #[test]
    fn fields_are_found_by_their_tag_whatever_it_is_called() {
        let link = |more: &str| format!("@link(url: \"https://specs.apollo.dev/tag/v0.3\" {more})");
        assert_eq!(
            tagged(
                &link(""),
                "a: Int @tag(name: \"x\") b: Int @tag(name: \"y\") c: Int @tag(name: \"y\") @tag(name: \"x\")"
            ),
            ["Node.a", "Query.a", "Query.c"]
        );
        assert_eq!(
            tagged(
                &link("as: \"label\""),
                "a: Int @label(name: \"x\") b: Int @other(name: \"x\")"
            ),
            ["Query.a"]
        );
        assert!(tagged("", "a: Int @tag(name: \"x\")").is_empty());
    }
}
