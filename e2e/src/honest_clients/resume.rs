//! Clients that come back with an old cursor, and read what they missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use graphql_transport::client::ClientEvent;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::experience::Kind;
use super::watch::subscribed;
use crate::hostile_clients::History;

/// The pause between two visits.
const PAUSE: Duration = Duration::from_secs(1);
/// A history that takes longer is a failure.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const CHANGES: &str = "subscription ($post: ID!, $after: String) { commentChanges(postId: $post, after: $after) { \
    ... on CommentAdded { cursor comment { id } } } }";

pub(super) async fn run(shared: Arc<Shared>, history: History) {
    let experiences = &shared.experiences;
    while !shared.end.is_cancelled() {
        let (phase, began) = (experiences.phase(), Instant::now());
        match timeout(TIME_LIMIT, catch_up(&shared, &history)).await {
            Ok(Ok(())) => experiences.answered(phase, Kind::Resumption, began.elapsed()),
            Ok(Err(reason)) => experiences.failed(phase, Kind::Resumption, &reason),
            Err(_) => experiences.failed(phase, Kind::Resumption, "not in time"),
        }
        sleep(PAUSE).await;
    }
}

/// Reads the whole history.
async fn catch_up(shared: &Shared, history: &History) -> Result<(), String> {
    let variables = json!({ "post": history.post, "after": history.cursor });
    let request = json!({ "query": CHANGES, "variables": variables });
    let mut client = subscribed(shared, &request).await?;
    for _ in 0..history.comments {
        match client.next().await {
            ClientEvent::Next(result)
                if result["data"]["commentChanges"]["comment"]["id"].is_string() => {}
            other => return Err(other.code().map_or(format!("{other:?}"), str::to_owned)),
        }
    }
    Ok(())
}
