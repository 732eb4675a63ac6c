//! A simple GraphQL client over HTTP.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Sends GraphQL requests to one endpoint over HTTP.
#[derive(Clone, Debug)]
pub struct Graphql {
    client: reqwest::Client,
    url: String,
    /// What it sends with each request.
    headers: HeaderMap,
}

/// What came back for one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Graphql {
    /// A client of the endpoint at this URL.
    pub fn new(url: String) -> Self {
        Self {
            client: reqwest::Client::new(),
            url,
            headers: HeaderMap::new(),
        }
    }

    /// The same client with one more header.
    ///
    /// # Panics
    /// When the value is not one of a header.
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        let value = HeaderValue::from_str(value).expect("the value of a header");
        client.headers.insert(name, value);
        client
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends an operation.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn ask(&self, query: &str, variables: Value) -> Answer {
        self.post(json!({ "query": query, "variables": variables }).to_string())
            .await
    }

    /// Sends a body as it is.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn post(&self, body: String) -> Answer {
        self.try_post(body).await.expect("an HTTP answer")
    }

    /// Sends a body as it is, perhaps to a server that is down.
    ///
    /// # Errors
    /// When there is no HTTP answer.
    pub fn try_post(&self, body: String) -> BoxFuture<'_, reqwest::Result<Answer>> {
        self.send(body).boxed()
    }

    async fn send(&self, body: String) -> reqwest::Result<Answer> {
        let request = self
            .client
            .post(&self.url)
            .headers(self.headers.clone())
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        })
    }

    /// Sends an operation that must succeed, and returns its data.
    ///
    /// # Panics
    /// When the answer has errors.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let answer = self.ask(query, variables).await;
        assert!(
            answer.body["errors"].is_null(),
            "{query}: {}",
            answer.body["errors"]
        );
        answer.body["data"].clone()
    }

    /// Creates a post and returns its id.
    pub async fn create_post(&self, title: &str) -> String {
        let create =
            "mutation($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
        let input = json!({ "input": { "title": title, "content": "Content" } });
        text(&self.data(create, input).await["createPost"]["post"]["id"])
    }

    /// Creates a comment and returns its id.
    pub async fn create_comment(&self, post: &str, words: &str) -> String {
        let answer = self
            .try_create_comment(post, words, None)
            .await
            .expect("an HTTP answer");
        assert!(answer.body["errors"].is_null(), "{}", answer.body["errors"]);
        text(&answer.body["data"]["createComment"]["comment"]["id"])
    }

    /// Creates a comment, with a key that makes a retry safe.
    ///
    /// # Errors
    /// When there is no HTTP answer.
    pub async fn try_create_comment(
        &self,
        post: &str,
        words: &str,
        key: Option<&str>,
    ) -> reqwest::Result<Answer> {
        let create = "mutation($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";
        let input = json!({ "input": { "postId": post, "text": words, "idempotencyKey": key } });
        self.try_post(json!({ "query": create, "variables": input }).to_string())
            .await
    }

    /// Changes a comment's text.
    pub async fn update_comment(&self, id: &str, words: &str) {
        let update = "mutation($input: UpdateCommentInput!) { updateComment(input: $input) { comment { id } } }";
        self.data(update, json!({ "input": { "id": id, "text": words } }))
            .await;
    }

    pub async fn delete_comment(&self, id: &str) {
        let delete =
            "mutation($input: DeleteCommentInput!) { deleteComment(input: $input) { id } }";
        self.data(delete, json!({ "input": { "id": id } })).await;
    }
}

impl Answer {
    /// The codes of all errors, in order.
    pub fn codes(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| text(&error["extensions"]["code"]))
            .collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
