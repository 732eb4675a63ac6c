//! Which new comments are held until a moderator has seen them.

use subgraph::Viewer;

use crate::comment::CommentStatus;
use crate::{Error, Store};

/// The setting `HOLD_COMMENTS`: which new comments are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HoldComments {
    /// None.
    #[default]
    Never,
    /// Those of authors who have no visible comment yet, and those of guests.
    First,
    /// All but those of moderators.
    Always,
}

impl HoldComments {
    /// The status of a new comment of the viewer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status_of_new(
        self,
        viewer: &Viewer,
        store: &Store,
    ) -> Result<CommentStatus, Error> {
        let is_held = match (self, viewer.person()) {
            (Self::Never, _) => false,
            (_, Some(person)) if person.is_moderator => false,
            (Self::Always, _) | (Self::First, None) => true,
            (Self::First, Some(person)) => !store.has_comments_of(&person.id).await?,
        };
        Ok(match is_held {
            true => CommentStatus::Held,
            false => CommentStatus::Visible,
        })
    }
}
