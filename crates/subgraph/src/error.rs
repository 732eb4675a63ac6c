//! Stable error codes, and the one place where an error becomes what a client sees.

use async_graphql::{ErrorExtensionValues, Response, ServerError};
use changefeed::WithCauses;

/// The value of `extensions.code`. Clients may rely on it; texts may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// An argument or an input field has a value that cannot be accepted.
    BadUserInput,
    /// The post or comment that the request names does not exist.
    NotFound,
    /// The request contradicts stored data: an idempotency key that was used with another input.
    Conflict,
    /// Nobody is signed in, and a guest may not do this.
    Unauthenticated,
    /// What the request would change belongs to somebody else.
    Forbidden,
    /// One writer has written too much of late: try again after `extensions.retryAfter` seconds.
    TooManyComments,
    /// The claims that the gateway sends cannot be read, or name nobody.
    ClaimsRefused,
    /// A subscriber read too slowly: resume after `extensions.cursor`.
    SubscriptionLagged,
    /// A cursor is too old to resume from: read the list again with its cursor, then subscribe after that.
    ResyncRequired,
    /// The posts do not show the change of `operationTime` yet: try again.
    ProjectionBehind,
    /// Posts have no text index yet: try again in some minutes.
    SearchUnavailable,
    /// The live feed of this instance is stopping: resume after `extensions.cursor`.
    FeedStopped,
    /// This instance has no live feed: subscribe at another one.
    LiveFeedOff,
    /// The service cannot keep up. Nothing was started: try again in a moment.
    Overloaded,
    /// Below a mutation's root field, a read failed for overload: the field itself was executed.
    ReadAfterWriteFailed,
    /// The document is not GraphQL.
    GraphqlParseFailed,
    /// The document does not fit the schema.
    GraphqlValidationFailed,
    /// The document is too long.
    MaxTokensExceeded,
    /// Selections, brackets or types are nested too deep.
    MaxDepthExceeded,
    /// There are too many aliases.
    MaxAliasesExceeded,
    /// There are too many fields at the root.
    MaxRootFieldsExceeded,
    /// There are too many directives on one element.
    MaxDirectivesExceeded,
    /// There are too many selections, fragments written out.
    MaxSelectionsExceeded,
    /// The variables are too many, too large or nested too deep.
    MaxVariablesExceeded,
    /// There are too many entity representations.
    MaxRepresentationsExceeded,
    /// The answer has too many objects and leaves, or its texts are too large.
    MaxCostExceeded,
    /// A fault of the service. Only its log has the reason.
    InternalServerError,
}

impl Code {
    /// The code as it is written in `extensions.code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::TooManyComments => "TOO_MANY_COMMENTS",
            Self::ClaimsRefused => "CLAIMS_REFUSED",
            Self::SubscriptionLagged => "SUBSCRIPTION_LAGGED",
            Self::ResyncRequired => "RESYNC_REQUIRED",
            Self::ProjectionBehind => "PROJECTION_BEHIND",
            Self::SearchUnavailable => "SEARCH_UNAVAILABLE",
            Self::FeedStopped => "FEED_STOPPED",
            Self::LiveFeedOff => "LIVE_FEED_OFF",
            Self::Overloaded => "OVERLOADED",
            Self::ReadAfterWriteFailed => "READ_AFTER_WRITE_FAILED",
            Self::GraphqlParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::GraphqlValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::MaxTokensExceeded => "MAX_TOKENS_EXCEEDED",
            Self::MaxDepthExceeded => "MAX_DEPTH_EXCEEDED",
            Self::MaxAliasesExceeded => "MAX_ALIASES_EXCEEDED",
            Self::MaxRootFieldsExceeded => "MAX_ROOT_FIELDS_EXCEEDED",
            Self::MaxDirectivesExceeded => "MAX_DIRECTIVES_EXCEEDED",
            Self::MaxSelectionsExceeded => "MAX_SELECTIONS_EXCEEDED",
            Self::MaxVariablesExceeded => "MAX_VARIABLES_EXCEEDED",
            Self::MaxRepresentationsExceeded => "MAX_REPRESENTATIONS_EXCEEDED",
            Self::MaxCostExceeded => "MAX_COST_EXCEEDED",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The codes of errors that are meant for clients, in the form of the gateway's `SHOWN_ERROR_CODES`. The
    /// others report faults of this project's own, or of a request that only the gateway writes.
    pub fn shown_to_clients() -> String {
        let is_shown = |code: &Self| {
            !matches!(
                code,
                Self::GraphqlParseFailed
                    | Self::GraphqlValidationFailed
                    | Self::InternalServerError
            )
        };
        let shown = Self::ALL.into_iter().filter(is_shown).map(Self::as_str);
        shown.collect::<Vec<_>>().join(",")
    }

