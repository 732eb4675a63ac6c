//! Projections: a fold of a source collection, kept in the documents of a target collection.

mod any_projection;
mod applied;
mod apply;
mod audit;
mod balance;
mod batch;
mod board;
mod build;
mod checkpoint;
mod compute;
mod coordinator;
mod dead_letter;
mod failures;
mod fold;
mod give_way;
mod heal;
mod instance;
mod leader;
mod lease;
mod linger;
mod partition;
mod progress;
mod projector;
mod repair;
mod requests;
mod sets;
mod slot;
mod store;
mod transaction;
mod transaction_size;
mod update_commands;

use bson::{Bson, Document};
use mongodb::ClientSession;

use crate::FromDocument;

pub use applied::AppliedBatch;
pub(crate) use checkpoint::Checkpoint;
pub use projector::{Lag, Projector, Replayed};
pub use slot::Slot;

/// A fold of a source collection, stored in the documents of a target collection. Each source document
/// belongs to one target document. The state folded from all that belong to a target is stored in that
/// target, in a [`Slot`].
///
/// For every target, the stored state must be a function of the set of its source documents:
/// [`Projection::fold`] brings it forward by a few changes, [`Projection::compute`] makes it from
/// nothing. The crate uses both, compares a sample of them at each audit, and trusts `compute`.
pub trait Projection: Send + Sync + 'static {
    /// A document of the source collection. One that cannot be read is as if it were not there.
    type SourceDocument: FromDocument;

    /// Names the projection's checkpoint, lease and dead letters in the database. Keep it for ever;
    /// a new name is a new projection.
    fn name(&self) -> &str;

    /// The target collection's name, in the database of the source.
    fn target(&self) -> &str;

    /// A filter on `_id` that chooses the targets among the documents of the target collection. By default all
    /// of them are targets. Other documents are left alone.
    fn targets(&self) -> Document {
        Document::new()
    }

    /// The target documents' field under which the state is stored, one sub-field a generation.
    /// Nothing else may write it.
    fn field(&self) -> &str;

    /// The `_id` of the target that a source document belongs to.
    fn target_of(&self, source: &Self::SourceDocument) -> Bson;

    /// Whether a source document that belongs to the same target as before makes the same state as before: then its
    /// change is passed over, and nothing is written. By default, every change may make another state.
    fn is_same(&self, _before: &Self::SourceDocument, _after: &Self::SourceDocument) -> bool {
        false
    }

    /// The state of a target without any source document.
    fn empty(&self) -> Document;

    /// Folds the changes of one target into its state: returns stages that each set fields of the
    /// state to aggregation expressions, such as `{ "count": { "$add": [slot.value("count"), 1] } }`.
    /// The fields of [`Projection::empty`] exist. Wrap values that come from documents in `$literal`:
    /// a text that begins with `$` is an expression otherwise. `changes` holds at most one entry a source
    /// document, in the order in which the documents last changed.
    ///
    /// A stage that sets the field `stale` to true asks for the state to be computed again right
    /// after (a capped list that ran short, say).
    ///
    /// # Errors
    /// [`Unfoldable`] sends the changes to the dead letters and computes the target again.
    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, Self::SourceDocument>],
    ) -> Result<Vec<Document>, Unfoldable>;

    /// The same as [`Projection::fold`] in update operators, for changes that allow it: such as
    /// `{ "$inc": { slot.path("count"): 1 } }`. `None`, the default, is for all others.
    ///
    /// The server applies operators in a part of the time of a pipeline. They must make the same state, also of a
    /// target that has none yet, which is as [`Projection::empty`] there; and a state that need not be computed
    /// again after them.
    fn modify(
        &self,
        _slot: &Slot,
        _changes: &[NetChange<'_, Self::SourceDocument>],
    ) -> Option<Document> {
        None
    }

    /// Takes note of a batch that was written, with the checkpoint. It must not wait. By default it does nothing.
    fn applied(&self, _batch: &AppliedBatch<'_>) {}

    /// Computes the states of some targets from the source collection. Every read must use the
    /// session: it is fixed to one point in time. A target that is left out gets
    /// [`Projection::empty`]. Source documents that [`Projection::SourceDocument`] cannot be read from must be
    /// left out.
    fn compute(
        &self,
        targets: &[Bson],
        session: &mut ClientSession,
    ) -> impl Future<Output = mongodb::error::Result<Vec<(Bson, Document)>>> + Send;

    /// Finds the target of a source document by its `_id` alone, for a change whose pre-image is
    /// missing: for example by the ids embedded in the state in this slot. When it is not known (`None`,
    /// the default), the whole projection is rebuilt.
    fn locate(
        &self,
        _slot: &Slot,
        _key: &Bson,
    ) -> impl Future<Output = mongodb::error::Result<Option<Bson>>> + Send {
        async { Ok(None) }
    }
}

/// What happened to one source document, as seen from one target, over a batch of changes.
#[derive(Debug)]
pub struct NetChange<'a, T: ?Sized> {
    /// The source document's `_id`.
    pub key: &'a Bson,
    /// Whether the document belonged to the target before.
    pub existed: bool,
    /// The document that belongs to the target now; `None` when it was deleted or moved away.
    pub after: Option<&'a T>,
}

impl<T: ?Sized> NetChange<'_, T> {
    /// By how much the number of the target's source documents changes: 1, 0 or -1.
    pub fn count(&self) -> i32 {
        i32::from(self.after.is_some()) - i32::from(self.existed)
    }
}

/// The projection cannot fold these changes, now or ever.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfoldable(pub String);
