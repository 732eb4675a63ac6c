//! Adds to a composed supergraph what the join specification requires.
//!
//! The composer leaves out what its own router can do without and other routers cannot:
//! `@join__type` on root types, scalars and unions, `repeatable` on the directives, the
//! definitions of the link specification, and the descriptions of root types and scalars. The
//! specification: <https://specs.apollo.dev/join/v0.3/>.

use anyhow::anyhow;
use apollo_compiler::ast::{Argument, Definition, Directive, DirectiveList, Document, Value};
use apollo_compiler::{Name, Node, name};

use crate::Subgraph;

/// The directives and types of the link and join specifications.
const SPECIFICATIONS: &str = include_str!("specifications.graphql");

/// The directive of the inaccessible specification: <https://specs.apollo.dev/inaccessible/v0.2/>.
const INACCESSIBLE: &str = "directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE \
     | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT \
     | INPUT_FIELD_DEFINITION";

/// The directives of the cost specification, which Federation 2.9 brought:
/// <https://specs.apollo.dev/cost/v0.1>. The composer takes them over by their plain names.
const COST: &str = "directive @cost(weight: Int!) on ARGUMENT_DEFINITION | ENUM \
     | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR\n\
     directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], \
     requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION";

/// The `@link` that imports them. `@cost` needs no import: it has the name of its specification.
const COST_LINK: &str = "extend schema \
     @link(url: \"https://specs.apollo.dev/cost/v0.1\", import: [\"@listSize\"])";

/// The directive of the tag specification: <https://specs.apollo.dev/tag/v0.3>.
const TAG: &str = "directive @tag(name: String!) repeatable on FIELD_DEFINITION | INTERFACE | OBJECT \
     | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT \
     | INPUT_FIELD_DEFINITION | SCHEMA";

/// The `@link` to it.
const TAG_LINK: &str = "extend schema @link(url: \"https://specs.apollo.dev/tag/v0.3\")";

