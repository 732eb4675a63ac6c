//! How subscriptions spread over instances of comments, and clients over gateways, before and after restarts: the fullest
//! beside the mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::{Balancer, Graphql};
use embedded_mongo::ReplicaSet;
use graphql_transport::client::{Client, ClientEvent};
use serde_json::json;
use stack::{Service, ServiceProcess};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::process::free_port;
use crate::services;

const DATABASE: &str = "bench_sockets";
const COMMENTS: usize = 3;
const GATEWAYS: usize = 2;
/// How often a gateway looks whether a subscription lies where it belongs.
const REBALANCE: Duration = Duration::from_secs(1);
/// What takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The numbers stay the same for so long: nothing moves any more.
const CALM: Duration = Duration::from_secs(5);
/// Clients that connect at the same time.
const CONNECTING_MAX: usize = 16;
const CHANGES: &str = "subscription ($post: ID!) { commentChanges(postId: $post) { __typename } }";
const SUPERGRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql");

/// Prints a row for each moment.
///
/// # Errors
/// When something does not start, or subscriptions do not come back.
pub async fn run(sockets: usize) -> anyhow::Result<()> {
    println!(
        "\n{sockets} sockets with a topic each, through a balancer, {GATEWAYS} gateways and {COMMENTS} instances of comments: \
         fullest / mean"
    );
    println!(
        "{:<34} {:>22} {:>22}",
        "", "subscriptions at comments", "clients at gateways"
    );
    let mut scene = Scene::start().await?;
    let clients = scene.connect(sockets).await?;
    scene.row("all connected", sockets).await?;
    for number in 0..COMMENTS {
        scene.restart_comments(number).await?;
    }
    scene.row("each of comments was restarted", sockets).await?;
    scene.kill_comments(0).await?;
    scene.row("one of comments was killed", sockets).await?;
    for number in 0..GATEWAYS {
        scene.restart_gateway(number).await?;
    }
    scene.row("each gateway was restarted", sockets).await?;
    drop(clients);
    Ok(())
}

struct Scene {
    comments: Vec<Instance>,
    gateways: Vec<Instance>,
    balancer: Balancer,
    _posts: ServiceProcess,
    /// Declared last, so that it is dropped after the services.
    _mongo: ReplicaSet,
}

/// A process that keeps its port.
struct Instance {
    settings: Vec<(&'static str, String)>,
    process: ServiceProcess,
}

impl Instance {
    async fn start(service: Service, settings: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let port = ("PORT", free_port()?.to_string());
        let settings = [settings, &[port]].concat();
        let process = services::start(service, &settings).await?;
        Ok(Self { settings, process })
    }

