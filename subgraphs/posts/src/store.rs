//! The collections and indexes of the posts subgraph, and the queries of requests. The queries of the
//! projection are in `comment_projection` and `new_posts`; `subgraph::undated` writes missing dates.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use changefeed::{Projector, SendAction, Unreadables};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database, IndexModel};
use subgraph::collections::exists;
use subgraph::owner::{AUTHOR_ID, GUEST};
use subgraph::unchanged::{next_version, unchanged_since};
use subgraph::viewer::exact;
use subgraph::{
    BeyondCursors, DatabaseCalls, DateTime, Owner, Page, PageRequest, Viewer, readable,
    stored_comment,
};

use crate::Error;
use crate::post::{Post, PostId, SHAPE};

/// How long a query waits until the posts show the change of its `operationTime`.
const SHOWN_TIME_LIMIT: Duration = Duration::from_secs(5);

/// The collections that need an index or pre-images. If one of them is new, these are created again.
pub const COLLECTIONS: [&str; 7] = [
    "posts",
    "comments",
    "changefeed_checkpoints",
    "changefeed_leases",
    "changefeed_dead_letters",
    "changefeed_repairs",
    "changefeed_requests",
];

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    calls: DatabaseCalls<Arc<Collections>>,
    projector: Projector,
}

/// The collections that queries use.
struct Collections {
    posts: Collection<RawDocumentBuf>,
    /// Posts that are being deleted: the comments subgraph reads them and deletes the comments.
    deleted_posts: Collection<Document>,
    unreadables: Unreadables,
}

impl Store {
    /// The store in a database; the projector knows where in the posts the comments are, and `unreadables`
    /// logs and counts the posts that cannot be read.
    pub fn new(
        calls: &DatabaseCalls<Database>,
        projector: Projector,
        unreadables: Unreadables,
    ) -> Self {
        let collections = |database: &Database| Collections {
            posts: database.collection("posts"),
            deleted_posts: database.collection("deletedPosts"),
            unreadables,
        };
        Self {
            calls: calls.map(|database| Arc::new(collections(database))),
            projector,
        }
    }

    /// Waits until the posts show all changes of comments up to `operation_time`. Returns at once if there
    /// is none.
    ///
    /// # Errors
    /// [`Error::ProjectionBehind`] when that takes too long.
    pub async fn wait_until_shown(&self, operation_time: Option<&str>) -> Result<(), Error> {
        let Some(time) = operation_time else {
            return Ok(());
        };
        let time = time.parse().map_err(|_| Error::OperationTime)?;
        let passed = self
            .projector
            .wait_until_passed(time, SHOWN_TIME_LIMIT)
            .await;
        passed.map(drop).map_err(|_| Error::ProjectionBehind)
    }

