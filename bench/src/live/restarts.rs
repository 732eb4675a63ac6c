//! Clients that resume, while things restart: the comments service is killed ten times, the gateway drains and is started
//! again on its port, and a new supergraph comes. Nobody may miss an event or get one twice, and only the gateway's own
//! restart may end a connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bson::oid::ObjectId;
use e2e::Graphql;
use serde_json::json;
use stack::ServiceProcess;
use stack::process::Signal;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::crowd::{Clients, Crowd};
use super::delay::Writer;
use super::message::{MARKER_LENGTH, now_ns};
use super::{Options, Transport};
use crate::process::free_port;
use crate::report::Goals;
use crate::services::Services;

const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { text } }";
const KILLS: usize = 10;
/// How long the comments service stays away, and how long all is well between two kills.
const AWAY: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(10);
/// What takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Closes in the fullest tenth of the grace period; evenly spread over four fifths of it, an eighth of all would be.
const TENTH_MAX: f64 = 0.2;
const SUPERGRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql");

/// Prints what happened to the clients, and judges it.
///
/// # Errors
/// When something does not start, or a client misses an event or gets one twice.
pub async fn run(transport: Transport, options: &Options, goals: &mut Goals) -> anyhow::Result<()> {
    let clients = options.clients.iter().copied().max();
    let mut scene =
        Scene::start(transport, clients.context("no number of clients")?, options).await?;
    println!(
        "\n{transport}: {} clients that resume, {:.1} events a second",
        scene.clients, options.rate
    );
    scene.connect().await?;
    scene.kill_comments(goals).await?;
    scene.restart_gateway(goals).await?;
    scene.replace_supergraph(goals).await
}

/// The services, the clients and what is written.
struct Scene {
    clients: usize,
    transport: Transport,
    crowd: Crowd,
    gateway: ServiceProcess,
    gateway_settings: Vec<(&'static str, String)>,
    supergraph: PathBuf,
    writer: Arc<Mutex<Writer>>,
    writing: JoinHandle<anyhow::Result<()>>,
    services: Services,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(
        transport: Transport,
        clients: usize,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let services = Services::start().await?;
        let folder = tempfile::tempdir()?;
        let supergraph = folder.path().join("supergraph.graphql");
        std::fs::copy(SUPERGRAPH, &supergraph)?;
        let gateway_settings = vec![
            ("SUPERGRAPH", supergraph.display().to_string()),
            ("PORT", free_port()?.to_string()),
            ("CONNECTIONS_MAX", "20000".to_owned()),
            ("SHUTDOWN_GRACE", format!("{}s", GRACE.as_secs())),
            ("DEVELOPMENT", "true".to_owned()),
        ];
        let gateway = services.start_gateway_with(&gateway_settings).await?;
        let graphql = Graphql::new(gateway.url("/graphql"));
        let post = graphql.create_post("Read by many").await;
        let text_length = options.bytes.max(MARKER_LENGTH);
        let writer = Writer {
            database: services.database().await?,
            post: ObjectId::parse_str(&post)?,
            text_length,
            next: 0,
        };
        let crowd = Clients {
            server: gateway.address(),
            transport,
            query: ADDED.to_owned(),
            variables: json!({ "post": post }).to_string(),
            text_length,
            clients_per_address: options.clients_per_address.into(),
            receive_buffer: None,
            resumes: true,
        };
        let writer = Arc::new(Mutex::new(writer));
        let pause = Duration::try_from_secs_f64(1.0 / options.rate).context("no rate")?;
        Ok(Self {
            clients,
            transport,
            crowd: Crowd::start(&crowd, options.processes)?,
            gateway,
            gateway_settings,
            supergraph,
            writing: tokio::spawn(write(Arc::clone(&writer), pause)),
            writer,
            services,
            _folder: folder,
        })
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.crowd.connect(self.clients).await?;
        let refused = self.crowd.departures().await?;
        println!(
            "  all stand after {:.1} s; {} times one was asked to come again later",
            began.elapsed().as_secs_f64(),
            refused.len()
        );
        self.all_have_all().await
    }

    async fn kill_comments(&mut self, goals: &mut Goals) -> anyhow::Result<()> {
        let mut longest = Duration::ZERO;
        for _ in 0..KILLS {
            self.services.kill_comments().await?;
            sleep(AWAY).await;
            self.services.start_comments().await?;
            let began = Instant::now();
            self.all_have_all().await?;
            longest = longest.max(began.elapsed());
            sleep(AWAY).await;
        }
        let ended = self.crowd.departures().await?;
        goals.judge(
            ended.is_empty() && self.crowd.standing().await? == self.clients,
            format!(
                "the comments service was killed {KILLS} times: {} connections ended (goal: 0); no gap, no double; all \
                 had all events {:.1} s after its start at the latest",
                ended.len(),
                longest.as_secs_f64()
            ),
        );
        Ok(())
    }

    async fn restart_gateway(&mut self, goals: &mut Goals) -> anyhow::Result<()> {
        let began_ns = now_ns();
        self.gateway.signal(Signal::TERM);
        let successor = self.start_successor().await?;
        let mut old = std::mem::replace(&mut self.gateway, successor);
        let status = old.wait().await?;
        let ended_s = seconds_since(began_ns, now_ns());
        let deadline = Instant::now() + LIMIT;
        while self.crowd.standing().await? < self.clients {
            ensure!(Instant::now() < deadline, "not all clients came back");
            sleep(LOOK_INTERVAL).await;
        }
        let back_s = seconds_since(began_ns, now_ns());
        self.all_have_all().await?;
        let departures = Departures::of(self.crowd.departures().await?, began_ns);
        println!(
            "  the gateway ended {ended_s:.1} s after SIGTERM ({status}); all clients were back {back_s:.1} s after it"
        );
        departures.print();
        let expected = match self.transport {
            Transport::Ws => "close 1012 Restarting: connect again",
            Transport::Sse => "the stream ended",
        };
        goals.judge(
            departures.count(expected) == self.clients,
            format!(
                "{} of {} connections ended as documented",
                departures.count(expected),
                self.clients
            ),
        );
        let fullest = departures.fullest_tenth() as f64 / self.clients as f64;
        goals.judge(
            fullest <= TENTH_MAX,
            format!("in a tenth of the grace period end at most {fullest:.3} of them (goal: {TENTH_MAX})"),
        );
        goals.judge(
            status.success(),
            "no gap, no double; the old process ended well".to_owned(),
        );
        Ok(())
    }

    /// The port is free once the old process has begun its shutdown.
    async fn start_successor(&self) -> anyhow::Result<ServiceProcess> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self
                .services
                .start_gateway_with(&self.gateway_settings)
                .await
            {
                Err(_) if Instant::now() < deadline => sleep(LOOK_INTERVAL).await,
                started => return started,
            }
        }
    }

    async fn replace_supergraph(&mut self, goals: &mut Goals) -> anyhow::Result<()> {
        let before = self.supergraph_loads().await?;
        let text = std::fs::read_to_string(&self.supergraph)?;
        write_at_once(&self.supergraph, &format!("# Another one\n{text}"))?;
        let deadline = Instant::now() + LIMIT;
        while self.supergraph_loads().await? <= before {
            ensure!(
                Instant::now() < deadline,
                "the new supergraph is not served"
            );
            sleep(LOOK_INTERVAL).await;
        }
        for _ in 0..3 {
            sleep(AWAY).await;
            self.all_have_all().await?;
        }
        let ended = self.crowd.departures().await?;
        goals.judge(
            ended.is_empty() && self.crowd.standing().await? == self.clients,
            format!(
                "a new supergraph ended {} connections (goal: 0); no gap, no double",
                ended.len()
            ),
        );
        Ok(())
    }

    async fn supergraph_loads(&self) -> anyhow::Result<u64> {
        let metrics = reqwest::get(self.gateway.url("/metrics"))
            .await?
            .text()
            .await?;
        let name = "gateway_supergraph_loads_total ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.context("no such metric")?.parse()?)
    }

    /// Waits until every client has got everything that was written. Nothing is written meanwhile.
    async fn all_have_all(&mut self) -> anyhow::Result<()> {
        ensure!(!self.writing.is_finished(), "the writer ended");
        let mut writer: MutexGuard<'_, Writer> = self.writer.lock().await;
        writer.insert().await?;
        let next = writer.next;
        ensure!(
            self.crowd.has_got(next, LIMIT).await?,
            "some clients do not get all events"
        );
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

async fn write(writer: Arc<Mutex<Writer>>, pause: Duration) -> anyhow::Result<()> {
    loop {
        writer.lock().await.insert().await?;
        sleep(pause).await;
    }
}

fn write_at_once(path: &Path, text: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)?;
    Ok(std::fs::rename(draft, path)?)
}

