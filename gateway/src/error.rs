//! Every error that the gateway itself makes: its code, its text, its place in the response.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    json::write,
    response::{GraphqlResponse, ResponseKind},
};

/// The stable codes in `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The document is not GraphQL.
    ParseFailed,
    /// The document does not fit the schema.
    ValidationFailed,
    /// No operation, or several and no name that picks one.
    OperationResolution,
    /// The variables do not fit their declared types, or the request itself is malformed.
    BadUserInput,
    /// A mutation came over a way that may not change anything (GET).
    MutationForbidden,
    /// A subscription came over a transport that has no way to stream.
    SubscriptionForbidden,
    /// `__schema` or `__type` while introspection is off.
    IntrospectionDisabled,
    /// More tokens than `tokens_max`.
    MaxTokens,
    /// Deeper than `depth_max`.
    MaxDepth,
    /// More aliases than `aliases_max`.
    MaxAliases,
    /// More root fields than `root_fields_max`.
    MaxRootFields,
    /// More directives on one element than `directives_max`.
    MaxDirectives,
    /// More selections, fragments written out, than `selections_max`.
    MaxSelections,
    /// More entities in one subgraph request than `representations_max`.
    MaxRepresentations,
    /// The answers of an operation, or its own, have more bytes than `answer_bytes_max`.
    MaxAnswerBytes,
    /// An operation leads to more objects than `objects_max`.
    MaxObjects,
    /// Variables larger, deeper or longer than their limits.
    MaxVariables,
    /// Dearer by estimate than `cost_max`.
    MaxCost,
    /// A field that `@listSize` wants exactly one slicing argument of has none, or several.
    InvalidSlicingArguments,
    /// More new documents wait to be prepared than `prepare_queue_max`.
    PrepareQueueFull,
    /// Parsing, validating and planning took longer than `prepare_timeout`.
    PrepareTimeout,
    /// The operation is valid, yet no plan was found for it.
    PlanFailed,
    /// A subgraph could not be reached, or answered without GraphQL.
    SubrequestHttpError,
    /// A subgraph took longer than its time limit.
    SubrequestTimeout,
    /// A subgraph's answer is not a GraphQL response, or does not have the shape asked for.
    SubrequestMalformedResponse,
    /// A subgraph's answer is larger than its limit.
    SubrequestTooLarge,
    /// A read below a mutation's root field failed for overload: the field itself was executed.
    ReadAfterWriteFailed,
    /// A subgraph answered with an error that has no code of its own.
    DownstreamServiceError,
    /// A subgraph's value is not one that the schema shows to clients.
    InvalidValue,
    /// A defect of the gateway; the cause is in its log.
    InternalServerError,
    /// The request is not well-formed: no JSON, a member of the wrong type, a batch.
    BadRequest,
    /// The request body is larger than `request_bytes_max`.
    RequestTooLarge,
    /// The client took too long to send its request body.
    RequestBodyTimeout,
    /// The request's `Content-Type` is not one that is read.
    UnsupportedMediaType,
    /// None of the media types of `Accept` can be written.
    NotAcceptable,
    /// Neither GET nor POST.
    MethodNotAllowed,
    /// The request took longer than `request_timeout`.
    RequestTimeout,
    /// A browser's cross-site request without a header that forces a preflight.
    CsrfRefused,
    /// No supergraph has been loaded yet.
    SupergraphUnavailable,
    /// The hash is unknown: the client sends it again with the document.
    PersistedQueryNotFound,
    /// Automatic persisted queries are off.
    PersistedQueryNotSupported,
    /// The document does not have the hash that came with it.
    PersistedQueryHashMismatch,
    /// Only operations of the trusted list are answered.
    PersistedQueryNotInList,
    /// One connection holds as many operations as it may.
    TooManySubscriptions,
    /// The client read more slowly than events came, and the difference outgrew its buffer.
    SubscriptionLagged,
    /// The subgraph was away for a while, and events of that time are missing; the stream goes on.
    SubscriptionInterrupted,
    /// The subgraph did not come back in time.
    SubscriptionUpstreamLost,
    /// The operation does not fit the new supergraph.
    SubscriptionSchemaChanged,
}

