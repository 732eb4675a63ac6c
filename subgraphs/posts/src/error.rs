//! The errors of the posts subgraph, each with the code that clients receive.

use async_graphql::ErrorExtensionValues;
use subgraph::database_error::{StoreError, is_out_of_time};
use subgraph::{AccessError, Code, CodedError, InputError, Overloaded};

use crate::post::PostId;

/// An error of the posts subgraph.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client's input cannot be accepted.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The client may not write, or not change this.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The post does not exist, or no longer.
    #[error("the post {0} does not exist")]
    PostNotFound(PostId),
    /// The post was changed after the client had read it.
    #[error(
        "the post {0} was changed after ifUpdatedAt: read it again and let the author decide which text stays"
    )]
    PostChanged(PostId),
    /// The time of a write that a query asks to see cannot be read.
    #[error("operationTime is invalid: pass the text that a mutation returned, unchanged")]
    OperationTime,
    /// The projection has not reached the requested time within the limit.
    #[error("the posts do not show the change of operationTime yet: try again")]
    ProjectionBehind,
    /// A subscriber of new posts was too slow.
    #[error(
        "{missed} posts were missed because the client read too slowly: subscribe again, then read the list again"
    )]
    SubscriptionLagged {
        /// How many posts were missed.
        missed: u64,
    },
    /// The change stream lost its history: every subscriber may have missed posts.
    #[error("posts may have been missed: subscribe again, then read the list again")]
    ResyncRequired,
    /// The instance has no live feed.
    #[error("this instance has no live feed (LIVE_FEED is false): subscribe at one that has")]
    LiveFeedOff,
    /// There is no text index, or it is still being made.
    #[error(
        "posts cannot be searched yet: their index is being made. Try again in some minutes, or read the list of posts"
    )]
    SearchUnavailable,
    /// A search took longer than it may.
    #[error("the search takes too long: use fewer words, or rarer ones")]
    SearchTooSlow,
    /// The database cannot keep up. The call was not started.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// MongoDB refused an operation or could not be reached.
    #[error("the database failed")]
    Database(mongodb::error::Error),
}

impl From<mongodb::error::Error> for Error {
    /// A write that has waited too long for a document that a transaction holds may be sent again.
    fn from(error: mongodb::error::Error) -> Self {
        match is_out_of_time(&error) {
            true => Self::Overloaded(Overloaded::WaitedTooLong),
            false => Self::Database(error),
        }
    }
}

impl StoreError for Error {
    fn database(&self) -> Option<&mongodb::error::Error> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl CodedError for Error {
    fn code(&self) -> Code {
        match self {
            Self::Input(_) | Self::OperationTime => Code::BadUserInput,
            Self::Access(error) => error.code(),
            Self::PostNotFound(_) => Code::NotFound,
            Self::PostChanged(_) => Code::Conflict,
            Self::Overloaded(_) | Self::SearchTooSlow => Code::Overloaded,
            Self::SearchUnavailable => Code::SearchUnavailable,
            Self::ProjectionBehind => Code::ProjectionBehind,
            Self::SubscriptionLagged { .. } => Code::SubscriptionLagged,
            Self::ResyncRequired => Code::ResyncRequired,
            Self::LiveFeedOff => Code::LiveFeedOff,
            Self::Database(_) => Code::InternalServerError,
        }
    }

    fn add_extensions(&self, extensions: &mut ErrorExtensionValues) {
        match self {
            Self::SubscriptionLagged { missed } => extensions.set("missed", *missed),
            Self::Access(error) => {
                if let Some(reason) = error.reason() {
                    extensions.set("reason", reason);
                }
            }
            _ => {}
        }
    }
}
