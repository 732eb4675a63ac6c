//! Repairs: targets whose state is computed again, through the same guarded write.

use std::collections::HashSet;

use bson::{Bson, RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use tokio::time::Instant;

use crate::log_value::shortened;
use crate::{Error, SendAction, WithCauses};

use super::checkpoint::Checkpoint;
use super::compute::{At, compute};
use super::fold::Unsendable;
use super::leader::{Ended, Leader, Uncommitted};
use super::transaction::Writes;
use super::transaction_size::Size;

/// What came of a repair.
pub(crate) enum Repaired {
    Done(Size),
    /// A passing fault, or more than the server takes at once: try again with less.
    Failed(Error),
    /// The targets cannot be computed or stored.
    Impossible,
}

impl Leader<'_> {
    /// Repairs some of the marked targets.
    pub async fn repair_some(&mut self) -> Result<(), Ended> {
        let most = self.instance.computed_at_once();
        let marked = match self.marked_targets(most).await {
            Ok(marked) => marked,
            Err(error) => {
                self.put_off("reading the targets to repair", &error);
                // The next heartbeat looks again.
                self.repairs_pending = false;
                return Ok(());
            }
        };
        if marked.is_empty() {
            self.repairs_pending = false;
            return Ok(());
        }
        let began = Instant::now();
        match self.repair(&marked, Vec::new()).await? {
            Repaired::Done(stored) => {
                let full = marked.len() >= most;
                self.instance
                    .computing_size
                    .committed(stored, began.elapsed(), full);
                return Ok(());
            }
            Repaired::Failed(error) => {
                let tried = Size::of_targets(marked.len());
                self.instance.computing_size.failed(tried);
                let next = Size::of_targets(self.instance.computed_at_once());
                return self.recover(error, tried, next).await;
            }
            Repaired::Impossible => {}
        }
        // One target spoils the transaction: one by one, and the spoiler waits for a later time.
        for target in marked {
            let alone = std::slice::from_ref(&target);
            match self.repair(alone, Vec::new()).await? {
                Repaired::Done(_) => {}
                Repaired::Failed(error) => {
                    let one = Size::of_targets(1);
                    return self.recover(error, one, one).await;
                }
                Repaired::Impossible => {
                    self.deferred.insert(target);
                }
            }
        }
        Ok(())
    }

    /// Computes targets again in all live slots, and deletes the dead letters that this settles.
    pub async fn repair(
        &mut self,
        targets: &[Bson],
        settled: Vec<ObjectId>,
    ) -> Result<Repaired, Ended> {
        // Those of other partitions are marked for theirs.
        let (targets, foreign): (Vec<Bson>, Vec<Bson>) = targets
            .iter()
            .cloned()
            .partition(|target| self.instance.part.holds(target));
        let targets = targets.as_slice();
        let at = At::NotBefore(self.not_before());
        let computed = match compute(
            &*self.instance.projection,
            &self.instance.store,
            targets,
            at,
        )
        .await
        {
            Ok(Some(computed)) => computed,
            Ok(None) => return Ok(Repaired::Impossible),
            Err(error) if error.is_passing() => return Ok(Repaired::Failed(error)),
            Err(error) => {
                tracing::warn!(
                    error = %WithCauses(&error),
                    projection = self.checkpoint.name,
                    targets = targets.len(),
                    "the states of some targets could not be computed: they stay marked for repair"
                );
                return Ok(Repaired::Impossible);
            }
        };
        let mut to = self.checkpoint.clone();
        to.ahead_until = to.ahead_until.max(computed.as_of);
        let (statements, unsendable) = computed.into_statements(targets, &self.live_slots());
        let mut stored = Size::of_targets(targets.len());
        stored.bytes = self.instance.state_bytes.learn(targets.len(), &statements);
        if let Some(Unsendable { target, reason }) = unsendable.first() {
            tracing::warn!(
                projection = to.name,
                target = shortened(target),
                reason = shortened(reason),
                "a target's state is too large to be stored: the target stays marked for repair"
            );
            return Ok(Repaired::Impossible);
        }
        let writes = Writes {
            statements,
            repaired: targets.to_vec(),
            repairs: foreign
                .into_iter()
                .map(|target| (target, "a change of it was set aside"))
                .collect(),
            settled,
            ..Writes::default()
        };
        Ok(match self.commit_repair(&writes, to).await? {
            Ok(()) => Repaired::Done(stored),
            Err(unrepaired) => unrepaired,
        })
    }

    /// Commits computed states, and heals each target once whose field the server cannot write into.
    async fn commit_repair(
        &mut self,
        writes: &Writes,
        to: Checkpoint,
    ) -> Result<Result<(), Repaired>, Ended> {
        let mut healed = HashSet::new();
        loop {
            let (target, reason) = match self.commit(writes, to.clone()).await {
                Ok(_) => {
                    let repaired = writes.repaired.len() as u64;
                    self.instance.metrics.repairs.inc_by(repaired);
                    return Ok(Ok(()));
                }
                Err(Uncommitted::Ended(ended)) => return Err(ended),
                Err(Uncommitted::Failed(error)) => return Ok(Err(Repaired::Failed(error))),
                Err(Uncommitted::Refused { target, reason }) => (target, reason),
            };
            if let Some(target) = target
                && healed.insert(target.clone())
            {
                match self.heal(&target).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Ok(Err(Repaired::Failed(error))),
                }
            }
            tracing::warn!(
                reason = shortened(&reason),
                projection = self.checkpoint.name,
                "the server refused the repaired states of some targets: they stay marked for repair"
            );
            return Ok(Err(Repaired::Impossible));
        }
    }

    async fn marked_targets(&self, most: usize) -> mongodb::error::Result<Vec<Bson>> {
        let deferred: Vec<&Bson> = self.deferred.iter().collect();
        let due =
            doc! { "_id.projection": &self.instance.part.name, "_id.target": { "$nin": deferred } };
        let found: Vec<RawDocumentBuf> = self
            .instance
            .store
            .repairs
            .clone_with_type::<RawDocumentBuf>()
            .find(due)
            .sort(doc! { "at": 1 })
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .send()
            .await?
            .try_collect()
            .await?;
        let targets = found.iter().filter_map(|row| {
            Bson::try_from(row.get_document("_id").ok()?.get("target").ok()??).ok()
        });
        Ok(targets.collect())
    }
}
