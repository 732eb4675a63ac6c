//! Where in a target document a generation of the state is stored.

use std::fmt;

/// The place of one generation's state in the target documents. A rebuild fills the slot of the
/// next generation while this one serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    generation: i64,
    path: String,
}

impl Slot {
    pub(crate) fn new(field: &str, generation: i64) -> Self {
        Self {
            generation,
            path: format!("{field}.g{generation}"),
        }
    }

    /// The generation's number; the first one is 1.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The path of a field of the state, for filters, sorts and projections: `tally.g1.votes`.
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
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)
    }
}
