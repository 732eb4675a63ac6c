//! Live posts.

use futures_util::{Stream, stream};

use crate::Error;
use crate::post::{Post, PostId};

/// Live posts.
#[derive(Clone, Debug, Default)]
pub struct Feed;

impl Feed {
    /// Each new post.
    pub fn post_added(&self) -> impl Stream<Item = Result<Post, Error>> + use<> {
        stream::empty()
    }

    /// One post's changes.
    pub async fn post_updated(&self, _: PostId) -> Result<impl Stream<Item = Result<Post, Error>> + use<>, Error> {
        Ok(stream::empty())
    }
}
