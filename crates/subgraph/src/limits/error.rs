//! Why a request is refused before it runs.

use async_graphql::ServerError;
use async_graphql::parser::Pos;

use crate::Code;

/// A limit that a request exceeds; its text is safe to show.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LimitError {
    /// The document is too long.
    #[error(
        "the document has {bytes} bytes: at most {max} are accepted; send long texts as variables"
    )]
    DocumentBytes { bytes: usize, max: usize },
    /// The document has too many tokens.
    #[error("the document has more than {max} tokens, fragments written out")]
    Tokens { max: usize },
    /// A name is too long.
    #[error("a name or a number of the document has more than {max} bytes")]
    NameBytes {
        max: usize,
        /// Where it begins, in bytes from the start.
        offset: usize,
    },
    /// A string has no end.
    #[error("the string that begins at byte {offset} of the document is not closed")]
    OpenString {
        /// Where it begins, in bytes from the start.
        offset: usize,
    },
    /// Something is nested too deep.
    #[error("the document is nested deeper than {max}, fragments followed")]
    Depth { max: usize },
    /// Introspection asks for lists of types below lists of types.
    #[error(
        "introspection is nested too deep: ask at most twice for `fields`, `inputFields`, \
         `interfaces` or `possibleTypes` on one path"
    )]
    Introspection,
    /// One operation has more aliases than `max`, with fragments expanded.
    #[error("an operation has more than {max} aliases, fragments followed")]
    Aliases { max: usize },
    /// Too many fields at the root.
    #[error("the document has more than {max} root fields, fragments followed")]
    RootFields { max: usize },
    /// Too many directives in one place.
    #[error("an element of the document has more than {max} directives")]
    Directives { max: usize },
    /// The document has more selections than `max`, with fragments expanded.
    #[error("the document has more than {max} selections, fragments written out")]
    Selections { max: usize },
    /// The document defines more operations than `max`.
    #[error("the document has more than {max} operations")]
    Operations { max: usize },
    /// The document defines more fragments than `max`.
    #[error("the document has more than {max} fragments")]
    Fragments { max: usize },
    /// The arguments are too long.
    #[error(
        "the texts in the document's arguments have more than {max} bytes, fragments written out; \
         send long texts as variables"
    )]
    ArgumentBytes { max: usize },
    /// A field has too many arguments.
    #[error("a field or a directive has more than {max} arguments")]
    Arguments {
        max: usize,
        /// The first element with too many.
        position: Pos,
    },
    /// A fragment contains itself.
    #[error("the fragment \"{fragment}\" contains itself")]
    Cycle {
        fragment: String,
        /// Where it is spread.
        position: Pos,
    },
    /// A spread names a fragment that the document does not have.
    #[error("the fragment \"{fragment}\" is not defined")]
    UnknownFragment {
        fragment: String,
        /// Where it is spread.
        position: Pos,
    },
    /// A variable has a type that the schema does not have.
    #[error("the schema has no type \"{name}\"")]
    UnknownType {
        /// The type's name, without lists around it.
        name: String,
        /// Where the variable is defined.
        position: Pos,
    },
    /// Many fields have names that no type of the schema has.
    #[error(
        "the document has more than {max} fields that no type of the schema has; the first one is \"{name}\""
    )]
    UnknownFields {
        /// So many are reported one by one.
        max: usize,
        /// The first one's name.
        name: String,
        /// Where the first one is.
        position: Pos,
    },
    /// An operation refers to a variable that it does not define.
    #[error("the variable \"${variable}\" is not defined by each operation that refers to it")]
    UndefinedVariable {
        variable: String,
        /// The argument that refers to it.
        position: Pos,
    },
    /// A fragment is not spread by any operation.
    #[error("the fragment \"{fragment}\" is never used")]
    Unused { fragment: String, position: Pos },
    /// Two fields with one response key cannot be merged.
    #[error(
        "the fields \"{key}\" conflict: they are different fields or have different arguments; use \
         different aliases to ask for both"
    )]
    Conflict { key: String, positions: [Pos; 2] },
    /// An operation has too many variables, or they are too large or nested too deep.
    #[error("the variables are too many, too large or nested too deep: {reason}")]
    Variables {
        /// What is too much, and how much is accepted.
        reason: String,
    },
    /// `_entities` has more representations than `max`.
    #[error("the request has more than {max} entity representations: ask for fewer at a time")]
    Representations { max: usize },
    /// The request asks for too much.
    #[error(
        "the request costs {cost}: at most {max} is accepted; ask for smaller pages or fewer fields"
    )]
    Cost { cost: u64, max: usize },
    /// The answer's texts are too large.
    #[error("the answer's texts have more than {max} bytes: ask for smaller pages")]
    AnswerBytes { max: usize },
    /// The document is not GraphQL.
    #[error("{}", .0.message)]
    Syntax(ServerError),
}

impl LimitError {
    /// The code that clients may rely on.
    pub fn code(&self) -> Code {
        match self {
            Self::DocumentBytes { .. }
            | Self::Tokens { .. }
            | Self::NameBytes { .. }
            | Self::ArgumentBytes { .. } => Code::MaxTokensExceeded,
            Self::Depth { .. } | Self::Introspection => Code::MaxDepthExceeded,
            Self::Aliases { .. } => Code::MaxAliasesExceeded,
            Self::RootFields { .. } | Self::Operations { .. } => Code::MaxRootFieldsExceeded,
            Self::Directives { .. } => Code::MaxDirectivesExceeded,
            Self::Selections { .. } | Self::Fragments { .. } => Code::MaxSelectionsExceeded,
            Self::Variables { .. } => Code::MaxVariablesExceeded,
            Self::Representations { .. } => Code::MaxRepresentationsExceeded,
            Self::Cost { .. } | Self::AnswerBytes { .. } => Code::MaxCostExceeded,
            Self::Arguments { .. }
            | Self::Cycle { .. }
            | Self::Unused { .. }
            | Self::UnknownFragment { .. }
            | Self::UnknownType { .. }
            | Self::UnknownFields { .. }
            | Self::UndefinedVariable { .. }
            | Self::Conflict { .. } => Code::GraphqlValidationFailed,
            Self::OpenString { .. } | Self::Syntax(_) => Code::GraphqlParseFailed,
        }
    }
}

impl From<LimitError> for ServerError {
    fn from(error: LimitError) -> Self {
        let (message, code) = (error.to_string(), error.code());
        let mut server_error = match error {
            LimitError::Syntax(error) => error,
            LimitError::Conflict { positions, .. } => {
                let mut conflict = ServerError::new(message, None);
                conflict.locations = positions.to_vec();
                conflict
            }
            LimitError::Arguments { position, .. }
            | LimitError::Cycle { position, .. }
            | LimitError::UnknownFragment { position, .. }
            | LimitError::UnknownType { position, .. }
            | LimitError::UnknownFields { position, .. }
            | LimitError::UndefinedVariable { position, .. }
            | LimitError::Unused { position, .. } => ServerError::new(message, Some(position)),
            _ => ServerError::new(message, None),
        };
        server_error
            .extensions
            .get_or_insert_default()
            .set("code", code.as_str());
        server_error
    }
}
