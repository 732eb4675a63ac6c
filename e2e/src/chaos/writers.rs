//! Writers: each creates, edits and deletes comments of its own and tries every change until it is
//! acknowledged. Where everybody is signed in, a moderator hides and restores some of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Person};
use super::oracle::Seen;
use super::reads::Known;

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
/// A writer reads after one of so many changes.
const READS_ONE_IN: u32 = 3;

const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id createdAt } operationTime } }";
const UPDATE: &str =
    "mutation ($input: UpdateCommentInput!) { updateComment(input: $input) { operationTime } }";
const DELETE: &str =
    "mutation ($input: DeleteCommentInput!) { deleteComment(input: $input) { operationTime } }";

const HIDE: &str =
    "mutation ($input: HideCommentInput!) { hideComment(input: $input) { operationTime } }";
const RESTORE: &str =
    "mutation ($input: RestoreCommentInput!) { restoreComment(input: $input) { operationTime } }";

/// What a moderator did, as the line about it says, and the comment's id.
pub type Act = (String, String);

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// The changes that readers see.
    pub changes: Vec<Seen>,
    /// The acts of the moderator.
    pub acts: Vec<Act>,
    /// How many lists were read by the time of a change.
    pub reads: usize,
    /// How many of them did not show it.
    pub stale: usize,
}

/// The tasks that write. Each returns the writes that were acknowledged.
pub struct Writers(JoinSet<anyhow::Result<Acknowledged>>);

impl Writers {
    /// Waits for their end and returns every change that was acknowledged.
    ///
    /// # Errors
    /// When a change was refused, or never acknowledged.
    pub async fn finish(mut self) -> anyhow::Result<Acknowledged> {
        let mut all = Acknowledged::default();
        while let Some(result) = self.0.join_next().await {
            let Acknowledged {
                changes,
                acts,
                reads,
                stale,
            } = result??;
            all.reads += reads;
            all.stale += stale;
            all.changes.extend(changes);
            all.acts.extend(acts);
        }
        Ok(all)
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
            hidden: Vec::new(),
            acknowledged: Acknowledged::default(),
        };
        writers.spawn(writer.work(stop.clone()));
    }
    Writers(writers)
}

/// Writes one more comment to each post, after everything else.
///
/// # Errors
/// When one is refused, or never acknowledged.
pub async fn write_last(fleet: &Fleet, posts: &[String]) -> anyhow::Result<()> {
    let endpoint = fleet.endpoint(0, "http");
    for post in posts {
        let text = format!("the last of {post}");
        let input = json!({ "input": { "postId": post, "text": text, "idempotencyKey": text } });
        until_done(fleet, &endpoint, Person::Moderator, CREATE, input, None).await?;
    }
    Ok(())
}

struct Writer {
    fleet: Arc<Fleet>,
    endpoint: String,
    posts: Vec<String>,
    number: usize,
    random: fastrand::Rng,
    own: Vec<Own>,
    /// Those of its comments that a moderator has hidden.
    hidden: Vec<Own>,
    acknowledged: Acknowledged,
}

/// A comment that stands, or is hidden.
struct Own {
    id: String,
    post: String,
    text: String,
}

impl Writer {
    async fn work(mut self, stop: CancellationToken) -> anyhow::Result<Acknowledged> {
        while !stop.is_cancelled() {
            let kind = self.random.u32(0..10);
            let full = self.own.len() >= OWN_COMMENTS_MAX;
            if self.own.is_empty() || (kind < 6 && !full) {
                self.create().await?;
            } else if kind < 8 {
                self.edit().await?;
            } else if self.fleet.has_identities() && kind == 9 {
                self.moderate().await?;
            } else {
                self.delete().await?;
            }
            sleep(PACE).await;
        }
        Ok(self.acknowledged)
    }

    async fn create(&mut self) -> anyhow::Result<()> {
        let hot = self.random.bool();
        let post = self
            .random
            .usize(0..if hot { HOT_POSTS } else { self.posts.len() });
        let post = self.posts[post].clone();
        let text = self.text("created");
        let input = json!({ "input": { "postId": post, "text": text, "idempotencyKey": text } });
        let answer = self.until_acknowledged(CREATE, input, None).await?;
        let created = &answer["data"]["createComment"];
        let id = created["comment"]["id"]
            .as_str()
            .context("an acknowledged comment has an id")?
            .to_owned();
        let known = Known {
            post: &post,
            id: &id,
            text: Some(&text),
            created_at: created["comment"]["createdAt"].as_str(),
            operation_time: &created["operationTime"],
        };
        self.read(known).await;
        self.acknowledge(Seen::Added {
            id: id.clone(),
            text: text.clone(),
        });
        self.own.push(Own { id, post, text });
        Ok(())
    }

