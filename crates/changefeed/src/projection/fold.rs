//! From changes to one update a target: what happened to each target over a batch.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use crate::{Change, ChangeKind};

use super::any_projection::{AnyProjection, SourceDocument};
use super::partition::Part;
use super::{NetChange, Slot, Unfoldable};

/// The changes of a batch by target, in the order in which the targets were first touched: of a partition's own targets.
pub(crate) struct Touched<'a> {
    part: &'a Part,
    targets: Vec<(Bson, Vec<Touch<'a, SourceDocument>>)>,
    places: HashMap<Bson, usize>,
}

/// What one change did to one target.
pub(crate) struct Touch<'a, T: ?Sized> {
    /// The change's number in the batch.
    pub index: usize,
    pub key: &'a Bson,
    pub time: Timestamp,
    existed: bool,
    after: Option<&'a T>,
}

/// The effect of a change is not known, because an image is missing.
pub(crate) struct Unclear;

impl<'a> Touched<'a> {
    pub fn new(part: &'a Part) -> Self {
        Self {
            part,
            targets: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Adds a change, in the order of the stream.
    ///
    /// # Errors
    /// When an image that is needed is missing.
    pub fn add(
        &mut self,
        projection: &dyn AnyProjection,
        index: usize,
        change: &'a Change<SourceDocument>,
    ) -> Result<(), Unclear> {
        let (before, after) = match &change.kind {
            ChangeKind::Inserted(after) => (None, Some(after)),
            ChangeKind::Updated {
                before: Some(before),
                after: Some(after),
            }
            | ChangeKind::Replaced {
                before: Some(before),
                after,
            } => (Some(before), Some(after)),
            ChangeKind::Deleted {
                before: Some(before),
            } => (Some(before), None),
            ChangeKind::Updated { .. }
            | ChangeKind::Replaced { .. }
            | ChangeKind::Deleted { .. } => return Err(Unclear),
        };
        let left = before.map(|before| projection.target_of(before));
        let joined = after.map(|after| projection.target_of(after));
        let touch = |existed, after| Touch {
            index,
            key: &change.key,
            time: change.cluster_time,
            existed,
            after,
        };
        match (left, joined) {
            (Some(left), Some(joined))
                if left == joined
                    && before
                        .zip(after)
                        .is_some_and(|(before, after)| projection.is_same(before, after)) => {}
            (Some(left), Some(joined)) if left == joined => self.push(joined, touch(true, after)),
            (left, joined) => {
                if let Some(left) = left {
                    self.push(left, touch(true, None));
                }
                if let Some(joined) = joined {
                    self.push(joined, touch(false, after));
                }
            }
        }
        Ok(())
    }

    /// The targets with what was done to them.
    pub fn iter(&self) -> impl Iterator<Item = (&Bson, &[Touch<'a, SourceDocument>])> {
        self.targets
            .iter()
            .map(|(target, touches)| (target, touches.as_slice()))
    }

    /// The target that this source document belonged to when it was last seen in this batch.
    pub fn last_target_of(&self, key: &Bson) -> Option<Bson> {
        let last = |touches: &[Touch<'a, SourceDocument>]| {
            touches
                .iter()
                .rev()
                .find(|touch| touch.key == key)
                .map(|touch| touch.index)
        };
        self.iter()
            .filter_map(|(target, touches)| Some((last(touches)?, target)))
            .max_by_key(|(index, _)| *index)
            .map(|(_, target)| target.clone())
    }

    fn push(&mut self, target: Bson, touch: Touch<'a, SourceDocument>) {
        if !self.part.holds(&target) {
            return;
        }
        let place = *self.places.entry(target.clone()).or_insert_with(|| {
            self.targets.push((target, Vec::new()));
            self.targets.len() - 1
        });
        self.targets[place].1.push(touch);
    }
}

/// Collapses what was done to one target after `as_of` to at most one entry a source document.
/// A document that came and went in between leaves no trace.
pub(crate) fn collapse<'t, T: ?Sized>(
    touches: &'t [Touch<'_, T>],
    as_of: Option<Timestamp>,
) -> Vec<NetChange<'t, T>> {
    let mut places: HashMap<&Bson, usize> = HashMap::new();
    let mut collapsed: Vec<(usize, NetChange<'t, T>)> = Vec::new();
    for touch in touches
        .iter()
        .filter(|touch| as_of.is_none_or(|as_of| touch.time > as_of))
    {
        match places.get(touch.key) {
            Some(&place) => {
                let (last, net) = &mut collapsed[place];
                *last = touch.index;
                net.after = touch.after;
            }
            None => {
                places.insert(touch.key, collapsed.len());
                let net = NetChange {
                    key: touch.key,
                    existed: touch.existed,
                    after: touch.after,
                };
                collapsed.push((touch.index, net));
            }
        }
    }
    collapsed.retain(|(_, net)| net.existed || net.after.is_some());
    collapsed.sort_by_key(|(last, _)| *last);
    collapsed.into_iter().map(|(_, net)| net).collect()
}

/// Bytes of the largest statement that fits a command of 16 MB, with room for what the driver adds.
/// The server closes the connection on a larger one, without a word of the reason.
pub(crate) const STATEMENT_BYTES_MAX: usize = (16 << 20) - (64 << 10);

/// One update of a target document, encoded as a statement of an `update` command. As trees, the
/// statements of a batch would take some 28 KB each.
#[derive(Debug)]
pub(crate) struct Statement {
    pub target: Bson,
    pub encoded: RawDocumentBuf,
    /// Whether the update may ask for the state to be computed again.
    pub may_go_stale: Option<Slot>,
    /// Whether the update is a pipeline, which must not meet a spoiled field.
    pub is_pipeline: bool,
}

/// An update that no command can hold.
#[derive(Debug)]
pub(crate) struct Unsendable {
    pub target: Box<Bson>,
    pub reason: String,
}

impl Statement {
    /// # Errors
    /// When no command can hold the update.
    pub fn new(
        target: &Bson,
        update: Bson,
        may_go_stale: Option<Slot>,
    ) -> Result<Self, Unsendable> {
        let unsendable = |reason| Unsendable {
            target: Box::new(target.clone()),
            reason,
        };
        let statement = doc! { "q": { "_id": target }, "u": update };
        let encoded =
            RawDocumentBuf::try_from(&statement).map_err(|error| unsendable(error.to_string()))?;
        let length = encoded.as_bytes().len();
        if length > STATEMENT_BYTES_MAX {
            return Err(unsendable(format!("its update has {length} bytes")));
        }
        Ok(Self {
            target: target.clone(),
            encoded,
            may_go_stale,
            is_pipeline: false,
        })
    }

