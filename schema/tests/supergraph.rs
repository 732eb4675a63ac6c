//! The supergraph is standard: other tools read it, and plan what we expect of it.

use std::path::Path;

use apollo_compiler::Schema;
use hive_router_query_planner::ast::normalization::normalize_operation;
use hive_router_query_planner::graph::PlannerOverrideContext;
use hive_router_query_planner::planner::{Planner, QueryPlannerOptions};
use hive_router_query_planner::utils::cancellation::CancellationToken;
use hive_router_query_planner::utils::parsing::{parse_operation, parse_schema};

fn supergraph() -> String {
    schema::compose::compose(&schema::subgraphs()).expect("the subgraphs compose")
}

/// The names of the services that a query's plan fetches from, in order.
fn services(query: &str) -> Vec<String> {
    let planner =
        Planner::new_from_supergraph(&parse_schema(&supergraph()), QueryPlannerOptions::default())
            .expect("the planner reads the supergraph");
    let document = normalize_operation(&planner.supergraph, &parse_operation(query), None)
        .expect("the operation fits the schema");
    let plan = planner
        .plan_from_normalized_operation(
            document.executable_operation(),
            PlannerOverrideContext::default(),
            &CancellationToken::new(),
        )
        .expect("a plan");
    let plan = format!("{plan}");
    plan.lines()
        .filter_map(|line| line.split_once("(service: \"")?.1.split_once('"'))
        .map(|(service, _)| service.to_owned())
        .collect()
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
    assert_eq!(supergraph.matches(page).count(), 2);
    let newest = "@listSize(assumedSize: 10, slicingArguments: [\"first\"], requireOneSlicingArgument: false)";
    assert_eq!(supergraph.matches(newest).count(), 1);
    let link = "@link(url: \"https://specs.apollo.dev/cost/v0.1\", import: [\"@listSize\"])";
    assert_eq!(supergraph.matches(link).count(), 1);
}

#[test]
fn the_newest_comments_come_with_their_posts() {
    let services = services(
        "{ posts { edges { node { title latestComments { id text author createdAt } } } } }",
    );
    assert_eq!(services, ["posts"]);
}

#[test]
fn all_comments_come_from_the_comments_subgraph() {
    let services = services(
        "{ posts(first: 20) { edges { node { title comments(first: 10) { edges { node { text } } } } } } }",
    );
    assert_eq!(services, ["posts", "comments"]);
}

#[test]
fn a_live_comment_brings_its_post() {
    let services = services(
        "subscription { commentAdded(postId: \"1\") { text post { title commentCount } } }",
    );
    assert_eq!(services, ["comments", "posts"]);
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

#[test]
fn the_composed_file_is_where_the_gateway_looks_for_it() {
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("supergraph.graphql")
            .is_file()
    );
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
