//! A GraphQL query by GET: the members of the request are parameters of the URL.

use http::Uri;

use super::request_json::object_text;
use crate::{
    code::{Code, Refusal},
    request::GraphqlRequest,
};

/// Reads the request; variables and extensions are JSON texts.
///
/// # Errors
/// `REQUEST_TOO_LARGE`; `BAD_REQUEST` names the parameter.
pub(super) fn read(uri: &Uri, bytes_max: usize) -> Result<GraphqlRequest, Refusal> {
    if uri.query().is_some_and(|query| query.len() > bytes_max) {
        return Err(Refusal::new(
            Code::RequestTooLarge,
            format!("the URL's query is larger than {bytes_max} bytes"),
        ));
    }
    let mut request = GraphqlRequest::default();
    let mut seen = Vec::new();
    for parameter in uri.query().unwrap_or_default().split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if seen.contains(&name) {
            return Err(refused(format!("`{name}` is there twice")));
        }
        match name.as_str() {
            "query" => request.query = Some(value),
            "documentId" => request.document_id = Some(value),
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
    if !request.names_a_document() {
        return Err(refused("the request has no `query`"));
    }
    Ok(request)
}

/// A name or a value without its escapes, by the URL standard's form encoding. Unlike that
/// standard, it refuses bytes that are not UTF-8 instead of replacing them.
fn decoded(escaped: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, after),
                _ => (b'%', &rest[1..]),
            },
            (b'+', after) => (b' ', after),
            (other, after) => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| refused("the URL's query is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
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
    fn a_document_may_be_named() {
        let uri = Uri::from_static("/graphql?documentId=sha256:00ff&variables=%7B%7D");
        let request = read(&uri, 1000).expect("well-formed");
        assert_eq!(request.document_id.as_deref(), Some("sha256:00ff"));
        assert_eq!(request.query, None);
    }

    #[test]
    fn escapes_are_undone_once() {
        for (escaped, text) in [
            ("%7Ba+b%7D", "{a b}"),
            ("a%2Bb", "a+b"),
            ("%25zz", "%zz"),
            ("%zz%4", "%zz%4"),
            ("%C3%A9", "é"),
        ] {
            assert_eq!(decoded(escaped).as_deref(), Ok(text), "{escaped}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for uri in [
            "/graphql",
            "/graphql?query=a&query=b",
            "/graphql?documentId=a&documentId=b",
            "/graphql?query=a&variables=%5B1%5D",
            "/graphql?query=a&variables=%7B",
            "/graphql?query=a&extensions=1",
            "/graphql?query=%7Ba%7D%ff",
        ] {
            assert_eq!(
                read(&Uri::from_static(uri), 1000).expect_err(uri).code,
                Code::BadRequest
            );
        }
    }
}
