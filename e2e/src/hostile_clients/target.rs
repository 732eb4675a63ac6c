//! The system that the attacks are directed at.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::Graphql;

/// Comments that are written at the same time.
const WRITERS: usize = 16;
const CURSOR: &str = "query ($post: ID!) { post(id: $post) { commentChangesCursor } }";

/// A running system, as its clients see it.
#[derive(Clone, Debug)]
pub struct Target {
    pub gateway: SocketAddr,
    /// Posts that honest clients watch.
    pub posts: Vec<String>,
    /// What can be resumed.
    pub history: History,
}

/// A post with comments, and a genuine cursor from before all of them.
#[derive(Clone, Debug)]
pub struct History {
    /// The post's id.
    pub post: String,
    /// A cursor of the post, to resume from.
    pub cursor: String,
    /// How many comments came after it.
    pub comments: usize,
}

impl History {
    /// Writes a post with comments.
    ///
    /// # Errors
    /// When a write fails.
    pub fn write(graphql: &Graphql, comments: usize) -> BoxFuture<'_, anyhow::Result<Self>> {
        Self::write_all(graphql, comments).boxed()
    }

    async fn write_all(graphql: &Graphql, comments: usize) -> anyhow::Result<Self> {
        let post = graphql.create_post("With a long history").await;
        let answer = graphql.ask(CURSOR, json!({ "post": post })).await.body;
        let cursor = answer["data"]["post"]["commentChangesCursor"]
            .as_str()
            .with_context(|| answer.to_string())?
            .to_owned();
        let write = |number: usize| {
            let post = &post;
            async move {
                let words = format!("History {number}");
                let answer = graphql.try_create_comment(post, &words, None).await?;
                ensure!(answer.body["errors"].is_null(), "{}", answer.body);
                Ok(())
            }
        };
        let written = stream::iter((0..comments).map(write)).buffer_unordered(WRITERS);
        written.try_collect::<()>().await?;
        Ok(Self {
            post,
            cursor,
            comments,
        })
    }
}
