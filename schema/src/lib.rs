//! Exports the subgraphs' schemas from the code, composes the supergraph and checks the files.
//!
//! `posts.graphql`, `comments.graphql` and `supergraph.graphql` beside this crate are made by
//! `cargo run -p schema -- compose`; `cargo run -p schema -- check` fails where one is stale.
//!
//! Layout: [`files`] are the generated files, [`compose`] joins the subgraphs, [`supergraph`]
//! completes what the composer leaves out. To add a subgraph, add it to [`SUBGRAPHS`].

pub mod compose;
pub mod files;
pub mod supergraph;

/// A subgraph: its name in the supergraph, its schema and where the gateway finds it by default.
#[derive(Clone, Copy, Debug)]
pub struct Subgraph {
    /// The name, from which `SUBGRAPH_URL_<NAME>` is made too.
    pub name: &'static str,
    /// Where it listens by default.
    pub url: &'static str,
    /// Its schema, in Federation 2's schema language.
    pub sdl: fn() -> String,
}

/// All subgraphs of the graph.
pub const SUBGRAPHS: [Subgraph; 2] = [
    Subgraph { name: "posts", url: "http://127.0.0.1:4001/graphql", sdl: posts::schema::sdl },
    Subgraph {
        name: "comments",
        url: "http://127.0.0.1:4002/graphql",
        sdl: comments::schema::sdl,
    },
];
