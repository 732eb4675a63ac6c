//! Clients that come back with cursors older than the rings, all at once: how soon each is level, and what that costs
//! the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bson::{Document, doc, oid::ObjectId};
use changefeed::{Hub, HubMetrics, HubSettings, Source, Subscription};
use embedded_mongo::ReplicaSet;
use futures_util::StreamExt;
use futures_util::future::poll_immediate;
use mongodb::{Client, Database};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::comment;
use crate::process::cpu_time;

/// How long a ring keeps a change here. What counts is how many changes there are since the cursors.
const RING_AGE: Duration = Duration::from_secs(1);
/// Clients that are not level by then are a fault.
const LIMIT: Duration = Duration::from_secs(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Documents of one `insertMany`.
const CHUNK: usize = 10_000;

const LEVEL_GOAL: Duration = Duration::from_secs(10);
const MONGOD_GOAL: Duration = Duration::from_secs(5);

/// Who comes back to what.
struct Case {
    name: &'static str,
    /// Each has a post of its own.
    clients: usize,
    /// Written while they are away.
    changes: usize,
    /// Whether the changes are those of their posts. Otherwise they are of as many others.
    has_missed: bool,
    /// Whether the hub is a new one, with nothing in its rings.
    is_restarted: bool,
}

/// Two and five busy minutes, at 100 and at 200 changes a second.
const CASES: [Case; 6] = [
    Case {
        name: "300, quiet posts",
        clients: 300,
        changes: 12_000,
        has_missed: false,
        is_restarted: false,
    },
    Case {
        name: "300, busy posts",
        clients: 300,
        changes: 12_000,
        has_missed: true,
        is_restarted: false,
    },
    Case {
        name: "10,000, quiet posts",
        clients: 10_000,
        changes: 60_000,
        has_missed: false,
        is_restarted: false,
    },
    Case {
        name: "10,000, busy posts",
        clients: 10_000,
        changes: 60_000,
        has_missed: true,
        is_restarted: false,
    },
    Case {
        name: "quiet, after a restart",
        clients: 10_000,
        changes: 60_000,
        has_missed: false,
        is_restarted: true,
    },
    Case {
        name: "busy, after a restart",
        clients: 10_000,
        changes: 60_000,
        has_missed: true,
        is_restarted: true,
    },
];

/// Prints two rows for each case, without and with what the hub remembers, and whether the goals are met. `scale` is the
/// part of the clients, and of the changes, that there are.
///
/// # Errors
/// When MongoDB or the change feed fails, or a client misses a change.
pub async fn run(mongo: &ReplicaSet, scale: f64) -> anyhow::Result<()> {
    println!("\nclients that come back at the same moment, each to a post of its own");
    println!(
        "goals: all level within {} s, mongod below {} s of CPU, nobody lagged",
        LEVEL_GOAL.as_secs(),
        MONGOD_GOAL.as_secs()
    );
    println!(
        "{:<24} {:>8} {:>10} {:>8} {:>13} {:>10} {:>9} {:>9} {:>7}",
        "clients",
        "changes",
        "remembers",
        "level s",
        "mongod CPU s",
        "our CPU s",
        "read for",
        "readings",
        "lagged"
    );
    let client = Client::with_uri_str(mongo.uri()).await?;
    let mut met = true;
    let part = |number: usize| ((number as f64 * scale) as usize).max(1);
    for (number, case) in CASES.iter().enumerate() {
        let case = &Case {
            clients: part(case.clients),
            changes: part(case.changes),
            ..*case
        };
        for remembers in [false, true] {
            let database = client.database(&format!("bench_returning_{number}_{remembers}"));
            database.drop().await?;
            let measured = measure(case, remembers, mongo, &database).await?;
            database.drop().await?;
            println!(
                "{:<24} {:>8} {:>10} {:>8.2} {:>13.2} {:>10.2} {:>9} {:>9} {:>7}",
                case.name,
                case.changes,
                if remembers { "yes" } else { "no" },
                measured.level.as_secs_f64(),
                measured.mongod.as_secs_f64(),
                measured.own.as_secs_f64(),
                measured.catch_ups,
                measured.readings,
                measured.lagged,
            );
            let is_met = measured.level <= LEVEL_GOAL
                && measured.mongod <= MONGOD_GOAL
                && measured.lagged == 0;
            met &= is_met || !remembers;
        }
    }
    println!("goals: {}", if met { "met" } else { "MISSED" });
    Ok(())
}

struct Measured {
    level: Duration,
    mongod: Duration,
    own: Duration,
    catch_ups: u64,
    readings: u64,
    lagged: usize,
}

/// What the clients received so far.
#[derive(Default)]
struct Received {
    came: AtomicUsize,
    changes: AtomicUsize,
    lagged: AtomicUsize,
}

/// A hub, and what it counts.
struct Counted {
    hub: Hub<Document>,
    registry: Registry,
}

impl Counted {
    async fn start(
        mongo: &ReplicaSet,
        database: &Database,
        remembers: bool,
    ) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        let streams = Client::with_uri_str(mongo.uri()).await?;
        let source = Source::new(streams, database.clone(), "comments");
        let settings = HubSettings::default()
            .ring_age_max(RING_AGE)
            .start_before(Duration::ZERO);
        let settings = match remembers {
            true => settings,
            false => settings.remembered_topics_max(0).look_back(Duration::ZERO),
        };
        let metrics = HubMetrics::register(&mut registry);
        let hub = Hub::start(source, "postId", settings, metrics).await?;
        Ok(Self { hub, registry })
    }

    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let prefix = format!("changefeed_hub_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
        let value = value.with_context(|| format!("no metric {name}"))?;
        Ok(value.parse::<f64>()? as u64)
    }

    async fn until(
        &self,
        what: &str,
        is_so: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_so()? {
            ensure!(
                began.elapsed() < LIMIT,
                "not in {} s: {what}",
                LIMIT.as_secs()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

async fn measure(
    case: &Case,
    remembers: bool,
    mongo: &ReplicaSet,
    database: &Database,
) -> anyhow::Result<Measured> {
    let ids = |count: usize| (0..count).map(|_| ObjectId::new()).collect::<Vec<_>>();
    let (posts, others) = (ids(case.clients), ids(case.clients));
    let mut counted = Counted::start(mongo, database, remembers).await?;
    let mut cursors = Vec::with_capacity(case.clients);
    for post in &posts {
        let subscribed = counted.hub.subscribe(*post, None).await?;
        cursors.push(subscribed.start().to_string());
    }
    let changed = if case.has_missed { &posts } else { &others };
    write(database, changed, case.changes).await?;
    let is_read = || Ok(counted.metric("changes_total")? as usize >= case.changes);
    counted
        .until("the hub has read all changes", is_read)
        .await?;
    let is_forgotten = || Ok(counted.metric("ring_changes")? == 0);
    counted.until("the rings are empty", is_forgotten).await?;

    let mongod = mongod(mongo).await?;
    let before = (cpu_time(mongod)?, cpu_time(std::process::id())?);
    if case.is_restarted {
        counted.hub.stop().await;
        counted = Counted::start(mongo, database, remembers).await?;
    }
    let received = Arc::new(Received::default());
    let began = Instant::now();
    let clients: Vec<_> = posts
        .iter()
        .zip(cursors)
        .map(|(post, cursor)| come_back(counted.hub.clone(), *post, cursor, received.clone()))
        .collect();
    let missed = if case.has_missed { case.changes } else { 0 };
    let is_level = || {
        let has_all = received.changes.load(Ordering::Relaxed) >= missed;
        let has_come = received.came.load(Ordering::Relaxed) >= case.clients;
        let waits = counted.metric("catch_ups_waiting")? + counted.metric("catching_up")?;
        let has_lagged = received.lagged.load(Ordering::Relaxed) > 0;
        Ok(has_lagged || (has_come && has_all && waits == 0))
    };
    counted.until("all clients are level", is_level).await?;
    let level = began.elapsed();
    let measured = Measured {
        level,
        mongod: cpu_time(mongod)? - before.0,
        own: cpu_time(std::process::id())? - before.1,
        catch_ups: counted.metric("catch_ups_total")?,
        readings: counted.metric("catch_up_readings_total")?,
        lagged: received.lagged.load(Ordering::Relaxed),
    };

    // Whoever is level gets what comes now, once.
    if measured.lagged == 0 {
        write(database, &posts, case.clients).await?;
        let expected = missed + case.clients;
        let has_all = || Ok(received.changes.load(Ordering::Relaxed) >= expected);
        counted
            .until("each client has the next change", has_all)
            .await?;
        let all = received.changes.load(Ordering::Relaxed);
        ensure!(all == expected, "{all} changes instead of {expected}");
    }
    counted.hub.stop().await;
    for client in clients {
        client.await??;
    }
    Ok(measured)
}

/// A client that resumes after its cursor and reads until the hub stops.
fn come_back(
    hub: Hub<Document>,
    post: ObjectId,
    cursor: String,
    received: Arc<Received>,
) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(async move {
        let mut changes: Subscription<Document> = hub.subscribe(post, Some(&cursor)).await?;
        let mut next = changes.next();
        let mut first = poll_immediate(&mut next).await;
        received.came.fetch_add(1, Ordering::Relaxed);
        loop {
            let item = match first.take() {
                Some(item) => item,
                None => changes.next().await,
            };
            match item {
                Some(Ok(_)) => received.changes.fetch_add(1, Ordering::Relaxed),
                Some(Err(error)) if error.code() == "FEED_STOPPED" => return Ok(()),
                Some(Err(error)) if error.code() == "SUBSCRIPTION_LAGGED" => {
                    received.lagged.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Some(Err(error)) => bail!("a client ended with {}", error.code()),
                None => return Ok(()),
            };
        }
    })
}

/// Inserts comments that go round the posts.
async fn write(database: &Database, posts: &[ObjectId], count: usize) -> anyhow::Result<()> {
    for first in (0..count).step_by(CHUNK) {
        let numbers = first..count.min(first + CHUNK);
        let comments = numbers.map(|number| comment(posts[number % posts.len()]));
        let collection = database.collection::<Document>("comments");
        collection.insert_many(comments).await?;
    }
    Ok(())
}

/// The process of the server.
async fn mongod(mongo: &ReplicaSet) -> anyhow::Result<u32> {
    let status = mongo.admin_command(0, doc! { "serverStatus": 1 }).await?;
    let pid = status.get("pid").context("no process id")?;
    let pid = pid.as_i64().or(pid.as_i32().map(i64::from));
    Ok(u32::try_from(pid.context("no process id")?)?)
}
