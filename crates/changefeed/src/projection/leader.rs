//! The leader: follows the stream, batch by batch, and does the chores in between.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use bson::{Bson, DateTime, Timestamp};
use mongodb::ClientSession;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::stream::{self, Signal, Start};
use crate::{Error, ResumeToken, marker};

use super::batch::gather;
use super::checkpoint::{Checkpoint, claim};
use super::lease::Held;
use super::member::Member;
use super::progress::Progress;
use super::transaction::{Refusal, Writes};
use super::{Projection, Slot};

/// The first wait after a passing fault of a transaction; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// After so many passing faults in a row the leader starts afresh from the stored checkpoint.
const FAULTS_MAX: u32 = 40;
/// After so many transactions that the server ended in a row, too: they may be too large for it.
const ENDED_BY_SERVER_MAX: u32 = 3;

/// Why a leader stopped leading.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The process wants to stop.
    Stopped,
    /// Another instance leads.
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
    /// The server refuses them, because of this target if it says so.
    Refused {
        target: Option<Bson>,
        reason: String,
    },
}

/// One leadership, from the claim of the checkpoint to its end.
pub(crate) struct Leader<'m, P> {
    pub member: &'m Member<P>,
    pub held: &'m Held,
    /// Causally consistent: a node that was elected just now may not know yet that what an older
    /// leader wrote is committed, and a read outside of this session could miss it.
    pub session: ClientSession,
    /// What is stored.
    pub checkpoint: Checkpoint,
    /// Where the quiet stream has come since, not stored yet.
    pub idle: Option<(ResumeToken, Timestamp)>,
    /// Whether there may be targets to compute anew.
    pub repairs_pending: bool,
    /// The targets to compute anew could not be read: the next heartbeat looks again.
    pub repairs_unread: bool,
    /// Targets whose repair failed: tried again with the next audit.
    pub deferred: HashSet<Bson>,
    pub heartbeat_at: Instant,
    pub audit_at: Instant,
    pub idle_checkpoint_at: Instant,
    pub retire_at: Option<Instant>,
}

impl<'m, P: Projection> Leader<'m, P> {
    /// Takes the checkpoint over and leads until the end.
    pub async fn lead(member: &'m Member<P>, held: &'m mut Held) -> Ended {
        match Self::claim(member, held).await {
            Ok(Some(mut leader)) => match leader.run().await {
                Ok(()) => Ended::Stopped,
                Err(ended) => ended,
            },
            Ok(None) => Ended::Superseded,
            Err(error) => Ended::Fault(error),
        }
    }

