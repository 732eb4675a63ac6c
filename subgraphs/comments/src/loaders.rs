//! Data loaders: resolvers that run at the same time share one query.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use changefeed::OperationTime;
use subgraph::{Blocks, Page, PageRequest};

use crate::comment::{Comment, CommentId};
use crate::reaction::Reaction;
use crate::store::{CommentList, Parent, PersonOnComment};
use crate::{Error, Store};

/// How long a look-up waits for others to join its batch.
pub const BATCH_WINDOW: Duration = Duration::from_micros(100);

/// Loads comments by id.
pub struct CommentLoader(Store);

impl CommentLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
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

/// One page of a list of comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommentsOf {
    pub list: CommentList,
    pub request: PageRequest,
    /// It has everything up to this time.
    pub after: Option<OperationTime>,
}

/// Loads pages of lists of comments.
pub struct CommentPageLoader(Store);

impl CommentPageLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
    }
}

impl Loader<CommentsOf> for CommentPageLoader {
    type Value = Page<Arc<Comment>>;
    type Error = Error;

    async fn load(
        &self,
        pages: &[CommentsOf],
    ) -> Result<HashMap<CommentsOf, Page<Arc<Comment>>>, Error> {
        // The posts of one list of posts ask with the same arguments, and so do the comments of one list of comments:
        // one query serves them all.
        let mut lists_by_request: HashMap<_, Vec<CommentList>> = HashMap::new();
        for page in pages {
            let request = (page.request, page.after);
            lists_by_request.entry(request).or_default().push(page.list);
        }
        let mut loaded = HashMap::with_capacity(pages.len());
        for ((request, after), lists) in lists_by_request {
            let found = self.0.comments_of_lists(&lists, &request, after).await?;
            loaded.extend(found.into_iter().map(|(list, page)| {
                let of = CommentsOf {
                    list,
                    request,
                    after,
                };
                (of, page.map(Arc::new))
            }));
        }
        Ok(loaded)
    }
}

/// Loads how many replies comments have.
pub struct ReplyCountLoader(Store);

impl ReplyCountLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
    }
}

impl Loader<Parent> for ReplyCountLoader {
    type Value = u64;
    type Error = Error;

    async fn load(&self, parents: &[Parent]) -> Result<HashMap<Parent, u64>, Error> {
        self.0.reply_counts(parents).await
    }
}

/// Loads who chose which reaction.
pub struct ReactionLoader(Store);

impl ReactionLoader {
    /// A data loader over the store.
    pub fn new(store: Store) -> DataLoader<Self> {
        DataLoader::new(Self(store), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
    }
}

impl Loader<PersonOnComment> for ReactionLoader {
    type Value = Reaction;
    type Error = Error;

    async fn load(
        &self,
        of: &[PersonOnComment],
    ) -> Result<HashMap<PersonOnComment, Reaction>, Error> {
        self.0.reactions(of).await
    }
}

/// Loads which persons are blocked.
pub struct BlockLoader(Blocks);

impl BlockLoader {
    /// A data loader over the look-ups.
    pub fn new(blocks: Blocks) -> DataLoader<Self> {
        DataLoader::new(Self(blocks), subgraph::spawn_in_trace).delay(BATCH_WINDOW)
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
