//! What a transport refuses: the code, its text, its HTTP status.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::response::{GraphqlResponse, ResponseKind};

/// The stable codes in `extensions.code` that transports give. A service has codes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is not well-formed: no JSON, a member of the wrong type, a batch.
    BadRequest,
    /// A batch has more requests than `batch_max`.
    BatchTooLarge,
    /// A form has more files than `uploads_max`.
    TooManyUploads,
    /// A part of a well-formed request has a value that it may not have.
    BadUserInput,
    /// The request body is larger than `request_bytes_max`.
    RequestTooLarge,
    /// The client took longer than `request_body_timeout` to send its request body.
    RequestBodyTimeout,
    /// More bytes of request bodies are on the way than `request_bodies_bytes_max`, or
    /// `request_bodies_bytes_per_client_max`, allows.
    TooManyRequestBytes,
    /// More bytes of answers wait for their clients than `answers_bytes_max`, or
    /// `answers_bytes_per_client_max`, allows: this answer was thrown away.
    TooManyAnswerBytes,
    /// The request's `Content-Type` is not one that is read.
    UnsupportedMediaType,
    /// The request's `Content-Encoding` is not one that is read.
    UnsupportedContentEncoding,
    /// None of the media types of `Accept` can be written.
    NotAcceptable,
    /// Neither GET nor POST.
    MethodNotAllowed,
    /// The request took longer than `request_timeout`.
    RequestTimeout,
    /// The request's `Host` is none of `allowed_hosts`.
    HostRefused,
    /// A cross-site request of a browser, from an origin that CORS does not allow.
    CsrfRefused,
    /// The request is not signed by the service's gateway.
    SignatureRefused,
    /// A mutation came by GET, which may not change anything.
    MutationForbidden,
    /// A subscription came over a transport that has no way to stream.
    SubscriptionForbidden,
    /// One connection holds as many operations as it may.
    TooManySubscriptions,
    /// One connection holds as many queries and mutations as it may: nothing of this one was begun.
    Overloaded,
    /// More WebSockets and event streams come at once than the service admits: come again later.
    TooManyNewClients,
    /// The client read more slowly than events came, and the difference outgrew its buffer.
    SubscriptionLagged,
    /// A defect of the service; the cause is in its log.
    InternalServerError,
}

impl Code {
    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::TooManyUploads => "TOO_MANY_UPLOADS",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::RequestTooLarge => "REQUEST_TOO_LARGE",
            Self::RequestBodyTimeout => "REQUEST_BODY_TIMEOUT",
            Self::TooManyRequestBytes => "TOO_MANY_REQUEST_BYTES",
            Self::TooManyAnswerBytes => "TOO_MANY_ANSWER_BYTES",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::UnsupportedContentEncoding => "UNSUPPORTED_CONTENT_ENCODING",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::HostRefused => "HOST_REFUSED",
            Self::CsrfRefused => "CSRF_REFUSED",
            Self::SignatureRefused => "SIGNATURE_REFUSED",
            Self::MutationForbidden => "MUTATION_FORBIDDEN",
            Self::SubscriptionForbidden => "SUBSCRIPTION_FORBIDDEN",
            Self::TooManySubscriptions => "TOO_MANY_SUBSCRIPTIONS",
            Self::Overloaded => "OVERLOADED",
            Self::TooManyNewClients => "TOO_MANY_NEW_CLIENTS",
            Self::SubscriptionLagged => "SUBSCRIPTION_LAGGED",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The HTTP status in both media types. `None`: the request is well-formed and refused as
    /// GraphQL, so that the media type decides.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Self::BadRequest | Self::BatchTooLarge | Self::TooManyUploads => {
                Some(StatusCode::BAD_REQUEST)
            }
            Self::RequestTooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            Self::RequestBodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::UnsupportedMediaType | Self::UnsupportedContentEncoding => {
                Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::NotAcceptable => Some(StatusCode::NOT_ACCEPTABLE),
            Self::MethodNotAllowed | Self::MutationForbidden => {
                Some(StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::RequestTimeout => Some(StatusCode::GATEWAY_TIMEOUT),
            Self::HostRefused => Some(StatusCode::MISDIRECTED_REQUEST),
            // No credentials that a client could have would help, so there is no challenge, and no 401.
            Self::CsrfRefused | Self::SignatureRefused => Some(StatusCode::FORBIDDEN),
            Self::TooManyRequestBytes
            | Self::TooManyAnswerBytes
            | Self::Overloaded
            | Self::TooManyNewClients => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::InternalServerError => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Self::BadUserInput
            | Self::SubscriptionForbidden
            | Self::TooManySubscriptions
            | Self::SubscriptionLagged => None,
        }
    }
}

/// Why a request was not executed, as far as transports and metrics have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `extensions.code`, the service's or a transport's.
    pub code: &'static str,
    /// The HTTP status in both media types. `None`: 400 in `application/graphql-response+json`, 200
    /// in `application/json`.
    pub status: Option<StatusCode>,
    /// Whether a stream has the status, too: then its client learns that it needs other credentials, or has to come again
    /// later. Other refusals are the only event of a stream.
    pub is_status_of_streams: bool,
}

impl Refused {
    /// Whether it is this code of a transport.
    pub fn is(self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            status: code.status(),
            is_status_of_streams: false,
        }
    }
}

/// A request refused by a transport. The message is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// The code, which also decides the HTTP status.
    pub code: Code,
    /// What was wrong and what would be right; safe to show to clients.
    pub message: String,
}

impl Refusal {
    /// A refusal with its message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<Refusal> for GraphqlResponse {
    fn from(refusal: Refusal) -> Self {
        let mut body = String::from("{\"errors\":[{\"message\":");
        // Writing to a String cannot fail.
        let _ = write!(body, "{}", serde_json::Value::String(refusal.message));
        body.push_str(",\"extensions\":{\"code\":\"");
        body.push_str(refusal.code.as_str());
        body.push_str("\"}}]}");
        Self {
            body: Bytes::from(body),
            kind: ResponseKind::RequestError,
            refused: Some(refusal.code.into()),
            overloaded: false,
            headers: HeaderMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_graphql_response() {
        let response = GraphqlResponse::from(Refusal::new(Code::BadRequest, "a \"b\""));
        assert_eq!(
            &response.body[..],
            br#"{"errors":[{"message":"a \"b\"","extensions":{"code":"BAD_REQUEST"}}]}"#
        );
        assert_eq!(response.refused, Some(Code::BadRequest.into()));
    }
}
