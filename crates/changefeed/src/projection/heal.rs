//! Heals a target in which another program has spoiled the projection's field.
//!
//! MongoDB 6.0 ends itself when an update by a pipeline meets a document in which a name stands
//! twice where the update changes something. Updates by modifiers do not, so they are what heals.

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;

use crate::{Error, SendAction, WithCauses};

use super::fold::Statement;
use super::leader::Leader;
use super::transaction::{Refusal, Writes, abort, commit, start, update_targets};

/// A healing that meets a concurrent write is tried so often.
const ATTEMPTS: u32 = 5;
/// How often the field may stand in a target that can be healed: each removal reads all of it.
const COPIES_MAX: usize = 1_000;
/// Targets that are looked through at once.
const TARGETS_AT_ONCE: usize = 500;
/// Documents in one answer: their states may be large.
const ANSWER_COUNT_MAX: u32 = 50;

/// The projection's field as a target has it.
struct FieldInTarget {
    copies: usize,
    /// What heals it; `None` when nothing has to.
    healed: Option<Document>,
}

impl Leader<'_> {
    /// Heals the field of a target: it stands once, the first one, and is a document in which each
    /// generation and each name within it stand once. What else is in the target stays. The state
    /// is marked for repair. Returns whether it was healed: it may need no healing, or be beyond it.
    ///
    /// # Errors
    /// When the server cannot be reached, or is too busy.
    pub async fn heal(&mut self, target: &Bson) -> Result<bool, Error> {
        let mut attempts = 1;
        loop {
            match self.try_to_heal(target).await {
                Ok(healed) => {
                    if healed {
                        self.repairs_pending = true;
                        tracing::warn!(
                            projection = self.checkpoint.name,
                            %target,
                            "another program has spoiled the projection's field of a target: it is healed"
                        );
                    }
                    return Ok(healed);
                }
                Err(Refusal::Transient(error))
                    if attempts < ATTEMPTS && !error.is_connection_lost() =>
                {
                    tracing::debug!(
                        error = %WithCauses(&error),
                        "the repair of a target's spoiled field failed, will retry"
                    );
                    attempts += 1;
                }
                Err(Refusal::Transient(error)) => return Err(error),
                Err(Refusal::Writes { reason, .. }) => {
                    tracing::error!(projection = self.checkpoint.name, %target, reason, "a target could not be healed");
                    return Ok(false);
                }
                // No checkpoint is written here.
                Err(Refusal::Superseded) => return Ok(false),
            }
        }
    }

    /// Heals those of the targets that need it. Returns those that cannot be healed.
    ///
    /// # Errors
    /// When the targets cannot be read, or the server cannot be reached.
    pub async fn heal_spoiled(
        &mut self,
        targets: impl Iterator<Item = Bson>,
    ) -> Result<Vec<Bson>, Error> {
        let (targets, mut unhealed): (Vec<Bson>, _) = (targets.collect(), Vec::new());
        for targets in targets.chunks(TARGETS_AT_ONCE) {
            for target in self.spoiled(targets).await? {
                if !self.heal(&target).await? {
                    unhealed.push(target);
                }
            }
        }
        Ok(unhealed)
    }

    async fn spoiled(&self, targets: &[Bson]) -> Result<Vec<Bson>, Error> {
        let failed = |source| Error::Database {
            doing: "looking for spoiled targets",
            source,
        };
        let field = self.instance.projection.field();
        let raw = self
            .instance
            .store
            .targets
            .clone_with_type::<RawDocumentBuf>();
        let found = raw
            .find(doc! { "_id": { "$in": targets } })
            .batch_size(ANSWER_COUNT_MAX);
        let mut found = found.send().await.map_err(failed)?;
        let mut spoiled = Vec::new();
        while let Some(target) = found.try_next().await.map_err(failed)? {
            if FieldInTarget::in_target(&target, field).healed.is_some()
                && let Some(id) = target.get("_id").ok().flatten()
            {
                spoiled.extend(Bson::try_from(id));
            }
        }
        Ok(spoiled)
    }

    async fn try_to_heal(&mut self, target: &Bson) -> Result<bool, Refusal> {
        let (store, session) = (&self.instance.store, &mut self.session);
        let field = self.instance.projection.field();
        let raw = store.targets.clone_with_type::<RawDocumentBuf>();
        // The states of all sets are in the field, and each set computes its own.
        let named = self.instance.sets.names_for(std::slice::from_ref(target));
        let mut named = named.await.map_err(Refusal::Transient)?;
        let own = (self.instance.part.name_of(target), target.clone());
        if !named.contains(&own) {
            named.push(own);
        }
        start(session).await?;
        let healed = async {
            let failed = |source| {
                Refusal::Transient(Error::Database {
                    doing: "reading a target to heal",
                    source,
                })
            };
            // All of it: a projection of the server's shows the first copy alone.
            let present = raw.find_one(doc! { "_id": target }).session(&mut *session);
            let present = present.send().await.map_err(failed)?;
            let Some(FieldInTarget {
                copies,
                healed: Some(healed),
            }) = present.map(|present| FieldInTarget::in_target(&present, field))
            else {
                return Ok(false);
            };
            let refused = |reason| Refusal::Writes {
                target: Some(target.clone()),
                reason,
            };
            if copies > COPIES_MAX {
                return Err(refused(format!("the field {field} stands {copies} times")));
            }
            // Each removes the first one.
            let mut updates = vec![doc! { "$unset": { field: "" } }; copies - 1];
            updates.push(doc! { "$set": { field: healed } });
            let updates = updates.into_iter();
            let statements = updates.map(|update| Statement::new(target, update.into(), None));
            let statements: Result<Vec<Statement>, _> = statements.collect();
            let statements = statements.map_err(|unsendable| refused(unsendable.reason))?;
            update_targets(store, session, &statements).await?;
            let marks = named.into_iter();
            let marks = marks.map(|(name, target)| (name, target, "its field was spoiled"));
            let marked = Writes::mark(store, session, marks.collect()).await;
            marked.map_err(failed)?;
            Ok(true)
        };
        match healed.await {
            Ok(true) => commit(session).await.map(|()| true),
            unwritten => {
                abort(session).await;
                unwritten
            }
        }
    }
}

