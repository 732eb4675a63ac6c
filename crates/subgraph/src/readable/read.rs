//! Documents read one by one from a query: one that cannot be read is left out and spoils no other.

use std::future::Future;

use bson::{Bson, Document, RawDocument, RawDocumentBuf};
use changefeed::{FromDocument, Unreadables, for_each};
use mongodb::Cursor;
use mongodb::error::Result;

/// All documents of a cursor that can be read.
///
/// # Errors
/// When the database fails.
pub async fn all<T: FromDocument>(
    cursor: Cursor<RawDocumentBuf>,
    unreadables: &Unreadables,
) -> Result<Vec<T>> {
    Ok(read(cursor, unreadables).await?.0)
}

/// The document, if it can be read.
pub fn one<T: FromDocument>(document: &RawDocument, unreadables: &Unreadables) -> Option<T> {
    match T::from_document(document) {
        Ok(item) => Some(item),
        Err(unreadable) => {
            let id = document.get("_id").ok().flatten();
            let id = id.and_then(|id| Bson::try_from(id).ok());
            unreadables.report(&id.unwrap_or_default(), &unreadable);
            None
        }
    }
}

/// The documents that a query with a limit finds, as if there were none that cannot be read. Most
/// collections have none: `find` is called without a filter first, and with `readable`, which leaves them
/// out at the server, only where the first answer held one.
///
/// # Errors
/// When the database fails.
pub async fn within_limit<T, F>(
    readable: impl FnOnce() -> Document,
    unreadables: &Unreadables,
    mut find: impl FnMut(Option<Document>) -> F,
) -> Result<Vec<T>>
where
    T: FromDocument,
    F: Future<Output = Result<Cursor<RawDocumentBuf>>>,
{
    let (items, left_out) = read(find(None).await?, unreadables).await?;
    if left_out == 0 {
        return Ok(items);
    }
    all(find(Some(readable())).await?, unreadables).await
}

/// The documents that can be read, and the number of the others.
async fn read<T: FromDocument>(
    cursor: Cursor<RawDocumentBuf>,
    unreadables: &Unreadables,
) -> Result<(Vec<T>, usize)> {
    let (mut items, mut left_out) = (Vec::new(), 0);
    let mut take = |document: &RawDocument| match one(document, unreadables) {
        Some(item) => items.push(item),
        None => left_out += 1,
    };
    for_each(cursor, &mut take).await?;
    Ok((items, left_out))
}