    async fn claim(member: &'m Member<P>, held: &'m mut Held) -> Result<Option<Self>, Error> {
        marker::reach(marker::TAKEOVER).await;
        let mut session = held
            .session
            .take()
            .ok_or(Error::TaskEnded("the leader's session"))?;
        let claimed = claim(
            &member.store,
            member.projection.name(),
            held.epoch,
            &mut session,
        );
        let Some(checkpoint) = claimed.await? else {
            return Ok(None);
        };
        member.metrics.takeovers.inc();
        member.metrics.epoch.set(held.epoch);
        let now = Instant::now();
        let leader = Self {
            member,
            held,
            session,
            checkpoint,
            idle: None,
            repairs_pending: true,
            repairs_unread: false,
            deferred: HashSet::new(),
            heartbeat_at: now,
            audit_at: now + member.settings.audit_interval,
            idle_checkpoint_at: now + member.settings.idle_checkpoint,
            retire_at: None,
        };
        leader.publish();
        tracing::info!(
            projection = member.projection.name(),
            epoch = held.epoch,
            "leading the projection"
        );
        Ok(Some(leader))
    }

    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let start = match self.checkpoint.resume.clone() {
                Some(start) => start,
                None => self.begin_build_from_now("the first start").await?,
            };
            let lost = self.follow(start).await?;
            if let Some(reason) = lost {
                self.begin_build_from_now(&reason).await?;
            } else {
                return Ok(());
            }
        }
    }

    /// Follows one stream; returns the reason when it cannot go on from where it is, `None` when
    /// the process wants to stop.
    async fn follow(&mut self, start: Start) -> Result<Option<String>, Ended> {
        let options = stream::Options {
            pipeline: Vec::new(),
            ahead_count_max: self.member.settings.prefetch_count_max,
            await_time: stream::AWAIT_TIME,
            restarts: self.member.metrics.stream_restarts.clone(),
            listeners: None,
        };
        let mut signals = stream::read(&self.member.source, start, options);
        loop {
            if self.member.stop.is_cancelled() {
                self.store_idle().await?;
                return Ok(None);
            }
            if self.held.lost.is_cancelled() {
                return Err(Ended::Superseded);
            }
            if let Some(first) = self.next_signal(&mut signals).await? {
                let member = self.member;
                let batch = gather(first, &mut signals, &member.settings, member.limit.get()).await;
                let size = batch.events.len();
                let applied = self.apply(batch).await;
                self.learn_from(&applied, size);
                if let Some(reason) = applied? {
                    return Ok(Some(reason));
                }
            }
            self.do_chores().await?;
        }
    }

    /// Makes the next transactions smaller when this one was given up, larger when it was not.
    pub fn learn_from<T>(&self, outcome: &Result<T, Ended>, size: usize) {
        match outcome {
            Ok(_) if size > 0 => self.member.limit.grow(),
            Err(Ended::Fault(_)) if size > 1 => {
                self.member.limit.shrink(size);
                tracing::warn!(
                    projection = self.checkpoint.name,
                    size,
                    next = self.member.limit.get(),
                    "a transaction was given up: the next ones take less"
                );
            }
            _ => {}
        }
    }

    /// The next signal; `None` when there is something else to do first.
    async fn next_signal(
        &self,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> Result<Option<Signal>, Ended> {
        if self.has_work() {
            return Ok(signals.try_recv().ok());
        }
        let ended = || Ended::Fault(Error::TaskEnded("the change stream's reader"));
        tokio::select! {
            signal = signals.recv() => signal.map(Some).ok_or_else(ended),
            () = self.member.nudge.notified() => Ok(None),
            () = tokio::time::sleep_until(self.heartbeat_at) => Ok(None),
            () = self.member.stop.cancelled() => Ok(None),
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
        if now >= self.heartbeat_at || self.member.take_nudge() {
            self.heartbeat_at = now + self.member.settings.heartbeat;
            self.repairs_pending |= std::mem::take(&mut self.repairs_unread);
            self.serve_requests().await?;
            self.retire_generations().await?;
        }
        if now >= self.idle_checkpoint_at {
            self.store_idle().await?;
        }
        if !self.member.settings.audit_interval.is_zero() && now >= self.audit_at {
            self.audit_at = now + self.member.settings.audit_interval;
            self.deferred.clear();
            self.repairs_pending = true;
            self.audit().await?;
        }
        Ok(())
    }

    /// Stores where a quiet stream has come, so that its token does not age out of the oplog.
    async fn store_idle(&mut self) -> Result<(), Ended> {
        self.idle_checkpoint_at = Instant::now() + self.member.settings.idle_checkpoint;
        let Some((token, position)) = self.idle.clone() else {
            return Ok(());
        };
        let mut to = self.checkpoint.clone();
        to.resume = Some(Start::After(token));
        to.position = to.position.max(position);
        if to.intact {
            to.level = DateTime::now();
        }
        self.commit_or_end(&Writes::default(), to).await
    }

    /// Writes and moves the checkpoint on, over passing faults.
    pub async fn commit(&mut self, writes: &Writes, to: Checkpoint) -> Result<(), Uncommitted> {
        let mut backoff = BACKOFF_MIN;
        let (mut faults, mut ended_by_server) = (0, 0);
        loop {
            let member = self.member;
            let committed = writes.commit(
                &*member.projection,
                &member.store,
                &mut self.session,
                &self.checkpoint,
                to.clone(),
            );
            match committed.await {
                Ok(committed) => {
                    self.checkpoint = committed.checkpoint;
                    self.repairs_pending |= committed.repairs;
                    self.idle = self
                        .idle
                        .take()
                        .filter(|(_, time)| *time > self.checkpoint.position);
                    self.publish();
                    return Ok(());
                }
                Err(Refusal::Superseded) => return Err(Uncommitted::Ended(Ended::Superseded)),
                Err(Refusal::Writes { target, reason }) => {
                    return Err(Uncommitted::Refused { target, reason });
                }
                Err(Refusal::Transient(error)) => {
                    faults += 1;
                    ended_by_server = match error.is_of_ended_transaction() {
                        true => ended_by_server + 1,
                        false => 0,
                    };
                    if faults >= FAULTS_MAX
                        || ended_by_server >= ENDED_BY_SERVER_MAX
                        || self.held.lost.is_cancelled()
                        || self.member.stop.is_cancelled()
                    {
                        return Err(Uncommitted::Ended(Ended::Fault(error)));
                    }
                    tracing::debug!(%error, faults, projection = self.checkpoint.name, "a batch is tried again");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// [`Leader::commit`] for writes that no target can refuse.
    pub async fn commit_or_end(&mut self, writes: &Writes, to: Checkpoint) -> Result<(), Ended> {
        self.commit(writes, to)
            .await
            .map_err(|uncommitted| match uncommitted {
                Uncommitted::Ended(ended) => ended,
                Uncommitted::Refused { reason, .. } => Ended::Fault(Error::Refused(reason)),
            })
    }

    /// A read of a chore failed. The chore comes round again, and no write was begun: that is no
    /// reason to stop leading.
    pub fn put_off(&self, doing: &'static str, error: &mongodb::error::Error) {
        tracing::warn!(%error, doing, projection = self.checkpoint.name, "a chore is put off");
    }

    /// Every change up to this time is applied.
    pub fn position(&self) -> Timestamp {
        self.idle
            .as_ref()
            .map_or(self.checkpoint.position, |(_, time)| {
                self.checkpoint.position.max(*time)
            })
    }

    /// A snapshot of the source before this time may lack a change that is applied.
    pub fn not_before(&self) -> Timestamp {
        self.position().max(self.checkpoint.not_before())
    }

    /// The slots that follow the stream.
    pub fn live_slots(&self) -> Vec<Slot> {
        self.checkpoint.live_slots(self.member.projection.field())
    }

    /// Tells the handles in this process how far it has come.
    pub fn publish(&self) {
        let mut progress = Progress::from_checkpoint(&self.checkpoint, true);
        if progress.passed.is_some() && self.idle.is_some() {
            progress.passed = Some(self.position());
            progress.level = SystemTime::now();
        }
        self.member
            .metrics
            .rebuilding
            .set(i64::from(self.checkpoint.building.is_some()));
        self.member.progress.send_replace(progress);
    }
}
