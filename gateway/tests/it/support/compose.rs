//! Composes subgraph schemas into a standard supergraph.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use apollo_compiler::{
    Name, Node,
    ast::{self, Argument, Definition, Directive, DirectiveList, Document},
};
use graphql_composition::Subgraphs;
use serde_json::{Value, json};

/// Composes (name, address, schema) into a supergraph. The composer leaves `@join__type` off root
/// types, scalars and unions; it is added for every subgraph that defines them.
///
/// `COMPOSER` names another composer to run instead: a command that gets
/// `[{"name", "url", "sdl"}]` and writes the supergraph. The tests must pass with any.
pub fn supergraph(subgraphs: &[(&str, &str, &str)]) -> String {
    if let Ok(command) = std::env::var("COMPOSER") {
        return composed_by(&command, subgraphs);
    }
    let mut ingested = Subgraphs::default();
    for (name, url, sdl) in subgraphs {
        ingested
            .ingest_str(sdl, name, Some(url))
            .expect("a subgraph's schema is valid");
    }
    let graph = graphql_composition::compose(&mut ingested)
        .into_result()
        .unwrap_or_else(|problems| {
            let problems: Vec<&str> = problems.iter_messages().collect();
            panic!("the subgraphs do not compose:\n{}", problems.join("\n"));
        });
    let sdl = graphql_composition::render_federated_sdl(&graph).expect("the supergraph renders");
    let mut document = Document::parse(sdl, "supergraph").expect("the supergraph is valid SDL");
    let ingredients: Vec<(Name, Document)> = subgraphs
        .iter()
        .map(|(name, _, sdl)| {
            let graph = Name::new(&name.to_uppercase()).expect("a name");
            (
                graph,
                Document::parse(*sdl, *name).expect("a subgraph's schema is valid"),
            )
        })
        .collect();
    for definition in &mut document.definitions {
        let Some(name) = definition.name().cloned() else {
            continue;
        };
        if name.starts_with("join__") {
            continue;
        }
        let Some(directives) = directives_of(definition) else {
            continue;
        };
        if directives.has("join__type") {
            continue;
        }
        for (graph, schema) in &ingredients {
            let defines = |other: &Definition| {
                other.name() == Some(&name) && !matches!(other, Definition::DirectiveDefinition(_))
            };
            if schema.definitions.iter().any(defines) {
                directives.0.push(Node::new(join_type(graph)));
            }
        }
    }
    document.to_string()
}

fn composed_by(command: &str, subgraphs: &[(&str, &str, &str)]) -> String {
    let json: Value = subgraphs
        .iter()
        .map(|(name, url, sdl)| json!({"name": name, "url": url, "sdl": sdl}))
        .collect();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the composer starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(json.to_string().as_bytes())
        .expect("the composer reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the composer ends");
    assert!(output.status.success(), "the subgraphs do not compose");
    String::from_utf8(output.stdout).expect("the supergraph is UTF-8")
}

fn directives_of(definition: &mut Definition) -> Option<&mut DirectiveList> {
    match definition {
        Definition::ScalarTypeDefinition(it) => Some(&mut it.make_mut().directives),
        Definition::ObjectTypeDefinition(it) => Some(&mut it.make_mut().directives),
        Definition::UnionTypeDefinition(it) => Some(&mut it.make_mut().directives),
        _ => None,
    }
}

fn join_type(graph: &Name) -> Directive {
    let name = |text| Name::new(text).expect("a name");
    let graph = Argument {
        name: name("graph"),
        value: Node::new(ast::Value::Enum(graph.clone())),
    };
    Directive {
        name: name("join__type"),
        arguments: vec![Node::new(graph)],
    }
}