    /// The code of this text.
    pub(crate) fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    const ALL: [Self; 27] = [
        Self::BadUserInput,
        Self::NotFound,
        Self::Conflict,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TooManyComments,
        Self::ClaimsRefused,
        Self::SubscriptionLagged,
        Self::ResyncRequired,
        Self::ProjectionBehind,
        Self::SearchUnavailable,
        Self::FeedStopped,
        Self::LiveFeedOff,
        Self::Overloaded,
        Self::ReadAfterWriteFailed,
        Self::GraphqlParseFailed,
        Self::GraphqlValidationFailed,
        Self::MaxTokensExceeded,
        Self::MaxDepthExceeded,
        Self::MaxAliasesExceeded,
        Self::MaxRootFieldsExceeded,
        Self::MaxDirectivesExceeded,
        Self::MaxSelectionsExceeded,
        Self::MaxVariablesExceeded,
        Self::MaxRepresentationsExceeded,
        Self::MaxCostExceeded,
        Self::InternalServerError,
    ];
}

/// The text that clients see in place of an internal error's own.
const MASKED: &str = "Internal error: the service's log has the reason.";
/// How many faults of one response are shown: a document may have thousands.
const SHOWN_ERRORS_MAX: usize = 50;

/// A subgraph's error type: resolvers return it, and [`finish_response`] gives it its code.
///
/// The text of an [`Code::InternalServerError`] is logged and never shown.
pub trait CodedError: std::error::Error + Send + Sync + 'static {
    /// The code that clients may rely on.
    fn code(&self) -> Code;

    /// Further `extensions`, such as the cursor to resume from.
    fn add_extensions(&self, _extensions: &mut ErrorExtensionValues) {}
}

/// A value that a client sent and that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The text has no visible character: only white space, control and zero-width characters.
    #[error("{field} must not be blank: at least one character must be visible")]
    Blank { field: &'static str },
    /// A control character that is neither a line break nor a tab.
    #[error(
        "{field} contains the control character U+{code:04X}: only line breaks and tabs are accepted"
    )]
    Control {
        field: &'static str,
        /// The character's code point.
        code: u32,
    },
    /// More characters than the limit.
    #[error("{field} has {chars} characters: at most {max_chars} are accepted")]
    TooLong {
        field: &'static str,
        /// How long it is.
        chars: usize,
        /// How long it may be.
        max_chars: usize,
    },
    /// An id of a person that has no byte, or more than the limit.
    #[error("{field} has {bytes} bytes: the id of a person has 1 to {bytes_max}")]
    PersonId {
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// A page size below 0 or above the limit.
    #[error("{argument} is {size}: a page has from 0 to {max} items")]
    PageSize {
        /// The argument that has the size: `first` or `last`.
        argument: &'static str,
        /// What was asked for.
        size: i32,
        max: usize,
    },
    /// A number below 0 or above the limit.
    #[error("{argument} is {value}: it has to be from 0 to {max}")]
    OutOfRange {
        argument: &'static str,
        /// What was asked for.
        value: i32,
        max: usize,
    },
    /// Both ends at once.
    #[error("first and last cannot be combined: use one of them")]
    BothEnds,
    /// A cursor that this list did not give out.
    #[error("{argument} is not a cursor of this list: use one that the list returned")]
    Cursor {
        /// The argument that has the cursor: `after` or `before`.
        argument: &'static str,
    },
    /// An update that changes nothing.
    #[error("the input changes nothing: set at least one of {fields}")]
    NothingToChange {
        /// The fields that could be given.
        fields: &'static str,
    },
}

