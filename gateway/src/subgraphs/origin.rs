//! One listed address of a subgraph, and the heads of the requests to it.

use std::borrow::Cow;

use graphql_transport::signature::{SignatureHeaders, Signer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{AUTHORIZATION, CONTENT_TYPE, endpoint::Endpoint};

/// An address as the settings or the supergraph have it.
pub(crate) struct Origin {
    pub(crate) endpoint: Endpoint,
    /// The request line and the headers that never change.
    head: Vec<u8>,
    signer: Signer,
}

impl Origin {
    pub(super) fn new(endpoint: Endpoint, accept_encoding: &str, signer: &Signer) -> Self {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\n\
             accept: application/graphql-response+json, application/json\r\n\
             accept-encoding: {accept_encoding}\r\n",
            endpoint.path(),
            endpoint.authority(),
        )
        .into_bytes();
        if let Some(authorization) = endpoint.authorization() {
            let value = authorization.as_bytes();
            head.extend_from_slice(&[AUTHORIZATION, value, b"\r\n"].concat());
        }
        Self {
            endpoint,
            head,
            signer: signer.clone(),
        }
    }

    /// The head of a request, signed where there is a secret. Each is for one attempt: a subgraph accepts a signature
    /// once.
    pub(super) fn signed_head(&self, body: &[u8], lines: &[u8]) -> Vec<u8> {
        match self.signer.is_on() {
            true => self.request_head(body.len(), &self.signed(body, lines)),
            false => self.request_head(body.len(), lines),
        }
    }

    /// Adds the lines of a signature.
    fn signed(&self, body: &[u8], lines: &[u8]) -> Vec<u8> {
        let mut lines = lines.to_vec();
        let mut headers = headers_in(&lines);
        if let Some(authorization) = self.endpoint.authorization() {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let path = self.endpoint.path();
        let signature = self.signer.sign(&Method::POST, path, Some(body), &headers);
        for (name, value) in signature.iter().flat_map(SignatureHeaders::iter) {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
        lines
    }

    fn request_head(&self, body_bytes: usize, lines: &[u8]) -> Vec<u8> {
        let mut length = itoa::Buffer::new();
        let lines: Cow<'_, [u8]> = match self.endpoint.authorization().is_some() {
            false => lines.into(),
            // The credentials in the subgraph's address win over those that a rule forwards.
            true => {
                let lines = lines.split_inclusive(|byte| *byte == b'\n');
                let others = lines.filter(|line| !line.starts_with(AUTHORIZATION));
                others.collect::<Vec<_>>().concat().into()
            }
        };
        let json: &[u8] = match lines.starts_with(CONTENT_TYPE) {
            true => b"",
            false => b"content-type: application/json\r\n",
        };
        [
            &self.head[..],
            json,
            &lines,
            b"content-length: ",
            length.format(body_bytes).as_bytes(),
            b"\r\n\r\n",
        ]
        .concat()
    }
}

/// The headers in the lines of a request's head.
fn headers_in(lines: &[u8]) -> HeaderMap {
    let lines = lines.split(|byte| *byte == b'\n');
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((name, value))
    });
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, value);
    }
    map
}
