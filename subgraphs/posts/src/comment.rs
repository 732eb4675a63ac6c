//! One of a post's newest comments, as the post's document embeds it.

use async_graphql::SimpleObject;
use serde::{Deserialize, Serialize};
use subgraph::{DateTime, Id};

use crate::post::anonymous;

/// The id of a comment.
pub type CommentId = Id<Comment>;

/// What somebody wrote about a post.
#[derive(Clone, Debug, PartialEq, SimpleObject, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[graphql(unresolvable = "id")]
pub struct Comment {
    /// Identifies the comment.
    #[serde(rename = "_id")]
    pub id: CommentId,
    /// The comment's text.
    #[graphql(external)]
    pub text: String,
    /// Who wrote the comment.
    #[serde(default = "anonymous")]
    #[graphql(external)]
    pub author: String,
    /// When the comment was created.
    #[graphql(external)]
    pub created_at: DateTime,
}