    fn of_pipeline(self) -> Self {
        Self {
            is_pipeline: true,
            ..self
        }
    }

    /// Bytes of the encoded statement.
    pub fn bytes(&self) -> usize {
        self.encoded.as_bytes().len()
    }
}

/// How states are brought forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By update operators where the projection can say it in them, and by pipelines elsewhere.
    Operators,
    /// By pipelines alone.
    Pipelines,
}

/// The update that brings one target's state in one slot forward; `None` when nothing changes.
///
/// # Errors
/// When the projection cannot fold these changes.
pub(crate) fn statement(
    projection: &dyn AnyProjection,
    slot: &Slot,
    target: &Bson,
    changes: &[NetChange<'_, SourceDocument>],
    way: Way,
) -> Result<Option<Statement>, Unfoldable> {
    if changes.is_empty() {
        return Ok(None);
    }
    let unfoldable = |unsendable: Unsendable| Unfoldable(unsendable.reason);
    if way == Way::Operators
        && let Some(operators) = projection.modify(slot, changes)
    {
        let statement = Statement::new(target, Bson::from(operators), None);
        return statement.map(Some).map_err(unfoldable);
    }
    let stages = projection.fold(slot, changes)?;
    let may_go_stale = stages
        .iter()
        .any(|stage| stage.contains_key(STALE))
        .then(|| slot.clone());
    let present = doc! { "$ifNull": [format!("${slot}"), { "$literal": projection.empty() }] };
    let mut pipeline = vec![Bson::from(doc! { "$set": { slot.as_path(): present } })];
    pipeline.extend(stages.into_iter().map(|stage| {
        let fields: Document = stage
            .into_iter()
            .map(|(field, value)| (slot.path(&field), value))
            .collect();
        Bson::from(doc! { "$set": fields })
    }));
    let statement = Statement::new(target, Bson::Array(pipeline), may_go_stale);
    statement
        .map(|statement| Some(statement.of_pipeline()))
        .map_err(unfoldable)
}

/// The field of a state by which a fold asks for the state to be computed again.
pub(crate) const STALE: &str = "stale";
/// The field of a state with the time of the snapshot that it was computed from.
pub(crate) const AS_OF: &str = "asOf";

/// The update that replaces one target's state in one slot by one computed as of a time.
///
/// # Errors
/// When the state is too large.
pub(crate) fn replacement(
    slot: &Slot,
    target: &Bson,
    mut state: Document,
    as_of: Timestamp,
) -> Result<Statement, Unsendable> {
    state.insert(AS_OF, as_of);
    // The server refuses it where another value is in the place of the field: that is healed then.
    let update = doc! { "$set": { slot.as_path(): state } };
    Statement::new(target, Bson::from(update), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch<'a>(
        index: usize,
        key: &'a Bson,
        existed: bool,
        after: Option<&'a str>,
    ) -> Touch<'a, str> {
        Touch {
            index,
            key,
            time: Timestamp {
                time: 1,
                increment: index as u32,
            },
            existed,
            after,
        }
    }

    #[test]
    fn changes_of_one_document_collapse_to_the_last_one() {
        let (a, b) = (Bson::from("a"), Bson::from("b"));
        let touches = [
            touch(0, &a, false, Some("new")),
            touch(1, &b, true, None),
            touch(2, &a, true, Some("edited")),
        ];
        let net = collapse(&touches, None);
        assert_eq!(net.len(), 2);
        assert_eq!((net[0].key, net[0].after, net[0].count()), (&b, None, -1));
        assert_eq!(
            (net[1].key, net[1].after, net[1].count()),
            (&a, Some("edited"), 1)
        );
    }

    #[test]
    fn a_document_that_came_and_went_leaves_no_trace() {
        let a = Bson::from("a");
        assert!(
            collapse(
                &[touch(0, &a, false, Some("new")), touch(1, &a, true, None)],
                None
            )
            .is_empty()
        );
    }

    #[test]
    fn changes_that_a_computed_state_holds_already_are_left_out() {
        let a = Bson::from("a");
        let touches = [
            touch(0, &a, false, Some("new")),
            touch(1, &a, true, Some("edited")),
        ];
        let net = collapse(
            &touches,
            Some(Timestamp {
                time: 1,
                increment: 0,
            }),
        );
        assert_eq!((net.len(), net[0].count()), (1, 0));
    }
}
