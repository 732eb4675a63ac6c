//! A finished answer as an HTTP response: status, media type, headers.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    ALLOWED,
    accept::{Accepted, Media},
};
use crate::{
    error::{Code, RequestError},
    response::GraphqlResponse,
};

/// One answer in the media type that was negotiated.
pub(super) fn single(response: GraphqlResponse, media: Media) -> Response {
    let status = match response.overloaded {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => status(response.refused, media),
    };
    let mut answer = Response::new(Body::from(response.body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.extend(response.headers);
    let content_type = match media {
        Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        Media::Json => "application/json; charset=utf-8",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    let allowed = match response.refused {
        Some(Code::MutationForbidden) => Some("POST"),
        Some(Code::MethodNotAllowed) => Some(ALLOWED),
        _ => None,
    };
    if let Some(allowed) = allowed {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// A request that was refused before its `Accept` was looked at.
pub(super) fn refusal(error: RequestError, headers: &HeaderMap) -> Response {
    let media = Accepted::read(headers)
        .ok()
        .and_then(|accepted| accepted.single);
    single(error.into_response(), media.unwrap_or(Media::Json))
}

/// What is wrong with the HTTP request itself has its own status in both media types. A
/// well-formed request that is refused as GraphQL is 400 in the one and 200 in the other.
fn status(refused: Option<Code>, media: Media) -> StatusCode {
    match refused {
        None => StatusCode::OK,
        Some(Code::BadRequest) => StatusCode::BAD_REQUEST,
        Some(Code::CsrfRefused) => StatusCode::FORBIDDEN,
        Some(Code::MethodNotAllowed | Code::MutationForbidden) => StatusCode::METHOD_NOT_ALLOWED,
        Some(Code::NotAcceptable) => StatusCode::NOT_ACCEPTABLE,
        Some(Code::RequestBodyTimeout) => StatusCode::REQUEST_TIMEOUT,
        Some(Code::RequestTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(Code::UnsupportedMediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(Code::InternalServerError) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(Code::SupergraphUnavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Some(Code::RequestTimeout) => StatusCode::GATEWAY_TIMEOUT,
        Some(_) => match media {
            Media::GraphqlResponse => StatusCode::BAD_REQUEST,
            Media::Json => StatusCode::OK,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_body_is_the_clients_and_a_late_answer_is_not() {
        for media in [Media::GraphqlResponse, Media::Json] {
            for (code, expected) in [(Code::RequestBodyTimeout, 408), (Code::RequestTimeout, 504)] {
                assert_eq!(status(Some(code), media), expected, "{media:?}");
            }
        }
    }
}
