//! The stable codes of the errors that the gateway itself makes.

use graphql_transport::Refused;
use http::StatusCode;

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
    /// As many requests wait for the subgraph as may: this one was not sent.
    SubgraphOverloaded,
    /// A read below a mutation's root field failed for overload: the field itself was executed.
    ReadAfterWriteFailed,
    /// A subgraph answered with an error that has no code of its own.
    DownstreamServiceError,
    /// A subgraph's value is not one that the schema shows to clients.
    InvalidValue,
    /// A defect of the gateway; the cause is in its log.
    InternalServerError,
    /// One of the codes that transports give themselves.
    Transport(graphql_transport::Code),
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
    /// The subgraph was away for a while, and events of that time are missing; the stream goes on.
    SubscriptionInterrupted,
    /// The subgraph did not come back in time.
    SubscriptionUpstreamLost,
    /// The operation does not fit the new supergraph.
    SubscriptionSchemaChanged,
    /// The subgraph ends the connection on which the operation arrives.
    SubscriptionRefused,
    /// As many different subscriptions run as may, of all clients together.
    SubscriptionLimitReached,
    /// The request to the subgraph would be larger than `subscription_request_bytes_max`.
    SubscriptionTooLarge,
}

impl Code {
    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::OperationResolution => "OPERATION_RESOLUTION_FAILURE",
            Self::BadUserInput => "BAD_USER_INPUT",
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
            Self::SubgraphOverloaded => "SUBGRAPH_OVERLOADED",
            Self::ReadAfterWriteFailed => "READ_AFTER_WRITE_FAILED",
            Self::DownstreamServiceError => "DOWNSTREAM_SERVICE_ERROR",
            Self::InvalidValue => "INVALID_VALUE",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
            Self::Transport(code) => code.as_str(),
            Self::SupergraphUnavailable => "SUPERGRAPH_UNAVAILABLE",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::PersistedQueryNotSupported => "PERSISTED_QUERY_NOT_SUPPORTED",
            Self::PersistedQueryHashMismatch => "PERSISTED_QUERY_HASH_MISMATCH",
            Self::PersistedQueryNotInList => "PERSISTED_QUERY_NOT_IN_LIST",
            Self::SubscriptionInterrupted => "SUBSCRIPTION_INTERRUPTED",
            Self::SubscriptionUpstreamLost => "SUBSCRIPTION_UPSTREAM_LOST",
            Self::SubscriptionSchemaChanged => "SUBSCRIPTION_SCHEMA_CHANGED",
            Self::SubscriptionRefused => "SUBSCRIPTION_REFUSED",
            Self::SubscriptionLimitReached => "SUBSCRIPTION_LIMIT_REACHED",
            Self::SubscriptionTooLarge => "SUBSCRIPTION_TOO_LARGE",
        }
    }
}

impl From<graphql_transport::Code> for Code {
    fn from(code: graphql_transport::Code) -> Self {
        Self::Transport(code)
    }
}

/// Refusals have the media type's own status (`None`), but for these.
impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        let status = match code {
            Code::Transport(code) => code.status(),
            Code::InternalServerError => graphql_transport::Code::InternalServerError.status(),
            Code::SupergraphUnavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
            _ => None,
        };
        Self {
            code: code.as_str(),
            status,
        }
    }
}
