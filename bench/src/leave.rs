//! Clients that send a request and disconnect: whether others notice.
//!
//! Rounds of clients that close their sockets 5 to 50 ms after a request, beside patient clients;
//! then many busy connections that end at the same moment. Each goal is checked; the exit code
//! says whether all were met.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use e2e::leaving_clients::{ask_and_leave, bodies};
use serde_json::json;
use stack::ServiceProcess;
use tokio::task::JoinSet;

use crate::load::{HttpConnection, graphql_body, percentile};
use crate::report::Goals;
use crate::services::{LIST, LIST_WITH_COMMENTS, Services, create_comment};

/// Clients of one round that leave.
const LEAVING: usize = 100;
/// Clients that wait for each answer.
const PATIENT: usize = 20;
/// The pause of a patient client between an answer and its next request.
const PATIENT_PAUSE: Duration = Duration::from_millis(20);
const PATIENT_P99_MS_MAX: f64 = 1_000.0;
const READY_AFTER_ROUND: Duration = Duration::from_secs(1);
const READY_AFTER_FLOOD: Duration = Duration::from_secs(2);
/// The grace period of a service at shutdown, and how much longer it may take to end.
const GRACE: Duration = Duration::from_secs(10);
const END_TIME_MORE: Duration = Duration::from_secs(1);
/// Connections and file descriptors may be up to this many more at the end: pools grow with use.
const POOLS_MAX: i64 = 2 * (32 + 10 + 10 + 2 + 8);

/// Options of `bench leave`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rounds of leaving clients.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Connections of the flood that is ended at once.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Seconds of that flood.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Starts everything, lets clients leave, judges.
///
/// # Errors
/// When a goal is missed, or something does not start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut subgraphs = Services::start().await?;
    let mut gateway = subgraphs.start_gateway().await?;
    let posts = subgraphs.seed().await?;
    let servers = [
        gateway.address(),
        subgraphs.posts.address(),
        subgraphs.comments.address(),
    ];
    let mut goals = Goals::default();
    let before = Resources::of(&subgraphs).await?;

    let patient = Patient::start(gateway.address(), &posts[0]);
    let mut slowest_ready = Duration::ZERO;
    for _ in 0..options.rounds {
        ask_and_leave(&servers, &bodies(&posts[0]), LEAVING).await;
        slowest_ready = slowest_ready.max(time_to_ready(&servers[1..]).await?);
    }
    let patient = patient.end().await;
    println!("{} rounds of {LEAVING} leaving clients", options.rounds);
    let p99_ms = percentile(&patient.latencies_us, 0.99) / 1_000.0;
    goals.judge(
        patient.failures == 0 && !patient.latencies_us.is_empty(),
        format!(
            "{PATIENT} patient clients: {} answers, {} failures{}",
            patient.latencies_us.len(),
            patient.failures,
            patient
                .first_failure
                .map_or(String::new(), |it| format!(" ({it})")),
        ),
    );
    goals.judge(
        p99_ms < PATIENT_P99_MS_MAX,
        format!("their p99: {p99_ms:.1} ms (goal: {PATIENT_P99_MS_MAX})"),
    );
    goals.judge(
        slowest_ready < READY_AFTER_ROUND,
        format!("both services ready after each round: {slowest_ready:.0?} at most (goal: {READY_AFTER_ROUND:?})"),
    );

    let asked = flood(&servers[..2], &options).await?;
    let ready = time_to_ready(&servers[1..]).await?;
    println!(
        "{} connections for {} s, then ended at once: {asked} answers",
        options.connections, options.seconds
    );
    goals.judge(
        ready < READY_AFTER_FLOOD,
        format!("both services ready after {ready:.0?} (goal: {READY_AFTER_FLOOD:?})"),
    );
    let after = settled(&subgraphs, before).await?;
    goals.judge(
        after.connections - before.connections <= POOLS_MAX && after.files - before.files <= POOLS_MAX,
        format!(
            "connections of mongod {} -> {}, file descriptors of both services {} -> {} (goal: at most {POOLS_MAX} more)",
            before.connections, after.connections, before.files, after.files
        ),
    );

    let storm = Storm::start(servers, bodies(&posts[0]));
    for service in [&mut subgraphs.posts, &mut subgraphs.comments, &mut gateway] {
        let began = Instant::now();
        service.signal(stack::process::Signal::TERM);
        let limit = GRACE + END_TIME_MORE;
        let ended = tokio::time::timeout(limit, service.wait()).await;
        goals.judge(
            matches!(&ended, Ok(Ok(status)) if status.success()),
            format!(
                "SIGTERM amid leaving clients ends {} after {:.1?} (goal: {limit:?})",
                service.service().name(),
                began.elapsed()
            ),
        );
    }
    storm.end().await;
    goals.met()
}

/// Clients that wait for each answer, however long it takes.
struct Patient {
    clients: JoinSet<Experience>,
    end: Arc<AtomicBool>,
}