/// Completes a composed supergraph.
///
/// # Errors
/// When a schema cannot be parsed.
pub fn complete(composed: &str, subgraphs: &[Subgraph]) -> anyhow::Result<String> {
    let mut supergraph = parse("supergraph.graphql", composed)?;
    let mut specifications = parse("specifications.graphql", SPECIFICATIONS)?;
    let hides_parts = uses(&supergraph, &["@inaccessible"]);
    let tells_costs = uses(&supergraph, &["@cost(", "@listSize("]);
    if tells_costs {
        let cost = parse("cost.graphql", COST)?;
        specifications.definitions.extend(cost.definitions);
    }
    let has_tags = uses(&supergraph, &["@tag("]);
    if has_tags {
        let tag = parse("tag.graphql", TAG)?;
        specifications.definitions.extend(tag.definitions);
    }
    if hides_parts {
        let inaccessible = parse("inaccessible.graphql", INACCESSIBLE)?;
        specifications.definitions.extend(inaccessible.definitions);
    }
    let subgraphs = subgraphs
        .iter()
        .map(|subgraph| {
            let graph = Name::new(&subgraph.name.to_uppercase())?;
            Ok(Ingredient {
                graph,
                schema: parse(&subgraph.name, &subgraph.sdl)?,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;

    supergraph.definitions.retain(|definition| {
        !matches!(definition, Definition::DirectiveDefinition(_))
            && !specifications
                .definitions
                .iter()
                .any(|ours| ours.name() == definition.name())
    });
    for definition in &mut supergraph.definitions {
        match definition {
            Definition::SchemaDefinition(schema) => {
                let directives = &mut schema.make_mut().directives;
                if !hides_parts {
                    drop_inaccessible_link(directives);
                }
                let links = [(tells_costs, COST_LINK), (has_tags, TAG_LINK)];
                for (_, link) in links.into_iter().filter(|(is_used, _)| *is_used) {
                    let link = parse("link.graphql", link)?;
                    let links = link.definitions.iter().flat_map(|it| &it.directives().0);
                    directives.0.extend(links.cloned());
                }
            }
            definition => complete_definition(definition, &subgraphs),
        }
    }
    // The schema definition comes first, then the specifications, then the graph itself.
    supergraph
        .definitions
        .splice(1..1, specifications.definitions);
    Ok(supergraph.to_string())
}

/// A subgraph's schema and its name in `join__Graph`.
struct Ingredient {
    graph: Name,
    schema: Document,
}

impl Ingredient {
    /// Its definition of that name, where it has one.
    fn definition(&self, name: &Name) -> Option<&Definition> {
        self.schema.definitions.iter().find(|definition| {
            definition.name() == Some(name)
                && !matches!(definition, Definition::DirectiveDefinition(_))
        })
    }
}

fn parse(name: &str, text: &str) -> anyhow::Result<Document> {
    Document::parse(text, name).map_err(|error| anyhow!("{name} cannot be parsed: {error}"))
}

fn complete_definition(definition: &mut Definition, subgraphs: &[Ingredient]) {
    let parts = match definition {
        Definition::ScalarTypeDefinition(scalar) => {
            let scalar = scalar.make_mut();
            (
                &scalar.name,
                &mut scalar.description,
                &mut scalar.directives,
            )
        }
        Definition::ObjectTypeDefinition(object) => {
            let object = object.make_mut();
            (
                &object.name,
                &mut object.description,
                &mut object.directives,
            )
        }
        Definition::UnionTypeDefinition(union_) => {
            let union_ = union_.make_mut();
            (
                &union_.name,
                &mut union_.description,
                &mut union_.directives,
            )
        }
        _ => return,
    };
    let (name, description, directives) = parts;
    let originals: Vec<_> = subgraphs
        .iter()
        .filter_map(|subgraph| Some((&subgraph.graph, subgraph.definition(name)?)))
        .collect();
    if description.is_none() {
        *description = originals
            .iter()
            .find_map(|(_, original)| description_of(original));
    }
    if !directives.has("join__type") {
        directives
            .0
            .extend(originals.iter().map(|(graph, _)| join_type(graph).into()));
    }
    if !directives.has("specifiedBy") {
        let mut stated = originals
            .iter()
            .filter_map(|(_, it)| it.directives().get("specifiedBy"));
        directives.0.extend(stated.next().cloned());
    }
}

fn description_of(definition: &Definition) -> Option<Node<str>> {
    match definition {
        Definition::ScalarTypeDefinition(scalar) => scalar.description.clone(),
        Definition::ObjectTypeDefinition(object) => object.description.clone(),
        Definition::UnionTypeDefinition(union_) => union_.description.clone(),
        _ => None,
    }
}

/// The directive `@join__type(graph: …)`: the subgraph has this type.
fn join_type(graph: &Name) -> Directive {
    let argument = Argument {
        name: name!("graph"),
        value: Value::Enum(graph.clone()).into(),
    };
    Directive {
        name: name!("join__type"),
        arguments: vec![argument.into()],
    }
}

/// Whether any part of the graph has one of these directives; a description that only speaks of one
/// counts too, which does no harm.
fn uses(supergraph: &Document, directives: &[&str]) -> bool {
    supergraph.definitions.iter().any(|definition| {
        let is_of_the_graph = !matches!(
            definition,
            Definition::SchemaDefinition(_)
                | Definition::SchemaExtension(_)
                | Definition::DirectiveDefinition(_)
        );
        let text = definition.to_string();
        is_of_the_graph && directives.iter().any(|it| text.contains(it))
    })
}

/// The composer links `inaccessible` whether it is used or not; a router that meets a link for
/// security must know it or refuse the supergraph.
fn drop_inaccessible_link(directives: &mut DirectiveList) {
    directives.0.retain(|directive| {
        let url = directive
            .specified_argument_by_name("url")
            .and_then(|url| url.as_str());
        !url.is_some_and(|url| url.contains("/inaccessible/"))
    });
}
