//! Runs the partitions of this process, and decides with the other instances which of them lead which.
//!
//! A projection that was never divided has one partition that every instance may lead: there is nothing to decide, and
//! all that is done here is a look at each heartbeat whether it was divided meanwhile. Otherwise each look says that this
//! instance lives, reads leases and checkpoints of all partitions in one query each, and gives each partition that runs
//! here its duty ([`super::balance`]). What must hold does not depend on it: a partition is written by whoever holds its
//! checkpoint, whatever is decided here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::DateTime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::server_clock::ServerClock;
use crate::{Error, ProjectionMetrics, ProjectorSettings, Source, WithCauses};

use super::any_projection::AnyProjection;
use super::balance::{Seen, duties};
use super::board::Board;
use super::checkpoint::Checkpoint;
use super::compute::StateBytes;
use super::instance::{Instance, Nudge, RUN_OUT, tell_of_set};
use super::linger::Readers;
use super::partition::{Part, SetId};
use super::progress::Progress;
use super::projector::{batch_size, computing_size};
use super::sets::{Retiring, SeenLease, SetStore, Sets};
use super::store::ProjectionStore;

/// A free partition that nobody has taken for so many heartbeats may be taken by anybody.
const HEARTBEATS_BEFORE_ABANDONED: u32 = 2;
/// Heartbeats, and stored positions of a quiet stream, after which no instance reads a replaced set any more.
const HEARTBEATS_BEFORE_RETIREMENT: u32 = 10;
const IDLE_CHECKPOINTS_BEFORE_RETIREMENT: u32 = 2;

/// What the partitions of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub projection: Arc<dyn AnyProjection>,
    pub source: Source,
    pub store: ProjectionStore,
    pub sets: SetStore,
    pub clock: ServerClock,
    pub settings: ProjectorSettings,
    pub metrics: ProjectionMetrics,
    pub board: Board,
    pub readers: Readers,
    pub nudges: Nudges,
    /// How many partitions this process should lead.
    pub on_duty: Arc<AtomicUsize>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

/// Wakes the leaders of this process: there is a command. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nudges {
    parts: Arc<Mutex<Vec<NudgeOfPart>>>,
    coordinator: Arc<Notify>,
}

/// The leases that there are, by name.
type Leases = HashMap<String, SeenLease>;

/// The set that a partition is of, and what wakes its leader.
type NudgeOfPart = (SetId, Arc<Nudge>);

impl Nudges {
    pub fn notify(&self) {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(|(_, nudge)| nudge.notify_one());
        self.coordinator.notify_one();
    }

    fn add(&self, set: SetId) -> Arc<Nudge> {
        let nudge = Arc::new(Nudge::default());
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((set, nudge.clone()));
        nudge
    }

    fn remove(&self, set: SetId) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|(of, _)| *of != set);
    }
}

/// The partitions of one process.
pub(crate) struct Coordinator {
    shared: Shared,
    owner: String,
    running: Vec<RunningSet>,
    /// Since when this instance has seen a partition free.
    free_since: HashMap<String, Instant>,
    /// Whether this instance has said that it lives.
    is_member: bool,
    /// The replaced set that nobody should read any more, and since when this is so.
    unread: Option<(Retiring, Instant)>,
    /// The removal of a replaced set.
    removal: Option<JoinHandle<()>>,
}

struct RunningSet {
    id: SetId,
    parts: Vec<RunningPart>,
    /// Its partitions end with it, also where it is dropped by a panic: nobody decides their duties any more.
    _stop: DropGuard,
}

