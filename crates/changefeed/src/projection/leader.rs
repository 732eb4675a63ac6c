//! The leader: follows the stream, batch by batch, and does the chores in between.

use std::collections::HashSet;
use std::time::Duration;

use bson::{Bson, DateTime, Timestamp};
use mongodb::ClientSession;
use tokio::time::Instant;

use crate::stream::{self, Content, LossPause, Pace, Signal, Start};
use crate::{Error, ResumeToken, WithCauses, marker};

use super::Slot;
use super::audit::DivergentShare;
use super::batch::{Intake, gather};
use super::checkpoint::{Checkpoint, claim};
use super::failures::Failures;
use super::give_way::GiveWay;
use super::instance::Instance;
use super::lease::HeldLease;
use super::linger::{Linger, Rate};
use super::progress::Progress;
use super::transaction::{Refusal, Writes};
use super::transaction_size::Size;

/// Events in one answer of the server's: enough to make the command's own cost small, few enough to keep
/// an answer of large events below its 16 MB.
const ANSWER_COUNT_MAX: u32 = 128;
/// What each of several leaders of a process reads ahead at least.
const AHEAD_BYTES_LEAST: usize = 2 << 20;
/// How long after changes for other partitions alone a partition stores how far it has come.
const PASSED_CHECKPOINT: Duration = Duration::from_millis(50);
/// After failures alone for so long the leader starts afresh, with another session.
const FAILING_MAX: Duration = Duration::from_secs(60);

/// Why a leader stopped leading.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The process wants to stop.
    Stopped,
    /// Another instance has taken the checkpoint over.
    Superseded,
    /// A fault; leading again from the stored checkpoint may heal it.
    Fault(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// Why the writes of a transaction were given up.
pub(crate) enum Uncommitted {
    Ended(Ended),
    /// A passing fault, or more than the server takes at once: try again with less.
    Failed(Error),
    /// The server refuses them, because of this target if it says so.
    Refused {
        target: Option<Bson>,
        reason: String,
    },
}

/// Where a stream has come without a change to apply.
#[derive(Clone)]
pub(crate) struct Idle {
    pub token: ResumeToken,
    /// Every change up to this time is applied.
    pub position: Timestamp,
    /// When the state was level with the source, on the server's clock; `None` while it is.
    pub level: Option<DateTime>,
}

impl Idle {
    /// Whether this is still news after a commit with this position, which may have moved the stream on. What the stream
    /// had passed before a change is behind that change, even where its position is ahead (that of a change of a
    /// transaction is before its time): stored later, it would have the change folded twice.
    fn stays_after(&self, moved_on: bool, position: Timestamp) -> bool {
        !moved_on && self.position > position
    }
}

/// One leadership, from the claim of the checkpoint to its end.
pub(crate) struct Leader<'m> {
    pub instance: &'m Instance,
    pub held: &'m HeldLease,
    /// Causally consistent: a node that was elected just now may not know yet that what an older
    /// leader wrote is committed, and a read outside of this session could miss it.
    pub session: ClientSession,
    /// The checkpoint as it is stored: what the next write compares with.
    pub checkpoint: Checkpoint,
    /// Where the quiet stream has come since, not stored yet.
    pub idle: Option<Idle>,
    /// Whether there may be targets to compute again.
    pub repairs_pending: bool,
    /// Targets whose repair failed: tried again with the next audit.
    pub deferred: HashSet<Bson>,
    /// What keeps the build from going on.
    pub trouble: Option<String>,
    pub failures: Failures,
    pub give_way: GiveWay,
    pub rate: Rate,
    /// How many leaders the process had when the stream was opened.
    pub leaders: usize,
    /// Changes to come among whose targets one may have ended the server.
    pub suspects: usize,
    pub heartbeat_at: Instant,
    pub audit_at: Instant,
    pub divergent_share: DivergentShare,
    pub idle_checkpoint_at: Instant,
    pub retire_at: Option<Instant>,
}

impl<'m> Leader<'m> {
    /// Takes the checkpoint over and leads until the end.
    pub async fn lead(instance: &'m Instance, held: &'m mut HeldLease) -> Ended {
        match Self::claim(instance, held).await {
            Ok(Some(mut leader)) => match leader.run().await {
                Ok(()) => Ended::Stopped,
                Err(ended) => ended,
            },
            Ok(None) => Ended::Superseded,
            Err(error) => Ended::Fault(error),
        }
    }

