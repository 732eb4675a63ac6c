//! Honest clients: they query, write, watch and resume at the pace of people, and record every error and
//! delay.
//!
//! [`HonestClients::start`] begins once every watcher is surely live. Then each comment that a writer
//! creates has to arrive at each watcher of its post exactly once.

mod ask;
mod delivery;
mod experience;
mod resume;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Graphql;
use crate::hostile_clients::History;
pub use delivery::Delivery;
use delivery::Ledger;
use experience::Experiences;
pub use experience::{Experience, Phase};
use watch::Watcher;

/// Every watcher is live within this time, and has every event this long after the last write.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The pause between two warm-up comments of a post.
const WARM_UP_PAUSE: Duration = Duration::from_millis(200);

/// How many clients of each kind there are.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Clients that send one query after another.
    pub readers: usize,
    /// Clients that create comments.
    pub writers: usize,
    /// Clients that watch a post: in turn over a WebSocket and by server-sent events, with and without
    /// cursors.
    pub watchers: usize,
    /// Clients that resume from an old cursor.
    pub resumers: usize,
    /// The pause of readers and writers after an answer.
    pub pause: Duration,
}

/// Running clients. Dropped, they end.
pub struct HonestClients {
    shared: Arc<Shared>,
    watchers: Vec<Watcher>,
    writers: JoinSet<()>,
    others: JoinSet<()>,
}

struct Shared {
    gateway: SocketAddr,
    /// Posts that are watched and written to.
    posts: Vec<String>,
    pause: Duration,
    experiences: Experiences,
    ledger: Ledger,
    end: CancellationToken,
}

impl HonestClients {
    /// Starts all clients on `posts`.
    ///
    /// # Errors
    /// When the watchers do not come to be live.
    pub fn start(
        gateway: SocketAddr,
        posts: Vec<String>,
        history: History,
        numbers: Numbers,
    ) -> BoxFuture<'static, anyhow::Result<Self>> {
        Self::start_all(gateway, posts, history, numbers).boxed()
    }

    async fn start_all(
        gateway: SocketAddr,
        posts: Vec<String>,
        history: History,
        numbers: Numbers,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            gateway,
            posts,
            pause: numbers.pause,
            experiences: Experiences::default(),
            ledger: Ledger::default(),
            end: CancellationToken::new(),
        });
        let watchers = (0..numbers.watchers).map(|number| Watcher::start(&shared, number));
        let watchers: Vec<Watcher> = watchers.collect();
        live(&shared, &watchers).await?;
        let (mut writers, mut others) = (JoinSet::new(), JoinSet::new());
        for number in 0..numbers.writers {
            writers.spawn(ask::write(Arc::clone(&shared), number));
        }
        for number in 0..numbers.readers {
            others.spawn(ask::read(Arc::clone(&shared), number));
        }
        for _ in 0..numbers.resumers {
            others.spawn(resume::run(Arc::clone(&shared), history.clone()));
        }
        Ok(Self {
            shared,
            watchers,
            writers,
            others,
        })
    }

    /// Requests that begin from now on belong to this phase.
    pub fn enter(&self, phase: Phase) {
        self.shared.experiences.enter(phase);
    }

    /// What the clients experienced in a phase, so far.
    pub fn experience(&self, phase: Phase) -> Experience {
        self.shared.experiences.of(phase)
    }

    /// Ends the writers, waits for what they wrote to arrive, and says what did not.
    pub fn end(self) -> BoxFuture<'static, Delivery> {
        self.end_all().boxed()
    }

    async fn end_all(mut self) -> Delivery {
        self.shared.end.cancel();
        while self.writers.join_next().await.is_some() {}
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let delivery = self.shared.ledger.compare(&self.watchers);
            if delivery.lost == 0 || Instant::now() > deadline {
                self.others.shutdown().await;
                return delivery;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Writes comments until each watcher has seen one.
async fn live(shared: &Shared, watchers: &[Watcher]) -> anyhow::Result<()> {
    let graphql = Graphql::new(format!("http://{}/graphql", shared.gateway));
    let deadline = Instant::now() + TIME_LIMIT;
    while !watchers.iter().all(Watcher::is_live) {
        let faults: Vec<String> = watchers.iter().flat_map(Watcher::faults).collect();
        ensure!(
            Instant::now() < deadline && faults.is_empty(),
            "watchers are not live: {faults:?}"
        );
        for post in &shared.posts {
            let variables = json!({ "input": { "postId": post, "text": "Warm-up" } });
            graphql.ask(ask::CREATE_COMMENT, variables).await;
        }
        sleep(WARM_UP_PAUSE).await;
    }
    Ok(())
}
