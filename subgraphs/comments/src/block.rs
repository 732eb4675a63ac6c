//! The block of an author, as MongoDB stores it and as moderators see it.

use async_graphql::{ID, SimpleObject};
use bson::RawDocument;
use subgraph::DateTime;

/// An author who is blocked: may write neither posts nor comments, and may edit none.
#[derive(Clone, Debug, SimpleObject)]
pub struct Block {
    /// The id of the author.
    pub author_id: ID,
    /// When the author was blocked. Null if another program has blocked the author without a date.
    pub since: Option<DateTime>,
    /// Why. Null if another program has blocked the author without a reason.
    pub reason: Option<String>,
}

impl Block {
    /// The block that is stored for an author. Whatever the document holds, it blocks.
    pub fn read(author_id: ID, document: &RawDocument) -> Self {
        let since = document.get_datetime("since").ok();
        let since = since.map(|since| DateTime::from_millis(since.timestamp_millis()));
        Self {
            author_id,
            since: since.filter(|since| since.is_in_rfc3339()),
            reason: document.get_str("reason").ok().map(str::to_owned),
        }
    }
}