    async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = services::start(self.process.service(), &self.settings).await?;
        Ok(())
    }
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        let mongo = ReplicaSet::start(embedded_mongo::Options::default().in_memory(false)).await?;
        let own = [
            ("MONGO_URI", mongo.uri_for(DATABASE)),
            ("ANONYMOUS_WRITES", "change".to_owned()),
        ];
        let posts = services::start(Service::Posts, &own).await?;
        let mut comments = Vec::new();
        for _ in 0..COMMENTS {
            comments.push(Instance::start(Service::Comments, &own).await?);
        }
        let urls = comments.iter().map(|it| it.process.url("/graphql"));
        let settings = [
            ("SUPERGRAPH", SUPERGRAPH.to_owned()),
            ("SUBGRAPH_URL_POSTS", posts.url("/graphql")),
            ("SUBGRAPH_URL_COMMENTS", urls.collect::<Vec<_>>().join(", ")),
            (
                "SUBSCRIPTION_REBALANCE_INTERVAL",
                format!("{}s", REBALANCE.as_secs()),
            ),
            // Metrics.
            ("DEVELOPMENT", "true".to_owned()),
            ("SHUTDOWN_DELAY", "500ms".to_owned()),
        ];
        let mut gateways = Vec::new();
        for _ in 0..GATEWAYS {
            gateways.push(Instance::start(Service::Gateway, &settings).await?);
        }
        let addresses = gateways.iter().map(|it| it.process.address());
        Ok(Self {
            balancer: Balancer::start(addresses).await?,
            comments,
            gateways,
            _posts: posts,
            _mongo: mongo,
        })
    }

    /// Clients that connect again whenever their socket ends. They end with the set.
    async fn connect(&self, count: usize) -> anyhow::Result<JoinSet<()>> {
        let graphql = Graphql::new(format!("http://{}/graphql", self.balancer.address()));
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let mut clients = JoinSet::new();
        for number in 0..count {
            let post = graphql.create_post(&format!("Post {number}")).await;
            let request = json!({ "query": CHANGES, "variables": { "post": post } });
            let (url, connecting) = (graphql.url().to_owned(), connecting.clone());
            clients.spawn(async move {
                loop {
                    follow(&url, &request.to_string(), &connecting).await;
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            });
        }
        Ok(clients)
    }

    async fn restart_comments(&mut self, number: usize) -> anyhow::Result<()> {
        self.comments[number].process.stop().await?;
        self.comments[number].start_again().await
    }

    async fn kill_comments(&mut self, number: usize) -> anyhow::Result<()> {
        self.comments[number].process.kill().await?;
        self.comments[number].start_again().await
    }

    async fn restart_gateway(&mut self, number: usize) -> anyhow::Result<()> {
        self.gateways[number].process.stop().await?;
        self.gateways[number].start_again().await
    }

    /// Waits until all subscriptions stand and nothing moves any more, and prints where they are.
    async fn row(&self, moment: &str, sockets: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        let mut last = (Vec::new(), Vec::new());
        let mut since = Instant::now();
        while since.elapsed() < CALM {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = (self.subscriptions().await?, self.balancer.connections());
            let is_all = now.0.iter().sum::<usize>() == sockets;
            if now != last || !is_all {
                (last, since) = (now, Instant::now());
            }
            ensure!(
                Instant::now() < deadline,
                "{moment}: not all stand: {last:?}"
            );
        }
        println!(
            "{moment:<34} {:>22} {:>22}",
            fullest(&last.0),
            fullest(&last.1)
        );
        Ok(())
    }

    /// The subscriptions at each instance of comments, of all gateways together.
    async fn subscriptions(&self) -> anyhow::Result<Vec<usize>> {
        let mut all = vec![0; COMMENTS];
        for gateway in &self.gateways {
            let url = gateway.process.url("/metrics");
            let page = reqwest::get(url).await?.text().await?;
            for (number, instance) in self.comments.iter().enumerate() {
                let address = instance.process.address();
                let labels = format!("{{subgraph=\"comments\",address=\"{address}\"}} ");
                let name = format!("gateway_subgraph_address_subscriptions{labels}");
                let value = page.lines().find_map(|line| line.strip_prefix(&name));
                // A gateway has none before it has asked.
                all[number] += value.map_or(Ok(0), |value| {
                    value.parse::<f64>().map(|value| value as usize)
                })?;
            }
        }
        Ok(all)
    }
}

/// Follows until the socket ends.
async fn follow(url: &str, request: &str, connecting: &Semaphore) {
    let Ok(mut client) = ({
        let _turn = connecting.acquire().await;
        Client::open(url, LIMIT).await
    }) else {
        return;
    };
    if client.subscribe("1", request.to_owned()).await.is_err() {
        return;
    }
    while matches!(client.next().await, ClientEvent::Next(_)) {}
}

/// The fullest beside the mean, and all numbers.
fn fullest(numbers: &[usize]) -> String {
    let mean = numbers.iter().sum::<usize>() as f64 / numbers.len().max(1) as f64;
    let most = numbers.iter().copied().max().unwrap_or_default() as f64;
    format!("{:.2} {numbers:?}", most / mean)
}
