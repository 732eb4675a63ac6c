//! The keys that sign cursors.
//!
//! They live in the database, so that every instance knows the cursors of every other, and a restart changes nothing.
//! When the database was dropped, each instance writes its key again unless another one was faster with another key:
//! then that one signs, and theirs stay known.
//!
//! A restore from a backup takes back what clients have seen, and brings back the keys. The position of a cursor from
//! before may then look as good as any other: a server whose oplog begins with the initiation of its replica set accepts
//! every earlier position. So the keys' document has the UUID of its collection, which is another one after
//! `mongorestore`: keys that lie in another collection than they were made in sign nothing any more, and cursors with
//! them need a resync. A copy of the server's files has the same UUID; there the operator says so.

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{CollectionOptions, ReturnDocument, WriteConcern};

use crate::server_codes::{UNAUTHORIZED, server_code};
use crate::{Error, SendAction, Source};

/// The collection of the keys.
const COLLECTION: &str = "changefeed_keys";
/// The `_id` of the keys' document.
const ID: &str = "cursors";
/// Keys beside the signing one that are known at most, and those of before a restore.
const OLDER_MAX: usize = 8;

/// What cursors are signed with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub signing: Vec<u8>,
    /// Known as well, the latest last.
    older: Vec<Vec<u8>>,
    /// Those of before the database was restored, the latest last.
    restored: Vec<Vec<u8>>,
    /// When the stored keys were last read again.
    pub read_at: Option<std::time::Instant>,
}

impl Keys {
    #[cfg(test)]
    pub fn signing_with(signing: Vec<u8>) -> Self {
        Self {
            signing,
            ..Self::default()
        }
    }

    /// The keys whose cursors are accepted.
    pub fn known(&self) -> impl Iterator<Item = &[u8]> {
        let older = self.older.iter().rev();
        std::iter::once(&self.signing)
            .chain(older)
            .map(Vec::as_slice)
    }

    /// The keys whose cursors need a resync.
    pub fn restored(&self) -> impl Iterator<Item = &[u8]> {
        self.restored.iter().rev().map(Vec::as_slice)
    }

    pub fn is_restored(&self, key: &[u8]) -> bool {
        self.restored().any(|restored| restored == key)
    }

    /// Signs with the stored key from now on, and knows the others.
    pub fn adopt(&mut self, stored: Keys) {
        let signing = std::mem::replace(&mut self.signing, stored.signing);
        for key in stored.older.into_iter().chain([signing]) {
            if key != self.signing && !self.older.contains(&key) {
                self.older.push(key);
            }
        }
        self.restored = stored.restored;
        let restored = &self.restored;
        self.older.retain(|key| !restored.contains(key));
        let excess = self.older.len().saturating_sub(OLDER_MAX);
        self.older.drain(..excess);
    }

    fn of(document: &Document) -> Result<Self, Error> {
        let signing = document
            .get_binary_generic("key")
            .map_err(|_| Error::Refused("the key of the cursors is not binary".to_owned()))?;
        let list = |name: &str| {
            let list = document.get_array(name).into_iter().flatten();
            list.filter_map(bytes_of).collect()
        };
        Ok(Self {
            signing: signing.clone(),
            older: list("older"),
            restored: list("restored"),
            read_at: None,
        })
    }
}

/// A new key.
pub(super) fn random() -> Vec<u8> {
    [
        uuid::Uuid::new_v4().into_bytes(),
        uuid::Uuid::new_v4().into_bytes(),
    ]
    .concat()
}

/// The stored keys; if there are none, this one is stored. Keys that were restored from a backup are replaced by a new
/// one first.
///
/// # Errors
/// When the database fails, or the document of the keys has another form.
pub(super) async fn store(source: &Source, key: &[u8]) -> Result<Keys, Error> {
    let insert = doc! { "$setOnInsert": { "key": binary(key) } };
    let keys = collection(source);
    let stored = keys
        .find_one_and_update(doc! { "_id": ID }, insert)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .send()
        .await
        .map_err(failed)?
        .unwrap_or_default();
    let Some(uuid) = uuid(source).await? else {
        return Keys::of(&stored);
    };
    if stored.get("of") == Some(&uuid) {
        return Keys::of(&stored);
    }
    // Where another instance was faster, its keys are read.
    let same = doc! { "_id": ID, "key": stored.get("key"), "of": stored.get("of") };
    let change = match stored.get("of") {
        None => doc! { "$set": { "of": uuid } },
        Some(_) => renewal(&Keys::of(&stored)?, uuid),
    };
    keys.update_one(same, change).await.map_err(failed)?;
    let stored = keys.find_one(doc! { "_id": ID }).send().await;
    Keys::of(&stored.map_err(failed)?.unwrap_or_default())
}

/// Makes a new key sign in this collection instead of keys that were restored.
fn renewal(restored: &Keys, uuid: Bson) -> Document {
    tracing::warn!(
        "the database was restored from a backup: clients read the current state again, by RESYNC_REQUIRED"
    );
    let all: Vec<&[u8]> = restored
        .restored()
        .chain(restored.older.iter().map(Vec::as_slice))
        .chain([restored.signing.as_slice()])
        .collect();
    let kept = &all[all.len().saturating_sub(OLDER_MAX)..];
    let kept: Vec<Binary> = kept.iter().map(|key| binary(key)).collect();
    doc! {
        "$set": { "key": binary(&random()), "of": uuid, "restored": kept },
        "$unset": { "older": "" },
    }
}

/// Makes a key known to the other instances.
///
/// # Errors
/// When the database fails.
pub(super) async fn store_older(source: &Source, key: &[u8]) -> Result<(), Error> {
    let keep = i32::try_from(OLDER_MAX).unwrap_or(i32::MAX);
    let add = doc! { "$push": { "older": { "$each": [binary(key)], "$slice": -keep } } };
    let unknown = doc! { "_id": ID, "older": { "$ne": binary(key) } };
    let added = collection(source).update_one(unknown, add).await;
    added.map(drop).map_err(failed)
}

/// The UUID of the keys' collection; `None` where the server does not tell.
async fn uuid(source: &Source) -> Result<Option<Bson>, Error> {
    let ours = doc! { "name": COLLECTION };
    let listed = source.database().list_collections().filter(ours);
    let found = async { listed.await?.try_next().await };
    match found.await {
        Ok(found) => Ok(found.and_then(|found| found.info.uuid).map(Bson::from)),
        Err(error) if server_code(&error) == Some(UNAUTHORIZED) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn collection(source: &Source) -> Collection<Document> {
    let mut options = CollectionOptions::default();
    options.write_concern = Some(WriteConcern::majority());
    source
        .database()
        .collection_with_options(COLLECTION, options)
}

fn failed(source: mongodb::error::Error) -> Error {
    Error::Database {
        doing: "reading the key of the cursors",
        source,
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

fn bytes_of(value: &Bson) -> Option<Vec<u8>> {
    match value {
        Bson::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    }
}
