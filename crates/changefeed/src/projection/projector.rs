//! The handle of a running projection.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::server_clock::ServerClock;
use crate::{
    BarrierError, Error, NotReady, OperationTime, ProjectionMetrics, ProjectorSettings, Source,
    WithCauses,
};

use super::any_projection::AnyProjection;
use super::compute::StateBytes;
use super::instance::{Instance, Nudge, keep_gauges, refresh};
use super::linger::Readers;
use super::progress::Progress;
use super::requests::{REBUILD, REPLAY, request};
use super::store::{ProjectionStore, repair_id};
use super::transaction_size::{Size, TransactionSize};
use super::{Projection, Slot};

/// How often an instance that stands by reads the checkpoint while somebody waits for it.
const BARRIER_INTERVAL: Duration = Duration::from_millis(10);
/// The part of the most that a new process begins with: of a batch, and of what is computed at once.
const BATCH_SHARE_FIRST: f64 = 1.0 / 256.0;
const COMPUTING_SHARE_FIRST: f64 = 1.0 / 16.0;

/// A projection that runs in this process: as the leader, or waiting to take over. Any number of
/// processes may run the same projection. Clones share it; it runs until [`Projector::stop`], or
/// until the last clone is dropped.
#[derive(Clone)]
pub struct Projector {
    inner: Arc<Inner>,
}

struct Inner {
    projection: Arc<dyn AnyProjection>,
    source: Source,
    store: ProjectionStore,
    clock: ServerClock,
    progress: watch::Sender<Progress>,
    nudge: Arc<Nudge>,
    readers: Readers,
    ready_lag_max: Duration,
    /// One at a time reads the checkpoint for all who wait.
    refreshing: Arc<tokio::sync::Mutex<Instant>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// How far a projection is behind its source.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lag {
    /// Time since the serving state was last known to be level with the source.
    pub behind: Duration,
    /// Whether this process is the one that writes.
    pub leading: bool,
}

/// The outcome of [`Projector::replay_dead_letters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Dead letters whose targets were repaired; they are gone.
    pub replayed: u64,
    /// Dead letters that still cannot be applied; they stay.
    pub remaining: u64,
}

impl Projector {
    /// Enables pre- and post-images on the source and starts the projection in the background.
    ///
    /// # Errors
    /// When the database cannot be reached, is no replica set, or refuses to enable the images.
    pub async fn start(
        source: Source,
        projection: impl Projection,
        settings: ProjectorSettings,
        metrics: ProjectionMetrics,
    ) -> Result<Self, Error> {
        Self::start_any(source, Arc::new(projection), settings, metrics).await
    }

