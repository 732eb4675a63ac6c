//! A gateway with its two subgraphs.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;
use gateway::config::Config;
use serde_json::{Value, json};
use service::Lifecycle;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

use super::{PATIENCE, Socket, counts::Counts, eventually, news::News};

pub const SUPERGRAPH: &str = include_str!("supergraph.graphql");

pub struct TestGateway {
    pub news: News,
    pub counts: Counts,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub lifecycle: Lifecycle,
    /// Holds the supergraph's file.
    pub folder: TempDir,
    served: Option<JoinHandle<anyhow::Result<()>>>,
}

impl TestGateway {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more command line arguments.
    pub async fn with(arguments: &[&str]) -> Self {
        let gateway = Self::without_supergraph(arguments).await;
        gateway.write_supergraph(SUPERGRAPH);
        eventually("the gateway is ready", || async {
            gateway.get("/health/ready").await.status() == 200
        })
        .await;
        gateway
    }

    pub async fn without_supergraph(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self::in_folder(folder, arguments).await
    }

    pub async fn in_folder(folder: TempDir, arguments: &[&str]) -> Self {
        let (news, counts) = (News::start(), Counts::start());
        let path = folder.path().join("supergraph.graphql");
        let has = |flag: &str| arguments.iter().any(|argument| argument.starts_with(flag));
        let file = format!("--supergraph={}", path.display());
        let mut all = vec![
            "gateway".to_owned(),
            "--operations-port=0".to_owned(),
            "--subscription-retry-pause-max=20ms".to_owned(),
            format!("--subgraph-url=news={}", news.server.url()),
            format!("--subgraph-url=counts={}", counts.server.url()),
        ];
        all.extend((!has("--supergraph=")).then_some(file));
        let interval = "--supergraph-poll-interval=5ms".to_owned();
        all.extend((!has("--supergraph-poll-interval")).then_some(interval));
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let config = Config::try_parse_from(all).expect("well-formed arguments");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let lifecycle = Lifecycle::new();
        let served = tokio::spawn(gateway::run(config, listener, lifecycle.clone()));
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        eventually("it listens for operators, or has ended", || async {
            lifecycle.operations_address().is_some() || served.is_finished()
        })
        .await;
        Self {
            news,
            counts,
            address,
            http,
            lifecycle,
            folder,
            served: Some(served),
        }
    }

    pub fn supergraph_path(&self) -> PathBuf {
        self.folder.path().join("supergraph.graphql")
    }

    /// Replaces the file at once, as careful writers do.
    pub fn write_supergraph(&self, sdl: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, sdl).expect("written");
        std::fs::rename(draft, self.supergraph_path()).expect("renamed");
    }

    /// Replaces the supergraph, and waits until it is served.
    pub async fn serves(&self, sdl: &str) {
        let loads = || self.metric("gateway_supergraph_loads_total");
        let before = loads().await;
        self.write_supergraph(sdl);
        let is_served = || async { loads().await > before };
        eventually("the supergraph is served", is_served).await;
    }

    /// The address of a path, on the port where it is served.
    pub fn url(&self, path: &str) -> String {
        let address = match path.starts_with("/metrics") {
            true => self
                .lifecycle
                .operations_address()
                .expect("a port for operators"),
            false => self.address,
        };
        format!("http://{address}{path}")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http
            .get(self.url(path))
            .send()
            .await
            .expect("an answer")
    }

    pub fn post(&self) -> reqwest::RequestBuilder {
        self.http
            .post(self.url("/graphql"))
            .header("content-type", "application/json")
    }

    /// [`TestGateway::post`] from another machine, as far as addresses tell.
    pub fn post_from(&self, address: Ipv4Addr) -> reqwest::RequestBuilder {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .local_address(IpAddr::from(address))
            .build()
            .expect("a client");
        http.post(self.url("/graphql"))
            .header("content-type", "application/json")
    }

    /// The answer to an operation.
    pub async fn query(&self, query: &str) -> Value {
        let body = json!({ "query": query }).to_string();
        let response = self.post().body(body).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }

    /// [`TestGateway::socket`] from another machine, as far as addresses tell.
    pub async fn socket_from(&self, address: Ipv4Addr) -> Socket {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((address, 0).into())
            .expect("an address of loopback");
        let stream = socket.connect(self.address).await.expect("a connection");
        let socket = Socket::over(stream, &[]).await;
        let mut socket = socket.expect("the handshake succeeds");
        socket.init(json!({})).await;
        socket
    }

    /// A WebSocket on which `connection_ack` has come.
    pub async fn socket(&self) -> Socket {
        let mut socket = Socket::open(self.address, &[]).await;
        socket.init(json!({})).await;
        socket
    }

    /// A WebSocket with one operation, whose id is `1`.
    pub async fn subscribed(&self, query: &str) -> Socket {
        let mut socket = self.socket().await;
        socket.subscribe("1", query).await;
        socket
    }

    /// One line of the metrics, by its name and labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").parse().expect("a number")
    }

    /// Ends it, and returns what `run` returned.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        self.lifecycle.end();
        let served = self.served.take().expect("it was not ended before");
        tokio::time::timeout(PATIENCE, served)
            .await
            .expect("it ends in time")
            .expect("no panic")
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.lifecycle.end();
    }
}
