//! One contestant with one number of clients: its process, its clients, and what it took.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::time::sleep;

use super::crowd::{Clients, Crowd};
use super::upstream::{TOPIC, Upstream};
use super::{Options, Transport};
use crate::load::{HttpConnection, graphql_body, percentile};
use crate::process::{Process, exact_memory, free_port};

/// What all clients ask for.
const MESSAGES: &str = "subscription ($topic: ID!) { message(topic: $topic) { text } }";
/// Clients that come and go before the measurement, so that code and caches are in memory.
const EARLY_CLIENTS: usize = 50;
/// Events before the measurement, at its rate.
const WARM_UP_EVENTS: u64 = 10;
/// A client that has subscribed gets events after this time, or the next one is sent.
const LIVE_PAUSE: Duration = Duration::from_secs(2);
/// All clients get events within this time after they have subscribed.
const LIVE_LIMIT: Duration = Duration::from_secs(60);
/// The last event arrives within this time.
const LAST_LIMIT: Duration = Duration::from_secs(60);
/// Memory is read when nothing has happened for this time.
const REST: Duration = Duration::from_secs(1);
/// A gateway has read its supergraph within this time.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A server of the same events.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Its name in the tables.
    pub name: String,
    /// A bash command; `{supergraph}`, `{feed}` and `{port}` are replaced. It must `exec` the server.
    pub command: String,
    /// Whether it answers queries, too.
    pub is_gateway: bool,
}

/// What one contestant took in one round.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Processor time of the server for each event that a client got, in microseconds.
    pub cpu_us: f64,
    /// The same of the clients' processes.
    pub clients_cpu_us: f64,
    /// Memory of the server for each client: subscribed, but for one event or two idle; in KiB.
    pub idle_kib: f64,
    /// The same after all events.
    pub after_kib: f64,
    /// From the first connection to the last client's first event.
    pub connect_s: f64,
    /// From the event's origin to the client.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub deliveries: u64,
}

/// How many events, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    pub count: u64,
    pub per_second: f64,
}

impl Contestant {
    /// The same with a setting, `NAME=VALUE`.
    pub fn with_setting(&self, setting: &str) -> Self {
        Self {
            command: format!("export {setting}; {}", self.command),
            ..self.clone()
        }
    }
}

/// A running contestant.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it, and waits until it serves. Events begin at 0 again.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(contestant: &Contestant, upstream: &mut Upstream) -> anyhow::Result<Self> {
        upstream.restart();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let command = contestant
            .command
            .replace("{supergraph}", &upstream.supergraph().display().to_string())
            .replace("{feed}", &upstream.feed().to_string())
            .replace("{port}", &address.port().to_string());
        let mut process = Process::start(
            &contestant.name,
            Command::new("bash").args(["-c", &command]),
        )?;
        process.listening(address).await?;
        let started = Instant::now();
        while contestant.is_gateway && !answers(address).await {
            ensure!(started.elapsed() < READY_LIMIT, "it answers no query");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { process, address })
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        self.process.cpu_time()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> anyhow::Result<u64> {
        exact_memory(self.process.pid())
    }
}

async fn answers(address: SocketAddr) -> bool {
    let Ok(mut connection) = HttpConnection::open(address).await else {
        return false;
    };
    let answer = connection.post(graphql_body("{ live }", json!({}))).await;
    answer.is_ok_and(|answer| &answer[..] == br#"{"data":{"live":true}}"#)
}

/// The clients of a contest at this server.
pub fn clients(server: SocketAddr, transport: Transport, options: &Options) -> Clients {
    Clients {
        server,
        transport,
        query: MESSAGES.to_owned(),
        variables: json!({ "topic": TOPIC }).to_string(),
        text_length: options.bytes,
        clients_per_address: options.clients_per_address.into(),
        receive_buffer: None,
        resumes: false,
    }
}

/// One round of one contestant, in a process of its own.
///
/// # Errors
/// When it does not start, or a client does not get every event once and in order.
pub async fn measure(
    contestant: &Contestant,
    upstream: &mut Upstream,
    transport: Transport,
    count: usize,
    events: Events,
    options: &Options,
) -> anyhow::Result<Measurement> {
    let server = Server::start(contestant, upstream).await?;
    let clients = clients(server.address, transport, options);
    let mut crowd = Crowd::connected(&clients, options.processes, EARLY_CLIENTS).await?;
    until_live(&mut crowd, upstream).await?;
    crowd.leave().await?;
    sleep(REST).await;

    let before = server.memory()?;
    let started = Instant::now();
    crowd.connect(count).await.context("connecting")?;
    until_live(&mut crowd, upstream).await?;
    let connect_s = started.elapsed().as_secs_f64();
    if contestant.is_gateway {
        let shared = upstream.subscriptions();
        ensure!(shared == 1, "{shared} subscriptions at the subgraph, not 1");
    }
    sleep(REST).await;
    let idle = server.memory()?;

    upstream
        .send_many(WARM_UP_EVENTS, events.per_second)
        .await?;
    let first = upstream.next();
    ensure!(crowd.has_got(first, LAST_LIMIT).await?, "events are late");
    let (server_before, clients_before) = (server.cpu_time()?, crowd.cpu_time()?);
    upstream.send_many(events.count, events.per_second).await?;
    let next = upstream.next();
    ensure!(crowd.has_got(next, LAST_LIMIT).await?, "events are late");
    let cpu = server.cpu_time()?.saturating_sub(server_before);
    let clients_cpu = crowd.cpu_time()?.saturating_sub(clients_before);
    sleep(REST).await;
    let after = server.memory()?;

    let delays = crowd.delays_us(first, next).await?;
    let mut delays: Vec<u32> = delays.into_iter().flatten().collect();
    delays.sort_unstable();
    let deliveries = delays.len() as u64;
    let expected = count as u64 * events.count;
    ensure!(deliveries == expected, "{deliveries} of {expected} events");
    let kib_each = |bytes: u64| bytes.saturating_sub(before) as f64 / 1024.0 / count as f64;
    let us_each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries as f64;
    Ok(Measurement {
        cpu_us: us_each(cpu),
        clients_cpu_us: us_each(clients_cpu),
        idle_kib: kib_each(idle),
        after_kib: kib_each(after),
        connect_s,
        p50_ms: percentile(&delays, 0.5) / 1_000.0,
        p99_ms: percentile(&delays, 0.99) / 1_000.0,
        deliveries,
    })
}

/// Sends events until every client gets them: a client that has just subscribed may miss some.
///
/// # Errors
/// When one gets none.
pub async fn until_live(crowd: &mut Crowd, upstream: &mut Upstream) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        upstream.send(TOPIC).await?;
        if crowd.has_got(upstream.next(), LIVE_PAUSE).await? {
            return Ok(());
        }
        ensure!(started.elapsed() < LIVE_LIMIT, "some clients get no event");
    }
}
