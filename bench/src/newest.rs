//! The newest comments of twenty posts, from memory and from the database: CPU time by process, latency, and how soon
//! readers see what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::oid::ObjectId;
use bson::{Document, doc};
use bytes::Bytes;
use changefeed::OperationTime;
use mongodb::Collection;
use serde_json::{Value, json};
use stack::ServiceProcess;

use crate::load::{Expect, HttpConnection, Load, Until, graphql_body, percentile};
use crate::process::cpu_time;
use crate::services::{LIST_WITH_COMMENTS, Services, create_comment};

/// Connections that are kept busy by default.
const CONNECTIONS: usize = 8;
/// Load before each measurement.
const WARM_UP: Duration = Duration::from_secs(1);
/// A comment that no reader has seen for so long is lost.
const SEEN_LIMIT: Duration = Duration::from_secs(10);
const FIRST_TEXT: &str = "query ($of: [_Any!]!, $time: String) { _entities(representations: $of) { ... on Post { \
    comments(first: 10, operationTime: $time) { edges { node { text } } } } } }";

/// Options of `bench newest`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Connections that are kept busy.
    #[arg(long, default_value_t = CONNECTIONS)]
    connections: usize,
    /// Seconds of load for each figure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often each variant is measured, in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Comments written each second while the list is read, to all of its posts.
    #[arg(long, default_value_t = 200)]
    writes: u64,
    /// Comments whose delay is measured.
    #[arg(long, default_value_t = 1000)]
    delays: usize,
}

/// One setting of the memory, with all its processes.
struct Variant {
    name: &'static str,
    subgraphs: Services,
    gateway: ServiceProcess,
    mongod: u32,
    posts: Vec<String>,
}

impl Variant {
    async fn start(name: &'static str, settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let subgraphs = Services::start_with(settings).await?;
        Ok(Self {
            name,
            gateway: subgraphs.start_gateway().await?,
            mongod: subgraphs.mongod().await?,
            posts: subgraphs.seed().await?,
            subgraphs,
        })
    }

    fn cpu_times(&self) -> anyhow::Result<[Duration; 4]> {
        let Services {
            posts, comments, ..
        } = &self.subgraphs;
        let of = |process: &ServiceProcess| {
            let name = process.service().name();
            cpu_time(process.pid().with_context(|| format!("{name} has ended"))?)
        };
        Ok([
            cpu_time(self.mongod)?,
            of(comments)?,
            of(posts)?,
            of(&self.gateway)?,
        ])
    }

    async fn collection(&self) -> anyhow::Result<Collection<Document>> {
        Ok(self.subgraphs.database().await?.collection("comments"))
    }
}

/// Starts both variants, measures them in turn, and prints figures.
///
/// # Errors
/// When something does not start or answers wrongly, or a reader does not see what it has to see.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let off = [("NEWEST_COMMENTS_BYTES_MAX", "0".to_owned())];
    let variants = [
        Variant::start("database", &off).await?,
        Variant::start("memory", &[]).await?,
    ];
    println!("posts(first: 20) with comments(first: 10), through the gateway");
    print_head();
    for _ in 0..options.rounds {
        for variant in &variants {
            row(variant, &options, false).await?;
        }
    }
    println!(
        "\nthe same, while {} comments are written each second (their cost is in it)",
        options.writes
    );
    print_head();
    for _ in 0..options.rounds {
        for variant in &variants {
            row(variant, &options, true).await?;
        }
    }
    println!(
        "\nmilliseconds from a write's acknowledgement to a reader who sees it, and readers with its time who do not"
    );
    println!(
        "{:<10} {:>8} {:>8} {:>8} {:>8}",
        "", "p50", "p99", "max", "stale"
    );
    for variant in &variants {
        delays(variant, &options).await?;
    }
    Ok(())
}

/// Prints what a page costs that is read from the database, as it is by default.
///
/// # Errors
/// When something does not start or answers wrongly.
pub async fn run_from_database(seconds: u64, rounds: usize) -> anyhow::Result<()> {
    let options = Options {
        connections: CONNECTIONS,
        seconds,
        rounds,
        writes: 0,
        delays: 0,
    };
    let variant = Variant::start("database", &[]).await?;
    println!("posts(first: 20) with comments(first: 10), through the gateway");
    print_head();
    for _ in 0..rounds {
        row(&variant, &options, false).await?;
    }
    Ok(())
}

fn print_head() {
    println!(
        "{:<10} {:>10} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}   CPU ms per request",
        "from", "requests/s", "p50 ms", "p99 ms", "mongod", "comments", "posts", "gateway", "all"
    );
}

