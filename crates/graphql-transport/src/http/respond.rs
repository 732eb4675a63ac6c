//! A finished answer as an HTTP response: status, media type, headers.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    ALLOWED,
    accept::{Accepted, Media},
};
use crate::{
    code::{Code, Refused},
    coding,
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
        Some(refused) if refused.is(Code::MutationForbidden) => Some("POST"),
        Some(refused) if refused.is(Code::MethodNotAllowed) => Some(ALLOWED),
        _ => None,
    };
    if let Some(allowed) = allowed {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    let is_encoding = |refused: Refused| refused.is(Code::UnsupportedContentEncoding);
    if response.refused.is_some_and(is_encoding) {
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static(coding::READ),
        );
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let retry_after = headers.entry(header::RETRY_AFTER);
        retry_after.or_insert(HeaderValue::from_static("1"));
    }
    answer
}

/// Whether a stream has the status of the refusal, too.
pub(super) fn is_status_of_streams(response: &GraphqlResponse) -> bool {
    let refused = response.refused;
    refused.is_some_and(|refused| refused.is_status_of_streams)
}

/// The answer to a request that was refused before its `Accept` was read.
pub(super) fn refusal(refusal: GraphqlResponse, headers: &HeaderMap) -> Response {
    let media = Accepted::read(headers)
        .ok()
        .and_then(|accepted| accepted.single);
    single(refusal, media.unwrap_or(Media::Json))
}

/// What is wrong with the HTTP request itself has its own status in both media types. A
/// well-formed request that is refused as GraphQL is 400 in the one and 200 in the other.
fn status(refused: Option<Refused>, media: Media) -> StatusCode {
    match (refused, media) {
        (None, _) => StatusCode::OK,
        (Some(refused), media) => refused.status.unwrap_or(match media {
            Media::GraphqlResponse => StatusCode::BAD_REQUEST,
            Media::Json => StatusCode::OK,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_body_is_the_clients_and_a_late_answer_is_not() {
        for media in [Media::GraphqlResponse, Media::Json] {
            for (code, expected) in [(Code::RequestBodyTimeout, 408), (Code::RequestTimeout, 504)] {
                assert_eq!(status(Some(code.into()), media), expected, "{media:?}");
            }
        }
    }
}
