//! Pages of lists of comments by date: those of posts, and the replies to comments.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, doc};
use changefeed::OperationTime;
use futures_util::{StreamExt, TryStreamExt, stream};
use subgraph::collections::exists;
use subgraph::stored_comment::{SHAPE, of_posts};
use subgraph::{BeyondCursors, Page, PageRequest};

use super::replies::{Parent, replies_to};
use super::{CALLS_AT_ONCE, Store};
use crate::Error;
use crate::comment::Comment;
use crate::post::PostId;

/// Lists of which one query reads a page: each is a branch of it.
pub(crate) const LISTS_IN_A_QUERY_MAX: usize = 100;

/// A list of comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommentList {
    /// All comments on a post.
    Post(PostId),
    /// The replies to a comment.
    Replies(Parent),
}

impl CommentList {
    /// The comments in the list, and perhaps documents that cannot be read.
    fn filter(self) -> Document {
        match self {
            Self::Post(post) => of_posts([post.object_id()]),
            Self::Replies(parent) => replies_to([parent]),
        }
    }

    fn readable(self) -> Document {
        let mut filter = self.filter();
        filter.extend(SHAPE.filter());
        filter
    }

    /// The list of the same kind that a comment is in.
    fn same_kind(self, comment: &Comment) -> Option<Self> {
        let post = comment.post_id;
        match self {
            Self::Post(_) => Some(Self::Post(post)),
            Self::Replies(_) => comment
                .parent_id
                .map(|comment| Self::Replies(Parent { post, comment })),
        }
    }
}

impl Store {
    /// The same page of several lists of one kind, with everything up to `after`.
    ///
    /// # Errors
    /// [`Error::NotThereYet`] when the database does not have it yet.
    pub async fn comments_of_lists(
        &self,
        lists: &[CommentList],
        request: &PageRequest,
        after: Option<OperationTime>,
    ) -> Result<HashMap<CommentList, Page<Comment>>, Error> {
        let chunks = lists.chunks(LISTS_IN_A_QUERY_MAX).map(<[_]>::to_vec);
        let chunks: Vec<_> = chunks.collect();
        let read = stream::iter(chunks)
            .map(|lists| self.pages_of_lists(lists, *request, after))
            .buffer_unordered(CALLS_AT_ONCE)
            .try_concat();
        // Whether a cursor cut something off is one more look for each list; a query with a cursor
        // asks for one list in practice.
        let behind = lists
            .iter()
            .map(|list| request.filter_behind(|| list.readable()));
        let ahead = lists
            .iter()
            .map(|list| request.filter_ahead(|| list.readable()));
        let (comments, behind, ahead) = tokio::try_join!(
            read,
            self.any_of_each(behind.collect()),
            self.any_of_each(ahead.collect())
        )?;

        let mut found: HashMap<CommentList, Vec<Comment>> = HashMap::with_capacity(lists.len());
        for comment in comments {
            let list = lists.first().and_then(|list| list.same_kind(&comment));
            if let Some(list) = list {
                found.entry(list).or_default().push(comment);
            }
        }
        let beyond = behind.into_iter().zip(ahead);
        let beyond = beyond.map(|(behind, ahead)| BeyondCursors { behind, ahead });
        let pages = lists.iter().zip(beyond).map(|(list, beyond)| {
            let comments = found.remove(list).unwrap_or_default();
            (*list, request.page(comments, beyond))
        });
        Ok(pages.collect())
    }

    /// The comments of a page of each list, in one query: each list is a branch of its own, which reads no more of the
    /// index than its page has.
    async fn pages_of_lists(
        &self,
        lists: Vec<CommentList>,
        request: PageRequest,
        after: Option<OperationTime>,
    ) -> Result<Vec<Comment>, Error> {
        let lists: Arc<[CommentList]> = lists.into();
        let read = self.run_after(after, |collections| {
            let lists = lists.clone();
            async move {
                let Some((first, others)) = lists.split_first() else {
                    return Ok(Vec::new());
                };
                let name = collections.comments.name();
                let stages = |readable: &Document| {
                    let mut stages = page_stages(*first, &request, readable);
                    stages.extend(others.iter().map(|list| {
                        let branch = page_stages(*list, &request, readable);
                        doc! { "$unionWith": { "coll": name, "pipeline": branch } }
                    }));
                    stages
                };
                let mut session = collections.session_after(after).await?;
                let read = collections.readable_in(&mut session, after, stages);
                Ok(read.await?)
            }
        });
        read.await
    }

    /// For each filter, whether it matches any comment; no filter matches none.
    async fn any_of_each(&self, filters: Vec<Option<Document>>) -> Result<Vec<bool>, Error> {
        stream::iter(filters)
            .map(|filter| self.any(filter))
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn any(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self
            .calls
            .run(|collections| async move { Ok(exists(&collections.comments, filter).await?) });
        look.await
    }
}

fn page_stages(list: CommentList, request: &PageRequest, readable: &Document) -> Vec<Document> {
    let mut comments = list.filter();
    comments.extend(readable.clone());
    vec![
        doc! { "$match": request.filter(comments) },
        doc! { "$sort": request.sort() },
        doc! { "$limit": request.limit() },
    ]
}
