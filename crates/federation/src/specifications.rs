//! What a supergraph asks of its gateway beyond the join specification.

use apollo_compiler::{Schema, ast::Directive};

use crate::{SupergraphError, mistakes::Located};

/// Where the known specifications are.
const HOST: &str = "https://specs.apollo.dev/";
/// What is followed. Others may be ignored where they name no purpose.
const KNOWN: [&str; 14] = [
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
    "context/v0.1",
    "authenticated/v0.1",
    "requiresScopes/v0.1",
    "policy/v0.1",
];
/// What protects data in whatever version it is linked, and for whatever purpose.
const PROTECTING: [&str; 3] = ["authenticated", "requiresScopes", "policy"];

/// Refuses what would be served wrongly: the link specification wants a purpose that is stated to be
/// met.
///
/// # Errors
/// `UnknownFeature`.
pub fn check(supergraph: &Schema) -> Result<(), SupergraphError> {
    match unknown_links(supergraph).next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// All of them, with the places of their links.
pub fn unknown(supergraph: &Schema) -> impl Iterator<Item = Located> {
    unknown_links(supergraph).map(|(link, error)| (link.name.location(), error.to_string()))
}

fn unknown_links(supergraph: &Schema) -> impl Iterator<Item = (&Directive, SupergraphError)> {
    links(supergraph).filter_map(|link| {
        let argument = |name: &str| link.specified_argument_by_name(name);
        let url = argument("url").or_else(|| argument("feature"));
        let url = url.and_then(|url| url.as_str()).unwrap_or_default();
        let specification = url.strip_prefix(HOST).unwrap_or_default();
        let name = specification.split('/').next().unwrap_or_default();
        let purpose = argument("for").filter(|purpose| !purpose.is_null());
        let purpose = match purpose {
            Some(purpose) => purpose.to_string(),
            None if PROTECTING.contains(&name) => "SECURITY".to_owned(),
            None => return None,
        };
        let is_known = KNOWN.contains(&specification.trim_end_matches('/'));
        let error = || SupergraphError::UnknownFeature {
            url: url.to_owned(),
            purpose,
        };
        (!is_known).then(|| (link, error()))
    })
}

/// The links of a supergraph. The link specification may be linked by another name: all directives at the schema count
/// that have the name of one that links a specification of [`HOST`].
fn links(supergraph: &Schema) -> impl Iterator<Item = &Directive> {
    let all = || {
        let directives = supergraph.schema_definition.directives.iter();
        directives.map(|it| -> &Directive { it })
    };
    let is_at_host = |it: &&Directive| {
        ["url", "feature"].iter().any(|name| {
            let url = it.specified_argument_by_name(name);
            let url = url.and_then(|url| url.as_str());
            url.is_some_and(|url| url.starts_with(HOST))
        })
    };
    let names: Vec<&str> = all()
        .filter(is_at_host)
        .map(|it| it.name.as_str())
        .collect();
    all().filter(move |it| {
        matches!(it.name.as_str(), "link" | "core") || names.contains(&it.name.as_str())
    })
}

/// All names by which a supergraph may call the directive that has the name of its specification: the name of the
/// specification there, with and without a prefix, and those of imports. None where nothing links it.
pub fn local_names(supergraph: &Schema, specification: &str) -> Vec<String> {
    let mut names = Vec::new();
    for link in links(supergraph) {
        let argument = |name: &str| link.specified_argument_by_name(name);
        let url = argument("url").or_else(|| argument("feature"));
        let url = url.and_then(|url| url.as_str()).unwrap_or_default();
        let path = url.strip_prefix(HOST).unwrap_or_default();
        if path.split('/').next() != Some(specification) {
            continue;
        }
        let local = argument("as").and_then(|name| name.as_str());
        let local = local.unwrap_or(specification);
        names.push(local.to_owned());
        names.push(format!("{local}__{specification}"));
        let own = format!("@{specification}");
        let imports = argument("import").and_then(|imports| imports.as_list());
        for import in imports.unwrap_or_default() {
            let text = |name: &str| {
                let mut fields = import.as_object()?.iter();
                fields.find(|(key, _)| key == name)?.1.as_str()
            };
            let is_own = import.as_str() == Some(&*own) || text("name") == Some(&*own);
            if is_own {
                let name = text("as").unwrap_or(&own);
                names.push(name.trim_start_matches('@').to_owned());
            }
        }
    }
    names
}

/// What a supergraph calls the directive that has the name of its specification.
pub fn local_name(supergraph: &Schema, specification: &str) -> String {
    for link in links(supergraph) {
        let argument = |name: &str| link.specified_argument_by_name(name);
        let url = argument("url").and_then(|url| url.as_str());
        // https://specs.apollo.dev/NAME/vX.Y
        if url.and_then(|url| url.rsplit('/').nth(1)) != Some(specification) {
            continue;
        }
        let own = format!("@{specification}");
        let imports = argument("import").and_then(|imports| imports.as_list());
        for import in imports.unwrap_or_default() {
            let text = |name: &str| {
                let mut fields = import.as_object()?.iter();
                fields.find(|(key, _)| key == name)?.1.as_str()
            };
            if text("name") == Some(&own)
                && let Some(name) = text("as")
            {
                return name.trim_start_matches('@').to_owned();
            }
        }
        let local = argument("as").and_then(|name| name.as_str());
        return local.unwrap_or(specification).to_owned();
    }
    specification.to_owned()
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
            "@link(url: \"https://specs.apollo.dev/authenticated/v0.1\", for: SECURITY)",
            "@link(url: \"https://specs.apollo.dev/requiresScopes/v0.1/\", for: SECURITY)",
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
            "https://specs.apollo.dev/authenticated/v0.2",
            "https://specs.apollo.dev/requiresScopes/v1.0",
            "https://specs.apollo.dev/policy/",
            "https://specs.apollo.dev/secret/v0.1",
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
    fn links_by_another_name_are_links() {
        let at = |links: &str| {
            format!(
                "schema @l(url: \"{HOST}link/v1.0\", as: \"l\") {links} {{ query: Query }} type Query {{ a: Int }}"
            )
        };
        let url = "https://example.com/secret/v0.1";
        assert_eq!(
            refusal(&at(&format!("@l(url: \"{url}\", for: SECURITY)"))),
            Some(format!(
                "the supergraph needs {url} for SECURITY, which this gateway does not know"
            ))
        );
        let sdl = at(&format!(
            "@l(url: \"{HOST}authenticated/v0.1\", import: [{{name: \"@authenticated\", as: \"@in\"}}], for: SECURITY)"
        ));
        assert_eq!(refusal(&sdl), None);
        let supergraph = Schema::parse(sdl, "supergraph.graphql").expect("SDL");
        let names = local_names(&supergraph, "authenticated");
        assert!(names.contains(&"in".to_owned()), "{names:?}");
    }

    #[test]
    fn what_protects_is_followed_or_refused_without_a_purpose_too() {
        let link = |specification: &str| {
            refusal(&format!(
                "schema @link(url: \"{HOST}{specification}\") {{ query: Query }} type Query {{ a: Int }}"
            ))
        };
        assert_eq!(link("policy/v0.1"), None);
        assert_eq!(
            link("policy/v0.2"),
            Some(format!(
                "the supergraph needs {HOST}policy/v0.2 for SECURITY, which this gateway does not know"
            ))
        );
    }

    #[test]
    fn directives_have_the_names_that_links_give_them() {
        let name = |link: &str| {
            let sdl = format!("schema {link} {{ query: Query }} type Query {{ a: Int }}");
            let supergraph = Schema::parse(sdl, "supergraph.graphql").expect("SDL");
            local_name(&supergraph, "context")
        };
        let url = "url: \"https://specs.apollo.dev/context/v0.1\"";
        assert_eq!(name(""), "context");
        assert_eq!(
            name(&format!("@link({url}, import: [\"@context\"])")),
            "context"
        );
        assert_eq!(name(&format!("@link({url}, as: \"ctx\")")), "ctx");
        let renamed = "import: [{name: \"@context\", as: \"@sets\"}]";
        assert_eq!(name(&format!("@link({url}, {renamed})")), "sets");
    }
}
