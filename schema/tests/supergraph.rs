//! The supergraph is valid, complete, and planned as we expect.

use std::path::Path;

use apollo_compiler::{ExecutableDocument, Schema};
use federation::{Operation, PlanOptions, Supergraph, plan};

fn supergraph() -> String {
    schema::compose::compose(&schema::subgraphs()).expect("the subgraphs compose")
}

/// The plan of an operation over our supergraph, printed.
fn plan_of(operation: &str) -> String {
    let supergraph = Supergraph::parse(&supergraph()).expect("a supergraph");
    let schema = supergraph.api_schema();
    let document = ExecutableDocument::parse_and_validate(schema, operation, "operation.graphql")
        .expect("the operation fits the schema");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation).expect("few selections");
    let plan = plan(&supergraph, &operation, PlanOptions::default());
    plan.expect("a plan").to_string()
}

#[test]
fn the_supergraph_is_valid_graphql() {
    Schema::parse_and_validate(supergraph(), "supergraph.graphql").expect("valid");
}

#[test]
fn it_says_how_long_lists_are() {
    let supergraph = supergraph();
    let page = "@listSize(assumedSize: 20, slicingArguments: [\"first\", \"last\"], \
                sizedFields: [\"edges\"], requireOneSlicingArgument: false)";
    // `posts`, `comments`, `replies`, `moderationQueue` and `blockedAuthors`.
    assert_eq!(supergraph.matches(page).count(), 5);
    let newest = "@listSize(assumedSize: 10, slicingArguments: [\"first\"], requireOneSlicingArgument: false)";
    assert_eq!(supergraph.matches(newest).count(), 1);
    let link = "@link(url: \"https://specs.apollo.dev/cost/v0.1\", import: [\"@listSize\"])";
    assert_eq!(supergraph.matches(link).count(), 1);
}

/// A gateway with `VIEWER_TAGS` shares subscriptions without them.
#[test]
fn the_fields_that_depend_on_who_asks_are_tagged() {
    let supergraph = supergraph();
    let fields = supergraph.lines().map(str::trim_start);
    let fields: Vec<&str> = fields.filter(|line| line.starts_with("viewer")).collect();
    assert_eq!(fields.len(), 6, "{fields:?}");
    for field in fields {
        assert!(field.contains("@tag(name: \"viewer\")"), "{field}");
    }
}

#[test]
fn the_newest_comments_come_with_their_posts() {
    let plan = plan_of(
        "{ posts { edges { node { title latestComments { id text author createdAt } } } } }",
    );
    assert_eq!(
        plan,
        "1. posts: { posts { edges { node { title latestComments { id text author createdAt } } } } }\n"
    );
}

#[test]
fn all_comments_come_from_the_comments_subgraph() {
    let plan = plan_of(
        "{ posts(first: 20) { edges { node { title comments(first: 10) { edges { node { text } } } } } } }",
    );
    assert_eq!(
        plan,
        "1. posts: { posts(first: 20) { edges { node { title id } } } }\n\
         2. comments, after 1: { comments(first: 10) { edges { node { text } } } }\n   \
            for posts.edges.node as Post by { id }\n"
    );
}

#[test]
fn a_live_comment_brings_its_post() {
    let plan = plan_of(
        "subscription { commentAdded(postId: \"1\") { text post { title commentCount } } }",
    );
    assert_eq!(
        plan,
        "1. comments: { commentAdded(postId: \"1\") { text post { id } } }\n\
         2. posts, after 1: { title commentCount }\n   \
            for commentAdded.post as Post by { id }\n"
    );
}

/// A comment of a post has fields that only the comments subgraph knows.
#[test]
fn what_a_post_does_not_embed_of_its_comments_is_fetched() {
    let plan = plan_of("{ posts { edges { node { latestComments { text edited } } } } }");
    assert_eq!(
        plan,
        "1. posts: { posts { edges { node { latestComments { text id } } } } }\n\
         2. comments, after 1: { edited }\n   \
            for posts.edges.node.latestComments as Comment by { id }\n"
    );
}

#[test]
fn descriptions_survive_composition() {
    let schema = Schema::parse_and_validate(supergraph(), "supergraph.graphql").expect("valid");
    let without: Vec<_> = schema
        .types
        .values()
        .filter(|definition| !definition.is_built_in())
        .filter(|definition| !definition.name().contains("__"))
        .filter(|definition| definition.description().is_none())
        .map(|definition| definition.name().to_string())
        .collect();
    assert_eq!(without, Vec::<String>::new());
    for (name, object) in schema
        .types
        .iter()
        .filter_map(|(name, ty)| Some((name, ty.as_object()?)))
    {
        if !name.contains("__") {
            for (field_name, field) in &object.fields {
                assert!(field.description.is_some(), "{name}.{field_name}");
                for argument in &field.arguments {
                    assert!(
                        argument.description.is_some(),
                        "{name}.{field_name}({})",
                        argument.name
                    );
                }
            }
        }
    }
}

#[test]
fn every_root_type_and_scalar_names_its_subgraphs() {
    let schema = Schema::parse_and_validate(supergraph(), "supergraph.graphql").expect("valid");
    for name in [
        "Query",
        "Mutation",
        "Subscription",
        "DateTime",
        "CommentChange",
    ] {
        let definition = &schema.types[name];
        let graphs = definition.directives().get_all("join__type").count();
        let expected = if name == "CommentChange" { 1 } else { 2 };
        assert_eq!(graphs, expected, "{name}");
    }
}

/// The gateway and the linter of the pages read the files.
#[test]
fn the_schema_files_are_what_the_code_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    schema::files::check(directory).expect("no stale file");
}

/// What a subgraph hides stays hidden from the clients of every router that reads the supergraph.
#[test]
fn inaccessible_parts_are_marked_and_linked() {
    let sdl = "extend schema @link(url: \"https://specs.apollo.dev/federation/v2.3\", import: [\"@inaccessible\"])
        type Query { open: Int hidden: Int @inaccessible }";
    let subgraph = schema::Subgraph {
        name: "a".into(),
        url: "http://a.test/graphql".into(),
        sdl: sdl.into(),
    };
    let composed = schema::compose::compose(&[subgraph]).expect("it composes");
    let schema = Schema::parse_and_validate(&composed, "supergraph.graphql").expect("valid");
    let query = schema.get_object("Query").expect("a query type");
    assert!(query.fields["hidden"].directives.has("inaccessible"));
    assert!(
        composed.contains("https://specs.apollo.dev/inaccessible/"),
        "{composed}"
    );
    assert!(!supergraph().contains("inaccessible"));
}
