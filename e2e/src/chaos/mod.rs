//! A randomised run: writers and subscribers work while services and the primary are killed, stopped
//! and restarted at random; in the end nothing may be lost, doubled or out of order.
//!
//! [`fleet`] is the system under test, [`nemesis`] harms it, [`writers`] write until each change is
//! acknowledged, [`reads`] looks whether lists show it, [`subscribers`] reconnect with their cursors, and
//! [`oracle`] compares what the posts and the subscribers show with a fold over the collection and with its
//! change stream. With [`Options::identities`], tokens end all the time, and comments are hidden and restored.

pub mod fleet;
pub mod nemesis;
pub mod oracle;
pub mod reads;
pub mod subscribers;
pub mod writers;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use self::oracle::{Findings, Received};

/// Posts that the writers write to; a few of them get most of the comments.
pub const POSTS: usize = 50;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The multi-call program that plays the services (see `stack`).
    pub program: PathBuf,
    /// How long faults are injected.
    pub duration: Duration,
    /// Decides which faults come when. The same seed gives the same faults, not the same timing.
    pub seed: u64,
    /// Tasks that create, edit and delete comments at the same time.
    pub writers: usize,
    /// Subscribers through the gateway, the same number over each transport.
    pub subscribers: usize,
    /// Subscribers that are bare WebSockets, half of them through the gateway.
    pub sockets: usize,
    /// Instances of the posts service.
    pub posts_instances: usize,
    /// Instances of the comments service.
    pub comments_instances: usize,
    /// Gateways. One asks the first instance of each service alone; several are behind a balancer, and each asks all
    /// instances.
    pub gateways: usize,
    /// Partitions of the projection; 0 for what the service does by itself.
    pub partitions: u32,
    /// Whether everybody is signed in, with tokens of five seconds, and writers' comments are hidden and restored by a
    /// moderator. Then all clients go through the gateway.
    pub identities: bool,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// Changes that were acknowledged: comments created, edited and deleted.
    pub changes: usize,
    /// Each fault that was injected, with its count.
    pub faults: Vec<(String, usize)>,
    /// The acknowledged changes against the collection's change stream.
    pub writes: Findings,
    /// Lists that were read by the time of an acknowledged change, and those of them that did not show it.
    pub reads: (usize, usize),
    /// The posts against the fold over the comments.
    pub projection: Findings,
    /// The subscribers against the collection's change stream.
    pub subscribers: Received,
    /// The moderator's acknowledged acts against the lines about them.
    pub moderation: Findings,
}

impl Report {
    /// Whether nothing was lost, doubled or out of order, no subscriber ended, and none was told of a gap: no fault here
    /// lasts for longer than the database's history, and whoever resumes after a cursor misses nothing.
    pub fn is_clean(&self) -> bool {
        let Received { gaps, ended, .. } = self.subscribers;
        [
            self.writes,
            self.projection,
            self.subscribers.findings,
            self.moderation,
        ]
        .into_iter()
        .all(Findings::is_clean)
            && (gaps, ended) == (0, 0)
            && self.reads.1 == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "changes written:  {}", self.changes)?;
        let total: usize = self.faults.iter().map(|(_, count)| count).sum();
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        writeln!(
            formatter,
            "faults injected:  {total} ({})",
            faults.join(", ")
        )?;
        let Received {
            changes,
            reconnects,
            gaps,
            told,
            ended,
            findings,
        } = self.subscribers;
        writeln!(formatter, "changes received: {changes}")?;
        writeln!(formatter, "reconnects:       {reconnects}")?;
        writeln!(
            formatter,
            "gaps told:        {gaps} ({told} changes in them)"
        )?;
        writeln!(formatter, "subscribers ended: {ended}")?;
        writeln!(formatter, "acknowledged:     {} lost", self.writes.lost)?;
        let (reads, stale) = self.reads;
        writeln!(formatter, "lists read:       {reads}, {stale} stale")?;
        writeln!(formatter, "projection:       {}", self.projection)?;
        writeln!(formatter, "subscribers:      {findings}")?;
        write!(formatter, "moderation:       {}", self.moderation)
    }
}

/// Runs the whole of it.
///
/// # Errors
/// When the system does not start or does not come back after its faults.
pub fn run(options: Options) -> BoxFuture<'static, anyhow::Result<Report>> {
    run_all(options).boxed()
}

async fn run_all(options: Options) -> anyhow::Result<Report> {
    let fleet = Arc::new(Fleet::start(&options).await?);
    let posts = fleet.create_posts(POSTS).await?;
    let start = fleet.operation_time().await?;
    let mut subscribers = subscribers::start_clients(&fleet, &posts, options.subscribers)?;
    subscribers.extend(subscribers::start_sockets(&fleet, &posts, options.sockets));
    subscribers::warm_up(&fleet, &subscribers).await?;

    let stop = CancellationToken::new();
    let writers = writers::start(&fleet, &posts, options.writers, options.seed, &stop);
    let faults = nemesis::run(&fleet, options.seed, options.duration).await?;
    stop.cancel();
    fleet.heal().await?;
    let acknowledged = writers.finish().await?;

    // The last change of each post, which everybody has to show.
    writers::write_last(&fleet, &posts).await?;

    let truth = oracle::Truth::read(&fleet, start).await?;
    let writes = oracle::check_writes(&truth, &acknowledged.changes);
    let moderation = oracle::check_acts(&fleet, acknowledged.acts).await?;
    let projection = oracle::check_posts(&fleet, &posts).await?;
    let subscribers = oracle::check_subscribers(&truth, subscribers).await?;
    fleet.stop().await?;
    Ok(Report {
        changes: acknowledged.changes.len(),
        reads: (acknowledged.reads, acknowledged.stale),
        faults,
        writes,
        projection,
        subscribers,
        moderation,
    })
}
