//! Who keeps something up to date by a hub's stream, in the same process.

use std::marker::PhantomData;

use bson::{Bson, Timestamp};
use tokio::time::Instant;

use crate::change::RawChange;
use crate::{Change, FromDocument, Unreadables};

/// Sees the whole stream of a hub in its order, each change before the hub's subscribers do. It is called in the task
/// that reads the stream, so it must not block.
///
/// Between [`Seen::Began`] and [`Seen::Ended`] no change is missing. What was kept by one such line says nothing about
/// the next one.
pub trait Follower<T>: Send + Sync {
    /// The stream has shown this.
    fn see(&self, seen: Seen<'_, T>);

    /// Whether somebody waits for the changes. The stream then hands each one on at once, as it does for subscribers;
    /// otherwise several may come together, some milliseconds later.
    fn is_in_use(&self) -> bool;
}

/// What a stream has shown.
pub enum Seen<'a, T> {
    /// It begins with the changes after this time.
    Began(Timestamp),
    /// A change. Others of the same time may follow.
    Change(SeenChange<'a, T>),
    /// Everything that happened up to this time, and at it, was shown.
    Reached(Timestamp),
    /// Everything was shown that the server had at this moment, which may be a while ago: what has happened since may be
    /// missing. While a stream is late, and after a fault, this does not come. It never comes where a stream does not
    /// know how late it is ([`crate::Source::unknown_lag`]).
    Level(Instant),
    /// It cannot go on, or the hub stops. Changes are missing from here on.
    Ended,
}

/// A change as the stream shows it, decoded when somebody needs it.
pub struct SeenChange<'a, T> {
    change: &'a RawChange<'a>,
    topics: Option<&'a [Bson]>,
    unreadables: &'a Unreadables,
    document: PhantomData<fn() -> T>,
}

impl<'a, T: FromDocument> SeenChange<'a, T> {
    pub(crate) fn new(
        change: &'a RawChange<'a>,
        topics: Option<&'a [Bson]>,
        unreadables: &'a Unreadables,
    ) -> Self {
        Self {
            change,
            topics,
            unreadables,
            document: PhantomData,
        }
    }

    /// When it happened, on the cluster's clock. The changes of one transaction share it.
    pub fn cluster_time(&self) -> Timestamp {
        self.change.cluster_time
    }

    /// Whether it was made in a transaction: others with the same time may follow. One that was not comes alone at its
    /// time, on a replica set.
    pub fn is_in_transaction(&self) -> bool {
        self.change.is_in_transaction
    }

    /// The topics of the document before and after it; `None` if they are not known, because an image is missing.
    pub fn topics(&self) -> Option<&'a [Bson]> {
        self.topics
    }

    /// The change; `None` if it concerns no document that can be read.
    pub fn decode(&self) -> Option<Change<T>> {
        self.change.decode(self.unreadables)
    }
}
