//! Live comments.

use futures_util::{Stream, stream};

use crate::Error;
use crate::comment::Comment;
use crate::comment_change::CommentChange;
use crate::post::PostId;

/// Live comments.
#[derive(Clone, Debug, Default)]
pub struct Feed;

impl Feed {
    /// Each new comment.
    pub async fn comment_added(
        &self,
        _: PostId,
    ) -> Result<impl Stream<Item = Result<Comment, Error>> + use<>, Error> {
        Ok(stream::empty())
    }

    /// Each change.
    pub async fn comment_changes(
        &self,
        _: PostId,
        _: Option<String>,
    ) -> Result<impl Stream<Item = Result<CommentChange, Error>> + use<>, Error> {
        Ok(stream::empty())
    }
}
