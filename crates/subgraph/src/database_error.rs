//! What the database's failures mean, for all stores.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};

use crate::Overloaded;

/// How long a single write waits for a document that a transaction holds. A service that is killed in one leaves it
/// locked for a minute, and each writer that waits keeps a connection from others. It also bounds the wait for the
/// majority of the servers, after the write is made: see [`is_outcome_unknown`].
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

/// Whether the server has refused an operation, and so surely changed nothing. A write whose time was over is none: the
/// router of a sharded cluster ends it as well while a shard makes it.
pub fn is_refusal(error: &Error) -> bool {
    code(error).is_some_and(|code| code != MAX_TIME_EXPIRED)
        && !error.contains_label(RETRYABLE_WRITE_ERROR)
}

/// Whether a write may have been made: its time was over, or it was made and the majority of the servers has not
/// confirmed it. Where the time ends while it waits for them, the answer is of the second kind.
pub fn is_outcome_unknown(error: &Error) -> bool {
    let is_unconfirmed = matches!(
        error.kind.as_ref(),
        ErrorKind::Write(WriteFailure::WriteConcernError(_))
    );
    is_unconfirmed || is_out_of_time(error)
}

/// Whether an operation was ended because its time was over: a read, or a write that has waited too long for a document
/// that a transaction holds. What does no harm twice may be sent again.
pub fn is_out_of_time(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED)
}