impl FieldInTarget {
    fn in_target(target: &RawDocument, field: &str) -> Self {
        let elements = target.iter_elements().map_while(Result::ok);
        let mut copies = elements.filter(|element| element.key().as_str() == field);
        let Some(first) = copies.next() else {
            return Self {
                copies: 0,
                healed: None,
            };
        };
        let copies = 1 + copies.count();
        let (healed, intact) = match first.value() {
            Ok(RawBsonRef::Document(generations)) => {
                let healed = generations_of(generations);
                let intact = RawDocumentBuf::try_from(&healed)
                    .is_ok_and(|healed| healed.as_bytes() == generations.as_bytes());
                (healed, intact)
            }
            _ => (Document::new(), false),
        };
        let spoiled = copies > 1 || !intact;
        Self {
            copies,
            healed: spoiled.then_some(healed),
        }
    }
}

/// The first of each generation. What is no document is left out: it reads as no state then.
fn generations_of(field: &RawDocument) -> Document {
    let generations = once_each(field).into_iter();
    generations
        .filter(|(_, state)| state.as_document().is_some())
        .collect()
}

/// The first of each name, at every depth. What cannot be read is left out.
fn once_each(document: &RawDocument) -> Document {
    let mut kept = Document::new();
    for element in document.iter_elements().map_while(Result::ok) {
        let name = element.key().as_str();
        if kept.contains_key(name) {
            continue;
        }
        if let Ok(value) = element.value()
            && let Some(value) = once_each_in(value)
        {
            kept.insert(name, value);
        }
    }
    kept
}

fn once_each_in(value: RawBsonRef<'_>) -> Option<Bson> {
    match value {
        RawBsonRef::Document(document) => Some(Bson::Document(once_each(document))),
        RawBsonRef::Array(list) => {
            let values = list.into_iter().filter_map(Result::ok);
            Some(Bson::Array(values.filter_map(once_each_in).collect()))
        }
        value => Bson::try_from(value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use bson::cstr;

    use super::*;

    #[test]
    fn the_first_of_each_generation_and_of_each_name_stays() {
        let mut state = RawDocumentBuf::new();
        state.append(cstr!("count"), 1);
        state.append(cstr!("count"), 2);
        let mut field = RawDocumentBuf::new();
        field.append(cstr!("g1"), state);
        field.append(cstr!("g1"), 3);
        field.append(cstr!("g2"), 4);
        let mut target = RawDocumentBuf::new();
        target.append(cstr!("feed"), field);
        target.append(cstr!("other"), 5);
        target.append(cstr!("other"), 5);
        let found = FieldInTarget::in_target(&target, "feed");
        assert_eq!(
            (found.copies, found.healed),
            (1, Some(doc! { "g1": { "count": 1 } }))
        );
        target.append(cstr!("feed"), 6);
        assert_eq!(FieldInTarget::in_target(&target, "feed").copies, 2);
    }

    #[test]
    fn a_field_in_order_is_left_alone_and_another_value_becomes_a_document() {
        let healed = |target| {
            let target = RawDocumentBuf::try_from(&target).expect("a document");
            FieldInTarget::in_target(&target, "feed").healed
        };
        assert_eq!(
            healed(doc! { "feed": { "g1": { "list": [{ "a": 1 }, 2] } } }),
            None
        );
        assert_eq!(healed(doc! { "other": 1 }), None);
        assert_eq!(healed(doc! { "feed": 5 }), Some(doc! {}));
    }
}
