//! Building a generation: chunk by chunk beside what serves, then one write that switches over.
//!
//! A chunk of targets is computed from a snapshot of the source and stored with the snapshot's
//! time; changes of the stream up to that time are left out for those targets. So the snapshot may
//! overlap the stream as it likes, and a build may stop and go on at any chunk.

use bson::{Bson, doc};
use futures_util::TryStreamExt;
use tokio::time::Instant;

use crate::stream::Start;
use crate::{Error, marker};

use super::checkpoint::{Building, Checkpoint};
use super::compute::{At, compute};
use super::leader::{Ended, Leader, Uncommitted};
use super::transaction::Writes;
use super::{Projection, Slot};

impl<P: Projection> Leader<'_, P> {
    /// Begins a build that goes with a new stream from now on, because the old one cannot go on:
    /// the serving state stands still until the switch. Returns where the stream begins.
    pub async fn begin_build_from_now(&mut self, reason: &str) -> Result<Start, Ended> {
        // First the images, then the position: every change that the stream will show has them.
        self.member.source.enable_images().await?;
        let now = self.member.source.now().await?;
        let mut to = self.with_new_generation();
        to.resume = Some(Start::At(now));
        to.position = to.position.max(now);
        to.intact = false;
        self.idle = None;
        self.begin(to, reason).await?;
        Ok(Start::At(now))
    }

    /// Begins a build while the serving state goes on following the stream.
    pub async fn begin_build_beside(&mut self, reason: &str) -> Result<(), Ended> {
        let to = self.with_new_generation();
        self.begin(to, reason).await
    }

    fn with_new_generation(&self) -> Checkpoint {
        let mut to = self.checkpoint.clone();
        to.retiring
            .extend(to.building.take().map(|abandoned| abandoned.generation));
        to.generations += 1;
        to.building = Some(Building {
            generation: to.generations,
            after: None,
            complete: false,
        });
        to
    }

    async fn begin(&mut self, to: Checkpoint, reason: &str) -> Result<(), Ended> {
        tracing::info!(
            projection = to.name,
            generation = to.generations,
            reason,
            "building the projection"
        );
        self.member.metrics.rebuilds.inc();
        self.commit_or_end(&Writes::default(), to).await
    }

    /// Builds one chunk more, or switches over when all are done and the stream has come up to
    /// them.
    pub async fn build_on(&mut self) -> Result<(), Ended> {
        let Some(building) = self.checkpoint.building.clone() else {
            return Ok(());
        };
        if !building.complete {
            let size = self.chunk_max();
            let built = self.build_chunk(building).await;
            self.learn_from(&built, size);
            return built;
        }
        if self.position() < self.checkpoint.ahead_until {
            return Ok(());
        }
        marker::reach(marker::HAND_OVER).await;
        self.switch(building.generation).await
    }

    async fn build_chunk(&mut self, mut building: Building) -> Result<(), Ended> {
        let targets = self.next_targets(building.after.as_ref()).await;
        let targets = targets.map_err(|source| Error::Database {
            doing: "listing the targets",
            source,
        })?;
        let mut to = self.checkpoint.clone();
        let Some(last) = targets.last().cloned() else {
            building.complete = true;
            to.building = Some(building);
            return self.commit_or_end(&Writes::default(), to).await;
        };
        let at = At::NotBefore(self.not_before());
        let computed = compute(&*self.member.projection, &self.member.store, &targets, at).await?;
        let Some(computed) = computed else {
            return Ok(());
        };
        let slot = Slot::new(self.member.projection.field(), building.generation);
        let mut writes = Writes::default();
        writes.statements.extend(computed.replacements(&slot));
        building.after = Some(last);
        to.building = Some(building);
        to.ahead_until = to.ahead_until.max(computed.as_of);
        self.commit_without_refused(writes, to).await?;
        marker::reach(marker::MID_REBUILD).await;
        Ok(())
    }

    /// Commits, leaving out targets whose state the server refuses: they stay marked for repair.
    async fn commit_without_refused(
        &mut self,
        mut writes: Writes,
        to: Checkpoint,
    ) -> Result<(), Ended> {
        loop {
            match self.commit(&writes, to.clone()).await {
                Ok(()) => return Ok(()),
                Err(Uncommitted::Ended(ended)) => return Err(ended),
                Err(Uncommitted::Refused {
                    target: Some(target),
                    reason,
                }) => {
                    tracing::error!(projection = to.name, %target, reason, "the server refuses a target's state");
                    writes
                        .statements
                        .retain(|statement| statement.target != target);
                    self.deferred.insert(target.clone());
                    writes
                        .repairs
                        .push((target, "the server refused its state"));
                }
                Err(Uncommitted::Refused {
                    target: None,
                    reason,
                }) => return Err(Ended::Fault(Error::Refused(reason))),
            }
        }
    }

    /// Targets that the next chunk takes at most.
    fn chunk_max(&self) -> usize {
        let chunk_max = self.member.settings.build_chunk.max(1);
        chunk_max.min(self.member.limit.get())
    }

    /// The targets after the last one that is done, in the order of the index on `_id`, which
    /// holds for ids of several types too.
    async fn next_targets(&mut self, after: Option<&Bson>) -> mongodb::error::Result<Vec<Bson>> {
        let chunk_max = self.chunk_max();
        let chunk = i64::try_from(chunk_max).unwrap_or(i64::MAX);
        let mut find = self
            .member
            .store
            .targets
            .find(doc! {})
            .projection(doc! { "_id": 1 });
        find = find
            .hint(mongodb::options::Hint::Keys(doc! { "_id": 1 }))
            .limit(chunk.saturating_add(1));
        if let Some(after) = after {
            find = find.min(doc! { "_id": after.clone() });
        }
        let mut found = find.session(&mut self.session).await?;
        let found: Vec<bson::Document> = found.stream(&mut self.session).try_collect().await?;
        let ids = found
            .into_iter()
            .filter_map(|mut target| target.remove("_id"));
        Ok(ids.filter(|id| Some(id) != after).take(chunk_max).collect())
    }

    /// One write: from here on readers use the new generation.
    async fn switch(&mut self, generation: i64) -> Result<(), Ended> {
        let mut to = self.checkpoint.clone();
        if let Some((token, position)) = self.idle.clone() {
            to.resume = Some(Start::After(token));
            to.position = to.position.max(position);
        }
        to.retiring.extend(to.serving.replace(generation));
        to.intact = true;
        to.building = None;
        to.level = to.level.max(bson::DateTime::from_millis(
            i64::from(to.position.time) * 1000,
        ));
        self.commit_or_end(&Writes::default(), to).await?;
        tracing::info!(
            projection = self.checkpoint.name,
            generation,
            "the new build serves"
        );
        // Readers elsewhere learn of the switch with their next heartbeat: the old slot stays so long.
        self.retire_at = Some(Instant::now() + self.member.settings.lease);
        self.member.nudge.notify_one();
        Ok(())
    }

    /// Removes the slots of generations that nobody reads any more.
    pub async fn retire_generations(&mut self) -> Result<(), Ended> {
        if self.checkpoint.retiring.is_empty() {
            return Ok(());
        }
        let retire_at = *self
            .retire_at
            .get_or_insert(Instant::now() + self.member.settings.lease);
        if Instant::now() < retire_at {
            return Ok(());
        }
        let slots = self
            .checkpoint
            .retiring
            .iter()
            .map(|generation| Slot::new(self.member.projection.field(), *generation));
        for slot in slots {
            let unset = doc! { "$unset": { slot.as_path(): "" } };
            let unset = self
                .member
                .store
                .targets
                .update_many(doc! { slot.as_path(): { "$exists": true } }, unset)
                .await;
            unset.map_err(|source| Error::Database {
                doing: "removing an old build",
                source,
            })?;
        }
        let mut to = self.checkpoint.clone();
        to.retiring.clear();
        self.retire_at = None;
        self.commit_or_end(&Writes::default(), to).await
    }
}
