//! The planner's tree for each directive.

use gateway::{graph::Graph, prepare, settings::Settings};
use insta::assert_snapshot;

use crate::support::{Subgraph, TestGraph, graph};

/// Every directive once: plans need no data.
async fn shop() -> TestGraph {
    let products = Subgraph::new(
        "products",
        "type Query { product: Product media: [Media!]! about: About @shareable }
         type Product @key(fields: \"id\") { id: ID! weight: Int price: Int stock: Int }
         interface Media @key(fields: \"id\") { id: ID! title: String }
         type Film implements Media @key(fields: \"id\") { id: ID! title: String minutes: Int }
         type Song implements Media @key(fields: \"id\") { id: ID! title: String seconds: Int }
         type About { version: Int @shareable products: Int }",
    );
    let shipping = Subgraph::new(
        "shipping",
        "type Query { about: About @shareable }
         type Product @key(fields: \"id\") {
           id: ID! weight: Int @external cost: Int @requires(fields: \"weight\")
           price: Int @override(from: \"products\") }
         type About { version: Int @shareable shipments: Int }",
    );
    let reviews = Subgraph::new(
        "reviews",
        "type Query { newest: Review best: Media }
         type Review { text: String product: Product @provides(fields: \"weight\") any: Any }
         union Any = Product | Review
         type Product @key(fields: \"id\") { id: ID! weight: Int @external reviews: [Review!] }
         type Media @key(fields: \"id\") @interfaceObject { id: ID! stars: Int }",
    );
    graph(vec![products, shipping, reviews]).await
}

#[tokio::test]
async fn keys_and_overrides() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ product { stock price reviews { text } } }"), @r#"
    QueryPlan {
      Sequence {
        Fetch(service: "products") {
          {
            product {
              __typename
              stock
              id
            }
          }
        },
        Parallel {
          Flatten(path: "product") {
            Fetch(service: "reviews") {
              {
                ... on Product {
                  __typename
                  id
                }
              } =>
              {
                ... on Product {
                  reviews {
                    text
                  }
                }
              }
            },
          },
          Flatten(path: "product") {
            Fetch(service: "shipping") {
              {
                ... on Product {
                  __typename
                  id
                }
              } =>
              {
                ... on Product {
                  price
                }
              }
            },
          },
        },
      },
    },
    "#);
}

/// The project's own graph: what `posts` keeps of the newest comments needs no second request, and
/// what it does not keep needs one.
#[test]
fn the_newest_comments_come_with_their_post() {
    let sdl = include_str!("../../../../schema/supergraph.graphql");
    let graph = Graph::load(sdl, Settings::default()).expect("the supergraph loads");
    let plan = |query: &str| prepare::explain(&graph, query, None).expect("there is a plan");
    assert_snapshot!(plan("query($id: ID!) { post(id: $id) { title latestComments { text author createdAt } } }"), @r#"
    QueryPlan {
      Fetch(service: "posts") {
        query ($id:ID!) {
          post(id: $id) {
            title
            latestComments {
              text
              author
              createdAt
            }
          }
        }
      },
    },
    "#);
    assert_snapshot!(plan("query($id: ID!) { post(id: $id) { latestComments { text edited } } }"), @r#"
    QueryPlan {
      Sequence {
        Fetch(service: "posts") {
          query ($id:ID!) {
            post(id: $id) {
              latestComments {
                __typename
                text
                id
              }
            }
          }
        },
        Flatten(path: "post.latestComments.@") {
          Fetch(service: "comments") {
            {
              ... on Comment {
                __typename
                id
              }
            } =>
            {
              ... on Comment {
                edited
              }
            }
          },
        },
      },
    },
    "#);
}

#[tokio::test]
async fn requirements() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ newest { any { ... on Product { cost } } } }"), @r#"
    QueryPlan {
      Sequence {
        Fetch(service: "reviews") {
          {
            newest {
              any {
                __typename
                ... on Product {
                  __typename
                  id
                }
              }
            }
          }
        },
        Flatten(path: "newest.any|[Product]") {
          Fetch(service: "products") {
            {
              ... on Product {
                __typename
                id
              }
            } =>
            {
              ... on Product {
                weight
              }
            }
          },
        },
        Flatten(path: "newest.any|[Product]") {
          Fetch(service: "shipping") {
            {
              ... on Product {
                __typename
                weight
                id
              }
            } =>
            {
              ... on Product {
                cost
              }
            }
          },
        },
      },
    },
    "#);
}

#[tokio::test]
async fn provided_fields() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ newest { product { weight cost } } }"), @r#"
    QueryPlan {
      Sequence {
        Fetch(service: "reviews") {
          {
            newest {
              product {
                __typename
                weight
                id
              }
            }
          }
        },
        Flatten(path: "newest.product") {
          Fetch(service: "products") {
            {
              ... on Product {
                __typename
                id
              }
            } =>
            {
              ... on Product {
                weight
              }
            }
          },
        },
        Flatten(path: "newest.product") {
          Fetch(service: "shipping") {
            {
              ... on Product {
                __typename
                weight
                id
              }
            } =>
            {
              ... on Product {
                cost
              }
            }
          },
        },
      },
    },
    "#);
}

#[tokio::test]
async fn interface_objects() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ media { stars ... on Film { minutes } } best { title ... on Song { seconds } } }"), @r#"
    QueryPlan {
      Sequence {
        Parallel {
          Fetch(service: "reviews") {
            {
              best {
                __typename
                id
              }
            }
          },
          Fetch(service: "products") {
            {
              media {
                __typename
                id
                ... on Film {
                  minutes
                }
              }
            }
          },
        },
        Parallel {
          Flatten(path: "best") {
            Fetch(service: "products") {
              {
                ... on Media {
                  __typename
                  id
                }
              } =>
              {
                ... on Media {
                  title
                  __typename
                  ... on Song {
                    seconds
                  }
                }
              }
            },
          },
          Flatten(path: "media.@") {
            Fetch(service: "reviews") {
              {
                ... on Media {
                  __typename
                  id
                }
              } =>
              {
                ... on Media {
                  stars
                }
              }
            },
          },
        },
      },
    },
    "#);
}

#[tokio::test]
async fn shared_roots_and_conditions() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("query($x: Boolean!) { about { version products shipments @include(if: $x) } }"), @r#"
    QueryPlan {
      Parallel {
        Fetch(service: "shipping") {
          query ($x:Boolean!) {
            about {
              shipments @include(if: $x)
            }
          }
        },
        Fetch(service: "products") {
          {
            about {
              products
              version
            }
          }
        },
      },
    },
    "#);
}
