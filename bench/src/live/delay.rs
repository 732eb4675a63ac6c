//! From a comment's insert to its readers: through MongoDB, the comments service and the gateway, beside a bare change
//! stream that only reads the same inserts.

use std::time::Duration;

use anyhow::{Context, ensure};
use bson::oid::ObjectId;
use bson::{DateTime, doc};
use e2e::Graphql;
use futures_util::StreamExt;
use mongodb::Database;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::crowd::{Clients, Crowd};
use super::message::{MARKER_LENGTH, Marker, now_ns, text};
use super::{Options, Transport};
use crate::changefeed::bare_change_stream;
use crate::report::Goals;
use crate::services::Services;

const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { text } }";
const CLIENTS: usize = 1_000;
/// Inserts that are measured, each when all clients have got the one before.
const INSERTS: u64 = 300;
const PAUSE: Duration = Duration::from_millis(50);
const LIVE_PAUSE: Duration = Duration::from_secs(2);
/// What takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(30);
/// The clients' median above the bare change stream's, in milliseconds.
const ABOVE_MS_MAX: f64 = 5.0;

/// Prints the percentiles of both, and judges them.
///
/// # Errors
/// When something does not start, or a client does not get every comment once and in order.
pub async fn run(transport: Transport, options: &Options, goals: &mut Goals) -> anyhow::Result<()> {
    let services = Services::start().await?;
    let gateway = services.start_gateway().await?;
    let graphql = Graphql::new(gateway.url("/graphql"));
    let post = graphql.create_post("Read by many").await;
    let mut writer = Writer {
        database: services.database().await?,
        post: ObjectId::parse_str(&post)?,
        text_length: options.bytes.max(MARKER_LENGTH),
        next: 0,
    };
    let mut bare = bare_arrivals(&services.database().await?).await?;
    let clients = Clients {
        server: gateway.address(),
        transport,
        query: ADDED.to_owned(),
        variables: json!({ "post": post }).to_string(),
        text_length: writer.text_length,
        clients_per_address: options.clients_per_address.into(),
        receive_buffer: None,
        resumes: false,
    };
    let mut crowd = Crowd::connected(&clients, options.processes, CLIENTS).await?;
    let started = Instant::now();
    loop {
        writer.insert().await?;
        bare.recv().await.context("the change stream ended")?;
        if crowd.has_got(writer.next, LIVE_PAUSE).await? {
            break;
        }
        ensure!(started.elapsed() < LIMIT, "some clients get no comment");
    }

    let first = writer.next;
    let (mut inserts, mut to_bare) = (Vec::new(), Vec::new());
    for _ in 0..INSERTS {
        let insert = writer.insert().await?;
        let arrived_ns = timeout(LIMIT, bare.recv()).await?;
        let arrived_ns = arrived_ns.context("the change stream ended")?;
        to_bare.push(ms_after(arrived_ns, insert.acknowledged_ns));
        inserts.push(insert);
        ensure!(
            crowd.has_got(writer.next, LIMIT).await?,
            "comments are late"
        );
        sleep(PAUSE).await;
    }
    let delays = crowd.delays_us(first, writer.next).await?;
    let mut to_clients = Vec::new();
    for (insert, delays_us) in inserts.iter().zip(&delays) {
        ensure!(delays_us.len() == CLIENTS, "some clients missed a comment");
        to_clients.extend(delays_us.iter().map(|delay_us| {
            let arrived_ns = insert.begun_ns + u64::from(*delay_us) * 1_000;
            ms_after(arrived_ns, insert.acknowledged_ns)
        }));
    }
    ensure!(
        to_clients.len() as u64 == INSERTS * CLIENTS as u64,
        "some comments are missing"
    );

    println!(
        "\n{transport}: from the insert's acknowledgement to {CLIENTS} clients, {INSERTS} inserts one after the other (ms)"
    );
    println!("{:<20} {:>8} {:>8}", "", "p50", "p99");
    let bare = percentiles("bare change stream", to_bare);
    let clients = percentiles("clients", to_clients);
    let above = clients - bare;
    goals.judge(
        above <= ABOVE_MS_MAX,
        format!("clients' p50 {above:.2} ms above the bare change stream's (goal: {ABOVE_MS_MAX})"),
    );
    Ok(())
}

/// Inserts comments on one post.
pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) post: ObjectId,
    pub(super) text_length: usize,
    /// The number of the next comment.
    pub(super) next: u64,
}

/// When an insert began, and when it was acknowledged.
pub(super) struct Insert {
    begun_ns: u64,
    acknowledged_ns: u64,
}

impl Writer {
    pub(super) async fn insert(&mut self) -> anyhow::Result<Insert> {
        let number = self.next;
        self.next += 1;
        let (now, begun_ns) = (DateTime::now(), now_ns());
        let marker = Marker {
            number,
            sent_ns: begun_ns,
        };
        let comment = doc! {
            "_id": ObjectId::new(), "postId": self.post, "author": "Anonymous", "createdAt": now, "updatedAt": now,
            "text": text(marker, self.text_length),
        };
        let insert = doc! {
            "insert": "comments", "documents": [comment], "writeConcern": { "w": "majority" },
        };
        self.database.run_command(insert).await?;
        Ok(Insert {
            begun_ns,
            acknowledged_ns: now_ns(),
        })
    }
}

/// When each insert arrives at a change stream that does nothing else.
async fn bare_arrivals(database: &Database) -> anyhow::Result<mpsc::UnboundedReceiver<u64>> {
    let mut stream = bare_change_stream(database, None).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(_)) = stream.next().await {
            if sender.send(now_ns()).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// Negative when the event overtook the acknowledgement.
fn ms_after(arrived_ns: u64, acknowledged_ns: u64) -> f64 {
    (arrived_ns as f64 - acknowledged_ns as f64) / 1e6
}

/// Prints p50 and p99, and returns p50.
fn percentiles(name: &str, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let of = |share: f64| {
        let index = values.len().saturating_sub(1) as f64 * share;
        values
            .get(index.round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!("{name:<20} {:>8.2} {:>8.2}", of(0.5), of(0.99));
    of(0.5)
}
