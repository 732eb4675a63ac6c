//! The stable codes of the gateway's own errors.

use graphql_transport::Refused;
use http::StatusCode;

/// A stable error code, as in `extensions.code`. `docs/errors.md` lists them for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The document is not valid GraphQL syntax.
    ParseFailed,
    /// The document is not valid for the API schema.
    ValidationFailed,
    /// The document has no operation, or several and the request does not name one of them.
    OperationResolution,
    /// A variable does not fit its declared type.
    BadUserInput,
    /// The operation has `__schema` or `__type` while introspection is off.
    IntrospectionDisabled,
    /// The document has more tokens than `LIMIT_TOKENS_MAX`.
    MaxTokens,
    /// Selections or brackets are nested deeper than `LIMIT_DEPTH_MAX` allows.
    MaxDepth,
    /// The operation has more aliases than `LIMIT_ALIASES_MAX`.
    MaxAliases,
    /// The operation has more root fields than `LIMIT_ROOT_FIELDS_MAX`.
    MaxRootFields,
    /// An element of the document has more directives than `LIMIT_DIRECTIVES_MAX`.
    MaxDirectives,
    /// The operation has more selections, with fragments expanded, than `LIMIT_SELECTIONS_MAX`.
    MaxSelections,
    /// A subgraph request would have more representations than `LIMIT_REPRESENTATIONS_MAX`.
    MaxRepresentations,
    /// The responses of subgraphs, or the operation's own, have more bytes than
    /// `LIMIT_ANSWER_BYTES_MAX`.
    MaxAnswerBytes,
    /// The responses of subgraphs have more objects than `LIMIT_OBJECTS_MAX`.
    MaxObjects,
    /// The variables are larger or deeper, or have longer lists, than `LIMIT_VARIABLES_*` allow.
    MaxVariables,
    /// The estimated cost of the operation is above `LIMIT_COST_MAX`.
    MaxCost,
    /// The client has asked for more cost in a time than `RATE_LIMIT` allows.
    RateLimited,
    /// A field needs exactly one slicing argument by its `@listSize`, and has none or several.
    InvalidSlicingArguments,
    /// More new documents wait to be prepared than `LIMIT_PREPARE_QUEUE_MAX`.
    PrepareQueueFull,
    /// Parsing, validation and planning took longer than `LIMIT_PREPARE_TIMEOUT`.
    PrepareTimeout,
    /// The operation is valid, but it has no plan, or one that is too large.
    PlanFailed,
    /// A subgraph could not be reached, or returned an HTTP error without a GraphQL response.
    SubrequestHttpError,
    /// A subgraph took longer than `SUBGRAPH_TIMEOUT`.
    SubrequestTimeout,
    /// A subgraph's response is not a GraphQL response, or does not have the requested shape.
    SubrequestMalformedResponse,
    /// A subgraph's response is larger than `SUBGRAPH_BODY_BYTES_MAX`.
    SubrequestTooLarge,
    /// `SUBGRAPH_REQUESTS_MAX` requests already wait for the subgraph; this one was not sent.
    SubgraphOverloaded,
    /// The subgraph has failed many times and has not answered a probe since; this request was not sent.
    SubgraphUnavailable,
    /// A read below a mutation's root field failed because of an overload. The root field itself
    /// was executed.
    ReadAfterWriteFailed,
    /// A subgraph reported an error without a code.
    DownstreamServiceError,
    /// A subgraph returned a value that the API schema does not allow.
    InvalidValue,
    /// The client does not meet the requirements of a field or of its type.
    UnauthorizedFieldOrType,
    /// The policy service did not say what the client may see.
    PolicyServiceUnavailable,
    /// A defect of the gateway. The cause is in its log.
    InternalServerError,
    /// A code of the transports, such as `BAD_REQUEST`.
    Transport(graphql_transport::Code),
    /// No supergraph has been loaded yet.
    SupergraphUnavailable,
    /// The request has no valid token.
    Unauthenticated,
    /// The keys that check tokens cannot be read.
    IdentityUnavailable,
    /// The client's token has ended, and with it the subscription.
    TokenExpired,
    /// The hash is unknown. The client should send it again with the document.
    PersistedQueryNotFound,
    /// Automatic persisted queries are off.
    PersistedQueryNotSupported,
    /// The document does not match the hash in the request.
    PersistedQueryHashMismatch,
    /// The operation is not in the list of trusted documents.
    PersistedQueryNotInList,
    /// The upstream was interrupted and events may be missing. The subscription continues.
    SubscriptionInterrupted,
    /// The subgraph could not be reached again within `SUBSCRIPTION_RETRY_TIME`.
    SubscriptionUpstreamLost,
    /// The subscription is not valid for the new supergraph.
    SubscriptionSchemaChanged,
    /// The subgraph closes each connection that carries the operation, or supports no protocol for
    /// subscriptions.
    SubscriptionRefused,
    /// All clients together have reached `SUBSCRIPTION_UPSTREAM_MAX`.
    SubscriptionLimitReached,
    /// The request to the subgraph would be larger than `SUBSCRIPTION_REQUEST_BYTES_MAX`.
    SubscriptionTooLarge,
}

impl Code {
    /// The code as in `extensions.code`.
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
            Self::RateLimited => "RATE_LIMITED",
            Self::InvalidSlicingArguments => "INVALID_SLICING_ARGUMENTS",
            Self::PrepareQueueFull => "PREPARE_QUEUE_FULL",
            Self::PrepareTimeout => "PREPARE_TIMEOUT",
            Self::PlanFailed => "QUERY_PLANNING_FAILED",
            Self::SubrequestHttpError => "SUBREQUEST_HTTP_ERROR",
            Self::SubrequestTimeout => "SUBREQUEST_TIMEOUT",
            Self::SubrequestMalformedResponse => "SUBREQUEST_MALFORMED_RESPONSE",
            Self::SubrequestTooLarge => "SUBREQUEST_RESPONSE_TOO_LARGE",
            Self::SubgraphOverloaded => "SUBGRAPH_OVERLOADED",
            Self::SubgraphUnavailable => "SUBGRAPH_UNAVAILABLE",
            Self::ReadAfterWriteFailed => "READ_AFTER_WRITE_FAILED",
            Self::DownstreamServiceError => "DOWNSTREAM_SERVICE_ERROR",
            Self::InvalidValue => "INVALID_VALUE",
            Self::UnauthorizedFieldOrType => "UNAUTHORIZED_FIELD_OR_TYPE",
            Self::PolicyServiceUnavailable => "POLICY_SERVICE_UNAVAILABLE",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
            Self::Transport(code) => code.as_str(),
            Self::SupergraphUnavailable => "SUPERGRAPH_UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::IdentityUnavailable => "IDENTITY_UNAVAILABLE",
            Self::TokenExpired => "TOKEN_EXPIRED",
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

/// The HTTP status of a refusal: that of the media type (`None`), except for these codes.
impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        let status = match code {
            Code::Transport(code) => code.status(),
            Code::InternalServerError => graphql_transport::Code::InternalServerError.status(),
            Code::SupergraphUnavailable
            | Code::IdentityUnavailable
            | Code::PolicyServiceUnavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
            Code::Unauthenticated => Some(StatusCode::UNAUTHORIZED),
            Code::RateLimited => Some(StatusCode::TOO_MANY_REQUESTS),
            _ => None,
        };
        Self {
            code: code.as_str(),
            status,
            is_status_of_streams: matches!(
                code,
                Code::Unauthenticated
                    | Code::IdentityUnavailable
                    | Code::RateLimited
                    | Code::Transport(graphql_transport::Code::TooManyNewClients)
            ),
        }
    }
}
