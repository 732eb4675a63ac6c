//! How a program reads the documents of a collection, and what becomes of those that it cannot read.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bson::{Bson, RawDocument};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::log_value::shortened;
use crate::metrics::Counter;

/// Documents that are remembered as logged. An older one may be logged again.
const REMEMBERED_MAX: usize = 10_000;

/// What a program reads from a document. [`decode`] does it for types that implement serde's `Deserialize`.
///
/// Other programs may write anything into a collection. A document that cannot be read is as if it were not
/// there: its insert is no change, an update that spoils a document deletes it, one that repairs it inserts it.
pub trait FromDocument: Sized + Send + Sync + 'static {
    /// How many bytes of the heap a value takes at most, for each byte of its document. A hub counts with it what its
    /// rings hold. 1 suits a struct whose texts are also in the document; a type that keeps names and values on the
    /// heap takes more.
    const HEAP_PER_BYTE: usize = 1;

    /// Reads a document. The same document must always give the same outcome.
    ///
    /// # Errors
    /// When the document cannot be read.
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable>;
}

impl FromDocument for bson::Document {
    /// Short fields: a name and a value of 12 bytes take a hundred and more.
    const HEAP_PER_BYTE: usize = 10;

    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        decode(document)
    }
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// The field that is to blame, where one is; empty otherwise.
    pub field: Cow<'static, str>,
    /// The reason, for operators.
    pub reason: String,
}

/// Reads a document by its type's `Deserialize`.
///
/// # Errors
/// When the document does not deserialize.
pub fn decode<T: DeserializeOwned>(document: &RawDocument) -> Result<T, Unreadable> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(|error| Unreadable {
        field: Cow::Borrowed(""),
        reason: error.to_string(),
    })
}

/// Logs each document that cannot be read once, with its id and field, and counts them. Clones share the
/// counter and the memory of what was logged.
#[derive(Clone, Debug, Default)]
pub struct Unreadables {
    count: Counter,
    remembered: Arc<Mutex<Remembered>>,
}

/// The last documents that were logged: of their ids the hashes, since an id may have any size.
#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<IdHash>,
    order: VecDeque<IdHash>,
}

/// The first half of SHA-256: nobody can construct two ids of which one hides the other in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct IdHash([u8; 16]);

impl IdHash {
    fn new(id: &Bson) -> Self {
        #[derive(Serialize)]
        struct Id<'a> {
            _id: &'a Bson,
        }
        // An id comes out of a document, so it can be written into one.
        let bytes = bson::serialize_to_vec(&Id { _id: id }).unwrap_or_default();
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(hash)
    }
}

impl Unreadables {
    /// Registers the counter `unreadable_documents`.
    #[cfg(feature = "metrics")]
    pub fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        let unreadables = Self::default();
        registry.register(
            "unreadable_documents",
            "Documents that cannot be read and are treated as if they were not there, each counted once",
            unreadables.count.clone(),
        );
        unreadables
    }

    /// Logs and counts a document, unless it is one of the last 10,000 that were.
    pub fn report(&self, id: &Bson, unreadable: &Unreadable) {
        if !self.remember(id) {
            return;
        }
        tracing::warn!(
            document.id = shortened(id),
            field = shortened(&unreadable.field),
            reason = shortened(unreadable),
            "a document cannot be read: it is treated as if it were not there"
        );
        self.count.inc();
    }

    /// Whether the document is a new one.
    fn remember(&self, id: &Bson) -> bool {
        let id = IdHash::new(id);
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_new = remembered.known.insert(id);
        if is_new {
            remembered.order.push_back(id);
            if remembered.order.len() > REMEMBERED_MAX
                && let Some(oldest) = remembered.order.pop_front()
            {
                remembered.known.remove(&oldest);
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_counted_once_and_only_so_many_are_remembered() {
        let unreadables = Unreadables::default();
        let unreadable = Unreadable {
            field: Cow::Borrowed("text"),
            reason: "the field text cannot be read".to_owned(),
        };
        for _ in 0..3 {
            unreadables.report(&Bson::from(1), &unreadable);
        }
        assert_eq!(unreadables.count.get(), 1);
        // Ids of every type are told apart.
        let ids = [Bson::from("1"), Bson::from(2_i64), Bson::Null, Bson::MinKey];
        for id in &ids {
            assert!(unreadables.remember(id), "{id}");
            assert!(!unreadables.remember(id), "{id}");
        }
        for id in 0..2 * REMEMBERED_MAX {
            unreadables.remember(&Bson::from(id as i64));
        }
        let remembered = unreadables.remembered.lock().expect("no panic");
        assert_eq!(remembered.known.len(), REMEMBERED_MAX);
        assert_eq!(remembered.order.len(), REMEMBERED_MAX);
    }
}
