//! What the service needs of its database, for `--doctor`.

use std::process::ExitCode;

use bson::{Document, doc};
use mongodb::Database;
use subgraph::doctor::{self, Expected, Finding};

use crate::config::Config;

/// Looks at the database, and prints what it finds.
pub(crate) fn run(config: &Config) -> ExitCode {
    doctor::run("posts", &config.subgraph, &expected(), async |database| {
        vec![projection(database).await]
    })
}

/// What the service needs of its collections.
pub fn expected() -> Vec<Expected> {
    vec![
        Expected::of("posts")
            .index("createdAt -1, _id -1", "lists of posts are slow")
            .index("text", "posts cannot be searched"),
        Expected::of("comments").pre_images().index(
            "postId 1, createdAt -1, _id -1",
            "posts' comments are slow to read",
        ),
        Expected::of("deletedPosts"),
        Expected::of("moderationActs").index(
            "authorId 1, _id -1",
            "what moderators did is slow to find by author",
        ),
        Expected::of("changefeed_checkpoints"),
        Expected::of("changefeed_leases"),
        Expected::of("changefeed_dead_letters").empty_or(
            "the log of posts names the cause of each; when it is solved, run posts --replay-dead-letters",
        ),
    ]
}

/// Whether an instance writes the comments into the posts.
pub async fn projection(database: &Database) -> Finding {
    let leases = database.collection::<Document>("changefeed_leases");
    let held = doc! { "owner": { "$ne": "" }, "$expr": { "$gt": ["$expires", "$$NOW"] } };
    match leases.count_documents(held).await {
        Ok(0) => Finding::attention(
            "no instance writes the comments into the posts at the moment",
            "start posts; if it runs, its log says why it cannot",
        ),
        Ok(count) => Finding::fine(format!(
            "instances of posts hold {count} lease(s) of the projection"
        )),
        Err(error) => Finding::unseen("who writes the comments into the posts", &error),
    }
}
