//! Clients that query, and clients that write comments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Shared;
use super::experience::Kind;

/// An answer that takes longer is a failure.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Characters of a failure that has no code.
const REASON_CHARS_MAX: usize = 200;

pub(super) const CREATE_COMMENT: &str =
    "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";
const QUERIES: [&str; 3] = [
    "query List { posts(first: 20) { edges { node { title content latestComments(first: 10) { text createdAt } } } } }",
    "query ListWithComments { posts(first: 20) { edges { node { title comments(first: 10) { edges { node { text createdAt } } } } } } }",
    "query Post($post: ID!) { post(id: $post) { title content commentCount comments(first: 20) { edges { node { id text author } } } } }",
];

pub(super) async fn read(shared: Arc<Shared>, number: usize) {
    let client = Client::new(&shared);
    let query = QUERIES[number % QUERIES.len()];
    let post = &shared.posts[number % shared.posts.len()];
    let body = json!({ "query": query, "variables": { "post": post } }).to_string();
    while !shared.end.is_cancelled() {
        client.ask(Kind::Query, body.clone()).await;
        sleep(shared.pause).await;
    }
}

pub(super) async fn write(shared: Arc<Shared>, number: usize) {
    let client = Client::new(&shared);
    let mut written = number;
    while !shared.end.is_cancelled() {
        let post = written % shared.posts.len();
        let text =
            format!("A comment of a usual length by writer {number}: it is number {written}.");
        let input = json!({ "input": { "postId": shared.posts[post], "text": text } });
        let body = json!({ "query": CREATE_COMMENT, "variables": input }).to_string();
        let answer = client.ask(Kind::Mutation, body).await;
        let id = answer
            .as_ref()
            .and_then(|it| it["data"]["createComment"]["comment"]["id"].as_str());
        if let Some(id) = id {
            shared.ledger.created(post, id);
        }
        written += 1;
        sleep(shared.pause).await;
    }
}

/// One client with a connection of its own.
struct Client<'a> {
    shared: &'a Shared,
    http: reqwest::Client,
    url: String,
}

impl<'a> Client<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            http: reqwest::Client::builder()
                .timeout(ANSWER_TIME_LIMIT)
                .build()
                .expect("an HTTP client"),
            url: format!("http://{}/graphql", shared.gateway),
        }
    }

    /// The answer, if it is one without errors.
    async fn ask(&self, kind: Kind, body: String) -> Option<Value> {
        let experiences = &self.shared.experiences;
        let (phase, began) = (experiences.phase(), Instant::now());
        match self.answer(body).await {
            Ok(answer) => {
                experiences.answered(phase, kind, began.elapsed());
                Some(answer)
            }
            Err(reason) => {
                experiences.failed(phase, kind, &reason);
                None
            }
        }
    }

    async fn answer(&self, body: String) -> Result<Value, String> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let text = response
            .text()
            .await
            .map_err(|error| format!("{error:?}"))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() && answer["data"].is_object() && answer["errors"].is_null() {
            return Ok(answer);
        }
        let code = answer["errors"][0]["extensions"]["code"].as_str();
        let reason = code.map_or_else(
            || text.chars().take(REASON_CHARS_MAX).collect(),
            str::to_owned,
        );
        Err(format!("{} {reason}", status.as_u16()))
    }
}
