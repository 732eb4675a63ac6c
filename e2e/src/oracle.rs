//! What a post must show, computed from the comments themselves.

use serde_json::{Value, json};

use crate::{Graphql, eventually};

const POST: &str = "query($id: ID!) {
    post(id: $id) { commentCount latestComments(first: 20) { id text author createdAt } }
}";
const COMMENTS: &str = "query($id: ID!, $after: String) {
    post(id: $id) {
        comments(first: 100, after: $after) {
            edges { node { id text author createdAt } }
            pageInfo { hasNextPage endCursor }
        }
    }
}";

/// All comments of a post, newest first, as the comments service has them.
///
/// # Errors
/// When a page is answered with an error.
pub async fn comments_of(graphql: &Graphql, post: &str) -> Result<Vec<Value>, String> {
    let mut comments = Vec::new();
    let mut after = Value::Null;
    loop {
        let data = ask(graphql, COMMENTS, json!({ "id": post, "after": after })).await?;
        let page = &data["post"]["comments"];
        let edges = page["edges"].as_array().ok_or("no such post")?;
        comments.extend(edges.iter().map(|edge| edge["node"].clone()));
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(comments);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// The count and the newest comments, newest first, as the post has them.
///
/// # Errors
/// When the query is answered with an error.
pub async fn latest_of(graphql: &Graphql, post: &str) -> Result<(u64, Vec<Value>), String> {
    let data = ask(graphql, POST, json!({ "id": post })).await?;
    let count = data["post"]["commentCount"].as_u64().ok_or("no count")?;
    Ok((
        count,
        data["post"]["latestComments"]
            .as_array()
            .ok_or("no list")?
            .clone(),
    ))
}

/// Waits until what the post tells of its comments equals the comments: their number, and the
/// newest twenty with ids, texts and order. Returns their number. A query that fails meanwhile, as
/// it may while MongoDB does, is asked again.
///
/// # Panics
/// When it does not become equal.
pub async fn assert_projected(graphql: &Graphql, post: &str) -> usize {
    eventually("the post tells what the comments are", || async {
        let comments = comments_of(graphql, post).await?;
        let (count, latest) = latest_of(graphql, post).await?;
        let newest = &comments[..comments.len().min(20)];
        if count == comments.len() as u64 && latest == newest {
            Ok(comments.len())
        } else {
            Err(format!(
                "{} comments, commentCount {count}; {newest:?} against {latest:?}",
                comments.len()
            ))
        }
    })
    .await
}

async fn ask(graphql: &Graphql, query: &str, variables: Value) -> Result<Value, String> {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let answer = graphql
        .try_post(body)
        .await
        .map_err(|error| error.to_string())?;
    if answer.body["errors"].is_null() {
        Ok(answer.body["data"].clone())
    } else {
        Err(answer.body.to_string())
    }
}
