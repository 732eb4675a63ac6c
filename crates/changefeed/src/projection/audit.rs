//! The auditor: compares a sample of the stored states with states computed from the source as it
//! was at the projection's own position, so that a difference is a fault and never mere lag.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;

use super::Slot;
use super::compute::{At, compute};
use super::fold::{AS_OF, STALE};
use super::leader::{Ended, Leader};
use super::transaction::Writes;
use crate::log_value::shortened;
use crate::metrics::Gauge;
use crate::{SendAction, WithCauses};

/// What one leader's last sample adds to the gauge of the process, which has one leader for each of its partitions. The
/// gauge loses it when the leader ends.
pub(crate) struct DivergentShare {
    gauge: Gauge,
    share: i64,
}

impl DivergentShare {
    pub fn of(gauge: &Gauge) -> Self {
        Self {
            gauge: gauge.clone(),
            share: 0,
        }
    }

    fn set(&mut self, share: i64) {
        self.gauge.inc_by(share - self.share);
        self.share = share;
    }
}

impl Drop for DivergentShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Some targets of the serving generation, chosen at random.
#[derive(Default)]
struct Sample {
    /// Targets with their stored states, which hold no change after the projection's position.
    comparable: Vec<(Bson, Document)>,
    /// Targets that cannot be read: whatever is stored there is no state.
    unreadable: Vec<Bson>,
}

impl Leader<'_> {
    /// Audits one sample of the serving generation, publishes the divergence and marks the
    /// divergent targets for repair.
    pub async fn audit(&mut self) -> Result<(), Ended> {
        let position = self.position();
        // Within the changes of one time there is no snapshot to compare with: the next audit may
        // find the projection after them.
        if self.not_before() > position {
            return Ok(());
        }
        let Some(slot) = self.intact_serving_slot() else {
            return Ok(());
        };
        let sample = match self.sample(&slot, position).await {
            Ok(sample) => sample,
            Err(error) => {
                self.put_off("sampling targets", &error);
                return Ok(());
            }
        };
        if sample.comparable.is_empty() && sample.unreadable.is_empty() {
            return Ok(());
        }
        let Some(mut divergent) = self.divergent(&sample.comparable, position).await else {
            return Ok(());
        };
        let audited = sample.comparable.len() + sample.unreadable.len();
        divergent.extend(sample.unreadable);
        self.publish_audit(audited, &divergent);
        if divergent.is_empty() {
            return Ok(());
        }
        let mark = |target| (target, "it differed from the source");
        let writes = Writes {
            repairs: divergent.into_iter().map(mark).collect(),
            ..Writes::default()
        };
        self.commit_or_end(&writes, self.checkpoint.clone()).await
    }

    /// The slot that readers use; `None` while it does not follow the stream.
    fn intact_serving_slot(&self) -> Option<Slot> {
        let slot = self.live_slots().into_iter().next();
        slot.filter(|slot| Some(slot.generation()) == self.checkpoint.serving)
    }

    async fn sample(&self, slot: &Slot, position: Timestamp) -> mongodb::error::Result<Sample> {
        let size = i64::from(self.instance.settings.audit_sample);
        let stages = [
            doc! { "$sample": { "size": size } },
            doc! { "$match": self.instance.projection.targets() },
            doc! { "$project": { slot.as_path(): 1 } },
        ];
        let targets = &self.instance.store.targets;
        let found = targets.aggregate(stages).with_type::<RawDocumentBuf>();
        let mut found = found.send().await?;
        let mut sample = Sample::default();
        while let Some(target) = found.try_next().await? {
            let id = target.get("_id").ok().flatten();
            let Some(id) = id.and_then(|id| Bson::try_from(id).ok()) else {
                continue;
            };
            if !self.instance.part.holds(&id) {
                continue;
            }
            let Ok(target) = Document::try_from(&*target) else {
                sample.unreadable.push(id);
                continue;
            };
            let state = slot.state_in(&target).cloned();
            let state = state.unwrap_or_else(|| self.instance.projection.empty());
            // A state computed ahead of the position holds changes that the position does not.
            let as_of = state.get_timestamp(AS_OF);
            let is_ahead = as_of.is_ok_and(|as_of| as_of > position);
            if !is_ahead {
                sample.comparable.push((id, state));
            }
        }
        Ok(sample)
    }

    /// The targets whose stored states differ from those computed from the source as it was at this
    /// position, without those that wait for a repair already. `None` when they cannot be compared now.
    async fn divergent(
        &self,
        stored: &[(Bson, Document)],
        position: Timestamp,
    ) -> Option<Vec<Bson>> {
        let ids: Vec<Bson> = stored.iter().map(|(id, _)| id.clone()).collect();
        let instance = self.instance;
        let at = At::Exactly(position);
        let computed = match compute(&*instance.projection, &instance.store, &ids, at).await {
            Ok(computed) => computed?,
            Err(error) => {
                tracing::warn!(
                    error = %WithCauses(&error),
                    projection = self.checkpoint.name,
                    "the audit of a sample of targets failed, will retry"
                );
                return None;
            }
        };
        let marked = match self.marked_among(&ids).await {
            Ok(marked) => marked,
            Err(error) => {
                self.put_off("reading the targets to repair", &error);
                return None;
            }
        };
        let differs = |(id, state): &&(Bson, Document)| {
            let computed = computed.states.get(id);
            !marked.contains(id) && computed.is_some_and(|computed| !same_state(state, computed))
        };
        let divergent = stored.iter().filter(differs);
        Some(divergent.map(|(id, _)| id.clone()).collect())
    }

    /// Those of the targets that are marked for repair already.
    async fn marked_among(&self, ids: &[Bson]) -> mongodb::error::Result<Vec<Bson>> {
        let marked =
            doc! { "_id.projection": &self.instance.part.name, "_id.target": { "$in": ids } };
        let found: Vec<Document> = self
            .instance
            .store
            .repairs
            .find(marked)
            .send()
            .await?
            .try_collect()
            .await?;
        Ok(found
            .iter()
            .filter_map(|row| row.get_document("_id").ok()?.get("target").cloned())
            .collect())
    }

    fn publish_audit(&mut self, audited: usize, divergent: &[Bson]) {
        let metrics = &self.instance.metrics;
        metrics.audited.inc_by(audited as u64);
        // A sample has no more than a `u32` of them.
        self.divergent_share
            .set(i64::try_from(divergent.len()).unwrap_or_default());
        metrics.divergences.inc_by(divergent.len() as u64);
        for target in divergent {
            tracing::error!(
                projection = self.checkpoint.name,
                target = shortened(target),
                "a target differs from the source: repairing it"
            );
        }
    }
}

