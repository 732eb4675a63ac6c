//! Clients that come back with an old cursor, and read what they missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::experience::Kind;
use super::watch::{next, subscribed};
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
    let payload = json!({ "query": CHANGES, "variables": variables });
    let mut socket = subscribed(shared, &payload).await?;
    for _ in 0..history.comments {
        let message: Value = next(&mut socket).await?;
        if !message["payload"]["data"]["commentChanges"]["comment"]["id"].is_string() {
            let payload = &message["payload"];
            let errors = payload["errors"].as_array().or(payload.as_array());
            let error = errors.and_then(|errors| errors.first());
            let code = error.and_then(|error| error["extensions"]["code"].as_str());
            return Err(code.map_or_else(|| message.to_string(), str::to_owned));
        }
    }
    Ok(())
}
