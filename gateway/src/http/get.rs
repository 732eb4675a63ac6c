//! A GraphQL query by GET: the members of the request are parameters of the URL.

use axum::extract::Query;
use http::Uri;

use super::request_json::object_text;
use crate::{
    error::{Code, RequestError},
    request::GraphqlRequest,
};

/// Reads the request; variables and extensions are JSON texts.
///
/// # Errors
/// `REQUEST_TOO_LARGE`; `BAD_REQUEST` names the parameter.
pub(super) fn read(uri: &Uri, bytes_max: usize) -> Result<GraphqlRequest, RequestError> {
    if uri.query().is_some_and(|query| query.len() > bytes_max) {
        return Err(RequestError::new(
            Code::RequestTooLarge,
            format!("the URL's query is larger than {bytes_max} bytes"),
        ));
    }
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| refused(format!("the URL's query is not well-formed: {error}")))?;
    let mut request = GraphqlRequest::default();
    let mut seen = Vec::new();
    for (name, value) in parameters {
        if seen.contains(&name) {
            return Err(refused(format!("`{name}` is there twice")));
        }
        match name.as_str() {
            "query" => request.query = Some(value),
            "operationName" => request.operation_name = Some(value).filter(|name| !name.is_empty()),
            "variables" if !value.is_empty() => {
                request.variables = object_text("variables", value)?
            }
            "extensions" if !value.is_empty() => {
                request.extensions = object_text("extensions", value)?
            }
            _ => continue,
        }
        seen.push(name);
    }
    if request.query.is_none() && request.extensions.is_none() {
        return Err(refused("the request has no `query`"));
    }
    Ok(request)
}

fn refused(message: impl Into<String>) -> RequestError {
    RequestError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_parameters() {
        let uri = Uri::from_static(
            "/graphql?query=%7Ba%7D&variables=%7B%22n%22:1%7D&operationName=A&x=1&x=2",
        );
        let request = read(&uri, 1000).expect("well-formed");
        assert_eq!(request.query.as_deref(), Some("{a}"));
        assert_eq!(request.variables.as_deref(), Some(&br#"{"n":1}"#[..]));
        assert_eq!(request.operation_name.as_deref(), Some("A"));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for uri in [
            "/graphql",
            "/graphql?query=a&query=b",
            "/graphql?query=a&variables=%5B1%5D",
            "/graphql?query=a&variables=%7B",
            "/graphql?query=a&extensions=1",
        ] {
            assert_eq!(
                read(&Uri::from_static(uri), 1000).expect_err(uri).code,
                Code::BadRequest
            );
        }
    }
}
