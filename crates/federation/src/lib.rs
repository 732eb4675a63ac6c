//! The supergraph model of Apollo Federation 2, and a query planner for it.
//!
//! A *supergraph* is one GraphQL schema put together from several services, its *subgraphs*. Its SDL says
//! with join directives which subgraph has which type and field
//! (<https://specs.apollo.dev/join/v0.5/>). A client asks for fields as if there were one service; the
//! planner decides which subgraph is asked for which of them, and in which order.
//!
//! The crate is pure: it reads text and gives a [`Plan`]. It opens no socket, needs no async runtime and
//! writes no JSON; who sends the requests, and how, is up to its user.
//!
//! # A worked example
//!
//! Three subgraphs sell things: `products` lists them, `reviews` knows what people think of them, and
//! `shipping` computes what it costs to send one, from its weight. All three know a `Product` by its `upc`.
//! The composer has made one supergraph of them:
//!
//! ```graphql
#![doc = include_str!("../examples/shop/supergraph.graphql")]
//! ```
//!
//! A client asks for what only all three together know:
//!
//! ```graphql
//! { topProducts { name shipping reviews { text product { name } } } }
//! ```
//!
//! **1. The root.** Planning begins at the path of the root, whose objects are of type `Query`. There is one
//! selection, `topProducts`, and one subgraph that resolves it. `products` has no fetch at the root yet; the
//! cheapest *route* there is a new fetch at the root type, for one request. So the plan gets its first fetch,
//! and `topProducts` is selected in it. Nothing else is decided yet:
//!
//! ```
//! # let plan_of = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop/plan_of.rs"));
//! assert_eq!(plan_of("{ topProducts { name } }"), "\
//! 1. products: { topProducts { name } }
//! ");
//! ```
//!
//! **2. The path `topProducts`.** Its objects are products. The fetch to `products` leads here, so `name`
//! costs nothing there. `reviews` has no fetch at this path: the cheapest route is a fetch of
//! *entities* by the *key* `upc`, for one request, as `upc` itself costs nothing in `products`. The key is
//! planned like any other selection, which adds `upc` to fetch 1, and the second fetch comes *after* the
//! first. Its *representations* are `{ upc }`, with the name of the type:
//!
//! ```
//! # let plan_of = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop/plan_of.rs"));
//! assert_eq!(plan_of("{ topProducts { name reviews { text } } }"), "\
//! 1. products: { topProducts { name upc } }
//! 2. reviews, after 1: { reviews { text } }
//!    for topProducts as Product by { upc }
//! ");
//! ```
//!
//! **3. What requires something.** `shipping` is computed from `weight`, which its subgraph does not have: it
//! is *external* there. What a field *requires* is planned before it, at the same path: `weight` is at hand in
//! fetch 1. Then the fetch to `shipping` is added, and its representations hold the key and the weight:
//!
//! ```
//! # let plan_of = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop/plan_of.rs"));
//! assert_eq!(plan_of("{ topProducts { shipping } }"), "\
//! 1. products: { topProducts { weight upc } }
//! 2. shipping, after 1: { shipping }
//!    for topProducts as Product by { upc weight }
//! ");
//! ```
//!
//! **4. Further down.** At `topProducts.reviews.product` there are products again, but in another fetch: the
//! one to `reviews`, which has their `upc` and no `name`. A third subgraph is not needed, but a further fetch
//! is, to `products` for the entities of *this* path, after the fetch that brings their keys. Here is the
//! whole plan. Fetches 2 and 3 do not wait for each other:
//!
//! ```
//! # let plan_of = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop/plan_of.rs"));
//! assert_eq!(plan_of("{ topProducts { name shipping reviews { text product { name } } } }"), "\
//! 1. products: { topProducts { name upc weight } }
//! 2. reviews, after 1: { reviews { text product { upc } } }
//!    for topProducts as Product by { upc }
//! 3. products, after 2: { name }
//!    for topProducts.reviews.product as Product by { upc }
//! 4. shipping, after 1: { shipping }
//!    for topProducts as Product by { upc weight }
//! ");
//! ```
//!
//! # How it is made
//!
//! Planning has two halves:
//!
//! - `routes`, which only reads. A `RouteFinder` answers two questions about the plan as it stands: at what
//!   cost, counted in further requests, can each subgraph be asked for a path's objects; and which subgraph
//!   is the best for each selection there. What is asked anyway comes first, then what takes most and leaves
//!   least to others. It remembers its answers until the plan changes.
//! - `builder`, which alone writes. A `PlanBuilder` walks the operation from its root, has the finder choose,
//!   adds the fetches that are missing, and goes on below.
//!
//! What keys and requirements need is planned by the same rules as what the client wants. So a plan exists
//! wherever the subgraphs can answer at all.
//!
//! Fields of interfaces and unions are selected of the interface where the subgraph resolves them for all
//! implementations, and else of each implementation. The subgraph of an `@interfaceObject` does not know the
//! objects' types: a subgraph with the real interface is asked for them.
//!
//! # Limits
//!
//! Supergraphs and operations come from others, and each recursion here follows one of them. So each has a
//! bound, and `tests/bounds.rs` a test for it. Beyond the bound there is an error, not a stack overflow or a
//! planner that does not come back.
//!
//! | what recurs | bound | error |
//! |---|---|---|
//! | fragments and selection sets of an operation | [`SELECTIONS_MAX`] selections with the fragments written out, which are counted without doing so; 400 levels | [`PlanError::TooLarge`] |
//! | introspection fields looked for in fragments | each fragment once for a selection set | |
//! | selection sets in the plan, those of keys and requirements among them | 400 levels; a requirement counts as two | [`PlanError::TooLarge`] |
//! | paths: implementations inside implementations | 20,000 | [`PlanError::TooLarge`] |
//! | requirements of requirements | each object that is required at a path is planned once; a field is no way to its own requirements | [`PlanError::Unreachable`] |
//! | keys, requirements and contexts inside others, where routes are looked for | 3 levels, then 6, 12 and 24 if there is no plan. A search that comes to a path with the same routes again takes the result that it has | [`PlanError::Unreachable`] |
//! | the same, in width | steps: 600,000, and 5,000 for each selection of the operation | [`PlanError::TooManySteps`] |
//! | what a subgraph leaves to others | once for each selection set, subgraph and type; keys that lead to keys 24 times | |
//! | contexts taken somewhere below a field | the levels of the operation | |
//! | field sets in SDL, and the SDL itself | the recursion limit of apollo-parser, 500 levels | [`SupergraphError`] |
//!
//! [`PlanOptions::deadline`] bounds the time, too.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | **context** | What an object sets for the fields below it: `@context`. An argument with `@fromContext` takes it from the nearest object above that sets it. |
//! | **common members** | The object types that all subgraphs know that could resolve a shared field: only they have fields below it. |
//! | **entity** | An object that a subgraph finds by a key: a type with `@key`. |
//! | **external** | A field that a subgraph declares without resolving it: `@external`. |
//! | **fetch** | What one subgraph is asked for at the root, or of the entities of one path. |
//! | **fetch group** | Fetches to one subgraph that wait for the same; the user of a plan can send them as one request. |
//! | **implied external** | A field that is external in a subgraph though the supergraph does not say so: composers leave it out where all subgraphs have the field. |
//! | **interface object** | An interface that a subgraph has as an object type, without its implementations: `@interfaceObject`. |
//! | **join** | A type or field as one subgraph has it: `@join__type`, `@join__field`. |
//! | **key** | The fields by which a subgraph finds an entity. |
//! | **narrowed path** | Those of a path's objects that are of one type, or under conditions. The path itself is the *wider* one. |
//! | **path** | Where a response has objects: the fields on the way from the root, with type conditions. |
//! | **progressive override** | A field that moves from one subgraph to another for a part of the requests: `@override(label:)`. |
//! | **provides** | What a field brings of the objects that it holds, though it is external in its subgraph: `@provides`. |
//! | **reentry** | A fetch that begins at the query type somewhere inside the response. |
//! | **representation** | What stands for an entity in a request: its type name, its key, and what fields require. |
//! | **requires** | What a field is computed from, and the representation has to hold: `@requires`. |
//! | **route** | How a subgraph can be asked for the objects of a path, with its cost. |
//! | **view** | The type that a subgraph has objects as: their own, or an interface where that is an interface object. |
//!
//! # Layout
//!
//! | module | gives |
//! |---|---|
//! | `supergraph` | types, keys and fields by subgraph, from the join directives |
//! | `types` | composite types as small numbers |
//! | `api_schema` | what clients see |
//! | [`authorization`] | what each field requires of a client; takes out of an operation what a client may not see |
//! | `tags` | the fields that have a tag |
//! | `specifications` | refuses specifications that have to be followed and are not known |
//! | `override_label` | labels of progressive overrides |
//! | `operation`, `selection`, `client_aliases` | an operation in the planner's terms |
//! | [`internal_names`] | response keys of plans, and how they stay apart from a client's |
//! | `routes` | reads: routes, costs, choices |
//! | `builder` | writes: fetches and paths |
//! | [`mod@plan`] | the result |

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod api_schema;
pub mod authorization;
mod builder;
mod client_aliases;
mod error;
pub mod internal_names;
mod mistakes;
mod operation;
mod override_label;
pub mod plan;
mod planned_fields;
mod routes;
mod selection;
mod specifications;
mod supergraph;
mod tags;
mod types;

pub use builder::{PlanOptions, plan};
pub use client_aliases::ClientAliases;
pub use error::{PlanError, SupergraphError};
pub use mistakes::{Checked, Mistake, check};
pub use operation::{Operation, SELECTIONS_MAX};
pub use override_label::{FLAGS_MAX, OverrideLabel, Overrides, PARTS_PER_PERCENT};
pub use plan::Plan;
pub use selection::{Field, On, Selection, merged};
pub use supergraph::{
    ContextArgument, FieldInfo, Join, SubgraphIndex, SubgraphInfo, Supergraph, View,
};
pub use tags::tagged_fields;
pub use types::{TypeId, TypeSet, TypeTable};
