//! CPU time per request and idle memory of the services, on a real MongoDB, directly and through
//! the gateway.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use stack::{Service, ServiceProcess};

use crate::load::{Connection, Expect, Load, Until, graphql_body};
use crate::process::{Memory, cpu_time, memory};

/// Posts on the page that is measured.
const POSTS: usize = 20;
/// Comments embedded in each.
const COMMENTS_PER_POST: usize = 10;
/// Characters of a post's content.
const CONTENT_LENGTH: usize = 480;
/// Load before each measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// The stack gets this long to be ready, and the projection to catch up with the seed.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

const LIST: &str = "query List { posts(first: 20) { edges { node { \
    title content latestComments(first: 10) { text createdAt } } } } }";
const LIST_WITH_COMMENTS: &str = "query ListWithComments { posts(first: 20) { edges { node { \
    title content comments(first: 10) { edges { node { text createdAt } } } } } } }";
const CREATE_POST: &str =
    "mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
const CREATE_COMMENT: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id text createdAt } } }";

/// Options of `bench api`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Connections that are kept busy.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds of load for each figure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

struct Services {
    posts: ServiceProcess,
    comments: ServiceProcess,
    gateway: ServiceProcess,
}

/// Starts everything, measures, prints.
///
/// # Errors
/// When something does not start or answers wrongly.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mongo = embedded_mongo::ReplicaSet::start(embedded_mongo::Options::default()).await?;
    let services = Services::start(&mongo.uri_for("bench")).await?;
    println!("idle memory (resident MiB):");
    for service in services.all() {
        println!(
            "  {:<9} {:>6.1}",
            service.service().name(),
            Memory::mib(memory(pid(service)?)?.resident)
        );
    }
    let post_ids = seed(&services).await?;

    println!(
        "\n{:<44} {:>10} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "CPU ms per request of each process",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "posts",
        "comments",
        "gateway"
    );
    let list = Arc::new(vec![graphql_body(LIST, json!({}))]);
    let create: Arc<Vec<Bytes>> = Arc::new(post_ids.iter().map(|id| create_comment(id)).collect());
    let listed = Expect::Contains("\"edges\"");
    let created = Expect::Contains("\"createdAt\"");
    let measure = Measure {
        services: &services,
        options: &options,
    };
    measure
        .row(
            "list of 20 posts, posts subgraph",
            &services.posts,
            &list,
            &listed,
        )
        .await?;
    measure
        .row(
            "list of 20 posts, through the gateway",
            &services.gateway,
            &list,
            &listed,
        )
        .await?;
    let joined = Arc::new(vec![graphql_body(LIST_WITH_COMMENTS, json!({}))]);
    measure
        .row(
            "20 posts with comments(first: 10), gateway",
            &services.gateway,
            &joined,
            &listed,
        )
        .await?;
    measure
        .row(
            "create a comment, comments subgraph",
            &services.comments,
            &create,
            &created,
        )
        .await?;
    measure
        .row(
            "create a comment, through the gateway",
            &services.gateway,
            &create,
            &created,
        )
        .await?;
    mongo.stop();
    Ok(())
}

struct Measure<'a> {
    services: &'a Services,
    options: &'a Options,
}

impl Measure<'_> {
    async fn row(
        &self,
        name: &str,
        target: &ServiceProcess,
        bodies: &Arc<Vec<Bytes>>,
        expect: &Expect,
    ) -> anyhow::Result<()> {
        let load = Load {
            address: target.address(),
            connections: self.options.connections,
            bodies: bodies.clone(),
            expect: expect.clone(),
            until: Until::Elapsed(WARM_UP),
        };
        load.clone().run().await?;
        let before = self.cpu_times()?;
        let report = Load {
            until: Until::Elapsed(Duration::from_secs(self.options.seconds)),
            ..load
        }
        .run()
        .await?;
        let after = self.cpu_times()?;
        let cpu_ms = |index: usize| {
            (after[index] - before[index]).as_secs_f64() * 1_000.0 / report.requests as f64
        };
        println!(
            "{name:<44} {:>10.0} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {:>9.3}",
            report.requests_per_second(),
            report.latency_ms(0.5),
            report.latency_ms(0.99),
            cpu_ms(0),
            cpu_ms(1),
            cpu_ms(2),
        );
        Ok(())
    }

    fn cpu_times(&self) -> anyhow::Result<Vec<Duration>> {
        self.services
            .all()
            .iter()
            .map(|service| cpu_time(pid(service)?))
            .collect()
    }
}

