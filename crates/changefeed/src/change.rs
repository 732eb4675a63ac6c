//! A change of the source collection, decoded.

use bson::{Bson, DateTime, RawDocument, Timestamp};

use crate::{FromDocument, ResumeToken, Unreadable, Unreadables, oversized};

/// One insert, update, replacement or deletion of a document of type `T`.
///
/// A document that is no `T` is as if it were not there: an update that spoils a document is a deletion,
/// one that repairs it an insertion.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change<T> {
    /// The `_id` of the changed document, of any BSON type.
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
/// the write came before pre- and post-images were enabled, or the images have expired. Both are
/// missing, and a replacement is an update, when they are too large to be sent together (16 MiB).
#[derive(Clone, Debug)]
pub enum ChangeKind<T> {
    /// A document was inserted: this one.
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

    /// Whether the documents before and after it are known, as far as there were any.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.kind {
            ChangeKind::Inserted(_) => true,
            ChangeKind::Updated { before, after } => before.is_some() && after.is_some(),
            ChangeKind::Replaced { before, .. } | ChangeKind::Deleted { before } => {
                before.is_some()
            }
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
pub(crate) enum ChangeEvent<'a> {
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
    /// The documents are cut down to a few fields, because the event was too large to be sent.
    pub is_oversized: bool,
    /// Others of its transaction, with the same time, may be before or after it.
    pub is_in_transaction: bool,
    pub key: Bson,
    pub before: Option<&'a RawDocument>,
    pub after: Option<&'a RawDocument>,
    pub cluster_time: Timestamp,
    pub wall_time: Option<DateTime>,
    pub token: ResumeToken,
}

/// What was done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The document was inserted.
    Insert,
    /// Some fields of the document changed.
    Update,
    /// The whole document was replaced under the same `_id`.
    Replace,
    /// The document was deleted.
    Delete,
}

impl<'a> ChangeEvent<'a> {
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
            is_oversized: envelope.is_oversized,
            is_in_transaction: envelope.is_in_transaction,
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
    is_oversized: bool,
    is_in_transaction: bool,
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
                oversized::MARK => envelope.is_oversized = true,
                // Changes outside of transactions have none, also of writes that may be retried.
                "txnNumber" => envelope.is_in_transaction = true,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn missing(field: &'static str) -> bson::error::Error {
    <bson::error::Error as serde::de::Error>::missing_field(field)
}

/// What is known of a document before or after a change.
enum Image<T> {
    /// The server does not have it (any more).
    Unknown,
    /// There was no document, or none that can be read.
    None,
    Some(T),
}

impl RawChange<'_> {
    /// Reads the documents; `None` when the change concerns none that can be read. An oversized change
    /// has no documents.
    pub(crate) fn decode<T: FromDocument>(&self, unreadables: &Unreadables) -> Option<Change<T>> {
        self.decode_with(T::from_document, unreadables)
    }

    /// The same with a function that reads a document.
    pub(crate) fn decode_with<T>(
        &self,
        from_document: impl Fn(&RawDocument) -> Result<T, Unreadable>,
        unreadables: &Unreadables,
    ) -> Option<Change<T>> {
        if self.is_oversized {
            return Some(self.without_documents());
        }
        let read = |image: Option<&RawDocument>| match image.map(&from_document) {
            None => Image::Unknown,
            Some(Ok(document)) => Image::Some(document),
            Some(Err(unreadable)) => {
                unreadables.report(&self.key, &unreadable);
                Image::None
            }
        };
        let before = match self.operation {
            Operation::Insert => Image::None,
            _ => read(self.before),
        };
        let after = match self.operation {
            Operation::Delete => Image::None,
            _ => read(self.after),
        };
        let kind = match (before, after) {
            (Image::None, Image::None) => return None,
            (Image::None, Image::Some(after)) => ChangeKind::Inserted(after),
            (Image::Some(before), Image::None) => ChangeKind::Deleted {
                before: Some(before),
            },
            (Image::Unknown, Image::None) => ChangeKind::Deleted { before: None },
            (before, Image::Some(after)) if self.operation == Operation::Replace => {
                ChangeKind::Replaced {
                    before: before.known(),
                    after,
                }
            }
            // Of an insertion, too, whose document is not known: it may have been read before.
            (before, after) => ChangeKind::Updated {
                before: before.known(),
                after: after.known(),
            },
        };
        Some(self.with(kind))
    }