    /// The posts with these ids, in no particular order.
    pub async fn posts_by_id(&self, ids: &[PostId]) -> Result<Vec<Post>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        let fields = self.fields();
        let read = self.calls.run(|collections| async move {
            let cursor = collections
                .posts
                .find(doc! { "_id": { "$in": ids } })
                .projection(fields);
            Ok(readable::all(cursor.send().await?, &collections.unreadables).await?)
        });
        read.await
    }

    /// One page of all posts.
    pub async fn posts(&self, request: &PageRequest) -> Result<Page<Post>, Error> {
        let (asked, fields) = (*request, self.fields());
        let read = self.calls.run(|collections| async move {
            let unreadables = &collections.unreadables;
            let read = readable::within_limit(
                || SHAPE.filter(),
                unreadables,
                async |readable| {
                    collections
                        .posts
                        .find(asked.filter(readable.unwrap_or_default()))
                        .projection(fields.clone())
                        .sort(asked.sort())
                        .limit(asked.limit())
                        .send()
                        .await
                },
            );
            Ok(read.await?)
        });
        let (items, behind, ahead) = tokio::try_join!(
            read,
            self.any(request.filter_behind(|| SHAPE.filter())),
            self.any(request.filter_ahead(|| SHAPE.filter())),
        )?;
        Ok(request.page(items, BeyondCursors { behind, ahead }))
    }

    /// Adds a post and returns it.
    pub async fn insert_post(&self, post: Post) -> Result<Post, Error> {
        let insert = self.calls.run(|collections| async move {
            let posts = collections.posts.clone_with_type::<Post>();
            posts.insert_one(&post).await?;
            Ok(post)
        });
        insert.await
    }

    /// Sets what is given and returns the changed post; none if it does not exist.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not change it, [`Error::PostChanged`] when its `updatedAt` is another than `if_updated_at`.
    pub async fn update_post(
        &self,
        id: PostId,
        title: Option<String>,
        content: Option<String>,
        viewer: Viewer,
        now: DateTime,
        if_updated_at: Option<DateTime>,
    ) -> Result<Option<Post>, Error> {
        let mut set = doc! { "updatedAt": next_version(now, if_updated_at) };
        set.extend(title.map(|title| ("title".to_owned(), title.into())));
        set.extend(content.map(|content| ("content".to_owned(), content.into())));
        let fields = self.fields();
        let mut filter = readable_post(id);
        viewer.limit_to_changeable(&mut filter);
        if let Some(seen) = if_updated_at {
            unchanged_since(&mut filter, seen, id.created_at());
        }
        let update = self.calls.run(|collections| async move {
            let post = collections
                .posts
                .find_one_and_update(filter, doc! { "$set": set })
                .collation(exact())
                .projection(fields)
                .return_document(ReturnDocument::After)
                .send()
                .await?;
            let Some(post) = post else {
                let refusal = collections.refusal(id, &viewer, if_updated_at).await?;
                return refusal.map_or(Ok(None), Err);
            };
            Ok(readable::one(&post, &collections.unreadables))
        });
        update.await
    }

    /// Deletes a post and returns whether it existed. The mark for its comments is written first, so that a
    /// deleted post always has its mark, even if the process dies in between.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not delete it.
    pub async fn delete_post(
        &self,
        id: PostId,
        viewer: Viewer,
        now: DateTime,
    ) -> Result<bool, Error> {
        let delete = self.calls.run(|collections| async move {
            // The post of a mark is deleted only by the filter below; a mark alone does nothing.
            match collections.owner(id).await? {
                None => return Ok(false),
                Some(owner) if viewer.may_change(&owner) => {}
                Some(_) => return Err(viewer.refusal().into()),
            }
            let mark = doc! { "$set": { "markedAt": now } };
            collections
                .deleted_posts
                .update_one(doc! { "_id": id }, mark)
                .upsert(true)
                .await?;
            let mut filter = doc! { "_id": id };
            viewer.limit_to_changeable(&mut filter);
            let deleted = collections.posts.delete_one(filter).collation(exact());
            if deleted.await?.deleted_count == 1 {
                return Ok(true);
            }
            let refusal = collections.refusal(id, &viewer, None).await?;
            refusal.map_or(Ok(false), Err)
        });
        delete.await
    }

    /// The fields of a post that we read: of the comments' projection the serving generation, and
    /// nothing of what other programs keep in the document.
    fn fields(&self) -> Document {
        let mut fields = doc! {
            "title": 1, "content": 1, "author": 1, AUTHOR_ID.0: 1, GUEST.0: 1, "createdAt": 1, "updatedAt": 1,
        };
        if let Some(slot) = self.projector.serving() {
            fields.insert(slot.as_path(), 1);
        }
        fields
    }

    /// Whether a filter matches any post; no filter matches none.
    async fn any(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self
            .calls
            .run(|collections| async move { Ok(exists(&collections.posts, filter).await?) });
        look.await
    }
}

impl Collections {
    /// Whom a post belongs to; none if there is no such post.
    async fn owner(&self, id: PostId) -> mongodb::error::Result<Option<Owner>> {
        let fields = doc! { AUTHOR_ID.0: 1, GUEST.0: 1 };
        let found = self.posts.find_one(readable_post(id)).projection(fields);
        let post = found.send().await?;
        let post = post.and_then(|post| readable::one::<Post>(&post, &self.unreadables));
        Ok(post.map(|post| post.owner))
    }

    /// Why a write has found no post that it may change; none if there is no such post.
    async fn refusal(
        &self,
        id: PostId,
        viewer: &Viewer,
        if_updated_at: Option<DateTime>,
    ) -> mongodb::error::Result<Option<Error>> {
        Ok(self
            .owner(id)
            .await?
            .and_then(|owner| match viewer.may_change(&owner) {
                false => Some(viewer.refusal().into()),
                true => if_updated_at.map(|_| Error::PostChanged(id)),
            }))
    }
}

/// The filter of one post. A document that cannot be read as a post does not match.
fn readable_post(id: PostId) -> Document {
    let mut filter = SHAPE.filter();
    filter.insert("_id", id);
    filter
}

/// Creates the indexes that the queries of this crate need.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys and another shape.
pub async fn create_indexes(database: &Database) -> mongodb::error::Result<()> {
    let posts = database.collection::<Document>("posts");
    let by_creation = IndexModel::builder()
        .keys(doc! { "createdAt": -1, "_id": -1 })
        .build();
    posts.create_index(by_creation).await?;
    stored_comment::create_index(database).await
}
