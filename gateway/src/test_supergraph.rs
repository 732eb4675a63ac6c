//! Supergraphs for tests: adds what the join specification requires to a list of types. The unit tests and
//! the test programs in `tests/` share this file.

/// A supergraph of these subgraphs. The `types` name each in capitals. Its address is
/// `http://NAME.test/graphql`, and its root types are those of `types` with the usual names.
pub fn supergraph(subgraphs: &[&str], types: &str) -> String {
    supergraph_with_links("", subgraphs, types)
}

/// The same with further `@link` directives.
pub fn supergraph_with_links(links: &str, subgraphs: &[&str], types: &str) -> String {
    let roots = ["Query", "Mutation", "Subscription"].into_iter();
    let roots: String = roots
        .filter(|root| types.contains(&format!("type {root} ")))
        .map(|root| format!("{}: {root} ", root.to_lowercase()))
        .collect();
    let graphs = subgraphs.iter().map(|name| {
        let graph = name.to_uppercase();
        format!("{graph} @join__graph(name: \"{name}\", url: \"http://{name}.test/graphql\") ")
    });
    let graphs: String = graphs.collect();
    format!(
        "schema @link(url: \"https://specs.apollo.dev/link/v1.0\")
           @link(url: \"https://specs.apollo.dev/join/v0.5\", for: EXECUTION) {links} {{ {roots} }}
         enum join__Graph {{ {graphs} }}
         {types}"
    )
}