    async fn claim(instance: &'m Instance, held: &'m mut HeldLease) -> Result<Option<Self>, Error> {
        marker::reach(marker::TAKEOVER).await;
        let mut session = held
            .session
            .take()
            .ok_or(Error::TaskEnded("the leader's session"))?;
        let claimed = claim(&instance.store, &instance.part, held.epoch, &mut session);
        let Some(checkpoint) = claimed.await? else {
            return Ok(None);
        };
        instance.metrics.takeovers.inc();
        instance.metrics.epoch.set(held.epoch);
        let now = Instant::now();
        let leader = Self {
            instance,
            held,
            session,
            checkpoint,
            idle: None,
            repairs_pending: true,
            deferred: HashSet::new(),
            trouble: None,
            failures: Failures::default(),
            give_way: GiveWay::default(),
            rate: Rate::new(now),
            leaders: 1,
            // An older leader may have met it.
            suspects: instance.settings.batch_count_max,
            heartbeat_at: now,
            audit_at: now + instance.settings.audit_interval,
            divergent_share: DivergentShare::of(&instance.metrics.divergent),
            idle_checkpoint_at: now + instance.settings.idle_checkpoint,
            retire_at: None,
        };
        leader.publish();
        tracing::info!(
            projection = instance.part.name,
            epoch = held.epoch,
            "leading the projection"
        );
        Ok(Some(leader))
    }