/// Whether two states say the same, whatever the order of fields and the width of numbers.
fn same_state(stored: &Document, computed: &Document) -> bool {
    let own = |field: &str| field != AS_OF && field != STALE;
    let fields = |state: &Document| state.keys().filter(|field| own(field)).count();
    fields(stored) == fields(computed)
        && computed
            .iter()
            .filter(|(field, _)| own(field))
            .all(|(field, value)| {
                stored
                    .get(field)
                    .is_some_and(|stored| same_value(stored, value))
            })
}

fn same_value(left: &Bson, right: &Bson) -> bool {
    match (left, right) {
        (Bson::Document(left), Bson::Document(right)) => {
            left.len() == right.len()
                && left.iter().all(|(field, value)| {
                    right
                        .get(field)
                        .is_some_and(|right| same_value(value, right))
                })
        }
        (Bson::Array(left), Bson::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same_value(left, right))
        }
        _ => {
            left == right
                || whole_number(left).is_some_and(|left| Some(left) == whole_number(right))
        }
    }
}

fn whole_number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 2_f64.powi(53) => {
            Some(*number as i64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_is_the_sum_of_the_last_samples_of_all_that_lead() {
        let gauge = Gauge::default();
        let (mut one, mut other) = (DivergentShare::of(&gauge), DivergentShare::of(&gauge));
        one.set(3);
        other.set(2);
        assert_eq!(gauge.get(), 5);
        one.set(0);
        assert_eq!(gauge.get(), 2);
        drop(other);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn states_are_the_same_whatever_their_field_order_and_number_width() {
        let stored = doc! { "asOf": 1, "stale": false, "count": 2_i64, "latest": [{ "id": 1, "text": "a" }] };
        assert!(same_state(
            &stored,
            &doc! { "latest": [{ "text": "a", "id": 1.0 }], "count": 2 }
        ));
        assert!(!same_state(
            &stored,
            &doc! { "latest": [{ "text": "b", "id": 1 }], "count": 2 }
        ));
        assert!(!same_state(&stored, &doc! { "count": 2 }));
    }
}
