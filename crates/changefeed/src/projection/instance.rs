//! One instance of a projection: stands by, leads when the lease is free, and publishes its progress.

use std::sync::Arc;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::server_clock::ServerClock;
use crate::{Error, ProjectionMetrics, ProjectorSettings, SendAction, Source, WithCauses};

use super::any_projection::AnyProjection;
use super::compute::StateBytes;
use super::leader::{Ended, Leader};
use super::lease::{Acquired, HeldLease, Lease};
use super::linger::Readers;
use super::progress::Progress;
use super::store::ProjectionStore;
use super::transaction_size::TransactionSize;

/// How often the oplog's length is looked at.
const OPLOG_INTERVAL: Duration = Duration::from_secs(10);

/// The server counts a lease in whole milliseconds, and it has run out after the last one.
const RUN_OUT: Duration = Duration::from_millis(2);

/// What one instance of a projection works with.
pub(crate) struct Instance {
    pub projection: Arc<dyn AnyProjection>,
    pub source: Source,
    pub store: ProjectionStore,
    pub clock: ServerClock,
    pub settings: ProjectorSettings,
    pub metrics: ProjectionMetrics,
    /// How much a batch takes. The sizes outlive a leadership: the next one begins with what the last
    /// one has learned.
    pub batch_size: TransactionSize,
    /// How much a build or a repair computes and stores at once.
    pub computing_size: TransactionSize,
    pub state_bytes: StateBytes,
    pub progress: watch::Sender<Progress>,
    /// Wakes the leader: there is a command.
    pub nudge: Arc<Nudge>,
    /// Who waits at a barrier here.
    pub readers: Readers,
    pub stop: CancellationToken,
}

/// A wake-up call that is not lost while the leader is busy.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    waiting: AtomicBool,
    notify: Notify,
}

impl Nudge {
    pub fn notify_one(&self) {
        self.waiting.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub async fn notified(&self) {
        self.notify.notified().await;
    }

    fn take(&self) -> bool {
        self.waiting.swap(false, Ordering::AcqRel)
    }
}

impl Instance {
    /// Stands by and leads, by turns, until it is stopped.
    pub async fn run(self) {
        let mut lease = Lease::new(
            self.store.clone(),
            self.projection.name(),
            self.settings.lease,
            self.settings.heartbeat,
        );
        while !self.stop.is_cancelled() {
            let known = self.progress.borrow().epoch;
            let mut pause = self.settings.heartbeat;
            match lease.acquire(known).await {
                Ok(Acquired::Held(mut held)) => {
                    self.lead(&mut held).await;
                    lease.release(held.epoch).await;
                }
                // It is looked at again as soon as it may have run out.
                Ok(Acquired::Busy { left }) => pause = pause.min(left + RUN_OUT),
                Err(error) => tracing::warn!(
                    error = %WithCauses(&error),
                    projection = self.projection.name(),
                    "the lease could not be read, will retry"
                ),
            }
            if let Err(error) = refresh(&self.store, self.projection.name(), &self.progress).await {
                tracing::debug!(
                    error = %WithCauses(&error),
                    projection = self.projection.name(),
                    "the checkpoint could not be read, will retry"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn lead(&self, held: &mut HeldLease) {
        let projection = self.projection.name();
        self.metrics.leading.set(1);
        let epoch = held.epoch;
        let ended = Leader::lead(self, held).await;
        self.metrics.leading.set(0);
        self.progress
            .send_modify(|progress| progress.leading = false);
        match ended {
            Ended::Stopped => tracing::info!(projection, epoch, "stopped leading the projection"),
            Ended::Superseded => {
                tracing::warn!(projection, epoch, "another instance leads: stepping down")
            }
            Ended::Fault(error) => tracing::warn!(
                error = %WithCauses(&error),
                projection,
                epoch,
                "leading the projection failed: it continues from the checkpoint, here or in another instance"
            ),
        }
    }

    /// Targets that a build or a repair computes and stores at once.
    pub fn computed_at_once(&self) -> usize {
        let room = self.computing_size.room();
        room.targets.min(self.state_bytes.targets_at_once())
    }

    /// Shows operators how much a batch takes.
    pub fn publish_size(&self) {
        let room = self.batch_size.room();
        let gauge = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.batch_changes_max.set(gauge(room.changes));
        self.metrics.batch_targets_max.set(gauge(room.targets));
    }

    /// Whether there was a wake-up call since the last time.
    pub fn take_nudge(&self) -> bool {
        self.nudge.take()
    }
}

/// Reads the checkpoint and publishes it, unless this process leads: then it knows more than what is stored.
pub(crate) async fn refresh(
    store: &ProjectionStore,
    projection: &str,
    progress: &watch::Sender<Progress>,
) -> Result<(), Error> {
    let checkpoint = store
        .checkpoints
        .find_one(doc! { "_id": projection })
        .send()
        .await;
    let checkpoint = checkpoint.map_err(|source| Error::Database {
        doing: "reading the checkpoint",
        source,
    })?;
    if let Some(checkpoint) = checkpoint {
        progress.send_if_modified(|known| {
            let stored = Progress::from_checkpoint(&checkpoint, false);
            let news = !known.leading && stored.is_news_to(known);
            if news {
                *known = stored;
            }
            news
        });
    }
    Ok(())
}

/// Keeps the gauges up that change with time alone.
pub(crate) async fn keep_gauges(
    store: ProjectionStore,
    clock: ServerClock,
    metrics: ProjectionMetrics,
    progress: watch::Receiver<Progress>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut oplog_at = Instant::now();
    loop {
        let known = progress.borrow().clone();
        metrics
            .lag_seconds
            .set(clock.since(known.level).as_secs_f64());
        metrics.epoch.set(known.epoch);
        if let (true, Some(passed)) = (Instant::now() >= oplog_at, known.passed) {
            oplog_at = Instant::now() + OPLOG_INTERVAL;
            match oldest_oplog_second(&store).await {
                Ok(Some(oldest)) => {
                    metrics
                        .oplog_seconds_left
                        .set(f64::from(passed.time) - f64::from(oldest));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(error = %WithCauses(&error), "the oplog's length could not be read: this needs a right on the database `local`")
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn oldest_oplog_second(store: &ProjectionStore) -> mongodb::error::Result<Option<u32>> {
    let oplog = store
        .client()
        .database("local")
        .collection::<Document>("oplog.rs");
    let oldest = oplog
        .find_one(doc! {})
        .sort(doc! { "$natural": 1 })
        .projection(doc! { "ts": 1 })
        .send()
        .await?;
    Ok(oldest
        .and_then(|oldest| oldest.get_timestamp("ts").ok())
        .map(|oldest| oldest.time))
}