    async fn run(&mut self) -> Result<(), Ended> {
        let mut losses = LossPause::new();
        loop {
            if self.checkpoint.is_lost() {
                return self.wait_for_another_set().await;
            }
            let start = match self.checkpoint.resume.clone() {
                Some(start) => start,
                None => self.begin_build_from_now("the first start").await?,
            };
            let lost = self.follow(start).await?;
            if let Some(reason) = lost {
                self.instance.source.tell_gone();
                self.instance.metrics.stream_restarts.inc();
                let instance = self.instance;
                tokio::select! {
                    () = tokio::time::sleep(losses.after_loss()) => {}
                    () = instance.ending() => return Ok(()),
                    () = self.held.lost.cancelled() => return Err(Ended::Superseded),
                }
                if instance.part.is_whole() {
                    self.begin_build_from_now(&reason).await?;
                } else {
                    self.lose(&reason).await?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Follows one stream; returns the reason when it cannot go on from where it is, `None` when
    /// the process wants to stop.
    async fn follow(&mut self, start: Start) -> Result<Option<String>, Ended> {
        self.leaders = self.instance.leaders();
        let options = stream::Options {
            content: Content::Images {
                kept: self.instance.source.kept().to_vec(),
            },
            pipeline: Vec::new(),
            ahead_count_max: self.instance.settings.prefetch_count_max,
            ahead_bytes_max: self.ahead_bytes_max(),
            answer_count_max: ANSWER_COUNT_MAX,
            await_time: stream::AWAIT_TIME,
            restarts: self.instance.metrics.stream_restarts.clone(),
            pace: Pace::Live,
            tells_level: false,
        };
        let mut intake = Intake::new(stream::read(&self.instance.source, start, options));
        loop {
            if self.instance.is_ending() {
                self.store_idle().await?;
                return Ok(None);
            }
            if self.held.lost.is_cancelled() {
                return Err(Ended::Superseded);
            }
            if let Some(first) = self.next_signal(&mut intake).await?
                && let Some(reason) = self.take_in(first, &mut intake).await?
            {
                return Ok(Some(reason));
            }
            self.do_chores().await?;
        }
    }

    /// Its share of what the process reads ahead.
    fn ahead_bytes_max(&self) -> usize {
        let all = self.instance.settings.prefetch_bytes_max;
        (all / self.leaders).max(all.min(AHEAD_BYTES_LEAST))
    }

    /// Applies a batch that begins with `first`. What it does not apply goes back to the intake: the
    /// rest of a batch that was cut, or all of one that failed, from which the next one is cut smaller.
    async fn take_in(
        &mut self,
        first: Signal,
        intake: &mut Intake,
    ) -> Result<Option<String>, Ended> {
        let instance = self.instance;
        let room = instance.batch_size.room();
        let age = first.wall_time().map(|at| instance.clock.since(at));
        let linger = Linger::new(age, &self.rate, &instance.settings);
        // What is there for all partitions, so that about as much is there for this one.
        let count = instance.part.set.count;
        let mut all = room.times(count);
        // No more than is read ahead: what a batch holds counts as that, too.
        let ahead = self.ahead_bytes_max();
        let least = room.bytes / self.leaders;
        all.bytes = all.bytes.min(ahead * 2 / 3).max(least);
        let readers = instance.readers.of(&instance.part);
        let mut batch = gather(first, intake, linger, &readers, all).await;
        self.rate.add(batch.events.len(), Instant::now());
        let applied = self.apply(&mut batch, room).await;
        let used = batch.used;
        intake.put_back(batch);
        match applied {
            Err(Ended::Fault(error @ (Error::Database { .. } | Error::Refused(_)))) => {
                instance.batch_size.failed(used);
                if error.is_connection_lost() {
                    self.suspects = self.suspects.max(used.changes);
                }
                self.recover(error, used, instance.batch_size.room())
                    .await?;
                Ok(None)
            }
            applied => applied,
        }
    }

    /// The next signal; `None` when there is something else to do first.
    async fn next_signal(&self, intake: &mut Intake) -> Result<Option<Signal>, Ended> {
        if let Some(signal) = intake.try_next() {
            return Ok(Some(signal));
        }
        if self.has_work() {
            return Ok(None);
        }
        let ended = || Ended::Fault(Error::TaskEnded("the change stream's reader"));
        tokio::select! {
            signal = intake.next() => signal.map(Some).ok_or_else(ended),
            () = self.instance.nudge.notified() => Ok(None),
            () = tokio::time::sleep_until(self.heartbeat_at.min(self.idle_checkpoint_at)) => Ok(None),
            () = self.instance.ending() => Ok(None),
            () = self.held.lost.cancelled() => Ok(None),
        }
    }

    fn has_work(&self) -> bool {
        self.repairs_pending
            || self
                .checkpoint
                .building
                .as_ref()
                .is_some_and(|building| !building.complete)
    }

    async fn do_chores(&mut self) -> Result<(), Ended> {
        if self.checkpoint.building.is_some() {
            self.build_on().await?;
        }
        if self.repairs_pending {
            self.repair_some().await?;
        }
        let now = Instant::now();
        if now >= self.heartbeat_at || self.instance.take_nudge() {
            self.heartbeat_at = now + self.instance.settings.heartbeat;
            // Marks may come from any instance.
            self.repairs_pending = true;
            self.serve_requests().await?;
            self.retire_generations().await?;
            self.replace_set().await;
        }
        if now >= self.idle_checkpoint_at {
            self.store_idle().await?;
        }
        if !self.instance.settings.audit_interval.is_zero() && now >= self.audit_at {
            self.audit_at = now + self.instance.settings.audit_interval;
            self.deferred.clear();
            self.repairs_pending = true;
            self.audit().await?;
        }
        Ok(())
    }

    /// Has its set replaced, where the checkpoint says so, over passing faults.
    pub async fn replace_set(&mut self) {
        let Some(reason) = self.checkpoint.replace.clone() else {
            return;
        };
        let instance = self.instance;
        let begun = instance
            .sets
            .begin_instead(instance.part.set, instance.clock.now());
        match begun.await {
            Ok(Some(set)) => instance.tell_of_set(set, &reason),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                error = %WithCauses(&error),
                projection = self.checkpoint.name,
                "another build of the projection could not be begun, will retry"
            ),
        }
    }

    /// The stream cannot go on from where it is: what serves stands still until another set is built.
    async fn lose(&mut self, reason: &str) -> Result<(), Ended> {
        let mut to = self.checkpoint.clone();
        to.intact = false;
        to.building = None;
        to.replace = Some(reason.to_owned());
        self.idle = None;
        self.commit_or_end(&Writes::default(), to).await
    }

    /// Holds the place of a partition that has lost its stream until its set is gone.
    async fn wait_for_another_set(&mut self) -> Result<(), Ended> {
        loop {
            self.replace_set().await;
            tokio::select! {
                () = tokio::time::sleep(self.instance.settings.heartbeat) => {}
                () = self.instance.ending() => return Ok(()),
                () = self.held.lost.cancelled() => return Err(Ended::Superseded),
            }
        }
    }

    /// Stores where a quiet stream has come, so that its token does not age out of the oplog.
    async fn store_idle(&mut self) -> Result<(), Ended> {
        self.idle_checkpoint_at = Instant::now() + self.instance.settings.idle_checkpoint;
        let Some(idle) = self.idle.clone() else {
            return Ok(());
        };
        let mut to = self.checkpoint.clone();
        to.resume = Some(Start::After(idle.token));
        to.position = to.position.max(idle.position);
        if to.intact {
            let level = idle.level.map(|level| level.max(to.level));
            to.level = level.unwrap_or_else(|| self.instance.clock.now());
        }
        self.commit_or_end(&Writes::default(), to).await
    }

    /// Writes and moves the checkpoint on, in one attempt. Returns how long it took.
    pub async fn commit(
        &mut self,
        writes: &Writes,
        to: Checkpoint,
    ) -> Result<Duration, Uncommitted> {
        let (instance, began) = (self.instance, Instant::now());
        let moves_on = to.resume != self.checkpoint.resume;
        let committed = writes.commit(instance, &mut self.session, &self.checkpoint, to);
        match committed.await {
            Ok(committed) => {
                let took = began.elapsed();
                instance.metrics.commit_seconds.observe(took.as_secs_f64());
                self.failures.end();
                self.checkpoint = committed.checkpoint;
                self.repairs_pending |= committed.repairs;
                let position = self.checkpoint.position;
                let idle = self.idle.take();
                self.idle = idle.filter(|idle| idle.stays_after(moves_on, position));
                self.publish();
                Ok(took)
            }
            Err(Refusal::Superseded) => Err(Uncommitted::Ended(Ended::Superseded)),
            Err(Refusal::Writes { target, reason }) => Err(Uncommitted::Refused { target, reason }),
            Err(Refusal::Transient(error)) => Err(Uncommitted::Failed(error)),
        }
    }

    /// [`Leader::commit`] over passing faults, for writes that are small and that no target can refuse.
    pub async fn commit_or_end(&mut self, writes: &Writes, to: Checkpoint) -> Result<(), Ended> {
        loop {
            match self.commit(writes, to.clone()).await {
                Ok(_) => return Ok(()),
                Err(Uncommitted::Ended(ended)) => return Err(ended),
                Err(Uncommitted::Refused { reason, .. }) => {
                    return Err(Ended::Fault(Error::Refused(reason)));
                }
                Err(Uncommitted::Failed(error)) => {
                    let room = self.instance.batch_size.room();
                    self.recover(error, Size::NOTHING, room).await?;
                }
            }
        }
    }

    /// After a failed transaction: counts and logs it, and waits before the next attempt.
    ///
    /// # Errors
    /// When the leadership ends: the process stops, the lease is lost, or nothing was committed for
    /// so long that the session may be the reason.
    pub async fn recover(&mut self, error: Error, used: Size, next: Size) -> Result<(), Ended> {
        let instance = self.instance;
        instance.metrics.transactions_failed.inc();
        instance.publish_size();
        let pause = self
            .failures
            .note(&self.checkpoint.name, &error, used, next);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = instance.ending() => return Err(Ended::Stopped),
            () = self.held.lost.cancelled() => return Err(Ended::Fault(error)),
        }
        match self.failures.lasting() > FAILING_MAX {
            true => Err(Ended::Fault(error)),
            false => Ok(()),
        }
    }

    /// A read of a chore failed. The chore comes round again, and no write was begun: that is no
    /// reason to stop leading.
    pub fn put_off(&self, doing: &'static str, error: &mongodb::error::Error) {
        tracing::warn!(
            error = %WithCauses(error),
            task = doing,
            projection = self.checkpoint.name,
            "maintenance task failed, will retry"
        );
    }

    /// What has come was for other partitions. It is stored a little later: readers elsewhere who wait for all partitions
    /// look at what is stored.
    pub fn pass(
        &mut self,
        token: ResumeToken,
        complete_until: Timestamp,
        wall_time: Option<DateTime>,
    ) {
        self.idle = Some(Idle {
            token,
            position: complete_until.max(self.position()),
            level: Some(wall_time.unwrap_or(self.checkpoint.level)),
        });
        self.idle_checkpoint_at = self
            .idle_checkpoint_at
            .min(Instant::now() + PASSED_CHECKPOINT);
        self.publish();
    }

    /// Every change up to this time is applied.
    pub fn position(&self) -> Timestamp {
        self.idle.as_ref().map_or(self.checkpoint.position, |idle| {
            self.checkpoint.position.max(idle.position)
        })
    }

    /// A snapshot of the source before this time may lack a change that is applied.
    pub fn not_before(&self) -> Timestamp {
        self.position().max(self.checkpoint.not_before())
    }

    /// The slots that follow the stream.
    pub fn live_slots(&self) -> Vec<Slot> {
        self.checkpoint.live_slots(self.instance.projection.field())
    }

    /// Tells the handles in this process how far it has come.
    pub fn publish(&self) {
        let mut progress = Progress::from_checkpoint(&self.checkpoint, true);
        if let (Some(_), Some(idle)) = (progress.passed, &self.idle) {
            progress.passed = Some(self.position());
            let level = idle.level.map(|level| level.max(progress.level));
            progress.level = level.unwrap_or_else(|| self.instance.clock.now());
        }
        progress.trouble.clone_from(&self.trouble);
        if self.instance.part.is_whole() {
            let is_building = self.checkpoint.building.is_some();
            self.instance.metrics.rebuilding.set(i64::from(is_building));
        }
        self.instance.progress.replace(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_before_a_change_is_not_stored_after_it() {
        let at = |time| Timestamp { time, increment: 0 };
        let idle = Idle {
            token: ResumeToken::from_data("82"),
            position: at(5),
            level: None,
        };
        assert!(!idle.stays_after(true, at(4)), "the change is of time 5");
        assert!(idle.stays_after(false, at(4)), "a repair");
        assert!(!idle.stays_after(false, at(5)));
    }
}
