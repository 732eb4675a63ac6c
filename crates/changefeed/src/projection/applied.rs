//! What a projection may know of a batch that was written.

use std::time::Instant;

use bson::RawDocument;

use crate::change::ChangeEvent;
use crate::stream::RawEvent;

/// A batch of changes that was written in one transaction.
pub struct AppliedBatch<'b> {
    pub(super) began: Instant,
    pub(super) changes: usize,
    pub(super) events: &'b [RawEvent],
}

impl<'b> AppliedBatch<'b> {
    /// When its processing began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How many changes of this partition it has.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// The documents before and after each change, as they are stored, as far as the server has them. They are read again,
    /// so this is not for free.
    pub fn documents(
        &self,
    ) -> impl Iterator<Item = (Option<&'b RawDocument>, Option<&'b RawDocument>)> + use<'b> {
        self.events
            .iter()
            .filter_map(|event| match ChangeEvent::read(&event.document) {
                Ok(ChangeEvent::Write(change)) => Some((change.before, change.after)),
                _ => None,
            })
    }
}
