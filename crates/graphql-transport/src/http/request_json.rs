//! Reads a GraphQL request from its JSON object.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    code::{Code, Refusal},
    request::GraphqlRequest,
};

/// How many bytes of a body may be kept for another part of it.
const WASTED_BYTES_MAX: usize = 4 * 1024;

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow, rename = "documentId")]
    document_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "operationName")]
    operation_name: Option<&'a RawValue>,
    #[serde(borrow)]
    variables: Option<&'a RawValue>,
    #[serde(borrow)]
    extensions: Option<&'a RawValue>,
}

/// Reads `{"query": ..., "operationName": ..., "variables": ..., "extensions": ...}`, perhaps with a
/// `documentId` in the place of `query`. Other members are ignored; variables and extensions stay slices of `body`,
/// unless that is much larger.
///
/// # Errors
/// `BAD_REQUEST` where it is anything else, a batch included.
pub fn read(body: &Bytes) -> Result<GraphqlRequest, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| {
        refused(format!(
            "the request is not UTF-8 from byte {}",
            error.valid_up_to()
        ))
    })?;
    match text
        .trim_start_matches([' ', '\t', '\r', '\n'])
        .as_bytes()
        .first()
    {
        None => return Err(refused("the request has no body")),
        Some(b'{') => {}
        Some(b'[') => {
            return Err(refused(
                "batches are not answered: send one request at a time",
            ));
        }
        Some(_) => return Err(refused("the request is not a JSON object")),
    }
    read_part(text, body)
}

/// Reads a request from the text of an object, which is a part of `body` or all of it.
///
/// # Errors
/// `BAD_REQUEST` where it is anything else.
pub(super) fn read_part(text: &str, body: &Bytes) -> Result<GraphqlRequest, Refusal> {
    let members: Members = serde_json::from_str(text).map_err(|error| {
        refused(format!(
            "the request is not a JSON object of a GraphQL request: {error}"
        ))
    })?;
    let request = GraphqlRequest {
        query: string("query", members.query)?,
        document_id: string("documentId", members.document_id)?,
        operation_name: string("operationName", members.operation_name)?,
        variables: object("variables", members.variables, body)?,
        extensions: object("extensions", members.extensions, body)?,
        uploads: None,
    };
    if !request.names_a_document() {
        return Err(refused("the request has no `query`"));
    }
    Ok(request)
}

/// Checks that a JSON text is an object; null counts as absent.
///
/// # Errors
/// `BAD_REQUEST`, with the member's name.
pub fn object_text(member: &str, text: String) -> Result<Option<Bytes>, Refusal> {
    let value: &RawValue = serde_json::from_str(&text)
        .map_err(|error| refused(format!("`{member}` is not JSON: {error}")))?;
    match value.get() {
        "null" => Ok(None),
        object if object.starts_with('{') => Ok(Some(Bytes::copy_from_slice(object.as_bytes()))),
        _ => Err(refused(format!("`{member}` is not a JSON object"))),
    }
}

fn string(member: &str, value: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    value
        .map(|value| serde_json::from_str(value.get()))
        .transpose()
        .map_err(|_| refused(format!("`{member}` is not a string")))
}

fn object(member: &str, value: Option<&RawValue>, body: &Bytes) -> Result<Option<Bytes>, Refusal> {
    match value {
        Some(value) if !value.get().starts_with('{') => {
            Err(refused(format!("`{member}` is not an object")))
        }
        value => Ok(value.map(|value| kept(value.get().as_bytes(), body))),
    }
}

/// A part of the body. A slice would keep all of the body, for as long as a subscription runs: if that is much more, the part
/// is copied.
fn kept(part: &[u8], body: &Bytes) -> Bytes {
    match body.len() > WASTED_BYTES_MAX + part.len() {
        true => Bytes::copy_from_slice(part),
        false => body.slice_ref(part),
    }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(body: &'static str) -> Result<GraphqlRequest, Refusal> {
        read(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn variables_keep_the_clients_own_text() {
        let request = reading(
            r#" {"query":"{a}","variables":{"n": 12345678901234567890.10},"operationName":null,"more":[1]} "#,
        )
        .expect("well-formed");
        assert_eq!(request.query.as_deref(), Some("{a}"));
        assert_eq!(request.operation_name, None);
        assert_eq!(
            request.variables.as_deref(),
            Some(&br#"{"n": 12345678901234567890.10}"#[..])
        );
        assert_eq!(request.extensions, None);
    }

    #[test]
    fn everything_malformed_is_told_apart() {
        for (body, message) in [
            ("", "the request has no body"),
            (
                "[{\"query\":\"{a}\"}]",
                "batches are not answered: send one request at a time",
            ),
            ("\"{a}\"", "the request is not a JSON object"),
            ("{}", "the request has no `query`"),
            ("{\"query\":1}", "`query` is not a string"),
            ("{\"documentId\":1}", "`documentId` is not a string"),
            ("{\"documentId\":null}", "the request has no `query`"),
            ("{\"query\":[\"{a}\"]}", "`query` is not a string"),
            (
                "{\"query\":\"{a}\",\"operationName\":{}}",
                "`operationName` is not a string",
            ),
            (
                "{\"query\":\"{a}\",\"variables\":\"{}\"}",
                "`variables` is not an object",
            ),
            (
                "{\"query\":\"{a}\",\"extensions\":[]}",
                "`extensions` is not an object",
            ),
        ] {
            let error = reading(body).expect_err(body);
            assert_eq!(
                (error.code, error.message.as_str()),
                (Code::BadRequest, message)
            );
        }
        for body in [
            "{\"query\"",
            "{\"query\":\"{a}\"} x",
            "{\"query\":\"{a}\",\"query\":\"{b}\"}",
            "{\"query\":\"\\ud800\"}",
        ] {
            assert_eq!(reading(body).expect_err(body).code, Code::BadRequest);
        }
        assert_eq!(
            read(&Bytes::from_static(b"{\"query\":\"\xff\"}"))
                .expect_err("not UTF-8")
                .code,
            Code::BadRequest
        );
    }
}
