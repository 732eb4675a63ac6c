//! What can go wrong in the posts subgraph, and the code that clients get for it.

use async_graphql::ErrorExtensionValues;
use subgraph::{Code, CodedError, InputError, Overloaded};

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
    /// The time of a write that a query asks to see cannot be read.
    #[error("operationTime is invalid: pass the text of a mutation's payload unchanged")]
    OperationTime,
    /// The posts' comments have not come so far in time.
    #[error("the posts do not show that change yet: try again")]
    ProjectionBehind,
    /// A subscriber of new posts was too slow.
    #[error(
        "{missed} posts were missed because the client read too slowly: subscribe again, then read the list again"
    )]
    SubscriptionLagged {
        /// How many posts were missed.
        missed: u64,
    },
    /// Changes may have been missed by everyone.
    #[error("posts may have been missed: subscribe again, then read the list again")]
    ResyncRequired,
    /// The database has more to do than it can.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// MongoDB refused an operation or could not be reached.
    #[error("the database failed")]
    Database(#[from] mongodb::error::Error),
}

impl CodedError for Error {
    fn code(&self) -> Code {
        match self {
            Self::Input(_) | Self::OperationTime => Code::BadUserInput,
            Self::PostNotFound(_) => Code::NotFound,
            Self::Overloaded(_) => Code::Overloaded,
            Self::ProjectionBehind => Code::ProjectionBehind,
            Self::SubscriptionLagged { .. } => Code::SubscriptionLagged,
            Self::ResyncRequired => Code::ResyncRequired,
            Self::Database(_) => Code::InternalServerError,
        }
    }

    fn add_extensions(&self, extensions: &mut ErrorExtensionValues) {
        if let Self::SubscriptionLagged { missed } = self {
            extensions.set("missed", *missed);
        }
    }
}
