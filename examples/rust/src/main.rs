//! A Rust client: operations typed from the schema by `graphql_client`, live changes as server-sent
//! events.
//!
//! ```sh
//! cargo run -p rust-client        # or GATEWAY=http://host/graphql
//! ```

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use graphql_client::{GraphQLQuery, Response as Answer};
use reqwest::Response;
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

const JSON: &str = "application/graphql-response+json";
const EVENTS: &str = "text/event-stream";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let newest = send::<NewestPost>(newest_post::Variables, JSON).await?;
    let newest = data_of::<NewestPost>(newest.json().await?)?.posts.edges;
    let post = newest.into_iter().next().context("no posts yet")?.node;
    println!("the newest post: {}", post.title);

    let input = write_comment::CreateCommentInput {
        post_id: post.id.clone(),
        parent_id: None,
        text: "Hello from Rust".to_owned(),
        author: Some("Example".to_owned()),
        idempotency_key: None,
    };
    let written = send::<WriteComment>(write_comment::Variables { input }, JSON).await?;
    data_of::<WriteComment>(written.json().await?)?;

    // From the cursor that was read with the post, so the new comment is among the changes.
    let variables = comment_changes::Variables {
        post_id: post.id,
        after: Some(post.comment_changes_cursor),
    };
    let events = send::<CommentChanges>(variables, EVENTS).await?;
    let events = events.bytes_stream().map_err(std::io::Error::other);
    let mut lines = StreamReader::new(events).lines();
    // An `id: ` line is the cursor to go on from after a lost connection.
    while let Some(line) = lines.next_line().await? {
        let Some(json) = line.strip_prefix("data: ") else {
            continue;
        };
        match data_of::<CommentChanges>(serde_json::from_str(json)?)?.comment_changes {
            Change::CommentAdded(added) => println!("live: {}", added.comment.text),
            Change::CommentEdited(edited) => println!("edited: {}", edited.comment.text),
            Change::CommentDeleted(deleted) => println!("deleted: {}", deleted.comment_id),
            Change::CommentReactionsChanged(it) => println!("reactions: {}", it.comment.text),
        }
        return Ok(()); // An application goes on.
    }
    bail!("the server ended the subscription")
}

async fn send<Q: GraphQLQuery>(variables: Q::Variables, accept: &str) -> anyhow::Result<Response> {
    let url = std::env::var("GATEWAY").unwrap_or("http://127.0.0.1:4000/graphql".to_owned());
    let request = reqwest::Client::new()
        .post(url)
        .header("accept", accept)
        .json(&Q::build_query(variables));
    Ok(request.send().await?.error_for_status()?)
}

fn data_of<Q: GraphQLQuery>(answer: Answer<Q::ResponseData>) -> anyhow::Result<Q::ResponseData> {
    if let Some(error) = answer.errors.iter().flatten().next() {
        bail!("{error}");
    }
    answer.data.context("the answer has no data")
}