#[derive(Default)]
struct Experience {
    latencies_us: Vec<u32>,
    failures: usize,
    first_failure: Option<String>,
}

impl Patient {
    fn start(gateway: SocketAddr, post: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let wanted = [
            graphql_body(LIST, json!({})),
            create_comment(post),
            graphql_body(LIST_WITH_COMMENTS, json!({})),
        ];
        let clients = (0..PATIENT)
            .map(|number| ask_on(gateway, wanted[number % wanted.len()].clone(), end.clone()))
            .collect();
        Self { clients, end }
    }

    async fn end(self) -> Experience {
        self.end.store(true, Ordering::Relaxed);
        let mut all = Experience::default();
        for one in self.clients.join_all().await {
            all.latencies_us.extend(one.latencies_us);
            all.failures += one.failures;
            all.first_failure = all.first_failure.or(one.first_failure);
        }
        all.latencies_us.sort_unstable();
        all
    }
}

async fn ask_on(gateway: SocketAddr, body: Bytes, end: Arc<AtomicBool>) -> Experience {
    let mut experience = Experience::default();
    let mut connection = None;
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        match ask(&mut connection, gateway, body.clone()).await {
            Ok(()) => {
                let latency_us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                experience.latencies_us.push(latency_us);
            }
            Err(error) => {
                experience.failures += 1;
                experience.first_failure.get_or_insert(format!("{error:#}"));
                connection = None;
            }
        }
        tokio::time::sleep(PATIENT_PAUSE).await;
    }
    experience
}

async fn ask(
    connection: &mut Option<HttpConnection>,
    server: SocketAddr,
    body: Bytes,
) -> anyhow::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(HttpConnection::open(server).await?),
    };
    let answer = connection.post(body).await?;
    ensure!(
        !answer.windows(8).any(|part| part == b"\"errors\""),
        "{}",
        String::from_utf8_lossy(&answer[..answer.len().min(400)])
    );
    Ok(())
}

/// Connections that keep asking for lists until all of them end at the same moment.
async fn flood(servers: &[SocketAddr], options: &Options) -> anyhow::Result<usize> {
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..options.connections {
        let (server, answers) = (servers[number % servers.len()], answers.clone());
        clients.spawn(async move {
            let body = graphql_body(LIST, json!({}));
            let mut connection = None;
            loop {
                match ask(&mut connection, server, body.clone()).await {
                    Ok(()) => {
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    // Refused for overload, say: it comes again.
                    Err(_) => {
                        connection = None;
                        tokio::time::sleep(PATIENT_PAUSE).await;
                    }
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    clients.shutdown().await;
    Ok(answers.load(Ordering::Relaxed))
}

/// Leaving clients, round after round, until the end.
struct Storm {
    rounds: tokio::task::JoinHandle<()>,
    end: Arc<AtomicBool>,
}

impl Storm {
    fn start(servers: [SocketAddr; 3], bodies: Vec<String>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let rounds = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                ask_and_leave(&servers, &bodies, LEAVING).await;
                // Where nothing listens any more, a round takes no time.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { rounds, end }
    }

    async fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        // It cannot fail: its clients panic at nothing.
        let _ = self.rounds.await;
    }
}

/// The time until all are ready.
async fn time_to_ready(servers: &[SocketAddr]) -> anyhow::Result<Duration> {
    const LIMIT: Duration = Duration::from_secs(60);
    let began = Instant::now();
    for server in servers {
        while !is_ready(*server).await {
            ensure!(
                began.elapsed() < LIMIT,
                "{server} is not ready for {LIMIT:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(began.elapsed())
}

async fn is_ready(server: SocketAddr) -> bool {
    let Ok(mut connection) = HttpConnection::open(server).await else {
        return false;
    };
    connection.is_ready().await
}

/// What leaks when something is not given back.
#[derive(Clone, Copy)]
struct Resources {
    /// Connections that mongod has open.
    connections: i64,
    /// File descriptors of posts and comments.
    files: i64,
}

impl Resources {
    async fn of(services: &Services) -> anyhow::Result<Self> {
        let files = |process: &ServiceProcess| -> anyhow::Result<i64> {
            let pid = process.pid().context("a service has ended")?;
            let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
            Ok(i64::try_from(files)?)
        };
        Ok(Self {
            connections: services.connections().await?,
            files: files(&services.posts)? + files(&services.comments)?,
        })
    }
}

/// The resources once the sockets of clients that have left are closed: a service notices that a
/// moment later.
async fn settled(services: &Services, before: Resources) -> anyhow::Result<Resources> {
    const LIMIT: Duration = Duration::from_secs(10);
    let began = Instant::now();
    loop {
        let now = Resources::of(services).await?;
        if now.files - before.files <= POOLS_MAX || began.elapsed() > LIMIT {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
