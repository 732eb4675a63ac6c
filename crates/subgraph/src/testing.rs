//! A subgraph under test: its whole `run` on a free port, and a client for it.
//!
//! Failures panic with what was expected: this module is for tests alone.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod on_database;
pub mod rights;
mod signed;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use graphql_transport::testing::PATIENCE;
pub use graphql_transport::testing::Socket;
pub use on_database::TestSubgraph;
use serde_json::{Value, json};
use service::Lifecycle;
pub use signed::{SECRET, Signed};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::FieldCosts;
use crate::hostile::{self, Hostile};

/// Generous, for debug builds on busy machines. Without a limit most hostile requests never end.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(20);

/// The lists of a subgraph's schema that have no cost: all but the edges of a page, whose list has it.
pub fn lists_without_cost(sdl: &str, costs: FieldCosts) -> Vec<String> {
    let schema = parse_schema(sdl).expect("a schema");
    let mut lists = Vec::new();
    for definition in schema.definitions {
        let TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        let TypeKind::Object(object) = &definition.node.kind else {
            continue;
        };
        for field in &object.fields {
            let (name, of) = (&field.node.name.node, field.node.ty.node.to_string());
            let is_list = of.starts_with('[') || of.contains("Connection");
            if is_list && name != "edges" && !costs.iter().any(|(known, _)| known == name) {
                lists.push(format!("{}.{name}", definition.node.name.node));
            }
        }
    }
    lists
}

fn data_of(mut response: Value) -> Value {
    assert!(response.get("errors").is_none(), "{response:#}");
    response["data"].take()
}

fn code_of(response: &Value) -> String {
    let code = response["errors"][0]["extensions"]["code"].as_str();
    code.unwrap_or_else(|| panic!("no error code: {response:#}"))
        .to_owned()
}

/// A subgraph that runs in this process on a free port. It ends with [`TestService::stop`].
pub struct TestService {
    address: SocketAddr,
    http: reqwest::Client,
    lifecycle: Lifecycle,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TestService {
    /// Runs a subgraph on a free port of this machine.
    pub async fn start<F, Fut>(run: F) -> Self
    where
        F: FnOnce(TcpListener, Lifecycle) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let lifecycle = Lifecycle::new();
        let task = tokio::spawn(run(listener, lifecycle.clone()));
        Self {
            address,
            http: reqwest::Client::new(),
            lifecycle,
            task,
        }
    }

    /// Runs a query or mutation and returns the whole response.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        self.post(json!({ "query": query, "variables": variables }).to_string())
            .await
            .1
    }

    /// Runs a query or mutation that must not fail and returns its data.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        data_of(self.graphql(query, variables).await)
    }

    /// Runs a query or mutation that must fail and returns the code of its first error.
    pub async fn error_code(&self, query: &str, variables: Value) -> String {
        code_of(&self.graphql(query, variables).await)
    }

    /// Sends a body as JSON; returns the status and the answer.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self
            .http
            .post(self.url("/graphql"))
            .header("content-type", "application/json");
        let response = request.body(body).send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.json().await.expect("JSON"),
        )
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The HTTP client, for requests of other kinds.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Waits until `GET /health/ready` says so.
    pub async fn ready(&self) {
        let probe = async {
            loop {
                let ready = self
                    .http
                    .get(self.url("/health/ready"))
                    .send()
                    .await
                    .expect("an answer");
                if ready.status().is_success() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, probe)
            .await
            .expect("the service becomes ready");
    }

    /// Repeats a query until its data is as wanted, and returns it.
    pub async fn until(
        &self,
        query: &str,
        variables: Value,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let probe = async {
            loop {
                last = self.data(query, variables.clone()).await;
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, probe).await.is_err() {
            panic!("never as wanted: {last:#}");
        }
        last
    }

    /// Sends every hostile request by POST and over a WebSocket: each is refused with its code in time,
    /// and the service goes on.
    pub async fn refuses_hostile_requests(&self) {
        let mut socket = self.websocket().await;
        for (number, hostile) in hostile::requests().into_iter().enumerate() {
            let Hostile {
                name,
                query,
                variables,
                code,
            } = hostile;
            let start = Instant::now();
            let refused = self.error_code(&query, variables.clone()).await;
            assert_eq!(refused, code, "{name}");
            let id = number.to_string();
            socket.subscribe_with(&id, &query, variables).await;
            let message = socket.next().await;
            let first = &message["payload"][0]["extensions"]["code"];
            assert_eq!(first, code, "{name}: {message}");
            let took = start.elapsed();
            assert!(took < REFUSAL_TIME_MAX, "{name}: {took:?}");
            let live = self.http.get(self.url("/health/live")).send().await;
            assert!(live.expect("an answer").status().is_success(), "{name}");
        }
    }

    /// Opens a WebSocket and says hello.
    pub async fn websocket(&self) -> Socket {
        let mut socket = Socket::open(self.address, &[]).await;
        socket.init(json!({})).await;
        socket
    }

    /// Subscribes over a WebSocket of its own.
    pub async fn subscribe(&self, query: &str, variables: Value) -> Socket {
        let mut socket = self.websocket().await;
        socket.subscribe_with("1", query, variables).await;
        socket
    }

    /// Ends the service as a signal would and returns what `run` returned.
    ///
    /// # Errors
    /// What `run` failed with.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.lifecycle.end();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it stops")
            .expect("no panic")
    }
}
