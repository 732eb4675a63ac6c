//! A post, as MongoDB stores it and as clients see it.

use async_graphql::{ComplexObject, Context, SimpleObject};
use bson::RawDocument;
use changefeed::{FromDocument, Unreadable};
use serde::Serialize;
use subgraph::limits::answer::count_bytes;
use subgraph::owner::{AUTHOR_ID, GUEST};
use subgraph::page::ListTag;
use subgraph::readable::{Kind, Shape};
use subgraph::text::{TextRule, checked_bytes_max};
use subgraph::{DateTime, Id, ListPosition, Owner, Viewer, author};

use crate::Error;
use crate::comment_projection::FIELD;
use crate::discussion::Discussion;
use crate::excerpt::{EXCERPT_DEFAULT, checked_length, excerpt};

/// The id of a post.
pub type PostId = Id<Post>;

/// What the title of a new or changed post has to be like.
pub const TITLE: TextRule = TextRule {
    field: "title",
    max_chars: 200,
};
/// What the content of a new or changed post has to be like.
pub const CONTENT: TextRule = TextRule {
    field: "content",
    max_chars: 20_000,
};
/// What counts of a post's text in a list that ends by its length: clients show its beginning.
const LISTED_BYTES: usize = 400;
/// Marks the cursors of the list of posts.
pub const POSTS_LIST: ListTag = ListTag(b'p');

/// Which documents are posts: texts may be several times as long as the API accepts.
pub const SHAPE: Shape<9> = Shape([
    ("_id", Kind::Id),
    (
        "title",
        Kind::Text {
            bytes_max: 16 << 10,
        },
    ),
    (
        "content",
        Kind::Text {
            bytes_max: 256 << 10,
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
    (FIELD, Kind::Document),
]);

/// A text with a title that others read and comment on.
#[derive(Clone, Debug, SimpleObject, Serialize)]
#[serde(rename_all = "camelCase")]
#[graphql(complex)]
pub struct Post {
    /// Identifies the post. It never changes, and no other post ever has it.
    #[serde(rename = "_id")]
    pub id: PostId,
    /// The post's title: 1 to 200 characters. Empty if another program wrote the post without one.
    pub title: String,
    #[graphql(skip)]
    pub content: String,
    /// The name of the post's author; "Anonymous" if none was given.
    pub author: String,
    #[graphql(flatten)]
    #[serde(flatten)]
    pub owner: Owner,
    #[graphql(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime>,
    #[graphql(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime>,
    /// Written by the projection alone.
    #[graphql(flatten)]
    #[serde(skip_serializing)]
    pub discussion: Discussion,
}

#[ComplexObject]
impl Post {
    /// The post's text: 1 to 20,000 characters. Empty if another program wrote the post without one.
    async fn content(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Return only the beginning of a text that has more bytes of UTF-8 than this. It ends with a paragraph if one \
                    ends in its second half, else with a line, a sentence or a word, and within no link, code or emphasis \
                    of Markdown."
        )]
        text_bytes_max: Option<i32>,
    ) -> async_graphql::Result<&str> {
        let bytes_max = checked_bytes_max(text_bytes_max).map_err(Error::from)?;
        let content = markdown::beginning(&self.content, bytes_max);
        count_bytes(ctx, content.len())?;
        Ok(content)
    }

    /// The length of the post's whole text in bytes of UTF-8. If `content` has less, `textBytesMax` has cut it.
    async fn content_bytes(&self) -> usize {
        self.content.len()
    }

    /// The beginning of the post's text in one line, for lists: white space as single spaces, cut between two
    /// words and ended with "…" if the text is longer.
    async fn excerpt(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            default = 200,
            desc = "The largest number of characters to return, with the \"…\": 0 to 1,000. Anything else fails \
                    with BAD_USER_INPUT."
        )]
        length: Option<i32>,
        #[graphql(desc = "The largest number of bytes of UTF-8 to return, with the \"…\".")]
        text_bytes_max: Option<i32>,
    ) -> async_graphql::Result<String> {
        let max_chars = length.map_or(Ok(EXCERPT_DEFAULT), checked_length);
        let max_chars = max_chars.map_err(Error::from)?;
        let max_bytes = checked_bytes_max(text_bytes_max).map_err(Error::from)?;
        let excerpt = excerpt(&self.content, max_chars, max_bytes);
        count_bytes(ctx, excerpt.len())?;
        Ok(excerpt)
    }

    /// When the post was created. The time in its id, if another program wrote it without a date.
    async fn created_at(&self) -> DateTime {
        self.created_at.unwrap_or_else(|| self.id.created_at())
    }

    /// When the title or the content was last changed. Equal to `createdAt` if they never were.
    async fn updated_at(&self) -> DateTime {
        self.version()
    }

    /// Whether you may edit this: its author may, and so may moderators.
    #[graphql(tag = "viewer")]
    async fn viewer_can_edit(&self, ctx: &Context<'_>) -> bool {
        Viewer::of(ctx).may_change(&self.owner)
    }

    /// Whether you may delete this: its author may, and so may moderators.
    #[graphql(tag = "viewer")]
    async fn viewer_can_delete(&self, ctx: &Context<'_>) -> bool {
        Viewer::of(ctx).may_change(&self.owner)
    }
}

impl Post {
    /// The post's `updatedAt` as clients see it.
    pub fn version(&self) -> DateTime {
        self.updated_at
            .or(self.created_at)
            .unwrap_or_else(|| self.id.created_at())
    }

    /// What counts of it in a list that ends by its length.
    pub fn listed_bytes(&self) -> usize {
        self.title.len() + self.author.len() + self.content.len().min(LISTED_BYTES)
    }

    /// The post's position in the list of posts.
    pub fn position(&self) -> ListPosition {
        ListPosition {
            created_at: self.created_at,
            id: self.id.object_id(),
        }
    }
}

impl FromDocument for Post {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        let [
            id,
            title,
            content,
            author,
            author_id,
            guest,
            created_at,
            updated_at,
            discussion,
        ] = SHAPE.read(document)?;
        Ok(Self {
            // The shape demands it.
            id: id.id().unwrap_or_default().into(),
            title: title.text().unwrap_or_default().into_owned(),
            content: content.text().unwrap_or_default().into_owned(),
            author: author::read(author),
            owner: Owner::read(author_id, guest),
            created_at: created_at.date(),
            updated_at: updated_at.date(),
            discussion: discussion
                .document()
                .map(Discussion::of_generation)
                .unwrap_or_default(),
        })
    }
}
