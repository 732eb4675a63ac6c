//! A comment as MongoDB stores it: what both subgraphs read from a document of the comments' collection.

use bson::oid::ObjectId;
use bson::{Document, RawDocument, doc};
use changefeed::{FromDocument, Unreadable};
use mongodb::{Database, IndexModel};

use crate::owner::{AUTHOR_ID, GUEST};
use crate::readable::{Kind, Shape};
use crate::{DateTime, Owner, author, reference};

/// The longest text of a comment that is read, in bytes: several times what the API accepts. It bounds what
/// a post keeps of its newest comments.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Which documents are comments.
pub const SHAPE: Shape<10> = Shape([
    ("_id", Kind::Id),
    ("postId", Kind::Reference),
    ("parentId", Kind::Link),
    (
        "text",
        Kind::Text {
            bytes_max: TEXT_BYTES_MAX,
        },
    ),
    (
        "author",
        Kind::Text {
            bytes_max: author::BYTES_MAX,
        },
    ),
    AUTHOR_ID,
    GUEST,
    ("createdAt", Kind::Date),
    ("updatedAt", Kind::Date),
    ("edited", Kind::Flag),
]);

/// A comment as MongoDB stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredComment {
    /// Its `_id`, which is also its GraphQL id.
    pub id: ObjectId,
    /// The post that it is about.
    pub post_id: ObjectId,
    /// The comment that it replies to, which need not exist.
    pub parent_id: Option<ObjectId>,
    /// Its text; empty where the document has none.
    pub text: String,
    /// Its author; [`author::ANONYMOUS`] where the document has none.
    pub author: String,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Its `createdAt`; none where its document has none.
    pub created_at: Option<DateTime>,
    /// Its `updatedAt`; none where its document has none.
    pub updated_at: Option<DateTime>,
    /// Whether its text was changed.
    pub edited: bool,
}

impl StoredComment {
    /// When the comment was created: its `createdAt`, or the time in its id.
    pub fn created_at(&self) -> DateTime {
        self.created_at.unwrap_or_else(|| DateTime::of_id(self.id))
    }
}

impl FromDocument for StoredComment {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        let [
            id,
            post_id,
            parent_id,
            text,
            author,
            author_id,
            guest,
            created_at,
            updated_at,
            edited,
        ] = SHAPE.read(document)?;
        Ok(Self {
            // The shape demands both.
            id: id.id().unwrap_or_default(),
            post_id: post_id.id().unwrap_or_default(),
            parent_id: parent_id.id(),
            text: text.text().unwrap_or_default().into_owned(),
            author: author::read(author),
            owner: Owner::read(author_id, guest),
            created_at: created_at.date(),
            updated_at: updated_at.date(),
            edited: edited.flag().unwrap_or_default(),
        })
    }
}

/// The filter that finds the comments of some posts, and perhaps documents that cannot be read as comments:
/// see [`reference::filter`].
pub fn of_posts(posts: impl IntoIterator<Item = ObjectId>) -> Document {
    reference::filter("postId", posts)
}

/// Creates the index for the newest comments of a post. Both subgraphs read by it, and whichever starts first
/// creates it.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys with other options.
pub async fn create_index(database: &Database) -> mongodb::error::Result<()> {
    let by_post = IndexModel::builder()
        .keys(doc! { "postId": 1, "createdAt": -1, "_id": -1 })
        .build();
    let comments = database.collection::<Document>("comments");
    comments.create_index(by_post).await.map(drop)
}