impl Services {
    async fn start(mongo_uri: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mongo = ("MONGO_URI", mongo_uri.to_owned());
        let posts = start(&program, Service::Posts, std::slice::from_ref(&mongo)).await?;
        let comments = start(&program, Service::Comments, &[mongo]).await?;
        let supergraph =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql").to_owned();
        let gateway = [
            ("SUPERGRAPH", supergraph),
            ("SUBGRAPH_URL_POSTS", posts.url("/graphql")),
            ("SUBGRAPH_URL_COMMENTS", comments.url("/graphql")),
        ];
        Ok(Self {
            gateway: start(&program, Service::Gateway, &gateway).await?,
            posts,
            comments,
        })
    }

    fn all(&self) -> [&ServiceProcess; 3] {
        [&self.posts, &self.comments, &self.gateway]
    }
}

async fn start(
    program: &Path,
    service: Service,
    settings: &[(&str, String)],
) -> anyhow::Result<ServiceProcess> {
    let settings: Vec<_> = [("PORT", "0".to_owned()), ("LOG", "error".to_owned())]
        .into_iter()
        .chain(settings.iter().cloned())
        .collect();
    let mut process = ServiceProcess::start(program, service, &settings, Stdio::null()).await?;
    process.ready(WAIT_LIMIT).await?;
    Ok(process)
}

fn pid(process: &ServiceProcess) -> anyhow::Result<u32> {
    process
        .pid()
        .with_context(|| format!("{} has ended", process.service().name()))
}

/// Writes the posts and their comments through the gateway, waits until the posts show them all, and
/// returns the posts' ids.
async fn seed(services: &Services) -> anyhow::Result<Vec<String>> {
    let mut gateway = Connection::open(services.gateway.address()).await?;
    let content: String = "Lorem ipsum dolor sit amet, "
        .chars()
        .cycle()
        .take(CONTENT_LENGTH)
        .collect();
    let mut ids = Vec::new();
    for number in 0..POSTS {
        let input =
            json!({ "input": { "title": format!("Post number {number}"), "content": content } });
        let answer = ask(&mut gateway, graphql_body(CREATE_POST, input)).await?;
        let id = answer["data"]["createPost"]["post"]["id"]
            .as_str()
            .with_context(|| answer.to_string())?;
        ids.push(id.to_owned());
    }
    for id in &ids {
        for _ in 0..COMMENTS_PER_POST {
            gateway.post(create_comment(id)).await?;
        }
    }
    let counts = graphql_body(
        "{ posts(first: 20) { edges { node { commentCount } } } }",
        json!({}),
    );
    let caught_up = async {
        loop {
            let answer = ask(&mut gateway, counts.clone()).await?;
            let edges = answer["data"]["posts"]["edges"]
                .as_array()
                .with_context(|| answer.to_string())?;
            if edges
                .iter()
                .all(|edge| edge["node"]["commentCount"] == COMMENTS_PER_POST)
            {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT_LIMIT, caught_up)
        .await
        .context("the posts never showed the comments")??;
    Ok(ids)
}

async fn ask(connection: &mut Connection, body: Bytes) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&connection.post(body).await?)?)
}

fn create_comment(post_id: &str) -> Bytes {
    let text = "A comment of a usual length: it says what it has to say, and then it ends.";
    graphql_body(
        CREATE_COMMENT,
        json!({ "input": { "postId": post_id, "text": text } }),
    )
}
