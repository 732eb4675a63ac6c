//! What the database's failures mean, for all stores.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};

use crate::Overloaded;

/// How long a single write waits for a document that a transaction holds. A service that is killed in one leaves it
/// locked for a minute, and each writer that waits keeps a connection from others.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(3);

/// MongoDB's code for a collection that does not exist.
pub const NAMESPACE_NOT_FOUND: i32 = 26;
/// MongoDB's code for an index that does not exist.
pub const INDEX_NOT_FOUND: i32 = 27;
/// MongoDB's code for a collection that exists.
pub const NAMESPACE_EXISTS: i32 = 48;
/// MongoDB's code for an operation that took longer than its `maxTimeMS`.
const MAX_TIME_EXPIRED: i32 = 50;
/// MongoDB's code for a document that another transaction has written, or holds.
pub const WRITE_CONFLICT: i32 = 112;
/// MongoDB's code for a value that a unique index has already.
pub const DUPLICATE_KEY: i32 = 11_000;

/// What a subgraph's store fails with.
pub trait StoreError: From<Error> + From<Overloaded> + Send + 'static {
    /// The database's failure, if it is one.
    fn database(&self) -> Option<&Error>;
}

/// The server's code of a failure, if it has one.
pub fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}

/// Whether the server has refused an operation, and so surely changed nothing.
pub fn is_refusal(error: &Error) -> bool {
    code(error).is_some() && !error.contains_label(RETRYABLE_WRITE_ERROR)
}

/// Whether an operation was ended because its time was over: a write that has waited too long for a document that a
/// transaction holds, which may be sent again.
pub fn is_out_of_time(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED)
}
