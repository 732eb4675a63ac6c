//! Which comments are held until a moderator has seen them: new ones, and those with a new text.

use subgraph::Viewer;

use crate::comment::{CommentId, CommentStatus};
use crate::{Error, Store};

/// The setting `HOLD_COMMENTS`: which new and edited comments are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HoldComments {
    /// None.
    #[default]
    Never,
    /// Those of authors who have no other visible comment, and those of guests.
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
        Ok(match self.holds(viewer, None, store).await? {
            true => CommentStatus::Held,
            false => CommentStatus::Visible,
        })
    }

    /// Whether a moderator has to see what the viewer writes: a new comment, or the new text of `edited`. With
    /// [`HoldComments::First`] an author is known by visible comments other than this one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holds(
        self,
        viewer: &Viewer,
        edited: Option<CommentId>,
        store: &Store,
    ) -> Result<bool, Error> {
        match (self, viewer.person()) {
            (Self::Never, _) => Ok(false),
            (_, Some(person)) if person.is_moderator => Ok(false),
            (Self::Always, _) | (Self::First, None) => Ok(true),
            (Self::First, Some(person)) => Ok(!store.has_comments_of(&person.id, edited).await?),
        }
    }
}
