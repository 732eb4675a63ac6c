//! Sample posts and comments, written through the gateway as a client would.

use anyhow::Context;
use serde_json::{Value, json};

struct SamplePost {
    title: &'static str,
    content: &'static str,
    author: &'static str,
    /// Author and text, in the order in which they are made.
    comments: &'static [(&'static str, &'static str)],
}

const POSTS: [SamplePost; 3] = [
    SamplePost {
        title: "Welcome to Rejoinder",
        content: "Posts and comments live in two services and one graph. Open this post in two windows and \
                  write a comment: it appears in both, at once.",
        author: "Ada",
        comments: &[
            (
                "Grace",
                "It does. The comment went through MongoDB's change stream on its way to me.",
            ),
            (
                "Alan",
                "And the count in the list of posts went up by itself.",
            ),
        ],
    },
    SamplePost {
        title: "How a comment travels",
        content: "The comments service writes it once. From there MongoDB's change stream is the only source \
                  of events: one reader keeps the post's newest comments and their number, another one feeds \
                  every subscriber.",
        author: "Barbara",
        comments: &[
            (
                "Edsger",
                "So nothing is lost when the posts service sleeps?",
            ),
            (
                "Barbara",
                "Nothing: it goes on where it was, and applies each change once.",
            ),
            ("Edsger", "Then edits and deletes must arrive as well."),
        ],
    },
    SamplePost {
        title: "An empty post",
        content: "Be the first to comment.",
        author: "Grace",
        comments: &[],
    },
];

const IS_EMPTY: &str = "{ posts(first: 1) { edges { node { id } } } }";
const CREATE_POST: &str =
    "mutation($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
const CREATE_COMMENT: &str =
    "mutation($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";

/// Adds the sample when there is no post yet.
pub(crate) async fn add_if_empty(graphql: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let answer = ask(&client, graphql, IS_EMPTY, Value::Null).await?;
    if answer["posts"]["edges"]
        .as_array()
        .is_some_and(|edges| !edges.is_empty())
    {
        return Ok(());
    }
    // The oldest first, so that the list, newest first, begins with the welcome.
    for SamplePost {
        title,
        content,
        author,
        comments,
    } in POSTS.into_iter().rev()
    {
        let input = json!({ "title": title, "content": content, "author": author });
        let created = ask(&client, graphql, CREATE_POST, input).await?;
        let post = &created["createPost"]["post"]["id"];
        for (author, text) in comments {
            let input = json!({ "postId": post, "author": author, "text": text });
            ask(&client, graphql, CREATE_COMMENT, input).await?;
        }
    }
    Ok(())
}

async fn ask(
    client: &reqwest::Client,
    graphql: &str,
    query: &str,
    input: Value,
) -> anyhow::Result<Value> {
    let body = json!({ "query": query, "variables": { "input": input } });
    let answer: Value = client
        .post(graphql)
        .json(&body)
        .send()
        .await?
        .json()
        .await?;
    anyhow::ensure!(
        answer["errors"].is_null(),
        "the gateway answered {}",
        answer["errors"]
    );
    answer
        .get("data")
        .cloned()
        .context("the gateway answered without data")
}
