//! One instance of a projection, or of one partition of it: stands by, leads when the lease is free, and publishes its
//! progress.

use std::sync::Arc;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bson::{Document, doc};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::set_by_partition;
use crate::server_clock::ServerClock;
use crate::{Error, ProjectionMetrics, ProjectorSettings, SendAction, Source, WithCauses};

use super::any_projection::AnyProjection;
use super::board::{Known, PartProgress};
use super::compute::StateBytes;
use super::leader::{Ended, Leader};
use super::lease::{Acquired, HeldLease, Lease};
use super::linger::Readers;
use super::partition::{Part, SetId};
use super::progress::Progress;
use super::sets::SetStore;
use super::store::ProjectionStore;
use super::transaction_size::TransactionSize;

/// How often the oplog's length is looked at.
const OPLOG_INTERVAL: Duration = Duration::from_secs(10);

/// The server counts a lease in whole milliseconds, and it has run out after the last one.
pub(crate) const RUN_OUT: Duration = Duration::from_millis(2);

/// What one instance of a projection works with.
pub(crate) struct Instance {
    pub projection: Arc<dyn AnyProjection>,
    /// Which targets are its own.
    pub part: Part,
    /// The name of the instance in its leases; one for all partitions in a process.
    pub owner: String,
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
    pub progress: PartProgress,
    pub sets: SetStore,
    /// Whether it should lead, if it can.
    pub duty: watch::Receiver<bool>,
    /// Wakes the leader: there is a command.
    pub nudge: Arc<Nudge>,
    /// How many partitions this process should lead.
    pub on_duty: Arc<AtomicUsize>,
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
            &self.part,
            &self.owner,
            self.settings.lease,
            self.settings.heartbeat,
        );
        while !self.stop.is_cancelled() {
            if !*self.duty.borrow() {
                self.until_on_duty().await;
                continue;
            }
            let mut pause = self.settings.heartbeat;
            match lease.acquire(self.progress.epoch()).await {
                Ok(Acquired::Held(mut held)) => match self.lead(&mut held).await {
                    Ended::Fault(_) => {
                        lease.release_failed(*held).await;
                        // Until it is decided who leads next.
                        if !self.part.is_whole() {
                            pause *= 2;
                        }
                    }
                    Ended::Stopped | Ended::Superseded => lease.release(*held).await,
                },
                // It is looked at again as soon as it may have run out.
                Ok(Acquired::Busy { left }) => pause = pause.min(left + RUN_OUT),
                Err(error) => tracing::warn!(
                    error = %WithCauses(&error),
                    projection = self.part.name,
                    "the lease could not be read, will retry"
                ),
            }
            // Those of partitions are read together.
            if self.part.is_whole()
                && let Err(error) = refresh(&self.store, &self.part, &self.progress).await
            {
                tracing::debug!(
                    error = %WithCauses(&error),
                    projection = self.part.name,
                    "the checkpoint could not be read, will retry"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.ending() => {}
            }
        }
    }

    async fn until_on_duty(&self) {
        let mut duty = self.duty.clone();
        let is_decided = tokio::select! {
            on_duty = duty.wait_for(|leads| *leads) => on_duty.is_ok(),
            () = self.stop.cancelled() => true,
        };
        if !is_decided {
            // Nobody decides any more: the projection ends.
            self.stop.cancelled().await;
        }
    }

    /// Returns when it should not lead any longer: the process stops, or another instance has its turn.
    pub async fn ending(&self) {
        let mut duty = self.duty.clone();
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = duty.wait_for(|leads| !leads) => {}
        }
    }

    /// Whether it should not lead any longer.
    pub fn is_ending(&self) -> bool {
        self.stop.is_cancelled() || !*self.duty.borrow()
    }

    async fn lead(&self, held: &mut HeldLease) -> Ended {
        let projection = &self.part.name;
        self.metrics.leading.inc();
        let epoch = held.epoch;
        let ended = Leader::lead(self, held).await;
        self.metrics.leading.dec();
        self.progress.stand_by();
        match &ended {
            Ended::Stopped => tracing::info!(projection, epoch, "stopped leading the projection"),
            Ended::Superseded => {
                tracing::warn!(projection, epoch, "another instance leads: stepping down")
            }
            Ended::Fault(error) => tracing::warn!(
                error = %WithCauses(error),
                projection,
                epoch,
                "leading the projection failed: it continues from the checkpoint, here or in another instance"
            ),
        }
        ended
    }

    /// The leaders that the process has now, which share what it reads ahead.
    pub fn leaders(&self) -> usize {
        self.on_duty.load(Ordering::Relaxed).max(1)
    }

    /// Logs and counts a set that this instance has begun.
    pub fn tell_of_set(&self, set: SetId, reason: &str) {
        tell_of_set(self.projection.name(), &self.metrics, set, reason);
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

/// Logs and counts a set that has begun here.
pub(crate) fn tell_of_set(projection: &str, metrics: &ProjectionMetrics, set: SetId, reason: &str) {
    tracing::info!(
        projection,
        generation = set.generation,
        partitions = set.count,
        reason,
        "a build of the projection has begun"
    );
    metrics.rebuilds.inc();
}

/// Reads the checkpoint and publishes it, unless this process leads: then it knows more than what is stored.
pub(crate) async fn refresh(
    store: &ProjectionStore,
    part: &Part,
    progress: &PartProgress,
) -> Result<(), Error> {
    let checkpoint = store
        .checkpoints
        .find_one(doc! { "_id": &part.name })
        .send()
        .await;
    let checkpoint = checkpoint.map_err(|source| Error::Database {
        doing: "reading the checkpoint",
        source,
    })?;
    if let Some(checkpoint) = checkpoint {
        progress.offer(Progress::from_checkpoint(&checkpoint, false));
    }
    Ok(())
}

/// Keeps the gauges up that change with time alone.
pub(crate) async fn keep_gauges(
    store: ProjectionStore,
    clock: ServerClock,
    metrics: ProjectionMetrics,
    board: watch::Receiver<Known>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut oplog_at = Instant::now();
    loop {
        let passed = {
            let known = board.borrow();
            let behind = |level| clock.since(level).as_secs_f64();
            metrics.lag_seconds.set(behind(known.level()));
            metrics.epoch.set(known.epoch());
            let count = known.serving().map_or(1, |set| set.count);
            if metrics.partitions.get() != i64::from(count) {
                metrics.partitions.set(i64::from(count));
                metrics.partition_lag_seconds.clear();
                metrics.partition_leading.clear();
            }
            for (number, level, leading) in known.levels() {
                set_by_partition(&metrics.partition_lag_seconds, number, behind(level));
                let leading = f64::from(u8::from(leading));
                set_by_partition(&metrics.partition_leading, number, leading);
            }
            known.passed()
        };
        if let (true, Some(passed)) = (Instant::now() >= oplog_at, passed) {
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
