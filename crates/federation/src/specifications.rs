//! What a supergraph asks of its gateway beyond the join specification.

use apollo_compiler::{
    Schema,
    ast::{Directive, DirectiveList},
    schema::ExtendedType,
};

use crate::SupergraphError;

/// Where the known specifications are.
const HOST: &str = "https://specs.apollo.dev/";
/// What is followed. Others may be ignored where they name no purpose.
const KNOWN: [&str; 10] = [
    "link/v1.0",
    "core/v0.1",
    "core/v0.2",
    "join/v0.1",
    "join/v0.2",
    "join/v0.3",
    "join/v0.4",
    "join/v0.5",
    "inaccessible/v0.1",
    "inaccessible/v0.2",
];

/// Refuses what would be served wrongly: the link specification wants a purpose that is stated to be
/// met.
///
/// # Errors
/// `UnknownFeature` and `ContextArgument`.
pub fn check(supergraph: &Schema) -> Result<(), SupergraphError> {
    for link in &supergraph.schema_definition.directives.0 {
        if link.name != "link" && link.name != "core" {
            continue;
        }
        let argument = |name: &str| link.specified_argument_by_name(name);
        let url = argument("url").or_else(|| argument("feature"));
        let url = url.and_then(|url| url.as_str()).unwrap_or_default();
        let Some(purpose) = argument("for").filter(|purpose| !purpose.is_null()) else {
            continue;
        };
        let specification = url.strip_prefix(HOST).unwrap_or_default();
        if !KNOWN.contains(&specification.trim_end_matches('/')) {
            return Err(SupergraphError::UnknownFeature {
                url: url.to_owned(),
                purpose: purpose.to_string(),
            });
        }
    }
    for (name, definition) in &supergraph.types {
        let fields = match definition {
            ExtendedType::Object(object) => &object.fields,
            ExtendedType::Interface(interface) => &interface.fields,
            _ => continue,
        };
        if let Some(field) = fields.values().find(|it| takes_context(&it.directives)) {
            let place = format!("{name}.{}", field.name);
            return Err(SupergraphError::ContextArgument(place));
        }
    }
    Ok(())
}

fn takes_context(directives: &DirectiveList) -> bool {
    let takes = |join: &Directive| {
        let arguments = join.specified_argument_by_name("contextArguments");
        arguments.is_some_and(|arguments| !arguments.is_null())
    };
    directives.get_all("join__field").any(|join| takes(join))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sdl: &str) -> Option<String> {
        let supergraph = Schema::parse(sdl, "supergraph.graphql").expect("SDL");
        check(&supergraph).err().map(|error| error.to_string())
    }

    #[test]
    fn known_specifications_and_those_without_a_purpose_pass() {
        for links in [
            "@link(url: \"https://specs.apollo.dev/link/v1.0\") @link(url: \"https://specs.apollo.dev/join/v0.5\", for: EXECUTION)",
            "@link(url: \"https://specs.apollo.dev/inaccessible/v0.2\", for: SECURITY)",
            "@link(url: \"https://specs.apollo.dev/tag/v0.3\") @link(url: \"https://specs.apollo.dev/cost/v0.1\")",
            "@core(feature: \"https://specs.apollo.dev/join/v0.1\", for: EXECUTION)",
        ] {
            let sdl = format!("schema {links} {{ query: Query }} type Query {{ a: Int }}");
            assert_eq!(refusal(&sdl), None);
        }
    }

    #[test]
    fn others_with_a_purpose_are_refused() {
        for url in [
            "https://specs.apollo.dev/authenticated/v0.1",
            "https://specs.apollo.dev/requiresScopes/v0.1",
            "https://specs.apollo.dev/policy/v0.1",
            "https://specs.apollo.dev/join/v9.0",
            "https://example.com/join/v0.3",
        ] {
            let sdl = format!(
                "schema @link(url: \"{url}\", for: SECURITY) {{ query: Query }} type Query {{ a: Int }}"
            );
            assert_eq!(
                refusal(&sdl),
                Some(format!(
                    "the supergraph needs {url} for SECURITY, which this gateway does not know"
                ))
            );
        }
    }

    #[test]
    fn arguments_from_a_context_are_refused() {
        let sdl = "type Query { a(b: Int): Int @join__field(graph: A, contextArguments: \
                   [{context: \"c\", name: \"b\", type: \"Int\", selection: \"d\"}]) }";
        assert_eq!(
            refusal(sdl).expect("a refusal"),
            "Query.a takes an argument from a context, which this gateway does not give"
        );
    }
}
