//! Building a generation: chunk by chunk beside what serves, then one write that switches over.
//!
//! A chunk of targets is computed from a snapshot of the source and stored with the snapshot's
//! time; changes of the stream up to that time are left out for those targets. So the snapshot may
//! overlap the stream as it likes, and a build may stop and go on at any chunk.

use std::collections::HashSet;

use bson::{Bson, doc};
use futures_util::TryStreamExt;
use tokio::time::Instant;

use crate::log_value::shortened;
use crate::stream::Start;
use crate::{Error, SendAction, WithCauses, marker};

use super::checkpoint::{Building, Checkpoint};
use super::compute::{At, compute};
use super::fold::{Statement, Unsendable};
use super::leader::{Ended, Leader, Uncommitted};
use super::transaction::Writes;
use super::transaction_size::Size;

/// Heartbeats after which every instance knows of a switch, and its queries of the old slot have ended.
const HEARTBEATS_BEFORE_RETIREMENT: u32 = 10;
/// Bytes of states that one chunk stores at most; a single larger one has a chunk of its own.
const CHUNK_BYTES_MAX: usize = 8 << 20;

impl Leader<'_> {
    /// Begins a build that goes with a new stream from now on, because the old one cannot go on:
    /// the serving state stands still until the switch. Returns where the stream begins.
    pub async fn begin_build_from_now(&mut self, reason: &str) -> Result<Start, Ended> {
        // First the images, then the position: every change that the stream will show has them.
        self.instance.source.enable_images().await?;
        let now = self.instance.source.now().await?;
        let mut to = self.checkpoint.clone();
        to.begin_generation();
        to.resume = Some(Start::At(now));
        to.position = to.position.max(now);
        to.intact = false;
        self.idle = None;
        self.begin(to, reason).await?;
        Ok(Start::At(now))
    }

    /// Begins a build while the serving state goes on following the stream.
    pub async fn begin_build_beside(&mut self, reason: &str) -> Result<(), Ended> {
        let mut to = self.checkpoint.clone();
        to.begin_generation();
        self.begin(to, reason).await
    }

    async fn begin(&mut self, to: Checkpoint, reason: &str) -> Result<(), Ended> {
        self.commit_or_end(&Writes::default(), to).await?;
        self.tell_of_build(reason);
        Ok(())
    }

    /// Logs and counts a build that has begun.
    pub fn tell_of_build(&self, reason: &str) {
        tracing::info!(
            projection = self.checkpoint.name,
            generation = self.checkpoint.generations,
            reason,
            "a build of the projection has begun"
        );
        // That of a set is counted where the set was begun.
        if self.instance.part.is_whole() {
            self.instance.metrics.rebuilds.inc();
        }
    }

    /// Builds one chunk more, or switches over when all are done and the stream has come up to
    /// them.
    pub async fn build_on(&mut self) -> Result<(), Ended> {
        let Some(building) = self.checkpoint.building.clone() else {
            return Ok(());
        };
        if !building.complete {
            return self.build_chunk(building).await;
        }
        if self.position() < self.checkpoint.ahead_until {
            return Ok(());
        }
        marker::reach(marker::HAND_OVER).await;
        self.switch(building.generation).await
    }

    /// Builds one chunk, or makes the next one smaller when this one fails.
    async fn build_chunk(&mut self, building: Building) -> Result<(), Ended> {
        let (instance, began) = (self.instance, Instant::now());
        let most = instance.computed_at_once();
        let next = self.next_targets(building.after.as_ref(), most).await;
        let NextTargets { targets, end } = match next {
            Ok(targets) => targets,
            Err(source) => {
                let doing = "listing the targets";
                let error = Error::Database { doing, source };
                return self.recover(error, Size::NOTHING, Size::NOTHING).await;
            }
        };
        if targets.is_empty() {
            let mut to = self.checkpoint.clone();
            to.building = Some(Building {
                complete: end.is_none(),
                // None of those up to there are its own.
                after: end.or(building.after.clone()),
                ..building
            });
            return self.commit_or_end(&Writes::default(), to).await;
        }
        let tried = Size::of_targets(targets.len());
        match self.store_chunk(building, &targets).await {
            Ok(None) => self.look_for_trouble().await,
            Ok(Some(stored)) => {
                self.trouble = None;
                let full = stored.targets < targets.len() || targets.len() >= most;
                instance
                    .computing_size
                    .committed(stored, began.elapsed(), full);
                marker::reach(marker::MID_REBUILD).await;
                Ok(())
            }
            Err(Ended::Fault(error @ (Error::Database { .. } | Error::Refused(_)))) => {
                instance.computing_size.failed(tried);
                let next = Size::of_targets(instance.computed_at_once());
                self.recover(error, tried, next).await
            }
            Err(ended) => Err(ended),
        }
    }

    /// Computes and stores the states of the targets, or of the first of them where their bytes do not
    /// fit one transaction. Returns what was stored; `None` when there is no snapshot of the source yet.
    async fn store_chunk(
        &mut self,
        mut building: Building,
        targets: &[Bson],
    ) -> Result<Option<Size>, Ended> {
        let instance = self.instance;
        let mut writes = Writes::default();
        let mut to = self.checkpoint.clone();
        let mut stored = Size::of_targets(targets.len());
        building.after = targets.last().cloned();
        let at = At::NotBefore(self.not_before());
        match compute(&*instance.projection, &instance.store, targets, at).await {
            Ok(None) => return Ok(None),
            // It alone cannot be computed: it must not stop the build of the others.
            Err(error) if targets.len() == 1 && !error.is_passing() => {
                tracing::error!(
                    error = %WithCauses(&error),
                    projection = to.name,
                    target = shortened(&targets[0]),
                    "a target could not be computed: it is marked for repair"
                );
                self.set_aside_for_repair(&mut writes, targets[0].clone());
            }
            Err(error) => return Err(Ended::Fault(error)),
            Ok(Some(computed)) => {
                to.ahead_until = to.ahead_until.max(computed.as_of);
                let slot = to.slot(instance.projection.field(), building.generation);
                let (statements, unsendable) = computed.into_statements(targets, &[slot]);
                instance.state_bytes.learn(targets.len(), &statements);
                writes.statements = statements;
                for Unsendable { target, reason } in unsendable {
                    tracing::error!(
                        projection = to.name,
                        target = shortened(&target),
                        reason = shortened(&reason),
                        "a target's state is too large: it is marked for repair"
                    );
                    self.set_aside_for_repair(&mut writes, *target);
                }
                stored.bytes = writes.statements.iter().map(Statement::bytes).sum();
                if let Some(fitting) = fitting(&writes.statements, CHUNK_BYTES_MAX) {
                    writes.statements.truncate(fitting);
                    building.after = writes.statements.last().map(|last| last.target.clone());
                    stored.targets = fitting;
                    stored.bytes = writes.statements.iter().map(Statement::bytes).sum();
                }
            }
        }
        to.building = Some(building);
        self.commit_without_refused(writes, to).await?;
        Ok(Some(stored))
    }

    /// The server has no snapshot of the source for a second by now: that may pass, or never.
    async fn look_for_trouble(&mut self) -> Result<(), Ended> {
        let trouble = self.instance.source.reason_without_snapshot().await;
        let trouble = trouble.unwrap_or_else(|error| Some(WithCauses(&error).to_string()));
        if let Some(reason) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            tracing::error!(
                projection = self.checkpoint.name,
                reason = shortened(reason),
                "the build of the projection cannot go on"
            );
        }
        self.trouble = trouble;
        self.publish();
        Ok(())
    }

    fn set_aside_for_repair(&mut self, writes: &mut Writes, target: Bson) {
        self.deferred.insert(target.clone());
        writes.repairs.push((target, "it could not be built"));
    }

    /// Commits, leaving out targets whose state the server refuses: they stay marked for repair.
    async fn commit_without_refused(
        &mut self,
        mut writes: Writes,
        to: Checkpoint,
    ) -> Result<(), Ended> {
        let mut healed = HashSet::new();
        loop {
            match self.commit(&writes, to.clone()).await {
                Ok(_) => return Ok(()),
                Err(Uncommitted::Ended(ended)) => return Err(ended),
                Err(Uncommitted::Failed(error)) => return Err(Ended::Fault(error)),
                Err(Uncommitted::Refused {
                    target: Some(target),
                    reason,
                }) => {
                    if healed.insert(target.clone()) && self.heal(&target).await? {
                        continue;
                    }
                    tracing::error!(
                        projection = to.name,
                        target = shortened(&target),
                        reason = shortened(&reason),
                        "the server refused a target's state: the target is marked for repair"
                    );
                    writes
                        .statements
                        .retain(|statement| statement.target != target);
                    self.set_aside_for_repair(&mut writes, target);
                }
                Err(Uncommitted::Refused {
                    target: None,
                    reason,
                }) => return Err(Ended::Fault(Error::Refused(reason))),
            }
        }
    }

    /// Its own of the targets after the last one that is done, in the order of the index on `_id`, which
    /// holds for ids of several types too.
    async fn next_targets(
        &mut self,
        after: Option<&Bson>,
        chunk_max: usize,
    ) -> mongodb::error::Result<NextTargets> {
        let part = &self.instance.part;
        let looked_at_max = chunk_max.saturating_mul(part.set.count as usize);
        let chunk = i64::try_from(looked_at_max).unwrap_or(i64::MAX);
        let mut find = self
            .instance
            .store
            .targets
            .find(self.instance.projection.targets())
            .projection(doc! { "_id": 1 });
        find = find
            .hint(mongodb::options::Hint::Keys(doc! { "_id": 1 }))
            .limit(chunk.saturating_add(1));
        if let Some(after) = after {
            find = find.min(doc! { "_id": after.clone() });
        }
        let mut found = find.session(&mut self.session).send().await?;
        let found: Vec<bson::Document> = found.stream(&mut self.session).try_collect().await?;
        let ids = found
            .into_iter()
            .filter_map(|mut target| target.remove("_id"));
        let mut next = NextTargets {
            targets: Vec::new(),
            end: None,
        };
        for id in ids.filter(|id| Some(id) != after).take(looked_at_max) {
            if next.targets.len() >= chunk_max {
                break;
            }
            if part.holds(&id) {
                next.targets.push(id.clone());
            }
            next.end = Some(id);
        }
        Ok(next)
    }

    /// One write: from here on readers use the new generation.
    async fn switch(&mut self, generation: i64) -> Result<(), Ended> {
        let mut to = self.checkpoint.clone();
        if let Some(idle) = self.idle.clone() {
            to.resume = Some(Start::After(idle.token));
            to.position = to.position.max(idle.position);
        }
        to.retiring.extend(to.serving.replace(generation));
        to.intact = true;
        to.building = None;
        to.level = to.level.max(bson::DateTime::from_millis(
            i64::from(to.position.time) * 1000,
        ));
        self.commit_or_end(&Writes::default(), to).await?;
        if self.instance.part.is_whole() {
            tracing::info!(
                projection = self.checkpoint.name,
                generation,
                "the new build of the projection is complete and serves from now on"
            );
        } else {
            tracing::info!(
                projection = self.checkpoint.name,
                generation,
                "the build of a partition of the projection is complete"
            );
        }
        // Readers elsewhere learn of the switch with their next heartbeat: the old slot stays so long.
        self.retire_at = Some(self.retirement());
        self.instance.nudge.notify_one();
        Ok(())
    }

    fn retirement(&self) -> Instant {
        Instant::now() + self.instance.settings.heartbeat * HEARTBEATS_BEFORE_RETIREMENT
    }

    /// Removes the slots of generations that no query reads any more.
    pub async fn retire_generations(&mut self) -> Result<(), Ended> {
        if self.checkpoint.retiring.is_empty() {
            return Ok(());
        }
        let retirement = self.retirement();
        let retire_at = *self.retire_at.get_or_insert(retirement);
        if Instant::now() < retire_at {
            return Ok(());
        }
        let slots = self.checkpoint.retiring.iter().map(|generation| {
            self.checkpoint
                .slot(self.instance.projection.field(), *generation)
        });
        for slot in slots {
            let unset = doc! { "$unset": { slot.as_path(): "" } };
            let unset = self
                .instance
                .store
                .targets
                .update_many(doc! { slot.as_path(): { "$exists": true } }, unset)
                .await;
            if let Err(error) = unset {
                self.put_off("removing an old build", &error);
                return Ok(());
            }
        }
        let mut to = self.checkpoint.clone();
        to.retiring.clear();
        self.retire_at = None;
        self.commit_or_end(&Writes::default(), to).await
    }
}

/// The targets of the next chunk.
struct NextTargets {
    targets: Vec<Bson>,
    /// The last one that was looked at, whichever partition it belongs to; `None` after the last one of all.
    end: Option<Bson>,
}

/// How many of the statements fit into so many bytes, one at least; `None` when all do.
fn fitting(statements: &[Statement], bytes_max: usize) -> Option<usize> {
    let mut bytes = 0;
    let over = statements.iter().position(|statement| {
        bytes += statement.bytes();
        bytes > bytes_max
    });
    over.map(|over| over.max(1))
        .filter(|fitting| *fitting < statements.len())
}
