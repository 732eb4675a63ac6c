//! Writers: each creates, edits and deletes comments of its own and tries every change until it is
//! acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::oracle::Seen;

/// A change that is not acknowledged within this time is a fault of the system.
const CHANGE_LIMIT: Duration = Duration::from_secs(90);
/// Between two tries of a change that a fault stands in the way of.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Between two changes of one writer.
const PACE: Duration = Duration::from_millis(4);
/// Posts that get half of the comments.
const HOT_POSTS: usize = 4;
/// Comments that a writer may still edit or delete.
const OWN_COMMENTS_MAX: usize = 40;

const CREATE: &str =
    "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";
const UPDATE: &str =
    "mutation ($input: UpdateCommentInput!) { updateComment(input: $input) { comment { id } } }";
const DELETE: &str =
    "mutation ($input: DeleteCommentInput!) { deleteComment(input: $input) { id } }";

/// The tasks that write. Each returns the writes that were acknowledged.
pub struct Writers(JoinSet<anyhow::Result<Vec<Seen>>>);

impl Writers {
    /// Waits for their end and returns every change that was acknowledged.
    ///
    /// # Errors
    /// When a change was refused, or never acknowledged.
    pub async fn finish(mut self) -> anyhow::Result<Vec<Seen>> {
        let mut changes = Vec::new();
        while let Some(result) = self.0.join_next().await {
            changes.extend(result??);
        }
        Ok(changes)
    }
}

/// Starts writers that work until `stop` is cancelled.
pub fn start(
    fleet: &Arc<Fleet>,
    posts: &[String],
    count: usize,
    seed: u64,
    stop: &CancellationToken,
) -> Writers {
    let mut writers = JoinSet::new();
    for number in 0..count {
        let writer = Writer {
            fleet: fleet.clone(),
            endpoint: fleet.endpoint(number, "http"),
            posts: posts.to_vec(),
            number,
            random: fastrand::Rng::with_seed(seed ^ (number as u64 + 1) << 32),
            own: Vec::new(),
            acknowledged: Vec::new(),
        };
        writers.spawn(writer.work(stop.clone()));
    }
    Writers(writers)
}

struct Writer {
    fleet: Arc<Fleet>,
    endpoint: String,
    posts: Vec<String>,
    number: usize,
    random: fastrand::Rng,
    own: Vec<String>,
    acknowledged: Vec<Seen>,
}

impl Writer {
    async fn work(mut self, stop: CancellationToken) -> anyhow::Result<Vec<Seen>> {
        while !stop.is_cancelled() {
            let kind = self.random.u32(0..10);
            let full = self.own.len() >= OWN_COMMENTS_MAX;
            if self.own.is_empty() || (kind < 6 && !full) {
                self.create().await?;
            } else if kind < 8 {
                self.edit().await?;
            } else {
                self.delete().await?;
            }
            sleep(PACE).await;
        }
        Ok(self.acknowledged)
    }

    async fn create(&mut self) -> anyhow::Result<()> {
        let hot = self.random.bool();
        let post = &self.posts[self
            .random
            .usize(0..if hot { HOT_POSTS } else { self.posts.len() })];
        let text = self.text("created");
        let input = json!({ "input": { "postId": post, "text": text, "idempotencyKey": text } });
        let answer = self.until_acknowledged(CREATE, input, None).await?;
        let id = answer["data"]["createComment"]["comment"]["id"]
            .as_str()
            .context("an acknowledged comment has an id")?
            .to_owned();
        self.own.push(id.clone());
        self.acknowledged.push(Seen::Added { id, text });
        Ok(())
    }

    async fn edit(&mut self) -> anyhow::Result<()> {
        let id = self.own[self.random.usize(0..self.own.len())].clone();
        let text = self.text("edited");
        let input = json!({ "input": { "id": id, "text": text } });
        self.until_acknowledged(UPDATE, input, None).await?;
        self.acknowledged.push(Seen::Edited { id, text });
        Ok(())
    }

    async fn delete(&mut self) -> anyhow::Result<()> {
        let id = self.own.swap_remove(self.random.usize(0..self.own.len()));
        let input = json!({ "input": { "id": id } });
        // The first try may have worked, though its answer was lost.
        self.until_acknowledged(DELETE, input, Some("NOT_FOUND"))
            .await?;
        self.acknowledged.push(Seen::Deleted(id));
        Ok(())
    }

    /// No two changes have the same text.
    fn text(&self, kind: &str) -> String {
        let change = self.acknowledged.len();
        format!("writer {} change {change} {kind}", self.number)
    }

    /// Tries until the change is acknowledged. After the first try `also` is a success too.
    async fn until_acknowledged(
        &self,
        mutation: &str,
        variables: Value,
        also: Option<&str>,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + CHANGE_LIMIT;
        let mut last = Value::Null;
        let mut retried = false;
        while Instant::now() < deadline {
            if let Some(answer) = self
                .fleet
                .ask(&self.endpoint, mutation, variables.clone())
                .await
            {
                let code = answer["errors"][0]["extensions"]["code"].as_str();
                if answer["errors"].is_null() || (retried && code.is_some() && code == also) {
                    return Ok(answer);
                }
                if matches!(
                    code,
                    Some("BAD_USER_INPUT" | "CONFLICT" | "NOT_FOUND" | "FORBIDDEN")
                ) {
                    bail!("a change was refused: {answer}");
                }
                last = answer;
            }
            retried = true;
            sleep(RETRY_PAUSE).await;
        }
        bail!("a change was never acknowledged: {last}")
    }
}
