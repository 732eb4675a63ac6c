//! The auditor: compares a sample of the stored states with states computed from the source as it
//! was at the projection's own position, so that a difference is a fault and never mere lag.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;

use super::Projection;
use super::compute::{At, compute};
use super::fold::{AS_OF, STALE};
use super::leader::{Ended, Leader};
use super::transaction::Writes;
use crate::log_value::shortened;

impl<P: Projection> Leader<'_, P> {
    /// Audits one sample of the serving generation, publishes the divergence and marks the
    /// divergent targets for repair.
    pub async fn audit(&mut self) -> Result<(), Ended> {
        let serving = self
            .checkpoint
            .live_slots(self.member.projection.field())
            .into_iter()
            .next();
        let position = self.position();
        // Within the changes of one time there is no snapshot to compare with: the next audit may
        // find the projection after them.
        if self.not_before() > position {
            return Ok(());
        }
        let Some(slot) = serving.filter(|slot| Some(slot.generation()) == self.checkpoint.serving)
        else {
            return Ok(());
        };
        let sample = match self.sample(slot.as_path()).await {
            Ok(sample) => sample,
            Err(error) => {
                self.put_off("sampling targets", &error);
                return Ok(());
            }
        };
        let mut unreadable = Vec::new();
        // A state computed ahead of the position holds changes that the position does not.
        let comparable: Vec<(Bson, Document)> = sample
            .into_iter()
            .filter_map(|target| {
                let Ok(mut target) = Document::try_from(&*target) else {
                    // What cannot be read is no state, whatever it is.
                    let id = target.get("_id").ok().flatten();
                    unreadable.extend(id.and_then(|id| Bson::try_from(id).ok()));
                    return None;
                };
                let state = slot
                    .state_in(&target)
                    .cloned()
                    .unwrap_or_else(|| self.member.projection.empty());
                let ahead = state
                    .get_timestamp(AS_OF)
                    .is_ok_and(|as_of| as_of > position);
                Some((target.remove("_id")?, state)).filter(|_| !ahead)
            })
            .collect();
        if comparable.is_empty() && unreadable.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<Bson> = comparable.iter().map(|(id, _)| id.clone()).collect();
        let computed = compute(
            &*self.member.projection,
            &self.member.store,
            &ids,
            At::Exactly(position),
        )
        .await;
        let computed = match computed {
            Ok(Some(computed)) => computed,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(
                    error = error.with_causes(),
                    projection = self.checkpoint.name,
                    "a sample could not be audited"
                );
                return Ok(());
            }
        };
        let marked = match self.marked_among(&ids).await {
            Ok(marked) => marked,
            Err(error) => {
                self.put_off("reading the targets to repair", &error);
                return Ok(());
            }
        };
        let divergent = comparable.iter().filter(|(id, state)| {
            !marked.contains(id)
                && computed
                    .states
                    .get(id)
                    .is_some_and(|computed| !same_state(state, computed))
        });
        let mut divergent: Vec<Bson> = divergent.map(|(id, _)| id.clone()).collect();
        ids.extend_from_slice(&unreadable);
        divergent.extend(unreadable);
        self.publish_audit(ids.len(), &divergent);
        if divergent.is_empty() {
            return Ok(());
        }
        let repairs = divergent
            .into_iter()
            .map(|target| (target, "it differed from the source"))
            .collect();
        self.commit_or_end(
            &Writes {
                repairs,
                ..Writes::default()
            },
            self.checkpoint.clone(),
        )
        .await
    }

    async fn sample(&self, slot: &str) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
        let size = i64::from(self.member.settings.audit_sample);
        let stages = [
            doc! { "$sample": { "size": size } },
            doc! { "$match": self.member.projection.targets() },
            doc! { "$project": { slot: 1 } },
        ];
        self.member
            .store
            .targets
            .aggregate(stages)
            .with_type::<RawDocumentBuf>()
            .await?
            .try_collect()
            .await
    }

    /// Those of the targets that are marked for repair already.
    async fn marked_among(&self, ids: &[Bson]) -> mongodb::error::Result<Vec<Bson>> {
        let marked =
            doc! { "_id.projection": self.member.projection.name(), "_id.target": { "$in": ids } };
        let found: Vec<Document> = self
            .member
            .store
            .repairs
            .find(marked)
            .await?
            .try_collect()
            .await?;
        Ok(found
            .iter()
            .filter_map(|row| row.get_document("_id").ok()?.get("target").cloned())
            .collect())
    }

    fn publish_audit(&self, audited: usize, divergent: &[Bson]) {
        let metrics = &self.member.metrics;
        metrics.audited.inc_by(audited as u64);
        metrics
            .divergent
            .set(i64::try_from(divergent.len()).unwrap_or(i64::MAX));
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
