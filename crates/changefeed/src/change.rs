//! A change of the source collection, decoded.

use bson::{Bson, DateTime, RawDocument, Timestamp};
use serde::de::DeserializeOwned;

use crate::ResumeToken;

/// One insert, update, replacement or deletion of a document of type `T`.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// The document's `_id`.
    pub key: Bson,
    /// What happened, with the document before and after.
    pub kind: ChangeKind<T>,
    /// When it happened, on the cluster's clock. The changes of one transaction share it.
    pub cluster_time: Timestamp,
    /// When it happened, on the clock of the node that took the write.
    pub wall_time: Option<DateTime>,
    /// The change's place in the stream.
    pub token: ResumeToken,
}

/// What happened to a document. An image is missing when the server does not have it (any more):
/// the write came before pre- and post-images were enabled, or the images have expired.
#[derive(Clone, Debug)]
pub enum ChangeKind<T> {
    /// A new document.
    Inserted(T),
    /// Some fields of the document changed.
    Updated {
        /// The document before the change.
        before: Option<T>,
        /// The document right after the change.
        after: Option<T>,
    },
    /// The whole document was replaced.
    Replaced {
        /// The document before the change.
        before: Option<T>,
        /// The document right after the change.
        after: T,
    },
    /// The document is gone.
    Deleted {
        /// The document before the deletion.
        before: Option<T>,
    },
}

impl<T> Change<T> {
    /// The document before the change, where there was one and its image is known.
    pub fn before(&self) -> Option<&T> {
        match &self.kind {
            ChangeKind::Inserted(_) => None,
            ChangeKind::Updated { before, .. }
            | ChangeKind::Replaced { before, .. }
            | ChangeKind::Deleted { before } => before.as_ref(),
        }
    }

    /// The document after the change, where there is one and its image is known.
    pub fn after(&self) -> Option<&T> {
        match &self.kind {
            ChangeKind::Inserted(after) | ChangeKind::Replaced { after, .. } => Some(after),
            ChangeKind::Updated { after, .. } => after.as_ref(),
            ChangeKind::Deleted { .. } => None,
        }
    }
}

/// What an event of the change stream means to us.
pub(crate) enum Event<'a> {
    /// A change of one document.
    Write(RawChange<'a>),
    /// The collection as it was is gone: dropped, renamed, or the stream invalidated.
    CollectionGone(&'a str),
    /// An event that does not touch documents (a new index, say).
    Other,
}

/// A change whose documents are not decoded yet.
pub(crate) struct RawChange<'a> {
    pub operation: Operation,
    pub key: Bson,
    pub before: Option<&'a RawDocument>,
    pub after: Option<&'a RawDocument>,
    pub cluster_time: Timestamp,
    pub wall_time: Option<DateTime>,
    pub token: ResumeToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    Replace,
    Delete,
}

impl<'a> Event<'a> {
    /// Reads the envelope of an event.
    ///
    /// # Errors
    /// When the server's event lacks a field that it always has.
    pub(crate) fn read(event: &'a RawDocument) -> Result<Self, bson::error::Error> {
        let envelope = Envelope::read(event)?;
        let operation = match envelope.operation.ok_or_else(|| missing("operationType"))? {
            "insert" => Operation::Insert,
            "update" => Operation::Update,
            "replace" => Operation::Replace,
            "delete" => Operation::Delete,
            gone @ ("drop" | "rename" | "dropDatabase" | "invalidate") => {
                return Ok(Self::CollectionGone(gone));
            }
            _ => return Ok(Self::Other),
        };
        let key = envelope.key.ok_or_else(|| missing("documentKey"))?;
        let key = key.get("_id").ok().flatten();
        let key = key.and_then(|key| Bson::try_from(key).ok());
        Ok(Self::Write(RawChange {
            operation,
            key: key.unwrap_or(Bson::Null),
            before: envelope.before,
            after: envelope.after,
            cluster_time: envelope
                .cluster_time
                .ok_or_else(|| missing("clusterTime"))?,
            wall_time: envelope.wall_time,
            token: ResumeToken::from_raw(envelope.token.ok_or_else(|| missing("_id"))?),
        }))
    }
}

/// The fields of an event that we use, found in one pass over it.
#[derive(Default)]
struct Envelope<'a> {
    token: Option<&'a RawDocument>,
    operation: Option<&'a str>,
    cluster_time: Option<Timestamp>,
    wall_time: Option<DateTime>,
    after: Option<&'a RawDocument>,
    before: Option<&'a RawDocument>,
    key: Option<&'a RawDocument>,
}

impl<'a> Envelope<'a> {
    fn read(event: &'a RawDocument) -> Result<Self, bson::error::Error> {
        let mut envelope = Self::default();
        for element in event {
            let (name, value) = element?;
            match name.as_str() {
                "_id" => envelope.token = value.as_document(),
                "operationType" => envelope.operation = value.as_str(),
                "clusterTime" => envelope.cluster_time = value.as_timestamp(),
                "wallTime" => envelope.wall_time = value.as_datetime(),
                "fullDocument" => envelope.after = value.as_document(),
                "fullDocumentBeforeChange" => envelope.before = value.as_document(),
                "documentKey" => envelope.key = value.as_document(),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn missing(field: &'static str) -> bson::error::Error {
    <bson::error::Error as serde::de::Error>::missing_field(field)
}

impl RawChange<'_> {
    /// Decodes the documents.
    ///
    /// # Errors
    /// When a document is not a `T`.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<Change<T>, bson::error::Error> {
        let decode =
            |document: &RawDocument| bson::deserialize_from_slice::<T>(document.as_bytes());
        let before = self.before.map(decode).transpose()?;
        let after = self.after.map(decode).transpose()?;
        let no_document = || missing("fullDocument");
        let kind = match self.operation {
            Operation::Insert => ChangeKind::Inserted(after.ok_or_else(no_document)?),
            Operation::Update => ChangeKind::Updated { before, after },
            Operation::Replace => ChangeKind::Replaced {
                before,
                after: after.ok_or_else(no_document)?,
            },
            Operation::Delete => ChangeKind::Deleted { before },
        };
        Ok(Change {
            key: self.key.clone(),
            kind,
            cluster_time: self.cluster_time,
            wall_time: self.wall_time,
            token: self.token.clone(),
        })
    }
}
