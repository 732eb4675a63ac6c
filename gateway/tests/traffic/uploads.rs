//! Files that clients send with an operation.

use async_graphql::{Context, EmptySubscription, Object, Schema, Upload};
use async_graphql_axum::GraphQL;
use axum::{Router, routing::post_service};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    gateway::{SUPERGRAPH, TestGateway},
    server::Server,
};

struct Query;

#[Object]
impl Query {
    async fn greeting(&self) -> &str {
        "hello you"
    }
}

struct Mutation;

fn described(context: &Context<'_>, upload: Upload) -> async_graphql::Result<String> {
    let value = upload.value(context)?;
    let content = String::from_utf8_lossy(&value.content).into_owned();
    let content_type = value.content_type.unwrap_or_default();
    Ok(format!("{} {content_type} {content}", value.filename))
}

#[Object]
impl Mutation {
    async fn store(
        &self,
        context: &Context<'_>,
        file: Upload,
        note: String,
    ) -> async_graphql::Result<String> {
        Ok(format!("{note}: {}", described(context, file)?))
    }

    async fn store_all(
        &self,
        context: &Context<'_>,
        files: Vec<Upload>,
    ) -> async_graphql::Result<Vec<String>> {
        files.into_iter().map(|it| described(context, it)).collect()
    }
}

async fn gateway(more: &[&str]) -> (TestGateway, Server) {
    let schema = Schema::new(Query, Mutation, EmptySubscription);
    let app = Router::new().route("/graphql", post_service(GraphQL::new(schema)));
    let server = Server::start(app);
    let news = format!("--subgraph-url=news={}", server.url());
    let gateway = TestGateway::without_supergraph(&[&[&*news], more].concat()).await;
    let fields = "type Mutation @join__type(graph: NEWS) @join__type(graph: COUNTS) {
        store(file: Upload!, note: String!): String! @join__field(graph: NEWS)
        storeAll(files: [Upload!]!): [String!]! @join__field(graph: NEWS)";
    let before = "type Mutation @join__type(graph: NEWS) @join__type(graph: COUNTS) {";
    let sdl = SUPERGRAPH.replacen(before, fields, 1);
    gateway.write_supergraph(&format!("{sdl}\nscalar Upload @join__type(graph: NEWS)\n"));
    let is_ready = || async { gateway.get("/health/ready").await.status() == 200 };
    eventually("the gateway is ready", is_ready).await;
    (gateway, server)
}

async fn sent(gateway: &TestGateway, parts: &[(&str, &str)]) -> (u16, Value) {
    let mut body = String::new();
    for (name, content) in parts {
        let file = match name.len() {
            1 => "; filename=\"a \u{e9}.txt\"\r\ncontent-type: text/plain",
            _ => "",
        };
        body.push_str(&format!(
            "--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--b--\r\n");
    let request = gateway.http.post(gateway.url("/graphql"));
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    let response = request.body(body).send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

const ONE: &str = r#"{"query":"mutation($f: Upload!, $n: String!) { store(file: $f, note: $n) }","variables":{"n":"x","f":null}}"#;
const ON: &str = "--uploads-max=3";

#[tokio::test]
async fn files_reach_their_subgraph() {
    let (gateway, _server) = gateway(&[ON]).await;
    let map = r#"{"a":["variables.f"]}"#;
    let parts = [("operations", ONE), ("map", map), ("a", "content")];
    let (status, answer) = sent(&gateway, &parts).await;
    let stored = "x: a \u{e9}.txt text/plain content";
    assert_eq!((status, answer), (200, json!({"data": {"store": stored}})));
    let list = r#"{"query":"mutation($f: [Upload!]!) { storeAll(files: $f) }","variables":{"f":[null,null]}}"#;
    let map = r#"{"a":["variables.f.1"],"b":["variables.f.0"]}"#;
    let parts = [
        ("operations", list),
        ("map", map),
        ("a", "first"),
        ("b", "second"),
    ];
    let (_, answer) = sent(&gateway, &parts).await;
    let stored = ["second", "first"].map(|it| format!("a \u{e9}.txt text/plain {it}"));
    assert_eq!(answer["data"]["storeAll"], json!(stored), "{answer}");
    assert_eq!(gateway.metric("gateway_unfinished_body_bytes").await, 0.0);
}

#[tokio::test]
async fn files_are_off_unless_they_are_on_and_have_bounds() {
    let map = r#"{"a":["variables.f"]}"#;
    let parts = [("operations", ONE), ("map", map), ("a", "content")];
    let (off, _server) = gateway(&[]).await;
    let (status, answer) = sent(&off, &parts).await;
    assert_eq!((status, code(&answer)), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let (on, _server) = gateway(&[ON, "--upload-bytes-max=1000"]).await;
    let large = "x".repeat(1000);
    let too_large = [("operations", ONE), ("map", map), ("a", &*large)];
    let (status, answer) = sent(&on, &too_large).await;
    assert_eq!((status, code(&answer)), (413, "REQUEST_TOO_LARGE"));
    let many = r#"{"a":[],"b":[],"c":[],"d":[]}"#;
    let (status, answer) = sent(&on, &[("operations", ONE), ("map", many)]).await;
    assert_eq!((status, code(&answer)), (400, "TOO_MANY_UPLOADS"));
    // No file is there: the variable is null.
    let (status, answer) = sent(&on, &[("operations", ONE), ("map", "{}")]).await;
    assert_eq!((status, code(&answer)), (200, "BAD_USER_INPUT"));
    assert_eq!(on.metric("gateway_unfinished_body_bytes").await, 0.0);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_send_files() {
    let (gateway, _server) = gateway(&[ON]).await;
    let request = gateway.http.post(gateway.url("/graphql"));
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    let request = request.header("sec-fetch-site", "cross-site");
    let response = request.body("--b--\r\n").send().await.expect("an answer");
    assert_eq!(response.status(), 403);
}
