//! The generic actions of MongoDB's driver, compiled once.
//!
//! rustc compiles a generic function in each crate that uses it, and an `async fn` in each crate that awaits it.
//! An awaited `find` takes both from the driver: retries, server selection, the connection pool and the wire
//! protocol, about ten seconds of an optimised build for each crate and kind of action. [`SendAction::send`] is
//! not generic, so it is compiled here. The driver's other actions (`insert_one`, `update_one`, `run_command` and so
//! on) are not generic, and are compiled in the driver.

use std::future::IntoFuture;

use bson::{Document, RawDocument, RawDocumentBuf};
use futures_util::future::BoxFuture;
use mongodb::action::{
    Aggregate, ExplicitSession, Find, FindOne, FindOneAndDelete, FindOneAndReplace,
    FindOneAndUpdate, ImplicitSession, Watch,
};

use mongodb::error::Result;
use mongodb::{ClientSession, Cursor, SessionCursor};

use crate::projection::Checkpoint;

/// Gives all documents of a cursor to a function, in order. The driver's stream would be compiled in each crate that
/// polls it.
///
/// # Errors
/// When the database fails.
pub fn for_each<'a>(
    mut cursor: Cursor<RawDocumentBuf>,
    take: &'a mut (dyn FnMut(&RawDocument) + Send),
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        while cursor.advance().await? {
            take(cursor.current());
        }
        Ok(())
    })
}

/// All documents of a cursor.
///
/// # Errors
/// When the database fails.
pub async fn read_all(cursor: Cursor<RawDocumentBuf>) -> Result<Vec<RawDocumentBuf>> {
    let mut documents = Vec::new();
    let mut take = |document: &RawDocument| documents.push(document.to_owned());
    for_each(cursor, &mut take).await?;
    Ok(documents)
}

/// [`for_each`] for a cursor in a session.
///
/// # Errors
/// When the database fails.
pub fn for_each_in_session<'a>(
    mut cursor: SessionCursor<RawDocumentBuf>,
    session: &'a mut ClientSession,
    take: &'a mut (dyn FnMut(&RawDocument) + Send),
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        while cursor.advance(session).await? {
            take(cursor.current());
        }
        Ok(())
    })
}

/// An action that can be sent to the server.
pub trait SendAction: IntoFuture {
    /// Sends the action. It has the same effect as to await it.
    fn send(self) -> Self::IntoFuture;
}

macro_rules! compiled_here {
    ($($action:ty,)*) => {$(
        impl<'a> SendAction for $action {
            #[inline(never)]
            fn send(self) -> Self::IntoFuture {
                self.into_future()
            }
        }
    )*};
}

compiled_here! {
    Find<'a, Document>,
    Find<'a, Document, ExplicitSession<'a>>,
    Find<'a, RawDocumentBuf>,
    Find<'a, RawDocumentBuf, ExplicitSession<'a>>,
    FindOne<'a, Checkpoint>,
    FindOne<'a, Document>,
    FindOne<'a, RawDocumentBuf>,
    FindOneAndDelete<'a, RawDocumentBuf>,
    FindOneAndReplace<'a, RawDocumentBuf>,
    FindOneAndUpdate<'a, Checkpoint>,
    FindOneAndUpdate<'a, Document>,
    FindOneAndUpdate<'a, RawDocumentBuf>,
    Aggregate<'a, ImplicitSession, RawDocumentBuf>,
    Aggregate<'a, ExplicitSession<'a>, RawDocumentBuf>,
    Watch<'a, Document>,
}
