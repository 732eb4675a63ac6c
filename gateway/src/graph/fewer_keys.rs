//! A second view of the supergraph for the planner, with one key where a subgraph has several.
//!
//! The planner wants all keys of a subgraph for a field there that requires others, and gives up
//! (or panics) where one of them is not at hand. One key is enough; the one that most subgraphs
//! share is kept. It is only tried where there is no plan otherwise, since a key that is left out
//! may be the only way to some other subgraph.

use apollo_compiler::ast::{Definition, Directive, Document, ObjectTypeDefinition, Value};

/// The supergraph's SDL with fewer keys; none if there is nothing to leave out.
pub fn with_fewer_keys(sdl: &str) -> Option<String> {
    let mut document = Document::parse(sdl, "supergraph.graphql").ok()?;
    let mut is_changed = false;
    for definition in &mut document.definitions {
        if let Definition::ObjectTypeDefinition(object) = definition {
            is_changed |= leave_out(object.make_mut());
        }
    }
    is_changed.then(|| document.to_string())
}

fn leave_out(object: &mut ObjectTypeDefinition) -> bool {
    let joins = object
        .fields
        .iter()
        .flat_map(|field| field.directives.get_all("join__field"));
    let requiring: Vec<String> = joins
        .filter(|join| join.specified_argument_by_name("requires").is_some())
        .filter_map(|join| graph_of(join))
        .collect();
    let keys: Vec<(String, String)> = object
        .directives
        .get_all("join__type")
        .filter_map(|join| Some((graph_of(join)?, key_of(join)?)))
        .collect();
    let before = object.directives.0.len();
    object.directives.0.retain(|join| {
        let (Some(graph), Some(key)) = (graph_of(join), key_of(join)) else {
            return true;
        };
        if join.name != "join__type" || !requiring.contains(&graph) {
            return true;
        }
        let shared_by = |key: &str| keys.iter().filter(|(_, other)| other == key).count();
        let own = keys
            .iter()
            .filter(|(other, _)| *other == graph)
            .map(|(_, key)| key);
        // Of keys that are shared alike, the first.
        let kept = own.rev().max_by_key(|key| shared_by(key));
        kept.is_none_or(|kept| *kept == key)
    });
    object.directives.0.len() < before
}

fn graph_of(join: &Directive) -> Option<String> {
    match &**join.specified_argument_by_name("graph")? {
        Value::Enum(graph) => Some(graph.to_string()),
        _ => None,
    }
}

fn key_of(join: &Directive) -> Option<String> {
    let key = join.specified_argument_by_name("key")?.as_str()?;
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::with_fewer_keys;

    #[test]
    fn a_subgraph_with_requirements_keeps_the_key_that_others_share() {
        let sdl = "type T @join__type(graph: A, key: \"id\")
              @join__type(graph: B, key: \"code\") @join__type(graph: B, key: \"id\") {
            id: ID! code: Int @join__field(graph: B)
            x: Int @join__field(graph: A) y: Int @join__field(graph: B, requires: \"x\") }";
        let fewer = with_fewer_keys(sdl).expect("a key is left out");
        assert!(
            fewer.contains("@join__type(graph: B, key: \"id\")"),
            "{fewer}"
        );
        assert!(!fewer.contains("key: \"code\""), "{fewer}");
        assert_eq!(with_fewer_keys(&fewer), None);
    }
}