struct RunningPart {
    part: Part,
    duty: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Whether an instance with these settings decides how many partitions there are.
fn asks(settings: &ProjectorSettings) -> bool {
    settings.leads && !settings.for_command
}

impl Coordinator {
    /// Asks for the number of partitions that this process is set to, and begins.
    pub async fn start(shared: Shared) -> Result<Self, Error> {
        let wanted = shared.settings.partitions;
        let sets = match asks(&shared.settings) {
            false => shared.sets.read().await?,
            true => shared.sets.want(wanted, shared.clock.now()).await?,
        };
        let mut coordinator = Self {
            shared,
            owner: uuid::Uuid::new_v4().to_string(),
            running: Vec::new(),
            free_since: HashMap::new(),
            is_member: false,
            unread: None,
            removal: None,
        };
        coordinator.run_sets(sets.as_ref());
        Ok(coordinator)
    }

    /// Goes on until the projection is stopped, or one of its tasks has ended by a bug.
    pub async fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.nudges.coordinator.notified() => {}
                () = self.shared.stop.cancelled() => break,
            }
            pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(
                        error = %WithCauses(&error),
                        projection = self.shared.projection.name(),
                        "the partitions could not be read, will retry"
                    );
                    self.shared.settings.heartbeat
                }
            };
            let mut parts = self.running.iter().flat_map(|set| &set.parts);
            if parts.any(|part| part.task.is_finished()) && !self.shared.stop.is_cancelled() {
                break;
            }
        }
        // Each set ends as it is dropped.
        let parts = self.running.drain(..).flat_map(|set| set.parts);
        let parts = parts.map(|part| part.task).collect::<Vec<_>>();
        // At once: what a partition gives up is not for an instance that ends.
        let leaving = async {
            if self.is_member
                && let Err(error) = self.shared.sets.leave(&self.owner).await
            {
                tracing::debug!(
                    error = %WithCauses(&error),
                    "the instance could not take its leave: the others miss it soon"
                );
            }
        };
        let ending = async {
            for part in parts {
                // It ends otherwise only by a bug, which its log tells.
                let _ = part.await;
            }
        };
        tokio::join!(leaving, ending);
    }

    /// One look at everything. Returns when to look again.
    async fn look(&mut self) -> Result<Duration, Error> {
        let heartbeat = self.shared.settings.heartbeat;
        let leads = self.shared.settings.leads;
        let Some(mut sets) = self.read_sets().await? else {
            self.run_sets(None);
            if !leads {
                self.read_checkpoints().await?;
            }
            return Ok(heartbeat);
        };
        if leads && sets.lacks_wanted() {
            let begun = self.shared.sets.begin(&sets, self.shared.clock.now());
            if let Some(set) = begun.await? {
                let reason = match sets.serving {
                    Some(_) => "another number of partitions is asked for",
                    None => "the first start",
                };
                self.tell_of_set(set, reason);
            }
            let Some(now) = self.shared.sets.read().await? else {
                return Ok(Duration::ZERO);
            };
            sets = now;
        }
        self.run_sets(Some(&sets));
        let is_building = i64::from(sets.building.is_some());
        self.shared.metrics.rebuilding.set(is_building);

        let mut next = Duration::MAX;
        let leases = if self.stands_aside().await? {
            self.give_all_up();
            None
        } else {
            self.is_member = true;
            let silence = self.silence();
            let members = self.shared.sets.members(&self.owner, silence).await?;
            let leases = self.shared.sets.leases(&self.names()).await?;
            let leases: Leases = leases.into_iter().collect();
            next = self.decide(&members, &leases);
            Some(leases)
        };
        let checkpoints = self.read_checkpoints().await?;
        if !leads {
            return Ok(heartbeat);
        }
        if let Some(leases) = leases
            && self.replace_broken(&sets, &leases, &checkpoints).await?
        {
            return Ok(Duration::ZERO);
        }
        if self.switch(&sets, &checkpoints).await? {
            return Ok(Duration::ZERO);
        }
        self.remove_retired(&sets, &checkpoints);
        Ok(next.min(heartbeat))
    }

    async fn read_sets(&self) -> Result<Option<Sets>, Error> {
        let (sets, wanted) = (&self.shared.sets, self.shared.settings.partitions);
        let asks = asks(&self.shared.settings);
        match sets.read().await? {
            // The database may have been dropped.
            None if wanted > 1 && asks => sets.want(wanted, self.shared.clock.now()).await,
            sets => Ok(sets),
        }
    }

    /// Whether this instance leaves the work to others: because it is set so, or because it runs a command while others
    /// live. A command is over soon, and what it led would have to be taken over again.
    async fn stands_aside(&mut self) -> Result<bool, Error> {
        if !self.shared.settings.leads {
            return Ok(true);
        }
        if !self.shared.settings.for_command {
            return Ok(false);
        }
        let living = self.shared.sets.living(self.silence()).await?;
        let is_aside = living.iter().any(|member| *member != self.owner);
        if is_aside && self.is_member {
            self.shared.sets.leave(&self.owner).await?;
            self.is_member = false;
        }
        Ok(is_aside)
    }

    fn give_all_up(&mut self) {
        self.free_since.clear();
        for part in self.parts() {
            part.duty.send_if_modified(std::mem::take);
        }
    }

    /// An instance that says nothing for so long does not count any more: a little less than a lease, so that what a
    /// dead one held is not kept for it.
    fn silence(&self) -> Duration {
        let (lease, heartbeat) = (self.shared.settings.lease, self.shared.settings.heartbeat);
        lease.saturating_sub(heartbeat).max(2 * heartbeat)
    }

    /// Starts the partitions of new sets, and ends those of sets that are gone.
    fn run_sets(&mut self, sets: Option<&Sets>) {
        let wanted: Vec<SetId> = match sets {
            Some(sets) => sets.maintained().collect(),
            None => vec![SetId::WHOLE],
        };
        for set in self.running.extract_if(.., |set| !wanted.contains(&set.id)) {
            self.shared.board.remove(set.id);
            self.shared.nudges.remove(set.id);
        }
        let leads = sets.is_none() && self.shared.settings.leads;
        for set in wanted {
            if !self.running.iter().any(|running| running.id == set) {
                self.run_set(set, leads);
            }
        }
        self.shared.board.serve(match sets {
            Some(sets) => sets.serving,
            None => Some(SetId::WHOLE),
        });
    }

    fn run_set(&mut self, id: SetId, leads: bool) {
        let shared = &self.shared;
        shared.board.add(id, shared.clock.now());
        let stop = shared.stop.child_token();
        let parts = id.parts(shared.projection.name()).map(|part| {
            let (duty, on_duty) = watch::channel(leads);
            let instance = Instance {
                projection: shared.projection.clone(),
                owner: self.owner.clone(),
                source: shared.source.clone(),
                store: shared.store.clone(),
                sets: shared.sets.clone(),
                clock: shared.clock.clone(),
                batch_size: batch_size(&shared.settings),
                computing_size: computing_size(&shared.settings),
                state_bytes: StateBytes::new(),
                settings: shared.settings.clone(),
                metrics: shared.metrics.clone(),
                progress: shared.board.part(id, part.number),
                duty: on_duty,
                nudge: shared.nudges.add(id),
                readers: shared.readers.clone(),
                on_duty: shared.on_duty.clone(),
                stop: stop.clone(),
                part: part.clone(),
            };
            let task = shared.tasks.spawn(instance.run());
            RunningPart { part, duty, task }
        });
        let parts = parts.collect();
        self.running.push(RunningSet {
            id,
            parts,
            _stop: stop.drop_guard(),
        });
    }

    fn parts(&self) -> impl Iterator<Item = &RunningPart> {
        self.running.iter().flat_map(|set| &set.parts)
    }

    fn names(&self) -> Vec<String> {
        self.parts().map(|part| part.part.name.clone()).collect()
    }

    /// Gives each partition its duty. Returns when a lease may run out, if that is before the next heartbeat.
    fn decide(&mut self, members: &[String], leases: &Leases) -> Duration {
        let patience = HEARTBEATS_BEFORE_ABANDONED * self.shared.settings.heartbeat;
        let now = Instant::now();
        let mut next = Duration::MAX;
        let mut free = HashMap::new();
        let mut seen = Vec::new();
        for name in self.names() {
            let SeenLease { held, failed_at } = leases.get(&name).cloned().unwrap_or_default();
            let mut is_abandoned = false;
            match &held {
                Some((owner, left)) if *owner != self.owner => next = next.min(*left + RUN_OUT),
                Some(_) => {}
                None => {
                    let since = self.free_since.get(&name).copied().unwrap_or(now);
                    is_abandoned = now.duration_since(since) > patience;
                    free.insert(name, since);
                }
            }
            seen.push(Seen {
                owner: held.map(|(owner, _)| owner),
                is_abandoned,
                failed_at,
            });
        }
        self.free_since = free;
        let duties = duties(&self.owner, members, &seen);
        let on_duty = duties.iter().filter(|leads| **leads).count();
        self.shared.on_duty.store(on_duty, Ordering::Relaxed);
        for (part, leads) in self.parts().zip(duties) {
            part.duty.send_if_modified(|duty| {
                let is_news = *duty != leads;
                *duty = leads;
                is_news
            });
        }
        next
    }

    /// Has a set replaced of which a checkpoint or a lease is gone: they came with the set, and nothing else makes them.
    /// Returns whether it was.
    async fn replace_broken(
        &self,
        sets: &Sets,
        leases: &Leases,
        checkpoints: &HashMap<String, Checkpoint>,
    ) -> Result<bool, Error> {
        let is_whole = |part: &Part| {
            // That of a projection that was never divided is made by its leader.
            part.is_whole()
                || leases.contains_key(&part.name) && checkpoints.contains_key(&part.name)
        };
        let projection = self.shared.projection.name();
        // One that is being built first: it replaces the other one.
        for set in sets.building.into_iter().chain(sets.serving) {
            if set.parts(projection).all(|part| is_whole(&part)) {
                continue;
            }
            // Nothing is done if it was replaced meanwhile.
            let begun = self.shared.sets.begin_instead(set, self.shared.clock.now());
            if let Some(begun) = begun.await? {
                self.tell_of_set(begun, "a checkpoint or a lease of a partition is gone");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the checkpoints of all partitions and publishes them.
    async fn read_checkpoints(&self) -> Result<HashMap<String, Checkpoint>, Error> {
        let stored = self.shared.sets.checkpoints(&self.names()).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|it| (it.name.clone(), it)).collect();
        for RunningPart { part, .. } in self.parts() {
            if let Some(checkpoint) = stored.get(&part.name) {
                let progress = self.shared.board.part(part.set, part.number);
                progress.offer(Progress::from_checkpoint(checkpoint, false));
            }
        }
        Ok(stored)
    }

    /// Lets the set under construction serve when all of its partitions are complete.
    async fn switch(
        &self,
        sets: &Sets,
        checkpoints: &HashMap<String, Checkpoint>,
    ) -> Result<bool, Error> {
        let Some(set) = sets.building else {
            return Ok(false);
        };
        let projection = self.shared.projection.name();
        let is_complete = |part: Part| {
            checkpoints
                .get(&part.name)
                .is_some_and(Checkpoint::is_complete)
        };
        if !set.parts(projection).all(is_complete)
            || !self.has_caught_up(set, sets.serving, checkpoints)
        {
            return Ok(false);
        }
        let switched = self
            .shared
            .sets
            .switch(sets, self.shared.clock.now())
            .await?;
        if switched {
            tracing::info!(
                projection,
                generation = set.generation,
                partitions = set.count,
                "the new build of the projection is complete and serves from now on"
            );
        }
        Ok(switched)
    }

    /// Whether each partition of the new set is about as far as the one that is furthest of the set that serves, so that
    /// readers need not wait long for it. Not asked where the serving set stands still.
    fn has_caught_up(
        &self,
        new: SetId,
        serving: Option<SetId>,
        checkpoints: &HashMap<String, Checkpoint>,
    ) -> bool {
        let projection = self.shared.projection.name();
        let Some(serving) = serving else { return true };
        let mut highest = 0;
        for part in serving.parts(projection) {
            match checkpoints.get(&part.name) {
                Some(stored) if stored.intact => highest = highest.max(stored.position.time),
                _ => return true,
            }
        }
        // A quiet stream's position is stored so often.
        let settings = &self.shared.settings;
        let behind = settings.heartbeat + settings.idle_checkpoint;
        let behind = u32::try_from(behind.as_secs() + 1).unwrap_or(u32::MAX);
        new.parts(projection).all(|part| {
            let stored = checkpoints.get(&part.name);
            stored.is_some_and(|it| it.position.time.saturating_add(behind) >= highest)
        })
    }

    /// Removes sets that no reader uses any more, one at a time: one instance does, the one that leads the first partition.
    /// In a task of its own: it takes as long as all targets take, and what leads is decided meanwhile.
    fn remove_retired(&mut self, sets: &Sets, checkpoints: &HashMap<String, Checkpoint>) {
        self.removal.take_if(|removal| removal.is_finished());
        let due = self.due(sets, checkpoints);
        let now = Instant::now();
        let since = match self.unread {
            Some((unread, since)) if Some(unread) == due => since,
            _ => now,
        };
        self.unread = due.map(|due| (due, since));
        // The others learn with their next look how far the new set has come.
        let patience = HEARTBEATS_BEFORE_ABANDONED * self.shared.settings.heartbeat;
        // Before the first set serves there may be some that were given up.
        let leads_first = sets
            .serving
            .or(sets.building)
            .is_some_and(|set| self.shared.board.part(set, 0).is_leading());
        let Some(retiring) = due.filter(|_| leads_first && now.duration_since(since) > patience)
        else {
            return;
        };
        if self.removal.is_some() {
            return;
        }
        let (store, sets) = (self.shared.sets.clone(), sets.clone());
        let projection = self.shared.projection.clone();
        self.removal = Some(self.shared.tasks.spawn(async move {
            let removed = store.remove(&sets, retiring, projection.field()).await;
            if let Err(error) = removed {
                tracing::debug!(
                    error = %WithCauses(&error),
                    projection = projection.name(),
                    "replaced partitions could not be removed, will retry"
                );
            }
        }));
    }

    /// A replaced set that no instance reads any more: it never served, or the time for that is over, and each partition
    /// of the set that serves has come further than readers of the replaced one can have seen.
    fn due(&self, sets: &Sets, checkpoints: &HashMap<String, Checkpoint>) -> Option<Retiring> {
        if let Some(unread) = sets.retiring.iter().find(|it| !it.served) {
            return Some(*unread);
        }
        let settings = &self.shared.settings;
        let notice = settings.heartbeat * HEARTBEATS_BEFORE_RETIREMENT;
        let grace = notice + settings.idle_checkpoint * IDLE_CHECKPOINTS_BEFORE_RETIREMENT;
        let mut lowest = u32::MAX;
        for part in sets.serving?.parts(self.shared.projection.name()) {
            let stored = checkpoints.get(&part.name).filter(|it| it.is_complete())?;
            lowest = lowest.min(stored.position.time);
        }
        let lowest = i64::from(lowest) * 1000;
        let notice = i64::try_from(notice.as_millis()).unwrap_or(i64::MAX);
        let is_due = |since: DateTime| {
            self.shared.clock.since(since) > grace
                && lowest > since.timestamp_millis().saturating_add(notice)
        };
        let due = sets.retiring.iter().find(|it| is_due(it.since));
        due.copied()
    }

    fn tell_of_set(&self, set: SetId, reason: &str) {
        let name = self.shared.projection.name();
        tell_of_set(name, &self.shared.metrics, set, reason);
    }
}