fn seconds_since(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

/// Connections that ended because of the restart, and tries that were refused.
struct Departures {
    reasons: BTreeMap<String, usize>,
    /// In each tenth of the grace period; later ones are in the last.
    tenths: [usize; 10],
    first_s: f64,
    last_s: f64,
}

impl Departures {
    fn of(departures: Vec<(String, u64)>, began_ns: u64) -> Self {
        let mut all = Self {
            reasons: BTreeMap::new(),
            tenths: [0; 10],
            first_s: f64::INFINITY,
            last_s: 0.0,
        };
        for (reason, at_ns) in departures {
            // The time to wait differs.
            let reason = reason
                .split(" (retry-after")
                .next()
                .unwrap_or_default()
                .to_owned();
            let is_end = !reason.starts_with("connecting")
                && !reason.contains("1013")
                && !reason.contains("503");
            *all.reasons.entry(reason).or_default() += 1;
            if is_end {
                let at_s = seconds_since(began_ns, at_ns);
                (all.first_s, all.last_s) = (all.first_s.min(at_s), all.last_s.max(at_s));
                let tenth = (at_s / GRACE.as_secs_f64() * 10.0) as usize;
                all.tenths[tenth.min(9)] += 1;
            }
        }
        all
    }

    fn print(&self) {
        println!("  ends and refusals: {:?}", self.reasons);
        println!(
            "  ends in each tenth of the grace period: {:?}; the first after {:.2} s, the last after {:.2} s",
            self.tenths, self.first_s, self.last_s
        );
    }

    fn count(&self, reason: &str) -> usize {
        self.reasons.get(reason).copied().unwrap_or_default()
    }

    fn fullest_tenth(&self) -> usize {
        self.tenths.iter().copied().max().unwrap_or_default()
    }
}
