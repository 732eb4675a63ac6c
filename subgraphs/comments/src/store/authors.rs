//! Whether somebody has written before: who has is held less, and limited less.

use std::time::Duration;

use async_graphql::ID;
use bson::{Document, doc};
use changefeed::SendAction;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use subgraph::DateTime;
use subgraph::stored_comment::SHAPE;
use subgraph::viewer::exact;

use super::Store;
use crate::Error;
use crate::comment::CommentId;

impl Store {
    /// Whether a person has a comment that everybody sees, other than `but`. Found by the index of authors
    /// ([`OptionalIndexes::authors`](super::OptionalIndexes::authors)).
    pub async fn has_comments_of(
        &self,
        author: &ID,
        but: Option<CommentId>,
    ) -> Result<bool, Error> {
        let mut of_author = of_author(author);
        of_author.extend(but.map(|but| ("_id".to_owned(), doc! { "$ne": but }.into())));
        let of_author = doc! { "$and": [of_author, { "$expr": SHAPE.expression() }] };
        let look = self.calls.run(|collections| async move {
            let found = collections.comments.find_one(of_author).collation(exact());
            Ok(found.projection(doc! { "_id": 1 }).send().await?.is_some())
        });
        look.await
    }

    /// Whether the person has a visible comment that is at least so old.
    pub async fn has_written_before(&self, person: &str, age: Duration) -> Result<bool, Error> {
        let now = DateTime::now().timestamp_millis();
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = bson::DateTime::from_millis(now.saturating_sub(age));
        let mut filter = of_author(person);
        filter.insert("createdAt", doc! { "$lte": before });
        let look = self.calls.run(|collections| async move {
            let found = collections.comments.find_one(filter).collation(exact());
            let found = found.projection(doc! { "_id": 1 }).send().await?;
            Ok(found.is_some())
        });
        look.await
    }
}

/// The comments of a person. The look-up needs [`exact`] texts.
fn of_author(author: &str) -> Document {
    // The plain filter finds by the index, and would alone also match a list with this id in it.
    let is_it = doc! { "$eq": ["$authorId", { "$literal": author }] };
    doc! { "authorId": author, "$expr": is_it }
}

/// Creates the index that finds whether an author has a comment, and the oldest one.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let by_author = IndexModel::builder()
        .keys(doc! { "authorId": 1, "createdAt": 1 })
        .options(
            IndexOptions::builder()
                // Not `sparse`, which would have every comment with a date.
                .partial_filter_expression(doc! { "authorId": { "$exists": true } })
                .collation(exact())
                .build(),
        )
        .build();
    let comments = database.collection::<Document>("comments");
    comments.create_index(by_author).await.map(drop)
}