    async fn edit(&mut self) -> anyhow::Result<()> {
        let number = self.random.usize(0..self.own.len());
        let id = self.own[number].id.clone();
        let text = self.text("edited");
        let input = json!({ "input": { "id": id, "text": text } });
        let answer = self.until_acknowledged(UPDATE, input, None).await?;
        let post = self.own[number].post.clone();
        let known = Known {
            post: &post,
            id: &id,
            text: Some(&text),
            created_at: None,
            operation_time: &answer["data"]["updateComment"]["operationTime"],
        };
        self.read(known).await;
        self.own[number].text.clone_from(&text);
        self.acknowledge(Seen::Edited { id, text });
        Ok(())
    }

    async fn delete(&mut self) -> anyhow::Result<()> {
        let number = self.random.usize(0..self.own.len());
        let Own { id, post, .. } = self.own.swap_remove(number);
        let input = json!({ "input": { "id": id } });
        // The first try may have worked, though its answer was lost.
        let answer = self
            .until_acknowledged(DELETE, input, Some("NOT_FOUND"))
            .await?;
        let known = Known {
            post: &post,
            id: &id,
            text: None,
            created_at: None,
            operation_time: &answer["data"]["deleteComment"]["operationTime"],
        };
        self.read(known).await;
        self.acknowledge(Seen::Deleted(id));
        Ok(())
    }

    /// Hides a comment, or restores a hidden one. To repeat an act changes nothing.
    async fn moderate(&mut self) -> anyhow::Result<()> {
        if self.hidden.is_empty() || self.random.bool() {
            let comment = self.own.swap_remove(self.random.usize(0..self.own.len()));
            let id = comment.id.clone();
            let input = json!({ "input": { "id": id, "reason": "chaos" } });
            let answer = self
                .until_done(Person::Moderator, HIDE, input, None)
                .await?;
            let known = Known {
                post: &comment.post,
                id: &id,
                text: None,
                created_at: None,
                operation_time: &answer["data"]["hideComment"]["operationTime"],
            };
            self.read(known).await;
            self.acknowledged.acts.push(("HIDE".to_owned(), id.clone()));
            self.acknowledge(Seen::Deleted(id));
            self.hidden.push(comment);
        } else {
            let comment = self
                .hidden
                .swap_remove(self.random.usize(0..self.hidden.len()));
            let Own { id, post, text } = &comment;
            let (id, text) = (id.clone(), text.clone());
            let input = json!({ "input": { "id": id } });
            let answer = self
                .until_done(Person::Moderator, RESTORE, input, None)
                .await?;
            let known = Known {
                post,
                id: &id,
                text: Some(&text),
                created_at: None,
                operation_time: &answer["data"]["restoreComment"]["operationTime"],
            };
            self.read(known).await;
            self.acknowledged
                .acts
                .push(("RESTORE".to_owned(), id.clone()));
            self.acknowledge(Seen::Added { id, text });
            self.own.push(comment);
        }
        Ok(())
    }

    /// Reads the list with a change, somewhere. Where the change has no time, its first acknowledgement was lost.
    async fn read(&mut self, known: Known<'_>) {
        if known.operation_time.is_null() || self.random.u32(0..READS_ONE_IN) > 0 {
            return;
        }
        let client = self.random.usize(0..self.fleet.endpoints());
        let endpoint = self.fleet.endpoint(client, "http");
        let person = Person::Writer(self.number);
        if let Some(is_shown) = known.is_shown(&self.fleet, &endpoint, person).await {
            self.acknowledged.reads += 1;
            self.acknowledged.stale += usize::from(!is_shown);
        }
    }

    fn acknowledge(&mut self, change: Seen) {
        self.acknowledged.changes.push(change);
    }

    /// No two changes have the same text.
    fn text(&self, kind: &str) -> String {
        let change = self.acknowledged.changes.len();
        format!("writer {} change {change} {kind}", self.number)
    }

    /// Tries until the writer's own change is acknowledged. After the first try `also` is a success too.
    async fn until_acknowledged(
        &self,
        mutation: &str,
        variables: Value,
        also: Option<&str>,
    ) -> anyhow::Result<Value> {
        let person = Person::Writer(self.number);
        self.until_done(person, mutation, variables, also).await
    }

    async fn until_done(
        &self,
        person: Person,
        mutation: &str,
        variables: Value,
        also: Option<&str>,
    ) -> anyhow::Result<Value> {
        let (fleet, endpoint) = (&self.fleet, &self.endpoint);
        until_done(fleet, endpoint, person, mutation, variables, also).await
    }
}

async fn until_done(
    fleet: &Fleet,
    endpoint: &str,
    person: Person,
    mutation: &str,
    variables: Value,
    also: Option<&str>,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + CHANGE_LIMIT;
    let mut last = Value::Null;
    let mut retried = false;
    while Instant::now() < deadline {
        if let Some(answer) = fleet
            .ask(endpoint, person, mutation, variables.clone())
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