    /// Boxed, because an `async fn` is compiled in the crate that awaits it.
    fn start_any(
        source: Source,
        projection: Arc<dyn AnyProjection>,
        settings: ProjectorSettings,
        metrics: ProjectionMetrics,
    ) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(async move {
            source.enable_images().await?;
            source.now().await?;
            let store = ProjectionStore::new(source.database(), projection.target());
            store.create().await?;
            let clock = ServerClock::read(&store.database).await?;
            let progress = watch::Sender::new(Progress::unknown(clock.now()));
            let (nudge, tasks, stop) = (
                Arc::new(Nudge::default()),
                TaskTracker::new(),
                CancellationToken::new(),
            );
            let readers = Readers::default();
            let inner = Inner {
                projection: projection.clone(),
                source: source.clone(),
                store: store.clone(),
                clock: clock.clone(),
                progress: progress.clone(),
                nudge: nudge.clone(),
                readers: readers.clone(),
                ready_lag_max: settings.ready_lag_max,
                refreshing: Arc::new(tokio::sync::Mutex::new(Instant::now())),
                tasks: tasks.clone(),
                stop: stop.clone(),
                _stop_on_drop: stop.clone().drop_guard(),
            };
            let ended = CancellationToken::new();
            let (known, heartbeat) = (progress.subscribe(), settings.heartbeat);
            tasks.spawn(
                clock
                    .clone()
                    .keep(store.database.clone(), heartbeat, ended.clone()),
            );
            tasks.spawn(keep_gauges(
                store.clone(),
                clock.clone(),
                metrics.clone(),
                known,
                heartbeat,
                ended.clone(),
            ));
            let instance = Instance {
                projection,
                source,
                store,
                clock,
                batch_size: batch_size(&settings),
                computing_size: computing_size(&settings),
                state_bytes: StateBytes::new(),
                settings,
                metrics,
                progress,
                nudge,
                readers,
                stop,
            };
            tasks.spawn(async move {
                let _ended = ended.drop_guard();
                instance.run().await;
            });
            tasks.close();
            Ok(Self {
                inner: Arc::new(inner),
            })
        })
    }

    /// Creates again what the projection needs in the database, where it is missing: pre- and post-images on
    /// the source, and the collections that its transactions write. Call it after [`Source::gone`].
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.inner.source.enable_images().await?;
        self.inner.store.create().await
    }

    /// Where the serving state is stored; `None` until the first build is done. Read it again for
    /// every query: a rebuild moves it.
    pub fn serving(&self) -> Option<Slot> {
        let serving = self.inner.progress.borrow().serving;
        serving.map(|generation| Slot::new(self.inner.projection.field(), generation))
    }

    /// Waits until the projection serves and has passed a point in time (read-your-writes). Works
    /// on every instance, leading or not. Read the targets from the primary after it, at the slot
    /// that it returns.
    ///
    /// # Errors
    /// [`BarrierError::Behind`] when it has not come so far within `limit`.
    pub async fn wait_until_passed(
        &self,
        time: OperationTime,
        limit: Duration,
    ) -> Result<Slot, BarrierError> {
        let field = self.inner.projection.field();
        let passed = |progress: &Progress| progress.slot_at(time.timestamp(), field);
        // It ends the wait of a batch, if this instance leads.
        let _waiting = self.inner.readers.enter();
        self.wait_until(passed, Some(Instant::now() + limit))
            .await
            .map_err(|error| match error {
                BarrierError::Behind { .. } => BarrierError::Behind { waited: limit },
                stopped => stopped,
            })
    }

    /// Waits until the first build is done and returns the serving slot.
    ///
    /// # Errors
    /// [`BarrierError::Stopped`] when the projection stops first.
    pub async fn wait_until_serving(&self) -> Result<Slot, BarrierError> {
        let field = self.inner.projection.field();
        self.wait_until(
            |progress| {
                progress
                    .serving
                    .map(|generation| Slot::new(field, generation))
            },
            None,
        )
        .await
    }

    async fn wait_until<T>(
        &self,
        found: impl Fn(&Progress) -> Option<T>,
        deadline: Option<Instant>,
    ) -> Result<T, BarrierError> {
        let mut progress = self.inner.progress.subscribe();
        loop {
            let leading = {
                let known = progress.borrow_and_update();
                if let Some(found) = found(&known) {
                    return Ok(found);
                }
                known.leading
            };
            if self.inner.stop.is_cancelled() {
                return Err(BarrierError::Stopped);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(BarrierError::Behind {
                    waited: Duration::ZERO,
                });
            }
            let look_again = Instant::now() + BARRIER_INTERVAL;
            let wake = deadline.map_or(look_again, |deadline| deadline.min(look_again));
            // Only the sender's end could fail this, and this handle holds it.
            let _ = timeout_at(wake, progress.changed()).await;
            if !leading {
                self.read_checkpoint().await;
            }
        }
    }

    /// The reading is a task of its own: the caller may leave, and the driver's futures must not be
    /// dropped while they wait.
    async fn read_checkpoint(&self) {
        let Ok(mut read_at) = self.inner.refreshing.clone().try_lock_owned() else {
            return;
        };
        if read_at.elapsed() < BARRIER_INTERVAL / 2 {
            return;
        }
        let (store, progress) = (self.inner.store.clone(), self.inner.progress.clone());
        let projection = self.inner.projection.clone();
        let reading = tokio::spawn(async move {
            if let Err(error) = refresh(&store, projection.name(), &progress).await {
                tracing::debug!(
                    error = %WithCauses(&error),
                    "the checkpoint could not be read for a waiting caller"
                );
            }
            *read_at = Instant::now();
        });
        // It ends early only with the runtime.
        let _ = reading.await;
    }

    /// How far the projection is behind, as this process knows.
    pub fn lag(&self) -> Lag {
        let known = self.inner.progress.borrow();
        Lag {
            behind: self.inner.clock.since(known.level),
            leading: known.leading,
        }
    }

    /// Whether the projection serves and is no further behind than
    /// [`ProjectorSettings::ready_lag_max`]. Meant for a readiness probe.
    ///
    /// # Errors
    /// [`NotReady`] says why it is not.
    pub fn ready(&self) -> Result<(), NotReady> {
        let known = self.inner.progress.borrow();
        if let Some(reason) = known.trouble.clone() {
            return Err(NotReady::Failing { reason });
        }
        if known.serving.is_none() {
            return Err(NotReady::FirstBuild);
        }
        let behind = self.inner.clock.since(known.level);
        let limit = self.inner.ready_lag_max;
        if behind > limit {
            return Err(NotReady::Behind { behind, limit });
        }
        Ok(())
    }

    /// Rebuilds the projection beside the serving one and switches over; returns after the
    /// switch. The leading instance does the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn rebuild(&self) -> Result<(), Error> {
        self.command(REBUILD).await.map(|_| ())
    }

    /// Makes the leading instance compute the states of these targets again soon: for targets that were created
    /// after their source documents, for example.
    ///
    /// # Errors
    /// When the marks cannot be stored.
    pub async fn mark_for_repair(&self, targets: Vec<Bson>) -> Result<(), Error> {
        if targets.is_empty() {
            return Ok(());
        }
        let (store, projection) = (self.inner.store.clone(), self.inner.projection.clone());
        // In a task: a caller that leaves must not drop it half-way.
        let marking = tokio::spawn(async move {
            let marks: Vec<Document> = targets.iter().map(|target| {
                let row = doc! { "$set": { "reason": "it is new", "at": DateTime::now() } };
                doc! { "q": { "_id": repair_id(projection.name(), target) }, "u": row, "upsert": true }
            }).collect();
            let mark = doc! {
                "update": store.repairs.name(), "updates": marks, "ordered": false,
                "writeConcern": { "w": "majority" },
            };
            store.database.run_command(mark).await
        });
        let marked = marking
            .await
            .map_err(|_| Error::TaskEnded("the marking of targets"))?;
        marked.map_err(|source| Error::Database {
            doing: "marking targets for repair",
            source,
        })?;
        self.inner.nudge.notify_one();
        Ok(())
    }

    /// Tries all dead letters again, by computing their targets again. The leading instance does the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn replay_dead_letters(&self) -> Result<Replayed, Error> {
        let result = self.command(REPLAY).await?;
        let number = |field| {
            result
                .get_i64(field)
                .ok()
                .and_then(|number| u64::try_from(number).ok())
                .unwrap_or(0)
        };
        Ok(Replayed {
            replayed: number("replayed"),
            remaining: number("remaining"),
        })
    }

    /// A task of its own, for the same reason as [`Projector::read_checkpoint`]. One whose caller has
    /// left goes on until the projection stops.
    async fn command(&self, kind: &'static str) -> Result<bson::Document, Error> {
        let (store, nudge) = (self.inner.store.clone(), self.inner.nudge.clone());
        let (projection, stop) = (self.inner.projection.clone(), self.inner.stop.clone());
        let passing = tokio::spawn(async move {
            let nudge = || nudge.notify_one();
            request(&store, projection.name(), kind, nudge, &stop).await
        });
        let ended = || Error::TaskEnded("the passing of a command");
        passing.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Returns when the projection has ended: after [`Projector::stop`], or by a bug.
    ///
    /// # Errors
    /// [`Error::TaskEnded`] when [`Projector::stop`] was not called.
    pub async fn finished(&self) -> Result<(), Error> {
        self.inner.tasks.wait().await;
        if self.inner.stop.is_cancelled() {
            Ok(())
        } else {
            Err(Error::TaskEnded("the projection"))
        }
    }

    /// Ends the projection after the batch under way, gives the lease up and waits for the end.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.wait().await;
    }
}

fn batch_size(settings: &ProjectorSettings) -> TransactionSize {
    let most = Size {
        changes: settings.batch_count_max,
        targets: settings.batch_targets_max,
        bytes: settings.batch_bytes_max,
    };
    TransactionSize::new(most, BATCH_SHARE_FIRST, settings.commit_aim)
}

fn computing_size(settings: &ProjectorSettings) -> TransactionSize {
    let most = Size {
        changes: settings.build_chunk,
        targets: settings.build_chunk,
        bytes: settings.batch_bytes_max,
    };
    TransactionSize::new(most, COMPUTING_SHARE_FIRST, settings.commit_aim)
}
