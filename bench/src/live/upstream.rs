//! Where the events come from: the subgraph of the gateways, and the feed of the bare loop. Both are in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bench_servers::live::{self, Topics};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::message::{Marker, now_ns, text};

/// The topic of all clients.
pub const TOPIC: &str = "all";

/// Sends numbered events to whoever is connected.
pub struct Upstream {
    topics: Topics,
    feed: SocketAddr,
    feeds: Arc<Mutex<Vec<TcpStream>>>,
    folder: TempDir,
    text_length: usize,
    /// The number of the next event.
    next: u64,
    _servers: JoinSet<()>,
}

impl Upstream {
    /// Starts the subgraph and the feed.
    ///
    /// # Errors
    /// When there is no socket, or the subgraph's schema does not compose.
    pub async fn start(text_length: usize) -> anyhow::Result<Self> {
        let mut servers = JoinSet::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let subgraph = schema::Subgraph {
            name: "live".to_owned(),
            url: live::url(listener.local_addr()?),
            sdl: live::sdl(),
        };
        let topics = Topics::default();
        let serve = live::serve(listener, topics.clone());
        servers.spawn(async move {
            // The gateways' clients miss their events then.
            let _ = serve.await;
        });
        let folder = tempfile::tempdir()?;
        let supergraph = schema::compose::compose(&[subgraph])?;
        std::fs::write(folder.path().join("supergraph.graphql"), supergraph)?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let feed = listener.local_addr()?;
        let feeds = Arc::new(Mutex::new(Vec::new()));
        let connected = Arc::clone(&feeds);
        servers.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Without it an event would wait for the one before; an error would only make it later.
                let _ = stream.set_nodelay(true);
                let mut connected = connected.lock().unwrap_or_else(PoisonError::into_inner);
                connected.push(stream);
            }
        });
        Ok(Self {
            topics,
            feed,
            feeds,
            folder,
            text_length,
            next: 0,
            _servers: servers,
        })
    }

    /// The supergraph of the subgraph alone.
    pub fn supergraph(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("supergraph.graphql")
    }

    /// Where the bare loop gets its texts.
    pub fn feed(&self) -> SocketAddr {
        self.feed
    }

    /// The subscriptions at the subgraph.
    pub fn subscriptions(&self) -> usize {
        self.topics.subscriptions()
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Events begin at 0 again: for another contestant.
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// Sends one event to a topic and to the feed.
    ///
    /// # Errors
    /// When a feed is broken.
    pub async fn send(&mut self, topic: &str) -> anyhow::Result<()> {
        let (number, sent_ns) = (self.next, now_ns());
        self.next += 1;
        let text: Arc<str> = text(Marker { number, sent_ns }, self.text_length).into();
        self.topics.send(topic, &text);
        let line = format!("{text}\n");
        // Nobody connects while events are sent; the lock is not held while it waits.
        let mut feeds =
            std::mem::take(&mut *self.feeds.lock().unwrap_or_else(PoisonError::into_inner));
        let mut open = Vec::new();
        for mut feed in feeds.drain(..) {
            // A loop that has ended leaves its feed.
            if feed.write_all(line.as_bytes()).await.is_ok() {
                open.push(feed);
            }
        }
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.append(&mut open);
        Ok(())
    }

    /// Sends so many events to all clients, so many a second.
    ///
    /// # Errors
    /// When a feed is broken.
    pub async fn send_many(&mut self, events: u64, rate: f64) -> anyhow::Result<()> {
        let period = Duration::try_from_secs_f64(1.0 / rate).context("no rate")?;
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..events {
            ticks.tick().await;
            self.send(TOPIC).await?;
        }
        Ok(())
    }
}
