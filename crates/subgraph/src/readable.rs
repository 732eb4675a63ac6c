//! Documents read one by one: one that cannot be read is logged and left out, and spoils no other.

use std::future::Future;

use bson::{Bson, Document, doc};
use mongodb::Cursor;
use mongodb::error::Result;
use serde::de::DeserializeOwned;

/// How often a list is read again, each time without the unreadable documents that took places in
/// it before.
const ROUNDS_MAX: usize = 10;

/// All documents of a cursor that can be read.
///
/// # Errors
/// When the database fails.
pub async fn all<T: DeserializeOwned>(cursor: Cursor<T>) -> Result<Vec<T>> {
    Ok(read(cursor).await?.items)
}

/// The documents that a query with a limit finds, as if there were none that cannot be read: `find`
/// is given what the filter has to leave out, at first nothing.
///
/// # Errors
/// When the database fails.
pub async fn within_limit<T, F>(mut find: impl FnMut(Option<Document>) -> F) -> Result<Vec<T>>
where
    T: DeserializeOwned,
    F: Future<Output = Result<Cursor<T>>>,
{
    let mut left_out: Vec<Bson> = Vec::new();
    let mut rounds = 0;
    loop {
        let without = (!left_out.is_empty()).then(|| doc! { "_id": { "$nin": &left_out } });
        let Read { items, unreadable } = read(find(without).await?).await?;
        rounds += 1;
        if unreadable.is_empty() || rounds == ROUNDS_MAX {
            return Ok(items);
        }
        left_out.extend(unreadable);
    }
}

struct Read<T> {
    items: Vec<T>,
    /// The ids of the others.
    unreadable: Vec<Bson>,
}

async fn read<T: DeserializeOwned>(mut cursor: Cursor<T>) -> Result<Read<T>> {
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    while cursor.advance().await? {
        match cursor.deserialize_current() {
            Ok(item) => items.push(item),
            Err(error) => {
                let id = cursor.current().get("_id").ok().flatten();
                let id = id
                    .and_then(|id| Bson::try_from(id).ok())
                    .unwrap_or_default();
                tracing::warn!(%error, document.id = %id, "a document cannot be read: it is left out");
                unreadable.push(id);
            }
        }
    }
    Ok(Read { items, unreadable })
}
