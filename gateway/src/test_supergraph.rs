//! Supergraphs for unit tests: adds what the join specification requires to a list of types.

/// A supergraph of one subgraph `a`, which the `types` call `A`. The root types are `Query` and no
/// others.
pub fn of_one_subgraph(types: &str) -> String {
    format!(
        "schema @link(url: \"https://specs.apollo.dev/link/v1.0\")
           @link(url: \"https://specs.apollo.dev/join/v0.3\", for: EXECUTION) {{ query: Query }}
         enum join__Graph {{ A @join__graph(name: \"a\", url: \"http://a.test/graphql\") }}
         {types}"
    )
}