/// Gives every error its code, masks what is internal and logs it, once.
///
/// `E` is the subgraph's error type: an error of any other type was made by the GraphQL library,
/// before execution (then it has no path) or while it read an argument.
///
/// Of more than 50 errors from before execution, the first 50 are shown.
pub fn finish_response<E: CodedError>(mut response: Response) -> Response {
    leave_out_many(&mut response.errors);
    for error in &mut response.errors {
        finish_error::<E>(error);
    }
    response
}

/// A fault of the service outside of any resolver's error.
pub(crate) fn internal(reason: &'static str) -> Response {
    tracing::error!(reason, "a request failed");
    let mut error = ServerError::new(MASKED, None);
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("code", Code::InternalServerError.as_str());
    Response::from_errors(vec![error])
}

/// Errors with a path stay, because each explains a null in the data.
fn leave_out_many(errors: &mut Vec<ServerError>) {
    if errors.len() > SHOWN_ERRORS_MAX && errors.iter().all(|error| error.path.is_empty()) {
        let left_out = errors.len() - SHOWN_ERRORS_MAX;
        errors.truncate(SHOWN_ERRORS_MAX);
        let message = format!("the document has {left_out} more faults");
        errors.push(ServerError::new(message, None));
    }
}

fn finish_error<E: CodedError>(error: &mut ServerError) {
    let source = error.source.take();
    let mut extensions = error.extensions.take().unwrap_or_default();
    if let Some(coded) = source
        .as_ref()
        .and_then(|source| source.downcast_ref::<E>())
    {
        if coded.code() == Code::InternalServerError {
            tracing::error!(
                reason = %WithCauses(coded),
                path = ?error.path,
                "a request failed"
            );
            error.message = MASKED.to_owned();
        }
        extensions.set("code", coded.code().as_str());
        coded.add_extensions(&mut extensions);
    } else if extensions.get("code").is_none() {
        let code = code_of_library(error, source.is_some());
        if code == Code::InternalServerError {
            tracing::error!(reason = error.message, path = ?error.path, "a request failed");
            error.message = MASKED.to_owned();
        }
        extensions.set("code", code.as_str());
    }
    error.extensions = Some(extensions);
}

/// How async-graphql begins the errors about a client's value, which it may find only while
/// it runs the operation. It marks them by nothing else.
const OF_INPUT: [&str; 4] = [
    "Expected input type ",
    "Failed to parse ",
    "Entity not found.",
    "Variable ",
];

/// The code of an error that is not the subgraph's own. One with a source came out of a resolver.
fn code_of_library(error: &ServerError, has_source: bool) -> Code {
    let of_input = OF_INPUT
        .iter()
        .any(|beginning| error.message.starts_with(beginning));
    match (has_source, error.path.is_empty()) {
        (true, _) => Code::InternalServerError,
        (false, true) => Code::GraphqlValidationFailed,
        (false, false) if of_input => Code::BadUserInput,
        (false, false) => Code::InternalServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("password=secret")]
    struct Fault;

    impl CodedError for Fault {
        fn code(&self) -> Code {
            Code::InternalServerError
        }
    }

    #[test]
    fn an_internal_error_is_masked() {
        let error = async_graphql::Error::from(Fault).into_server_error(Default::default());
        let response = finish_response::<Fault>(Response::from_errors(vec![error]));
        let shown = serde_json::to_string(&response).expect("JSON");
        assert!(shown.contains("INTERNAL_SERVER_ERROR"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_error_of_the_library_gets_a_code() {
        let error = ServerError::new("Unknown field", None);
        let response = finish_response::<Fault>(Response::from_errors(vec![error]));
        let shown = serde_json::to_string(&response).expect("JSON");
        assert!(shown.contains("GRAPHQL_VALIDATION_FAILED"), "{shown}");
    }

    #[test]
    fn of_many_faults_of_a_document_some_are_shown() {
        let faults = vec![ServerError::new("Unknown field", None); 1_000];
        let response = finish_response::<Fault>(Response::from_errors(faults));
        assert_eq!(response.errors.len(), SHOWN_ERRORS_MAX + 1);
        let last = &response.errors[SHOWN_ERRORS_MAX];
        assert_eq!(last.message, "the document has 950 more faults");
    }
}
