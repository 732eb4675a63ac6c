//! What can go wrong in the posts subgraph, and the code that clients get for it.

use subgraph::{Code, CodedError, InputError};

use crate::post::PostId;

/// An error of the posts subgraph.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client's input cannot be accepted.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The post does not exist, or no longer.
    #[error("there is no post {0}")]
    PostNotFound(PostId),
    /// MongoDB refused an operation or could not be reached.
    #[error("the database failed")]
    Database(#[from] mongodb::error::Error),
}

impl CodedError for Error {
    fn code(&self) -> Code {
        match self {
            Self::Input(_) => Code::BadUserInput,
            Self::PostNotFound(_) => Code::NotFound,
            Self::Database(_) => Code::InternalServerError,
        }
    }
}
