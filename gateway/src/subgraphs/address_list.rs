//! Reads the list of addresses of one subgraph: its instances.

use super::endpoint::{Endpoint, without_user};

/// The largest number of addresses of one subgraph, those that names stand for among them.
pub(super) const ADDRESSES_MAX: usize = 256;

/// The addresses in a setting, separated by commas.
pub(crate) fn listed_addresses(text: &str) -> Vec<&str> {
    match text.trim() {
        "" => Vec::new(),
        text => text.split(',').map(str::trim).collect(),
    }
}

/// Parses the addresses of one subgraph.
///
/// # Errors
/// In words, with the place in the list, if there are too many, one is malformed or listed twice, or two differ in
/// more than user information, host and port.
pub(super) fn parse(urls: &[&str]) -> Result<Vec<Endpoint>, String> {
    if urls.len() > ADDRESSES_MAX {
        let count = urls.len();
        return Err(format!(
            "it has {count} addresses: at most {ADDRESSES_MAX} are possible"
        ));
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let place = |reason: String| match urls.len() {
            1 => reason,
            count => format!("address {} of {count}: {reason}", index + 1),
        };
        if url.is_empty() {
            return Err(place("it is empty, remove a comma".to_owned()));
        }
        let endpoint = Endpoint::parse(url).map_err(place)?;
        let shown = without_user(url);
        if endpoints.iter().any(|other| other.is_same_place(&endpoint)) {
            return Err(place(format!("{shown} is listed twice")));
        }
        if let Some(first) = endpoints.first()
            && (first.is_tls(), first.path()) != (endpoint.is_tls(), endpoint.path())
        {
            return Err(place(format!(
                "{shown} must have the scheme and the path of the first address, {}",
                without_user(urls[0])
            )));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(&listed_addresses(text)).expect_err("refused")
    }

    #[test]
    fn a_list_has_the_addresses_of_one_subgraph() {
        let list = "http://a:4001/graphql, http://u:p@b:4001/graphql,http://[::1]:4001/graphql";
        let endpoints = parse(&listed_addresses(list)).expect("addresses");
        let hosts: Vec<_> = endpoints.iter().map(Endpoint::authority).collect();
        assert_eq!(hosts, ["a:4001", "b:4001", "[::1]:4001"]);
        assert_eq!(listed_addresses("  "), Vec::<&str>::new());
        let many: Vec<_> = (0..100).map(|n| format!("http://host-{n}/")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(parse(&many).map(|it| it.len()), Ok(100));
    }

    #[test]
    fn a_mistake_is_refused_at_its_place() {
        for (list, expected) in [
            ("http://a/,", "address 2 of 2: it is empty, remove a comma"),
            (
                "http://a/, b:4001/",
                "address 2 of 2: b:4001/ is not an address",
            ),
            (
                "http://a/, http://b/, http://u:secret@a:80/",
                "address 3 of 3: http://***@a:80/ is listed twice",
            ),
            (
                "http://a/graphql, https://b/graphql",
                "address 2 of 2: https://b/graphql must have the scheme and the path of the first",
            ),
            (
                "http://a/graphql, http://b/query",
                "address 2 of 2: http://b/query must have",
            ),
        ] {
            let error = refused(list);
            assert!(error.starts_with(expected), "{list}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let many = vec!["http://a/"; ADDRESSES_MAX + 1].join(",");
        assert!(refused(&many).starts_with("it has 257 addresses"));
    }
}
