//! Questions to the graph, at the gateway, and their answers.

use anyhow::{Context, ensure};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use traces::context::TRACEPARENT;

use crate::failure::Failure;

/// The live page's first questions: what it would ask for is rendered and handed to it.
const START: &str = include_str!("../../web/src/live/graph/start.graphql");
const QUERIES: &str = include_str!("queries.graphql");

/// Posts of a page, and comments: as many as the live page shows (`web/src/live/graph/pageSizes.ts`).
const PAGE: u32 = 20;
/// Entries of a feed.
const FEED: u32 = 30;
/// The most posts that the graph gives at once.
const LARGEST_PAGE: u32 = 100;
/// A larger answer is not read. The texts on a page have 0.7 MB at most, in the graph's own limits.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/graphql-response+json, application/json");
/// The gateway refuses for now.
const BUSY_CODES: [&str; 7] = [
    "OVERLOADED",
    "RATE_LIMITED",
    "REQUEST_TIMEOUT",
    "SUBGRAPH_OVERLOADED",
    "SUBGRAPH_UNAVAILABLE",
    "SUBREQUEST_TIMEOUT",
    "TOO_MANY_ANSWER_BYTES",
];
/// An argument is wrong: a cursor, as ids are checked before.
const BAD_INPUT: &str = "BAD_USER_INPUT";

/// How much of each part of a page is shown at once, in bytes of the graph's texts.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The list of posts ends before it has more.
    pub list: u32,
    /// The post's text is cut where it has more.
    pub text: Option<u32>,
    /// The list of comments ends before it has more.
    pub comments: u32,
}

/// The gateway's GraphQL endpoint.
#[derive(Clone, Debug)]
pub struct Graph {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// An argument is one that the graph does not accept.
    BadInput,
    Failed(Failure),
}

/// An answer as it was read, and as it came.
pub struct Answer<T> {
    pub data: T,
    pub json: Box<RawValue>,
}

/// What the live page asks for first.
#[derive(Deserialize)]
pub struct Start {
    pub posts: Connection<Summary>,
    /// The post of the address; null if there is none.
    #[serde(default)]
    pub chosen: Option<Post>,
}

/// The comments that the live page asks for first.
#[derive(Deserialize)]
pub struct Comments {
    pub chosen: Option<Discussion>,
}

#[derive(Deserialize)]
pub struct Posts<Node> {
    pub posts: Connection<Node>,
}

#[derive(Deserialize)]
pub struct CommentedPost {
    pub post: Option<PostWithComments>,
}

/// A list of the graph. Nodes that it could not give are null, and left out.
#[derive(Deserialize)]
pub struct Connection<Node> {
    pub edges: Vec<Edge<Node>>,
    #[serde(default, rename = "pageInfo")]
    pub page_info: PageInfo,
}

#[derive(Deserialize)]
pub struct Edge<Node> {
    pub node: Node,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

/// What a list shows of a post.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub id: String,
    pub title: String,
    pub excerpt: String,
    pub author: String,
    pub created_at: Moment,
    pub updated_at: Moment,
    /// Not asked for by feeds.
    #[serde(default)]
    pub comment_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Post {
    pub id: String,
    pub title: String,
    pub excerpt: String,
    /// Perhaps its beginning alone.
    pub content: String,
    #[serde(default)]
    pub content_bytes: usize,
    pub author: String,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub comment_count: u64,
}

#[derive(Deserialize)]
pub struct Discussion {
    pub comments: Connection<Comment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostWithComments {
    pub id: String,
    pub title: String,
    pub author: String,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub comments: Connection<Comment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    pub id: String,
    pub text: String,
    pub author: String,
    pub created_at: Moment,
    pub updated_at: Moment,
    #[serde(default)]
    pub edited: bool,
    /// Of a reply, the comment that it answers, which may be gone.
    #[serde(default)]
    pub parent_id: Option<String>,
    #[serde(default)]
    pub parent: Option<Parent>,
    #[serde(default)]
    pub reply_count: u64,
    #[serde(default)]
    pub reactions: Vec<Reactions>,
}

/// The comment that a reply answers.
#[derive(Deserialize)]
pub struct Parent {
    pub author: String,
}

/// How many people chose a reaction.
#[derive(Deserialize)]
pub struct Reactions {
    pub reaction: String,
    pub count: u64,
}

/// What the sitemap has of a post.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub id: String,
    pub updated_at: Moment,
}

/// A date of the graph. MongoDB's range is wider than that of RFC 3339: such a date is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct Moment(pub Option<DateTime<Utc>>);

impl From<String> for Moment {
    fn from(text: String) -> Self {
        let date = DateTime::parse_from_rfc3339(&text).ok();
        Self(date.map(|date| date.with_timezone(&Utc)))
    }
}

impl Post {
    /// Whether there is more of its text.
    pub fn is_cut(&self) -> bool {
        self.content.len() < self.content_bytes
    }
}

impl<Node> Connection<Node> {
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.edges.iter().map(|edge| &edge.node)
    }

