//! The handle of a running projection.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::server_clock::ServerClock;
use crate::{
    BarrierError, Error, NotReady, OperationTime, ProjectionMetrics, ProjectorSettings, Source,
    WithCauses,
};

use super::any_projection::AnyProjection;
use super::board::{Board, Known, Of};
use super::coordinator::{Coordinator, Nudges, Shared};
use super::instance::{keep_gauges, tell_of_set};
use super::linger::Readers;
use super::partition::{Part, SetId};
use super::progress::Progress;
use super::requests::{REBUILD, REPLAY, request};
use super::sets::SetStore;
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
    sets: SetStore,
    clock: ServerClock,
    metrics: ProjectionMetrics,
    board: Board,
    nudges: Nudges,
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
            let shared = Shared {
                sets: SetStore::new(store.clone(), projection.name()),
                projection,
                source,
                board: Board::new(clock.now()),
                store,
                clock,
                settings,
                metrics,
                readers: Readers::default(),
                nudges: Nudges::default(),
                on_duty: Arc::default(),
                stop: CancellationToken::new(),
                tasks: TaskTracker::new(),
            };
            let inner = Inner::new(&shared);
            let (tasks, ended) = (shared.tasks.clone(), CancellationToken::new());
            let clock = shared.clock.clone();
            let heartbeat = shared.settings.heartbeat;
            tasks.spawn(clock.clone().keep(
                shared.store.database.clone(),
                heartbeat,
                ended.clone(),
            ));
            tasks.spawn(keep_gauges(
                shared.store.clone(),
                clock,
                shared.metrics.clone(),
                shared.board.subscribe(),
                heartbeat,
                ended.clone(),
            ));
            let ended = ended.drop_guard();
            let coordinator = Coordinator::start(shared).await?;
            tasks.spawn(async move {
                let _ended = ended;
                // A panic ends its partitions, too, so that `finished` returns.
                if AssertUnwindSafe(coordinator.run())
                    .catch_unwind()
                    .await
                    .is_err()
                {
                    tracing::error!(
                        "the task that decides who leads the projection has panicked: the projection ends in this process"
                    );
                }
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
        self.inner
            .board
            .borrow()
            .slot(self.inner.projection.field())
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
        self.wait_until_passed_of(Of::All, time, limit).await
    }

    /// As [`Projector::wait_until_passed`], for whoever reads one target: it waits for the partition alone to which this
    /// target belongs.
    ///
    /// # Errors
    /// [`BarrierError::Behind`] when it has not come so far within `limit`.
    pub async fn wait_until_passed_for(
        &self,
        target: &Bson,
        time: OperationTime,
        limit: Duration,
    ) -> Result<Slot, BarrierError> {
        self.wait_until_passed_of(Of::target(target), time, limit)
            .await
    }

    async fn wait_until_passed_of(
        &self,
        of: Of,
        time: OperationTime,
        limit: Duration,
    ) -> Result<Slot, BarrierError> {
        let field = self.inner.projection.field();
        let passed = |known: &Known| known.slot_at(time.timestamp(), of, field);
        // It ends the wait of a batch, if this instance leads.
        let _waiting = self.inner.readers.enter(of);
        self.wait_until(passed, of, Some(Instant::now() + limit))
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
        self.wait_until(|known| known.slot(field), Of::All, None)
            .await
    }

    async fn wait_until<T>(
        &self,
        found: impl Fn(&Known) -> Option<T>,
        of: Of,
        deadline: Option<Instant>,
    ) -> Result<T, BarrierError> {
        let mut board = self.inner.board.subscribe();
        loop {
            let written_elsewhere = {
                let known = board.borrow_and_update();
                if let Some(found) = found(&known) {
                    return Ok(found);
                }
                known.written_elsewhere(of)
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
            let _ = timeout_at(wake, board.changed()).await;
            if !written_elsewhere.is_empty() {
                self.read_checkpoints(written_elsewhere).await;
            }
        }
    }

    /// The reading is a task of its own: the caller may leave, and the driver's futures must not be
    /// dropped while they wait.
    async fn read_checkpoints(&self, of: Vec<(SetId, u32)>) {
        let Ok(mut read_at) = self.inner.refreshing.clone().try_lock_owned() else {
            return;
        };
        if read_at.elapsed() < BARRIER_INTERVAL / 2 {
            return;
        }
        let (sets, board) = (self.inner.sets.clone(), self.inner.board.clone());
        let projection = self.inner.projection.clone();
        let reading = tokio::spawn(async move {
            let parts = of
                .into_iter()
                .map(|(set, number)| Part::new(projection.name(), set, number));
            let parts: Vec<Part> = parts.collect();
            let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
            match sets.checkpoints(&names).await {
                Ok(stored) => {
                    for checkpoint in stored {
                        if let Some(part) = parts.iter().find(|part| part.name == checkpoint.name) {
                            let progress = board.part(part.set, part.number);
                            progress.offer(Progress::from_checkpoint(&checkpoint, false));
                        }
                    }
                }
                Err(error) => tracing::debug!(
                    error = %WithCauses(&error),
                    "the checkpoint could not be read for a waiting caller"
                ),
            }
            *read_at = Instant::now();
        });
        // It ends early only with the runtime.
        let _ = reading.await;
    }

    /// How far the projection is behind, as this process knows.
    pub fn lag(&self) -> Lag {
        let known = self.inner.board.borrow();
        Lag {
            behind: self.inner.clock.since(known.level()),
            leading: known.is_leading(),
        }
    }

    /// Whether the projection serves and is no further behind than
    /// [`ProjectorSettings::ready_lag_max`]. Meant for a readiness probe.
    ///
    /// # Errors
    /// [`NotReady`] says why it is not.
    pub fn ready(&self) -> Result<(), NotReady> {
        let known = self.inner.board.borrow();
        if let Some(reason) = known.trouble().map(str::to_owned) {
            return Err(NotReady::Failing { reason });
        }
        if known.slot(self.inner.projection.field()).is_none() {
            return Err(NotReady::FirstBuild);
        }
        let behind = self.inner.clock.since(known.level());
        let limit = self.inner.ready_lag_max;
        if behind > limit {
            return Err(NotReady::Behind { behind, limit });
        }
        Ok(())
    }

    /// Rebuilds the projection beside the serving one and switches over; returns after the
    /// switch. The leading instances do the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn rebuild(&self) -> Result<(), Error> {
        let inner = self.inner.clone();
        let rebuilding = tokio::spawn(async move { inner.rebuild().await });
        let ended = || Error::TaskEnded("the passing of a command");
        rebuilding.await.unwrap_or_else(|_| Err(ended()))
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
        let (store, sets) = (self.inner.store.clone(), self.inner.sets.clone());
        // In a task: a caller that leaves must not drop it half-way.
        let marking = tokio::spawn(async move {
            // For each set that there is now. One that begins later builds what is there by then.
            let marks = sets.names_for(&targets).await?;
            let marks = marks.iter().map(|(name, target)| {
                let row = doc! { "$set": { "reason": "it is new", "at": DateTime::now() } };
                doc! { "q": { "_id": repair_id(name, target) }, "u": row, "upsert": true }
            });
            let marks: Vec<Document> = marks.collect();
            let mark = doc! {
                "update": store.repairs.name(), "updates": marks, "ordered": false,
                "writeConcern": { "w": "majority" },
            };
            let marked = store.database.run_command(mark).await;
            marked.map_err(|source| Error::Database {
                doing: "marking targets for repair",
                source,
            })
        });
        let ended = || Error::TaskEnded("the marking of targets");
        marking.await.unwrap_or_else(|_| Err(ended()))?;
        self.inner.nudges.notify();
        Ok(())
    }

    /// Tries all dead letters again, by computing their targets again. The leading instances do the work.
    ///
    /// # Errors
    /// When the request cannot be stored or read.
    pub async fn replay_dead_letters(&self) -> Result<Replayed, Error> {
        let inner = self.inner.clone();
        let replaying = tokio::spawn(async move { inner.replay_dead_letters().await });
        let ended = || Error::TaskEnded("the passing of a command");
        replaying.await.unwrap_or_else(|_| Err(ended()))
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

impl Inner {
    fn new(shared: &Shared) -> Self {
        Self {
            projection: shared.projection.clone(),
            source: shared.source.clone(),
            store: shared.store.clone(),
            sets: shared.sets.clone(),
            clock: shared.clock.clone(),
            metrics: shared.metrics.clone(),
            board: shared.board.clone(),
            nudges: shared.nudges.clone(),
            readers: shared.readers.clone(),
            ready_lag_max: shared.settings.ready_lag_max,
            refreshing: Arc::new(tokio::sync::Mutex::new(Instant::now())),
            tasks: shared.tasks.clone(),
            stop: shared.stop.clone(),
            _stop_on_drop: shared.stop.clone().drop_guard(),
        }
    }

    /// Run in a task of its own, for the same reason as [`Projector::read_checkpoints`]. One whose caller has
    /// left goes on until the projection stops.
    async fn rebuild(&self) -> Result<(), Error> {
        let begun = loop {
            let Some(sets) = self.sets.read().await? else {
                let whole = Part::new(self.projection.name(), SetId::WHOLE, 0);
                match self.command(&whole, REBUILD).await? {
                    Some(_) => return Ok(()),
                    // It is divided by now.
                    None => continue,
                }
            };
            if let Some(set) = sets.building {
                break set;
            }
            if let Some(set) = self.sets.begin(&sets, self.clock.now()).await? {
                tell_of_set(self.projection.name(), &self.metrics, set, "a command");
                self.nudges.notify();
                break set;
            }
        };
        loop {
            let sets = self.sets.read().await?;
            let is_built = |serving: SetId| serving.generation >= begun.generation;
            if sets.is_none_or(|sets| sets.serving.is_some_and(is_built)) {
                self.nudges.notify();
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(BARRIER_INTERVAL) => {}
                () = self.stop.cancelled() => return Err(Error::TaskEnded("the projection")),
            }
        }
    }

    async fn replay_dead_letters(&self) -> Result<Replayed, Error> {
        let mut replayed = 0;
        loop {
            let set = match self.sets.read().await? {
                None => SetId::WHOLE,
                Some(sets) => sets.serving.or(sets.building).unwrap_or(SetId::WHOLE),
            };
            // Those of a set that was replaced meanwhile are replayed by its successor; what it did is done.
            if let Some(remaining) = self.replay_of(set, &mut replayed).await? {
                return Ok(Replayed {
                    replayed,
                    remaining,
                });
            }
        }
    }

    /// Has all partitions of a set replay their dead letters, and adds how many were. Returns how many remain; `None` when a
    /// partition is gone.
    async fn replay_of(&self, set: SetId, replayed: &mut u64) -> Result<Option<u64>, Error> {
        let mut remaining = 0;
        for part in set.parts(self.projection.name()) {
            let Some(result) = self.command(&part, REPLAY).await? else {
                return Ok(None);
            };
            let number = |field| {
                let number = result.get_i64(field).ok();
                number
                    .and_then(|number| u64::try_from(number).ok())
                    .unwrap_or(0)
            };
            *replayed += number("replayed");
            remaining += number("remaining");
        }
        Ok(Some(remaining))
    }

    async fn command(&self, part: &Part, kind: &'static str) -> Result<Option<Document>, Error> {
        let nudge = || self.nudges.notify();
        request(&self.store, part, kind, nudge, &self.stop).await
    }
}

pub(crate) fn batch_size(settings: &ProjectorSettings) -> TransactionSize {
    let most = Size {
        changes: settings.batch_count_max,
        targets: settings.batch_targets_max,
        bytes: settings.batch_bytes_max,
    };
    TransactionSize::new(most, BATCH_SHARE_FIRST, settings.commit_aim)
}

pub(crate) fn computing_size(settings: &ProjectorSettings) -> TransactionSize {
    let most = Size {
        changes: settings.build_chunk,
        targets: settings.build_chunk,
        bytes: settings.batch_bytes_max,
    };
    TransactionSize::new(most, COMPUTING_SHARE_FIRST, settings.commit_aim)
}
