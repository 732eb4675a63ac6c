//! Where in a target document a generation of the state is stored.

use std::fmt;

use bson::{Document, RawDocument, Timestamp};

use super::fold::AS_OF;

/// The place of one generation's state in the target documents. A rebuild fills the slot of the
/// next generation while this one serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    field: String,
    name: String,
    path: String,
    generation: i64,
}

impl Slot {
    /// `partitions`: how many maintain it; `None` for a generation of a projection that was never divided. The number is
    /// in the name, so that generations that are counted apart never share a place.
    pub(crate) fn new(field: &str, generation: i64, partitions: Option<u32>) -> Self {
        let name = match partitions {
            None => format!("g{generation}"),
            Some(count) => format!("g{generation}x{count}"),
        };
        Self {
            path: format!("{field}.{name}"),
            field: field.to_owned(),
            name,
            generation,
        }
    }

    /// The generation's number; the first one is 1.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The path of a field of the state, for filters, sorts and projections: `tally.g1.votes`, or `tally.g2x4.votes`
    /// where four partitions maintain it.
    pub fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// The value of a field of the state in an aggregation expression: `$tally.g1.votes`.
    pub fn value(&self, field: &str) -> String {
        format!("${}.{field}", self.path)
    }

    /// The path of the state itself: `tally.g1`.
    pub fn as_path(&self) -> &str {
        &self.path
    }

    /// The time of the snapshot that the state in a target document was computed from; `None` where it is missing.
    pub(crate) fn as_of_in(&self, target: &RawDocument) -> Option<Timestamp> {
        let state = target
            .get_document(&self.field)
            .ok()?
            .get_document(&self.name);
        state.ok()?.get_timestamp(AS_OF).ok()
    }

    /// The state in a target document. `None` when nothing was folded into it yet: it is
    /// [`crate::Projection::empty`] then.
    pub fn state_in<'a>(&self, target: &'a Document) -> Option<&'a Document> {
        target
            .get_document(&self.field)
            .ok()?
            .get_document(&self.name)
            .ok()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)
    }
}
