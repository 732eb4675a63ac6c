//! Exports the subgraphs' schemas from the code, composes the supergraph and checks the files.
//!
//! `posts.graphql`, `comments.graphql` and `supergraph.graphql` beside this crate are made by
//! `cargo run -p schema -- compose`; `cargo run -p schema -- check` fails where one is stale.
//!
//! Layout: [`files`] are the generated files, [`compose`] joins the subgraphs, [`supergraph`]
//! completes what the composer leaves out. To add a subgraph, add it to
//! [`subgraphs`].

pub mod compose;
pub mod files;
pub mod supergraph;

/// A subgraph: its name in the supergraph, its schema and where the gateway finds it by default.
#[derive(Clone, Debug)]
pub struct Subgraph {
    /// The name, from which `SUBGRAPH_URL_<NAME>` is made too.
    pub name: String,
    /// Where it listens by default.
    pub url: String,
    /// Its schema, in Federation 2's schema language.
    pub sdl: String,
}

/// All subgraphs of the graph, each with the schema that its code has.
pub fn subgraphs() -> Vec<Subgraph> {
    let subgraph = |name: &str, port: u16, sdl: String| Subgraph {
        name: name.to_owned(),
        url: format!("http://127.0.0.1:{port}/graphql"),
        sdl,
    };
    vec![
        subgraph("posts", posts::DEFAULT_PORT, posts::schema::sdl()),
        subgraph("comments", comments::DEFAULT_PORT, comments::schema::sdl()),
    ]
}
