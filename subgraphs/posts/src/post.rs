//! A post, as MongoDB stores it and as clients see it.

use async_graphql::{ComplexObject, SimpleObject};
use serde::{Deserialize, Serialize};
use subgraph::page::{ListTag, checked_size};
use subgraph::text::TextRule;
use subgraph::{DateTime, Id, Position};

use crate::Error;
use crate::comment::Comment;

/// The id of a post.
pub type PostId = Id<Post>;

/// How many of a post's newest comments are kept in the post itself.
pub const LATEST_COMMENTS_MAX: usize = 20;

/// A post's title: one line at the top of it.
pub const TITLE: TextRule = TextRule { field: "title", max_chars: 200 };
/// A post's content.
pub const CONTENT: TextRule = TextRule { field: "content", max_chars: 20_000 };
/// The name of a post's author.
pub const AUTHOR: TextRule = TextRule { field: "author", max_chars: 100 };
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
    /// The post's title: 1 to 200 characters.
    pub title: String,
    /// The post's text: 1 to 20,000 characters.
    pub content: String,
    /// Who wrote the post; "Anonymous" when no name was given.
    #[serde(default = "anonymous")]
    pub author: String,
    /// When the post was created.
    pub created_at: DateTime,
    #[graphql(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime>,
    /// How many comments the post has. It follows the comments within milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub comment_count: i32,
    /// When the newest of the post's comments was created; null when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_comment_at: Option<DateTime>,
    /// The newest comments, newest first: at most [`LATEST_COMMENTS_MAX`].
    #[graphql(skip)]
    #[serde(default, rename = "comments", skip_serializing_if = "Vec::is_empty")]
    pub latest: Vec<Comment>,
}

#[ComplexObject]
impl Post {
    /// When the title or the content was last changed; the time of creation when they never were.
    async fn updated_at(&self) -> DateTime {
        self.updated_at.unwrap_or(self.created_at)
    }

    /// The newest comments, newest first. They are kept in the post itself, so this costs no
    /// further look-up; `comments` has all of them, in pages.
    #[graphql(provides = "text author createdAt", complexity = "latest_cost(first) * child_complexity")]
    async fn latest_comments(
        &self,
        #[graphql(
            default = 10,
            desc = "How many comments at most: 0 to 20. Anything else is refused with BAD_USER_INPUT."
        )]
        first: Option<i32>,
    ) -> Result<&[Comment], Error> {
        let first = match first {
            Some(first) => checked_size("first", first, LATEST_COMMENTS_MAX)?,
            None => LATEST_COMMENTS_DEFAULT,
        };
        Ok(&self.latest[..first.min(self.latest.len())])
    }
}

/// How many of the newest comments are shown when the client does not say.
const LATEST_COMMENTS_DEFAULT: usize = 10;

fn latest_cost(first: Option<i32>) -> usize {
    first
        .and_then(|first| usize::try_from(first).ok())
        .unwrap_or(LATEST_COMMENTS_DEFAULT)
        .min(LATEST_COMMENTS_MAX)
}

impl Post {
    /// The post's place in the list of posts.
    pub fn position(&self) -> Position {
        Position { created_at: self.created_at, id: self.id.object_id() }
    }
}

/// The author of what the tutorial's documents, which have no author, hold.
pub fn anonymous() -> String {
    ANONYMOUS.to_owned()
}

fn is_zero(count: &i32) -> bool {
    *count == 0
}
