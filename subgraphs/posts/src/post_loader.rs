//! The data loader of posts: resolvers that run at the same time share one query.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};

use crate::post::{Post, PostId};
use crate::{Error, Store};

/// How long a look-up waits for others to join its batch.
const BATCH_WINDOW: Duration = Duration::from_micros(100);

/// Loads posts by id.
pub struct PostLoader(Store);

impl PostLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
    }
}

impl Loader<PostId> for PostLoader {
    type Value = Post;
    type Error = Error;

    async fn load(&self, ids: &[PostId]) -> Result<HashMap<PostId, Post>, Error> {
        let posts = self.0.posts_by_id(ids).await?;
        Ok(posts.into_iter().map(|post| (post.id, post)).collect())
    }
}