    /// The cursor after which there is more.
    pub fn next(&self) -> Option<&str> {
        let cursor = self.page_info.end_cursor.as_deref();
        cursor.filter(|_| self.page_info.has_next_page)
    }
}

impl Graph {
    /// # Errors
    /// If `url` is not the `http` address of a host.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let url: Uri = url.trim().parse().context("it is not an address")?;
        ensure!(
            url.scheme_str() == Some("http") && url.host().is_some(),
            "it has to be of the form http://host/graphql"
        );
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, url })
    }

    /// What the live page shows first: the newest posts, or those after a cursor, and, if an id is given, this post.
    pub async fn start(
        &self,
        id: Option<&str>,
        after: Option<&str>,
        share: Share,
    ) -> Result<Answer<Start>, Unanswered> {
        let shown = json!({
            "posts": PAGE,
            "listBytes": share.list,
            "textBytes": share.text,
            "after": after,
            "id": id.unwrap_or_default(),
            "showsChosen": id.is_some(),
            "showsNewest": false,
        });
        self.ask(START, "Start", shown).await
    }

    /// The newest comments on a post, or those after a cursor, as the live page asks for them.
    pub async fn start_comments(
        &self,
        id: &str,
        after: Option<&str>,
        share: Share,
    ) -> Result<Answer<Comments>, Unanswered> {
        let shown = json!({
            "comments": PAGE,
            "commentBytes": share.comments,
            "after": after,
            "id": id,
            "showsChosen": true,
            "showsNewest": false,
        });
        self.ask(START, "StartComments", shown).await
    }

    pub async fn posts_feed(&self) -> Result<Posts<Summary>, Unanswered> {
        let answer = self
            .ask(QUERIES, "PostsFeed", json!({ "first": FEED }))
            .await;
        answer.map(|answer| answer.data)
    }

    pub async fn comments_feed(&self, id: &str) -> Result<CommentedPost, Unanswered> {
        let variables = json!({ "id": id, "first": FEED });
        let answer = self.ask(QUERIES, "CommentsFeed", variables).await;
        answer.map(|answer| answer.data)
    }

    /// As many posts as the graph gives at once, for the sitemap.
    pub async fn versions(&self, after: Option<&str>) -> Result<Posts<Version>, Unanswered> {
        let variables = json!({ "first": LARGEST_PAGE, "after": after });
        let answer = self.ask(QUERIES, "Sitemap", variables).await;
        answer.map(|answer| answer.data)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        query: &str,
        operation: &str,
        variables: Value,
    ) -> Result<Answer<T>, Unanswered> {
        let json = self.data(query, operation, variables).await?;
        let data = serde_json::from_str(json.get()).map_err(|error| {
            tracing::warn!(operation, %error, "an answer of the graph is not of the form that was asked for");
            Unanswered::Failed(Failure::Graph("its answer has another form".to_owned()))
        })?;
        Ok(Answer { data, json })
    }

    /// `data` of an answer without errors.
    async fn data(
        &self,
        query: &str,
        operation: &str,
        variables: Value,
    ) -> Result<Box<RawValue>, Unanswered> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            errors: Vec<Error>,
        }
        #[derive(Deserialize)]
        struct Error {
            #[serde(default)]
            extensions: Extensions,
        }
        #[derive(Default, Deserialize)]
        struct Extensions {
            #[serde(default)]
            code: Option<String>,
        }

        let body = json!({ "query": query, "operationName": operation, "variables": variables });
        let body = self.send(body.to_string()).await.map_err(|reason| {
            tracing::warn!(operation, reason, "the graph cannot be asked");
            Unanswered::Failed(Failure::Graph(reason))
        })?;
        let body: Body = serde_json::from_slice(&body).map_err(|error| {
            tracing::warn!(operation, %error, "the graph did not answer with GraphQL");
            Unanswered::Failed(Failure::Graph("its answer is not GraphQL".to_owned()))
        })?;
        if let Some(error) = body.errors.first() {
            let code = error.extensions.code.as_deref().unwrap_or("no code");
            return Err(match code {
                BAD_INPUT => Unanswered::BadInput,
                code if BUSY_CODES.contains(&code) => {
                    Unanswered::Failed(Failure::GraphBusy(code.to_owned()))
                }
                code => {
                    tracing::warn!(operation, code, "the graph answered with an error");
                    Unanswered::Failed(Failure::Graph(format!("it answered with {code}")))
                }
            });
        }
        let missing = || Unanswered::Failed(Failure::Graph("its answer has no data".to_owned()));
        body.data.ok_or_else(missing)
    }

    /// Sends a request and reads its answer; the error is a reason for operators.
    async fn send(&self, body: String) -> Result<Bytes, String> {
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, JSON)
            .header(header::ACCEPT, ACCEPTED)
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        if let Some(parent) = traces::current_parent() {
            let parent = parent.context().to_header();
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| match error.is_connect() {
            true => "no connection",
            false => "the connection broke",
        })?;
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        match body.await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(format!(
                "its answer is larger than {ANSWER_BYTES_MAX} bytes"
            )),
            Err(_) => Err("the connection broke".to_owned()),
        }
    }
}
