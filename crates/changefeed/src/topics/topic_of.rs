//! Which topics a change belongs to.

use bson::{Bson, Document, RawDocument, doc};

use crate::change::{Operation, RawChange};

/// The topics that one change belongs to.
pub(crate) enum Topics {
    /// None, one, or two when the change moved the document.
    These(Vec<Bson>),
    /// Nobody knows: an image is missing.
    Unknown,
}

/// The topics of a change: the values of the field before and after it.
pub(crate) fn topics_of(change: &RawChange<'_>, field: &str) -> Topics {
    if change.operation != Operation::Insert && change.before.is_none() && change.after.is_none() {
        return Topics::Unknown;
    }
    let value = |document: &RawDocument| {
        document
            .get(field)
            .ok()
            .flatten()
            .and_then(|value| Bson::try_from(value).ok())
    };
    let mut topics: Vec<Bson> = change.before.and_then(value).into_iter().collect();
    topics.extend(
        change
            .after
            .and_then(value)
            .filter(|topic| !topics.contains(topic)),
    );
    Topics::These(topics)
}

/// The stage that leaves, of a stream, a topic's changes, those of unknown topics, and the ends of
/// the collection.
pub(crate) fn filter(field: &str, topic: &Bson) -> Document {
    doc! { "$match": { "$or": [
        { format!("fullDocument.{field}"): topic },
        { format!("fullDocumentBeforeChange.{field}"): topic },
        { "fullDocument": Bson::Null, "fullDocumentBeforeChange": Bson::Null },
    ] } }
}
