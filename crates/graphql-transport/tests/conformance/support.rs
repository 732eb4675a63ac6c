//! The two services, over the same small schema.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_graphql::{Object, Schema, Subscription};
use axum::Router;
use clap::Parser;
use futures_util::{Stream, stream};
use gateway::config::Config;
use graphql_transport::{
    HttpSettings, Serving, Settings, TransportMetrics, WebSocketSettings,
    testing::{Gate, PATIENCE, Socket},
};
use serde_json::json;
use service::{Lifecycle, Metrics};
use subgraph::endpoint::AnySchema;
use subgraph::{Code, CodedError, LimitSettings, Limits, endpoint};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

const SUPERGRAPH: &str = include_str!("supergraph.graphql");

/// A service's own settings.
#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    service: service::Settings,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("a fault")]
struct Fault;

impl CodedError for Fault {
    fn code(&self) -> Code {
        Code::InternalServerError
    }
}

struct Query(Gate);

#[Object]
impl Query {
    async fn greeting(&self, name: Option<String>) -> String {
        format!("hello {}", name.as_deref().unwrap_or("you"))
    }

    async fn slow(&self) -> &str {
        self.0.pass().await;
        "done"
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn publish(&self, text: String) -> String {
        text
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn numbers(&self, to: i32) -> impl Stream<Item = i32> {
        stream::iter(1..=to)
    }

    async fn never(&self) -> impl Stream<Item = i32> {
        stream::pending()
    }
}

/// A running service.
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Holds `slow`.
    pub gate: Gate,
    lifecycle: Lifecycle,
    served: Option<JoinHandle<anyhow::Result<()>>>,
    /// What a gateway needs.
    _behind: Option<(Box<Target>, TempDir)>,
}

/// Both services, with changed settings.
pub async fn with(change: impl Fn(&mut HttpSettings, &mut WebSocketSettings)) -> [Target; 2] {
    let (mut http, mut websocket) = (HttpSettings::default(), WebSocketSettings::default());
    change(&mut http, &mut websocket);
    [
        Target::subgraph(http.clone(), websocket.clone()).await,
        Target::gateway(http, websocket).await,
    ]
}

/// Both services.
pub async fn both() -> [Target; 2] {
    with(|_, _| {}).await
}

impl Target {
    async fn subgraph(http: HttpSettings, websocket: WebSocketSettings) -> Self {
        let settings = Settings {
            http,
            websocket,
            ..Settings::default()
        };
        Self::subgraph_of(settings).await
    }

    async fn subgraph_of(settings: Settings) -> Self {
        let gate = Gate::closed();
        let schema = Schema::build(Query(gate.clone()), Mutation, Subscriptions);
        let schema = endpoint::federated(schema).finish();
        let (metrics, lifecycle) = (Metrics::new("subgraph"), Lifecycle::new());
        let counts = metrics.with_registry(|it| TransportMetrics::register(it, "subgraph"));
        let serving = Serving::new(settings, Arc::new(counts), lifecycle.shutdown().clone());
        let routes = endpoint::routes_within(
            AnySchema::new::<Fault>(schema),
            None,
            Limits::default(),
            serving,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let life = lifecycle.clone();
        let served = tokio::spawn(async move {
            let router = Router::new().merge(routes);
            let Flags { service } = Flags::parse_from(["subgraph", "--shutdown-grace=1s"]);
            service::serve(listener, router, &life, &service, &metrics).await
        });
        Self {
            name: "subgraph",
            address,
            gate,
            lifecycle,
            served: Some(served),
            _behind: None,
        }
    }

    async fn gateway(http: HttpSettings, websocket: WebSocketSettings) -> Self {
        let settings = endpoint::settings(&LimitSettings::default(), Duration::ZERO);
        let behind = Self::subgraph_of(settings).await;
        let folder = TempDir::new().expect("a folder");
        let supergraph = folder.path().join("supergraph.graphql");
        std::fs::write(&supergraph, SUPERGRAPH).expect("written");
        let arguments = [
            "gateway".to_owned(),
            format!("--supergraph={}", supergraph.display()),
            format!("--subgraph-url=small=http://{}/graphql", behind.address),
        ];
        let mut config = <Config as clap::Parser>::try_parse_from(arguments).expect("arguments");
        (config.http, config.websocket) = (http, websocket);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let lifecycle = Lifecycle::new();
        let served = tokio::spawn(gateway::run(config, listener, lifecycle.clone()));
        let target = Self {
            name: "gateway",
            address,
            gate: behind.gate.clone(),
            lifecycle,
            served: Some(served),
            _behind: Some((Box::new(behind), folder)),
        };
        target.until_ready().await;
        target
    }

    async fn until_ready(&self) {
        let url = format!("http://{}/health/ready", self.address);
        let ready = async {
            while !reqwest::get(&url)
                .await
                .expect("an answer")
                .status()
                .is_success()
            {
                tokio::task::yield_now().await;
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        ready.expect("the gateway is ready in time");
    }

    pub fn url(&self, query: &str) -> String {
        format!("http://{}/graphql{query}", self.address)
    }

    /// A POST of JSON without its body.
    pub fn post(&self) -> reqwest::RequestBuilder {
        let request = reqwest::Client::new().post(self.url(""));
        request.header("content-type", "application/json")
    }

    /// A WebSocket on which `connection_ack` has come.
    pub async fn socket(&self) -> Socket {
        let mut socket = Socket::open(self.address, &[]).await;
        socket.init(json!({})).await;
        socket
    }

    /// Ends the service as a signal would, and waits until it has ended.
    pub async fn end(&mut self) {
        self.lifecycle.end();
        let served = self.served.take().expect("it runs");
        let served = tokio::time::timeout(PATIENCE, served).await;
        let ended = served.expect("it ends in time").expect("no panic");
        ended.expect("a clean end");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.gate.open();
        self.lifecycle.end();
    }
}
