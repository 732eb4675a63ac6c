//! Data loaders: resolvers that run at the same time share one query.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use subgraph::{Blocks, Page, PageRequest};

use crate::comment::{Comment, CommentId};
use crate::post::PostId;
use crate::{Error, Store};

/// How long a look-up waits for others to join its batch.
const BATCH_WINDOW: Duration = Duration::from_micros(100);

/// Loads comments by id.
pub struct CommentLoader(Store);

impl CommentLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), tokio::spawn).delay(BATCH_WINDOW)
    }
}

impl Loader<CommentId> for CommentLoader {
    type Value = Comment;
    type Error = Error;

    async fn load(&self, ids: &[CommentId]) -> Result<HashMap<CommentId, Comment>, Error> {
        let comments = self.0.comments_by_id(ids).await?;
        Ok(comments
            .into_iter()
            .map(|comment| (comment.id, comment))
            .collect())
    }
}

/// One page of one post's comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommentsOfPost {
    pub post: PostId,
    pub request: PageRequest,
}

/// Loads pages of posts' comments.
pub struct CommentPageLoader(Store);

impl CommentPageLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), tokio::spawn).delay(BATCH_WINDOW)
    }
}

impl Loader<CommentsOfPost> for CommentPageLoader {
    type Value = Page<Comment>;
    type Error = Error;

    async fn load(
        &self,
        lists: &[CommentsOfPost],
    ) -> Result<HashMap<CommentsOfPost, Page<Comment>>, Error> {
        // The posts of one list of posts ask with the same arguments: one query serves them all.
        let mut posts_by_request: HashMap<PageRequest, Vec<PostId>> = HashMap::new();
        for list in lists {
            posts_by_request
                .entry(list.request)
                .or_default()
                .push(list.post);
        }
        let mut pages = HashMap::with_capacity(lists.len());
        for (request, posts) in posts_by_request {
            let found = self.0.comments_of_posts(&posts, &request).await?;
            pages.extend(
                found
                    .into_iter()
                    .map(|(post, page)| (CommentsOfPost { post, request }, page)),
            );
        }
        Ok(pages)
    }
}

/// Loads which persons are blocked.
pub struct BlockLoader(Blocks);

impl BlockLoader {
    /// A data loader over the look-ups.
    pub fn new(blocks: Blocks) -> DataLoader<Self> {
        DataLoader::new(Self(blocks), tokio::spawn).delay(BATCH_WINDOW)
    }
}

impl Loader<String> for BlockLoader {
    type Value = ();
    type Error = Error;

    async fn load(&self, ids: &[String]) -> Result<HashMap<String, ()>, Error> {
        let blocked = self.0.blocked::<Error>(ids.to_vec()).await?;
        Ok(blocked.into_iter().map(|id| (id, ())).collect())
    }
}