    /// The change as one whose images the server does not have.
    fn without_documents<T>(&self) -> Change<T> {
        self.with(match self.operation {
            Operation::Delete => ChangeKind::Deleted { before: None },
            Operation::Insert | Operation::Update | Operation::Replace => ChangeKind::Updated {
                before: None,
                after: None,
            },
        })
    }

    /// Whether every document that the change has is there, cut down or not.
    pub(crate) fn has_all_images(&self) -> bool {
        let has_before = self.before.is_some() || self.operation == Operation::Insert;
        let has_after = self.after.is_some() || self.operation == Operation::Delete;
        has_before && has_after
    }

    fn with<T>(&self, kind: ChangeKind<T>) -> Change<T> {
        Change {
            key: self.key.clone(),
            kind,
            cluster_time: self.cluster_time,
            wall_time: self.wall_time,
            token: self.token.clone(),
        }
    }
}

impl<T> Image<T> {
    fn known(self) -> Option<T> {
        match self {
            Self::Some(document) => Some(document),
            Self::Unknown | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Vote(i32);

    impl FromDocument for Vote {
        fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
            let vote = document.get_i32("vote").map(Self);
            vote.map_err(|error| Unreadable {
                field: "vote".into(),
                reason: error.to_string(),
            })
        }
    }

    fn decode(
        operation: Operation,
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> String {
        let change = RawChange {
            operation,
            key: Bson::from(1),
            before,
            after,
            cluster_time: Timestamp {
                time: 1,
                increment: 1,
            },
            wall_time: None,
            token: ResumeToken::from_data("82"),
            is_oversized: false,
            is_in_transaction: false,
        };
        let change = change.decode::<Vote>(&Unreadables::default());
        change.map_or("no change".to_owned(), |change| {
            format!("{:?}", change.kind)
        })
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        use Operation::{Delete, Insert, Replace, Update};
        let (good, better, odd) = (
            rawdoc! { "vote": 1 },
            rawdoc! { "vote": 2 },
            rawdoc! { "vote": "x" },
        );
        let (good, better, odd) = (Some(&*good), Some(&*better), Some(&*odd));
        for (operation, before, after, expected) in [
            (Insert, None, good, "Inserted(Vote(1))"),
            (Insert, None, odd, "no change"),
            (
                Update,
                good,
                better,
                "Updated { before: Some(Vote(1)), after: Some(Vote(2)) }",
            ),
            (Update, good, odd, "Deleted { before: Some(Vote(1)) }"),
            (Update, odd, good, "Inserted(Vote(1))"),
            (Update, odd, odd, "no change"),
            (Update, None, odd, "Deleted { before: None }"),
            (
                Update,
                None,
                good,
                "Updated { before: None, after: Some(Vote(1)) }",
            ),
            (
                Update,
                good,
                None,
                "Updated { before: Some(Vote(1)), after: None }",
            ),
            (Update, odd, None, "Updated { before: None, after: None }"),
            (
                Replace,
                good,
                better,
                "Replaced { before: Some(Vote(1)), after: Vote(2) }",
            ),
            (
                Replace,
                None,
                better,
                "Replaced { before: None, after: Vote(2) }",
            ),
            (Replace, good, odd, "Deleted { before: Some(Vote(1)) }"),
            (Replace, odd, good, "Inserted(Vote(1))"),
            (Delete, good, None, "Deleted { before: Some(Vote(1)) }"),
            (Delete, odd, None, "no change"),
            (Delete, None, None, "Deleted { before: None }"),
        ] {
            let decoded = decode(operation, before, after);
            assert_eq!(decoded, expected, "{operation:?} {before:?} {after:?}");
        }
    }
}
