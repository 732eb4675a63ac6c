//! A post, as MongoDB stores it and as clients see it.

use async_graphql::{ComplexObject, SimpleObject};
use serde::{Deserialize, Deserializer, Serialize};
use subgraph::absent::null_as_default;
use subgraph::page::ListTag;
use subgraph::text::TextRule;
use subgraph::{DateTime, Id, Position};

use crate::discussion::Discussion;

/// The id of a post.
pub type PostId = Id<Post>;

/// A post's title.
pub const TITLE: TextRule = TextRule {
    field: "title",
    max_chars: 200,
};
/// A post's content.
pub const CONTENT: TextRule = TextRule {
    field: "content",
    max_chars: 20_000,
};
/// The name of a post's author.
pub const AUTHOR: TextRule = TextRule {
    field: "author",
    max_chars: 100,
};
/// The author of what was written without a name.
pub const ANONYMOUS: &str = "Anonymous";

/// Marks the cursors of the list of posts.
pub const POSTS_LIST: ListTag = ListTag(b'p');

/// Something written for others to read and comment on.
#[derive(Clone, Debug, SimpleObject, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[graphql(complex)]
pub struct Post {
    /// Identifies the post. It never changes and is never used again.
    #[serde(rename = "_id")]
    pub id: PostId,
    /// The post's title: 1 to 200 characters; empty when its document has none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub title: String,
    /// The post's text: 1 to 20,000 characters; empty when its document has none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub content: String,
    /// Who wrote the post; "Anonymous" when no name was given.
    #[serde(default = "anonymous", deserialize_with = "null_as_anonymous")]
    pub author: String,
    #[graphql(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime>,
    #[graphql(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime>,
    /// Written by the projection alone.
    #[graphql(flatten)]
    #[serde(
        default,
        skip_serializing,
        deserialize_with = "Discussion::of_generation"
    )]
    pub discussion: Discussion,
}

#[ComplexObject]
impl Post {
    /// When the post was created; when its id was made, where its document does not tell.
    async fn created_at(&self) -> DateTime {
        self.created_at.unwrap_or_else(|| self.id.created_at())
    }

    /// When the title or the content was last changed; the time of creation when they never were.
    async fn updated_at(&self) -> DateTime {
        self.updated_at
            .or(self.created_at)
            .unwrap_or_else(|| self.id.created_at())
    }
}

impl Post {
    /// The post's place in the list of posts.
    pub fn position(&self) -> Position {
        Position {
            created_at: self.created_at,
            id: self.id.object_id(),
        }
    }
}

/// The author of what older documents, which have no author, hold.
pub fn anonymous() -> String {
    ANONYMOUS.to_owned()
}

/// Reads an author who may be null. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// When the value is of another type.
pub fn null_as_anonymous<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(anonymous))
}