async fn row(variant: &Variant, options: &Options, writes: bool) -> anyhow::Result<()> {
    let load = Load {
        address: variant.gateway.address(),
        connections: options.connections,
        bodies: Arc::new(vec![graphql_body(LIST_WITH_COMMENTS, json!({}))]),
        authorization: None,
        expect: Expect::Contains("\"edges\""),
        until: Until::Elapsed(WARM_UP),
    };
    load.clone().run().await?;
    let lasts = Duration::from_secs(options.seconds);
    let before = variant.cpu_times()?;
    let read = Load {
        until: Until::Elapsed(lasts),
        ..load
    };
    let written = async {
        match writes {
            true => write(variant, options.writes, lasts).await,
            false => Ok(()),
        }
    };
    let (report, written) = tokio::join!(read.run(), written);
    let (report, ()) = (report?, written?);
    let after = variant.cpu_times()?;
    let requests = report.requests as f64;
    let cpu_ms = |index: usize| (after[index] - before[index]).as_secs_f64() * 1_000.0 / requests;
    let all: f64 = (0..4).map(cpu_ms).sum();
    println!(
        "{:<10} {:>10.0} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {all:>9.3}",
        variant.name,
        report.requests_per_second(),
        report.latency_ms(0.5),
        report.latency_ms(0.99),
        cpu_ms(0),
        cpu_ms(1),
        cpu_ms(2),
        cpu_ms(3),
    );
    Ok(())
}

/// Writes comments at a rate, through the service.
async fn write(variant: &Variant, per_second: u64, lasts: Duration) -> anyhow::Result<()> {
    let address = variant.subgraphs.comments.address();
    let mut connection = HttpConnection::open(address).await?;
    let bodies: Vec<Bytes> = variant.posts.iter().map(|id| create_comment(id)).collect();
    let mut times =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second.max(1))?);
    let end = Instant::now() + lasts;
    for body in bodies.iter().cycle() {
        times.tick().await;
        if Instant::now() >= end {
            return Ok(());
        }
        connection.post(body.clone()).await?;
    }
    Ok(())
}

/// Writes as another program, and asks until the service shows it.
async fn delays(variant: &Variant, options: &Options) -> anyhow::Result<()> {
    let collection = variant.collection().await?;
    let address = variant.subgraphs.comments.address();
    let mut connection = HttpConnection::open(address).await?;
    let (mut delays_us, mut stale) = (Vec::new(), 0);
    for number in 0..options.delays {
        let post = &variant.posts[number % variant.posts.len()];
        for with_time in [false, true] {
            let text = format!("delay {number} {with_time}");
            let written = insert(&collection, post, &text).await?;
            let acknowledged = Instant::now();
            if with_time {
                let seen = first_text(&mut connection, post, written).await?;
                stale += usize::from(seen != text);
                continue;
            }
            while first_text(&mut connection, post, None).await? != text {
                ensure!(acknowledged.elapsed() < SEEN_LIMIT, "{text} is never seen");
            }
            let delay = acknowledged.elapsed().as_micros();
            delays_us.push(u32::try_from(delay).unwrap_or(u32::MAX));
        }
    }
    delays_us.sort_unstable();
    let ms = |share| percentile(&delays_us, share) / 1_000.0;
    println!(
        "{:<10} {:>8.2} {:>8.2} {:>8.2} {stale:>8}",
        variant.name,
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
    ensure!(stale == 0, "a reader with a write's time did not see it");
    Ok(())
}

async fn insert(
    collection: &Collection<Document>,
    post: &str,
    text: &str,
) -> anyhow::Result<Option<String>> {
    let mut session = collection.client().start_session().await?;
    let comment = doc! {
        "postId": ObjectId::parse_str(post)?, "text": text, "createdAt": bson::DateTime::now(),
    };
    collection.insert_one(comment).session(&mut session).await?;
    Ok(OperationTime::of(&session).map(|time| time.to_string()))
}

async fn first_text(
    connection: &mut HttpConnection,
    post: &str,
    time: Option<String>,
) -> anyhow::Result<String> {
    let of = json!([{ "__typename": "Post", "id": post }]);
    let body = graphql_body(FIRST_TEXT, json!({ "of": of, "time": time }));
    let answer: Value = serde_json::from_slice(&connection.post(body).await?)?;
    let first = &answer["data"]["_entities"][0]["comments"]["edges"][0]["node"]["text"];
    Ok(first
        .as_str()
        .with_context(|| answer.to_string())?
        .to_owned())
}
