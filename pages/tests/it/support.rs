//! A page service with a scripted graph.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::Parser;
use pages::Config;
use serde_json::{Value, json};
use service::Lifecycle;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What the build of the pages makes, about.
pub const INDEX: &str = r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <!--head-->
    <title>Plain</title>
    <!--/head-->
    <script type="module" crossorigin src="/assets/index-1.js"></script>
  </head>
  <body>
    <!--body-->
    <div id="root"></div>
    <!--/body-->
  </body>
</html>
"#;
pub const ID: &str = "0123456789abcdef01234567";
/// Only a failure takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test waits for a page.
const RENDER_TIMEOUT: &str = "--render-timeout=15s";

pub struct Pages {
    pub graph: Graph,
    pub address: SocketAddr,
    http: reqwest::Client,
    lifecycle: Lifecycle,
    _folder: TempDir,
}

/// A GraphQL endpoint that answers each operation as the test says.
#[derive(Clone, Default)]
pub struct Graph(Arc<Script>);

#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<(String, Value)>>,
    waiting: AtomicUsize,
}

#[derive(Clone)]
enum Answer {
    Text(String),
    Silence,
}

impl Graph {
    /// Answers an operation with this `data`.
    pub fn answers(&self, operation: &str, data: &Value) {
        self.answers_text(operation, &json!({ "data": data }).to_string());
    }

    pub fn refuses(&self, operation: &str, code: &str) {
        let error = json!({ "message": "no", "extensions": { "code": code } });
        self.answers_text(operation, &json!({ "errors": [error] }).to_string());
    }

    pub fn answers_text(&self, operation: &str, text: &str) {
        self.set(operation, Answer::Text(text.to_owned()));
    }

    /// Never answers an operation.
    pub fn is_silent_about(&self, operation: &str) {
        self.set(operation, Answer::Silence);
    }

    fn set(&self, operation: &str, answer: Answer) {
        let mut answers = self.0.answers.lock().expect("no panic");
        answers.insert(operation.to_owned(), answer);
    }

    /// The variables of each request for an operation.
    pub fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.0.asked.lock().expect("no panic");
        let asked = asked.iter().filter(|(name, _)| name == operation);
        asked.map(|(_, variables)| variables.clone()).collect()
    }

    /// Waits until so many requests wait for an answer that does not come.
    pub async fn waits_for(&self, requests: usize) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.0.waiting.load(Ordering::SeqCst) < requests {
            assert!(tokio::time::Instant::now() < deadline, "nobody asks");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn start(&self) -> SocketAddr {
        let router = Router::new()
            .route("/graphql", post(answer))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn answer(State(Graph(script)): State<Graph>, body: String) -> Response {
    let asked: Value = serde_json::from_str(&body).expect("JSON");
    let operation = asked["operationName"].as_str().expect("a name").to_owned();
    let query = asked["query"].as_str().expect("a query");
    assert!(query.contains(&format!("query {operation}(")), "{query}");
    let answer = {
        let answers = script.answers.lock().expect("no panic");
        answers.get(&operation).cloned()
    };
    let variables = asked["variables"].clone();
    let entry = (operation, variables);
    script.asked.lock().expect("no panic").push(entry);
    match answer {
        Some(Answer::Text(text)) => ([("content-type", "application/json")], text).into_response(),
        Some(Answer::Silence) => {
            script.waiting.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
        None => panic!("an operation that the test did not expect"),
    }
}

impl Pages {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more command line arguments.
    pub async fn with(arguments: &[&str]) -> Self {
        let graph = Graph::default();
        let url = format!("http://{}/graphql", graph.start().await);
        Self::asking(graph, &url, arguments).await
    }

    /// Which asks the graph at this address.
    pub async fn asking(graph: Graph, url: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("index.html"), INDEX).expect("written");
        let mut all = vec!["pages".to_owned(), format!("--graphql-url={url}")];
        for default in [
            RENDER_TIMEOUT,
            &format!("--web-dir={}", folder.path().display()),
        ] {
            let (name, _) = default.split_once('=').expect("a value");
            if !arguments.iter().any(|it| it.starts_with(name)) {
                all.push(default.to_owned());
            }
        }
        all.extend(arguments.iter().map(|it| (*it).to_owned()));
        let config = Config::try_parse_from(all).expect("well-formed arguments");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let lifecycle = Lifecycle::new();
        tokio::spawn(pages::run(config, listener, lifecycle.clone()));
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self {
            graph,
            address,
            http,
            lifecycle,
            _folder: folder,
        }
    }

    pub fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.request(path).send().await.expect("an answer")
    }

    /// The text of a page with this status.
    pub async fn text(&self, path: &str, status: u16) -> String {
        let response = self.get(path).await;
        let found = response.status();
        let text = response.text().await.expect("text");
        assert_eq!(found, status, "{path}: {text}");
        text
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.lifecycle.end();
    }
}

/// A post as `Start` gives it.
pub fn post_with(title: &str, content: &str, author: &str) -> Value {
    json!({
        "__typename": "Post",
        "id": ID,
        "title": title,
        "excerpt": content.chars().take(200).collect::<String>(),
        "content": content,
        "author": author,
        "authorId": null,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "updatedAt": "2026-01-03T03:04:05.678Z",
        "commentCount": 1,
    })
}

pub fn comment_with(text: &str, author: &str) -> Value {
    json!({
        "__typename": "Comment",
        "id": "00000000000000000000c0de",
        "text": text,
        "author": author,
        "authorId": null,
        "createdAt": "2026-01-02T04:04:05.678Z",
        "updatedAt": "2026-01-02T04:04:05.678Z",
        "edited": false,
    })
}

/// A list with these nodes, and more after `next`.
pub fn list(nodes: &[Value], next: Option<&str>) -> Value {
    let edges: Vec<Value> = nodes
        .iter()
        .map(|node| json!({ "cursor": "c", "node": node }))
        .collect();
    let page_info = json!({ "hasNextPage": next.is_some(), "endCursor": next });
    json!({ "edges": edges, "pageInfo": page_info })
}

/// Scripts a post with one comment, for all that is asked about it.
pub fn tell_of(graph: &Graph, post: &Value, comment: &Value) {
    let posts = list(std::slice::from_ref(post), Some("next+post"));
    graph.answers("Start", &json!({ "posts": posts, "chosen": post }));
    graph.answers("PostsFeed", &json!({ "posts": posts }));
    graph.answers(
        "Sitemap",
        &json!({ "posts": list(std::slice::from_ref(post), None) }),
    );
    let comments = list(std::slice::from_ref(comment), Some("next+comment"));
    let discussion = json!({ "id": ID, "commentChangesCursor": "x", "comments": comments });
    graph.answers("StartComments", &json!({ "chosen": discussion }));
    let mut commented = post.clone();
    commented["comments"] = comments;
    graph.answers("CommentsFeed", &json!({ "post": commented }));
}
