//! Repairs: targets whose state is computed anew, through the same guarded write.

use bson::{Bson, doc, oid::ObjectId};
use futures_util::TryStreamExt;

use super::Projection;
use super::compute::{At, compute};
use super::leader::{Ended, Leader, Uncommitted};
use super::transaction::Writes;

/// Targets repaired in one transaction.
const REPAIRS_AT_ONCE: i64 = 50;

impl<P: Projection> Leader<'_, P> {
    /// Repairs some of the marked targets.
    pub async fn repair_some(&mut self) -> Result<(), Ended> {
        let marked = match self.marked_targets().await {
            Ok(marked) => marked,
            Err(error) => {
                self.put_off("reading the targets to repair", &error);
                (self.repairs_pending, self.repairs_unread) = (false, true);
                return Ok(());
            }
        };
        if marked.is_empty() {
            self.repairs_pending = false;
            return Ok(());
        }
        if self.repair(&marked, Vec::new()).await? {
            return Ok(());
        }
        // One target spoils the transaction: one by one, and the spoiler waits for a later time.
        for target in marked {
            if !self
                .repair(std::slice::from_ref(&target), Vec::new())
                .await?
            {
                self.deferred.insert(target);
            }
        }
        Ok(())
    }

    /// Computes targets anew in all live slots, and settles dead letters with it. Returns false when
    /// they cannot be computed or stored.
    pub async fn repair(
        &mut self,
        targets: &[Bson],
        settled: Vec<ObjectId>,
    ) -> Result<bool, Ended> {
        let at = At::NotBefore(self.not_before());
        let computed =
            match compute(&*self.member.projection, &self.member.store, targets, at).await {
                Ok(Some(computed)) => computed,
                Ok(None) => return Ok(false),
                Err(error) => {
                    tracing::warn!(
                        error = error.with_causes(),
                        projection = self.checkpoint.name,
                        "targets could not be computed"
                    );
                    return Ok(false);
                }
            };
        let mut writes = Writes {
            repaired: targets.to_vec(),
            settled,
            ..Writes::default()
        };
        for slot in self.live_slots() {
            writes.statements.extend(computed.replacements(&slot));
        }
        let mut to = self.checkpoint.clone();
        to.ahead_until = to.ahead_until.max(computed.as_of);
        match self.commit(&writes, to).await {
            Ok(()) => {
                self.member.metrics.repairs.inc_by(targets.len() as u64);
                Ok(true)
            }
            Err(Uncommitted::Ended(ended)) => Err(ended),
            Err(Uncommitted::Refused { reason, .. }) => {
                tracing::warn!(
                    reason,
                    projection = self.checkpoint.name,
                    "the server refuses repaired states"
                );
                Ok(false)
            }
        }
    }

    async fn marked_targets(&self) -> mongodb::error::Result<Vec<Bson>> {
        let deferred: Vec<&Bson> = self.deferred.iter().collect();
        let due = doc! { "_id.projection": self.member.projection.name(), "_id.target": { "$nin": deferred } };
        let found: Vec<bson::Document> = self
            .member
            .store
            .repairs
            .find(due)
            .sort(doc! { "at": 1 })
            .limit(REPAIRS_AT_ONCE)
            .await?
            .try_collect()
            .await?;
        let targets = found
            .iter()
            .filter_map(|row| row.get_document("_id").ok()?.get("target").cloned());
        Ok(targets.collect())
    }
}
