//! A Rust client: operations typed from the schema by `graphql_client`, live changes as server-sent
//! events.
//!
//! ```sh
//! cargo run -p rust-client        # or GATEWAY=http://host/graphql
//! ```

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use graphql_client::{GraphQLQuery, QueryBody, Response};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncBufReadExt;
use tokio_util::io::StreamReader;

use comment_changes::CommentChangesCommentChanges as Change;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../schema/supergraph.graphql",
    query_path = "operations.graphql"
)]
struct NewestPost;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../schema/supergraph.graphql",
    query_path = "operations.graphql"
)]
struct WriteComment;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../schema/supergraph.graphql",
    query_path = "operations.graphql"
)]
struct CommentChanges;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("GATEWAY").unwrap_or("http://127.0.0.1:4000/graphql".to_owned());

    let newest: newest_post::ResponseData =
        ask(&url, &NewestPost::build_query(newest_post::Variables {})).await?;
    let post = newest
        .posts
        .edges
        .into_iter()
        .next()
        .context("there are no posts yet")?
        .node;
    println!("the newest post: {}", post.title);

    let input = write_comment::CreateCommentInput {
        post_id: post.id.clone(),
        text: "Hello from Rust".to_owned(),
        author: Some("Example".to_owned()),
        idempotency_key: None,
    };
    let _: write_comment::ResponseData = ask(
        &url,
        &WriteComment::build_query(write_comment::Variables { input }),
    )
    .await?;

    // From the cursor that was read with the post, so the new comment is among the changes.
    let after = Some(post.comment_changes_cursor);
    let variables = comment_changes::Variables {
        post_id: post.id,
        after,
    };
    let body = CommentChanges::build_query(variables);
    let events = send(&url, &body, "text/event-stream").await?.bytes_stream();
    let mut lines = StreamReader::new(events.map_err(std::io::Error::other)).lines();
    // An `id: ` line is the cursor to go on from after a lost connection.
    while let Some(line) = lines.next_line().await? {
        let Some(json) = line.strip_prefix("data: ") else {
            continue;
        };
        match data_of::<comment_changes::ResponseData>(serde_json::from_str(json)?)?.comment_changes
        {
            Change::CommentAdded(added) => println!("live: {}", added.comment.text),
            Change::CommentEdited(edited) => println!("edited: {}", edited.comment.text),
            Change::CommentDeleted(deleted) => println!("deleted: {}", deleted.comment_id),
        }
        return Ok(()); // An application goes on.
    }
    bail!("the server ended the subscription")
}

/// Runs a query or a mutation.
async fn ask<V: Serialize, D: DeserializeOwned>(
    url: &str,
    body: &QueryBody<V>,
) -> anyhow::Result<D> {
    data_of(
        send(url, body, "application/graphql-response+json")
            .await?
            .json()
            .await?,
    )
}

async fn send<V: Serialize>(
    url: &str,
    body: &QueryBody<V>,
    accept: &str,
) -> anyhow::Result<reqwest::Response> {
    let request = reqwest::Client::new()
        .post(url)
        .header("accept", accept)
        .json(body);
    Ok(request.send().await?.error_for_status()?)
}

fn data_of<D>(response: Response<D>) -> anyhow::Result<D> {
    if let Some(error) = response.errors.iter().flatten().next() {
        bail!("{error}");
    }
    response.data.context("the answer has no data")
}
