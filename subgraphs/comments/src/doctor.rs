//! What the service needs of its database, for `--doctor`.

use std::process::ExitCode;

use subgraph::doctor::{self, Expected};

use crate::config::Config;
use crate::store::{MODERATED_COMMENTS, OptionalIndexes};

/// Looks at the database, and prints what it finds.
pub(crate) fn run(config: &Config) -> ExitCode {
    let expected = expected(config.optional_indexes());
    doctor::run("comments", &config.subgraph, &expected, async |_| {
        Vec::new()
    })
}

/// What the service needs of its collections.
pub fn expected(optional: OptionalIndexes) -> Vec<Expected> {
    let mut comments = Expected::of("comments")
        .pre_images()
        .index(
            "postId 1, createdAt -1, _id -1",
            "posts' comments are slow to read",
        )
        .index("createdAt 1", "comments without a date are slow to find")
        .index(
            "postId 1, parentId 1, createdAt 1, _id 1",
            "replies are slow to find and to count",
        );
    if optional.authors {
        comments = comments.index(
            "authorId 1, createdAt 1",
            "whether somebody has written before is slow to find",
        );
    }
    let mut expected = vec![
        comments,
        Expected::of(MODERATED_COMMENTS)
            .pre_images()
            .index(
                "list 1, createdAt -1, _id -1",
                "the moderators' lists are slow",
            )
            .index("postId 1", "posts with held comments are slow to delete"),
        Expected::of("commentKeys").index("at 1", "keys of repeated requests are kept for ever"),
        Expected::of("commentReactions")
            .index("commentId 1", "deletions of comments are slow")
            .index("postId 1", "deletions of posts are slow"),
        Expected::of("blockedAuthors")
            .index("since -1, _id -1", "the list of who is blocked is slow"),
        Expected::of("deletedPosts").index("markedAt 1", "deleted posts are slow to find"),
        Expected::of("moderationActs").index(
            "authorId 1, _id -1",
            "what moderators did is slow to find by author",
        ),
    ];
    if optional.writers {
        expected.push(
            Expected::of("commentWriters").index("until 1", "counts of writers are kept for ever"),
        );
    }
    expected
}
