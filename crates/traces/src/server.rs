//! The span of an HTTP request that a service answers, by the semantic conventions for HTTP.

use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header, request};

use crate::{Span, Tracer};

/// Begins the span of a request, by its head. `traceparent` in its headers becomes the span's own, so that what is sent on
/// with them belongs to it.
pub fn begin(
    tracer: &Tracer,
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &mut HeaderMap,
) -> Span {
    let mut span = tracer.server(headers, "HTTP");
    if !span.is_recorded() {
        return span;
    }
    let known = known_method(method);
    span.set("http.request.method", known);
    if known == "_OTHER" {
        span.set("http.request.method_original", method.as_str());
    }
    // Without the query: over GET it has the variables.
    span.set("url.path", uri.path());
    span.set("url.scheme", "http");
    span.set(
        "network.protocol.version",
        match version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        },
    );
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    if let Some(authority) = host.as_ref().or(uri.authority()) {
        span.set("server.address", authority.host());
        if let Some(port) = authority.port_u16() {
            span.set("server.port", port);
        }
    }
    let agent = headers.get(header::USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        span.set("user_agent.original", agent);
    }
    if uri.path() == "/graphql" {
        span.set("http.route", "/graphql");
        span.rename(|| format!("{known} /graphql"));
    } else {
        span.rename(|| known.to_owned());
    }
    span
}

/// [`begin`] for a request whose parts are at hand.
pub fn begin_parts(tracer: &Tracer, parts: &mut request::Parts) -> Span {
    begin(
        tracer,
        &parts.method,
        &parts.uri,
        parts.version,
        &mut parts.headers,
    )
}

/// Tells the status of the response. One of 500 and above is a failure; absent: the client left before it.
pub fn end(span: &mut Span, status: Option<StatusCode>) {
    match status {
        Some(status) => {
            span.set("http.response.status_code", status.as_u16());
            if status.is_server_error() {
                span.fail(status.as_str(), "");
            }
        }
        None => span.fail(
            "client_left",
            "the client left before the response, or its time was over",
        ),
    }
}

/// The method, if it is one of HTTP's: clients can send any.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}