impl Code {
    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::OperationResolution => "OPERATION_RESOLUTION_FAILURE",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::MutationForbidden => "MUTATION_FORBIDDEN",
            Self::SubscriptionForbidden => "SUBSCRIPTION_FORBIDDEN",
            Self::IntrospectionDisabled => "INTROSPECTION_DISABLED",
            Self::MaxTokens => "MAX_TOKENS_EXCEEDED",
            Self::MaxDepth => "MAX_DEPTH_EXCEEDED",
            Self::MaxAliases => "MAX_ALIASES_EXCEEDED",
            Self::MaxRootFields => "MAX_ROOT_FIELDS_EXCEEDED",
            Self::MaxDirectives => "MAX_DIRECTIVES_EXCEEDED",
            Self::MaxSelections => "MAX_SELECTIONS_EXCEEDED",
            Self::MaxRepresentations => "MAX_REPRESENTATIONS_EXCEEDED",
            Self::MaxAnswerBytes => "MAX_ANSWER_BYTES_EXCEEDED",
            Self::MaxObjects => "MAX_OBJECTS_EXCEEDED",
            Self::MaxVariables => "MAX_VARIABLES_EXCEEDED",
            Self::MaxCost => "MAX_COST_EXCEEDED",
            Self::InvalidSlicingArguments => "INVALID_SLICING_ARGUMENTS",
            Self::PrepareQueueFull => "PREPARE_QUEUE_FULL",
            Self::PrepareTimeout => "PREPARE_TIMEOUT",
            Self::PlanFailed => "QUERY_PLANNING_FAILED",
            Self::SubrequestHttpError => "SUBREQUEST_HTTP_ERROR",
            Self::SubrequestTimeout => "SUBREQUEST_TIMEOUT",
            Self::SubrequestMalformedResponse => "SUBREQUEST_MALFORMED_RESPONSE",
            Self::SubrequestTooLarge => "SUBREQUEST_RESPONSE_TOO_LARGE",
            Self::ReadAfterWriteFailed => "READ_AFTER_WRITE_FAILED",
            Self::DownstreamServiceError => "DOWNSTREAM_SERVICE_ERROR",
            Self::InvalidValue => "INVALID_VALUE",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
            Self::BadRequest => "BAD_REQUEST",
            Self::RequestTooLarge => "REQUEST_TOO_LARGE",
            Self::RequestBodyTimeout => "REQUEST_BODY_TIMEOUT",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::CsrfRefused => "CSRF_REFUSED",
            Self::SupergraphUnavailable => "SUPERGRAPH_UNAVAILABLE",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::PersistedQueryNotSupported => "PERSISTED_QUERY_NOT_SUPPORTED",
            Self::PersistedQueryHashMismatch => "PERSISTED_QUERY_HASH_MISMATCH",
            Self::PersistedQueryNotInList => "PERSISTED_QUERY_NOT_IN_LIST",
            Self::TooManySubscriptions => "TOO_MANY_SUBSCRIPTIONS",
            Self::SubscriptionLagged => "SUBSCRIPTION_LAGGED",
            Self::SubscriptionInterrupted => "SUBSCRIPTION_INTERRUPTED",
            Self::SubscriptionUpstreamLost => "SUBSCRIPTION_UPSTREAM_LOST",
            Self::SubscriptionSchemaChanged => "SUBSCRIPTION_SCHEMA_CHANGED",
        }
    }
}

/// A place in the client's document; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Faults of one document that a client is told of: a small request must not get a huge answer.
pub const FAULTS_MAX: usize = 50;

/// A request refused before execution. The messages are safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", code.as_str(), errors.first().map_or("refused", |error| error.message.as_str()))]
pub struct RequestError {
    /// The code that all of `errors` carry.
    pub code: Code,
    /// At least one.
    pub errors: Vec<Message>,
    /// Further members of `extensions`.
    pub numbers: Vec<(&'static str, u64)>,
}

/// One entry of a refusal's `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Safe to show.
    pub message: String,
    /// Where in the document, when it is known.
    pub locations: Vec<Location>,
}

impl RequestError {
    /// A refusal with one message and no place in the document.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            errors: vec![Message {
                message: message.into(),
                locations: Vec::new(),
            }],
            numbers: Vec::new(),
        }
    }

    /// The same with a number in `extensions`.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: u64) -> Self {
        self.numbers.push((name, number));
        self
    }

    /// A refusal for each of `all` faults of a document, of which the first [`FAULTS_MAX`] are told.
    pub fn several(code: Code, all: usize, faults: impl Iterator<Item = Message>) -> Self {
        let mut errors: Vec<Message> = faults.take(FAULTS_MAX).collect();
        if all > FAULTS_MAX {
            errors.push(Message {
                message: format!("{} more errors are left out", all - FAULTS_MAX),
                locations: Vec::new(),
            });
        }
        Self {
            code,
            errors,
            numbers: Vec::new(),
        }
    }

    /// The refusal as a GraphQL response.
    pub fn into_response(self) -> GraphqlResponse {
        let mut body = String::from("{\"errors\":[");
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str("{\"message\":");
            write::string(&mut body, &error.message);
            if !error.locations.is_empty() {
                body.push_str(",\"locations\":[");
                for (index, location) in error.locations.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    // Writing to a String cannot fail.
                    let _ = write!(
                        body,
                        "{comma}{{\"line\":{},\"column\":{}}}",
                        location.line, location.column
                    );
                }
                body.push(']');
            }
            body.push_str(",\"extensions\":{\"code\":\"");
            body.push_str(self.code.as_str());
            body.push('"');
            for (name, number) in &self.numbers {
                // Writing to a String cannot fail.
                let _ = write!(body, ",\"{name}\":{number}");
            }
            body.push_str("}}");
        }
        body.push_str("]}");
        GraphqlResponse {
            body: Bytes::from(body),
            kind: ResponseKind::RequestError,
            refused: Some(self.code),
            overloaded: self.code == Code::PrepareQueueFull,
            headers: HeaderMap::new(),
        }
    }
}
