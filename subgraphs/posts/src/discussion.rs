//! What a post's document keeps of its comments: their number and the newest ones.

use async_graphql::{ComplexObject, SimpleObject};
use bson::{RawArrayBuf, RawBsonRef, RawDocument};
use subgraph::list_size::{list_size, names};
use subgraph::page::checked_size;
use subgraph::{DateTime, FieldCost, FlatList};

use crate::Error;
use crate::comment::Comment;

/// How many of a post's newest comments are kept in the post itself.
pub const LATEST_COMMENTS_MAX: usize = 20;
/// How many of them are shown when the client does not say.
const LATEST_COMMENTS_DEFAULT: usize = 10;

/// The state that the comments' projection keeps in each post.
#[derive(Clone, Debug, Default, PartialEq, SimpleObject)]
#[graphql(complex)]
pub struct Discussion {
    /// The number of comments on the post. It follows new and deleted comments, usually within
    /// milliseconds.
    comment_count: i32,
    /// When the newest comment on the post was created; null if there is none.
    last_comment_at: Option<DateTime>,
    #[graphql(skip)]
    latest: RawArrayBuf,
}

#[ComplexObject]
impl Discussion {
    /// The newest comments, newest first. They are stored in the post itself, so they cost no
    /// further query. `comments` has all comments, in pages.
    #[graphql(
        provides = "text author createdAt",
        directive = list_size::apply(Some(10), names(["first"]), None, Some(false))
    )]
    async fn latest_comments(
        &self,
        #[graphql(
            default = 10,
            desc = "The largest number of comments to return: 0 to 20. Anything else fails with \
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
        tracing::warn!("a comment inside a post cannot be read and is left out");
    }
    comment
}

/// What the list of a post's newest comments costs.
pub const LATEST_COMMENTS_COST: FieldCost = FieldCost::List {
    sizes: &["first"],
    default: LATEST_COMMENTS_DEFAULT,
    max: LATEST_COMMENTS_MAX,
    item: 1,
};

impl Discussion {
    /// Reads the state out of the projection's field, which has one sub-field a generation: the queries ask
    /// for the serving generation alone. What is no state is shown as an empty one until it is repaired.
    pub fn of_generation(generations: &RawDocument) -> Self {
        let generation = generations.into_iter().next();
        let state = generation.and_then(|generation| generation.ok()?.1.as_document());
        state.map(Self::read).unwrap_or_default()
    }

    fn read(state: &RawDocument) -> Self {
        let mut discussion = Self::default();
        for (name, value) in state.into_iter().map_while(Result::ok) {
            match (name.as_str(), value) {
                ("count", RawBsonRef::Int32(count)) => discussion.comment_count = count,
                ("count", RawBsonRef::Int64(count)) => {
                    discussion.comment_count = i32::try_from(count).unwrap_or(i32::MAX);
                }
                ("lastAt", RawBsonRef::DateTime(at)) => {
                    let at = DateTime::from_millis(at.timestamp_millis());
                    discussion.last_comment_at = Some(at).filter(|at| at.is_in_rfc3339());
                }
                ("latest", RawBsonRef::Array(latest)) => discussion.latest = latest.to_owned(),
                _ => {}
            }
        }
        discussion
    }
}
