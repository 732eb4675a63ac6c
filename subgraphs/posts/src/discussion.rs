//! What a post's document keeps of its comments: their number and the newest ones.

use std::fmt;

use async_graphql::{ComplexObject, SimpleObject};
use bson::{RawArrayBuf, RawBsonRef};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use subgraph::page::checked_size;
use subgraph::{DateTime, FlatList};

use crate::Error;
use crate::comment::Comment;

/// How many of a post's newest comments are kept in the post itself.
pub const LATEST_COMMENTS_MAX: usize = 20;
/// How many of them are shown when the client does not say.
const LATEST_COMMENTS_DEFAULT: usize = 10;

/// The state that the comments' projection keeps in each post.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, SimpleObject)]
#[serde(rename_all = "camelCase")]
#[graphql(complex)]
pub struct Discussion {
    /// How many comments the post has. It follows the comments within milliseconds.
    #[serde(rename = "count")]
    comment_count: i32,
    /// When the newest of the post's comments was created; null when it has none.
    #[serde(rename = "lastAt")]
    last_comment_at: Option<DateTime>,
    #[graphql(skip)]
    latest: RawArrayBuf,
}

#[ComplexObject]
impl Discussion {
    /// The newest comments, newest first. They are kept in the post itself, so this costs no
    /// further look-up; `comments` has all of them, in pages.
    #[graphql(
        provides = "text author createdAt",
        complexity = "latest_cost(first) * child_complexity"
    )]
    async fn latest_comments(
        &self,
        #[graphql(
            default = 10,
            desc = "How many comments at most: 0 to 20. Anything else is refused with \
                    BAD_USER_INPUT."
        )]
        first: Option<i32>,
    ) -> Result<FlatList<Comment<'_>>, Error> {
        let first = match first {
            Some(first) => checked_size("first", first, LATEST_COMMENTS_MAX)?,
            None => LATEST_COMMENTS_DEFAULT,
        };
        let latest = self.latest.into_iter().take(first);
        Ok(FlatList(latest.filter_map(readable).collect()))
    }
}

/// An embedded comment; one that cannot be read is logged and left out, and spoils no other.
fn readable(embedded: bson::error::Result<RawBsonRef<'_>>) -> Option<Comment<'_>> {
    let document = embedded.ok().and_then(|embedded| embedded.as_document());
    let comment = document.and_then(Comment::read);
    if comment.is_none() {
        tracing::warn!("a comment that a post embeds cannot be read: it is left out");
    }
    comment
}

fn latest_cost(first: Option<i32>) -> usize {
    first
        .and_then(|first| usize::try_from(first).ok())
        .unwrap_or(LATEST_COMMENTS_DEFAULT)
        .min(LATEST_COMMENTS_MAX)
}

impl Discussion {
    /// Reads the state out of the projection's field, which has one sub-field a generation. The
    /// queries ask for the serving generation alone. For `#[serde(deserialize_with)]`.
    ///
    /// # Errors
    /// When the state is not a discussion.
    pub fn of_generation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneGeneration)
    }
}

struct OneGeneration;

impl<'de> Visitor<'de> for OneGeneration {
    type Value = Discussion;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document with one generation of the state")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut generations: A) -> Result<Discussion, A::Error> {
        let mut discussion = Discussion::default();
        if generations.next_key::<IgnoredAny>()?.is_some() {
            discussion = generations.next_value()?;
        }
        while generations
            .next_entry::<IgnoredAny, IgnoredAny>()?
            .is_some()
        {}
        Ok(discussion)
    }
}
