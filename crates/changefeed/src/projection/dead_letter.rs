//! Dead letters: events that were passed without being applied, kept until they are replayed.

use bson::{Bson, DateTime, RawDocumentBuf, Timestamp, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::change::RawChange;

/// Events larger than this are kept without their documents, so that the letter fits a document.
const EVENT_BYTES_MAX: usize = 12 << 20;

/// An event that could not be applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    pub projection: String,
    /// The source document's `_id`.
    pub key: Bson,
    /// The targets it is known to concern.
    pub targets: Vec<Bson>,
    pub reason: String,
    pub cluster_time: Timestamp,
    pub at: DateTime,
    /// The event as the server sent it, unless it is too large.
    pub event: Option<RawDocumentBuf>,
}

impl DeadLetter {
    pub fn new(
        projection: &str,
        change: &RawChange<'_>,
        event: &RawDocumentBuf,
        targets: Vec<Bson>,
        reason: String,
    ) -> Self {
        Self {
            id: ObjectId::new(),
            projection: projection.to_owned(),
            key: change.key.clone(),
            targets,
            reason,
            cluster_time: change.cluster_time,
            at: DateTime::now(),
            event: (event.as_bytes().len() <= EVENT_BYTES_MAX).then(|| event.clone()),
        }
    }
}
