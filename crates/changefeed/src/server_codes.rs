//! MongoDB's error codes that decide what happens next, each by its name in the server's
//! `src/mongo/base/error_codes.yml`.

use mongodb::error::{Error, ErrorKind};

/// `Unauthorized`: the user does not have the right.
pub(crate) const UNAUTHORIZED: i32 = 13;
/// `NamespaceNotFound`: the collection does not exist.
pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
/// `NamespaceExists`: the collection exists already.
pub(crate) const NAMESPACE_EXISTS: i32 = 48;
/// `SnapshotTooOld`: the history of documents at this time is no longer kept.
pub(crate) const SNAPSHOT_TOO_OLD: i32 = 239;
/// `SnapshotUnavailable`: there is no snapshot of the collection yet.
pub(crate) const SNAPSHOT_UNAVAILABLE: i32 = 246;
/// `BSONObjectTooLarge`: an event, or a whole answer with its resume token, has more than 16 MB.
pub(crate) const OBJECT_TOO_LARGE: i32 = 10_334;
/// `BackgroundOperationInProgressForNamespace`: an index of the collection is being built.
pub(crate) const INDEX_BUILD_IN_PROGRESS: i32 = 12_587;

/// `CloseChangeStream`: the server ends the stream, and it cannot be resumed.
const CLOSE_CHANGE_STREAM: i32 = 222;
/// `InvalidResumeToken`: the token is of another collection or format.
const INVALID_RESUME_TOKEN: i32 = 260;
/// `ChangeStreamFatalError`: the stream cannot find its token among the events.
const CHANGE_STREAM_FATAL_ERROR: i32 = 280;
/// `ChangeStreamHistoryLost`: the place is older than the oplog.
const CHANGE_STREAM_HISTORY_LOST: i32 = 286;

/// Codes of errors that are no refusal of what is written: the server lacks time, cache or disk space, is
/// not the primary any more, or cannot be reached. In this order: `HostUnreachable`, `HostNotFound`,
/// `LockTimeout`, `MaxTimeMSExpired`, `WriteConcernFailed`, `NetworkTimeout`, `ShutdownInProgress`,
/// `WriteConflict` (also what overflows the cache), `PrimarySteppedDown`, `SnapshotTooOld`,
/// `SnapshotUnavailable`, `NoSuchTransaction`, `ExceededTimeLimit`, `TransactionExceededLifetimeLimitSeconds`,
/// `TemporarilyUnavailable`, `TransactionTooLargeForCache`, `SocketException`, `NotWritablePrimary`,
/// `InterruptedAtShutdown`, `Interrupted`, `InterruptedDueToReplStateChange`, `NotPrimaryNoSecondaryOk`,
/// `NotPrimaryOrSecondary`, `OutOfDiskSpace`.
const PASSING_CODES: [i32; 24] = [
    6, 7, 24, 50, 64, 89, 91, 112, 189, 239, 246, 251, 262, 290, 365, 388, 9001, 10_107, 11_600,
    11_601, 11_602, 13_435, 13_436, 14_031,
];

/// The code of an error that the server returned; `None` for an error of the driver's own.
pub(crate) fn server_code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether a change stream cannot continue from its place after this error. [`OBJECT_TOO_LARGE`] is among
/// them: a reader that asks for one event at a time has met an event that cannot be sent even without its
/// documents, because its key has several MB.
pub(crate) fn ends_a_stream(error: &Error) -> bool {
    matches!(
        server_code(error),
        Some(
            CLOSE_CHANGE_STREAM
                | INVALID_RESUME_TOKEN
                | CHANGE_STREAM_FATAL_ERROR
                | CHANGE_STREAM_HISTORY_LOST
                | OBJECT_TOO_LARGE
        )
    )
}

/// Whether a change stream ended because its place is older than the oplog: every older place is lost, too.
pub(crate) fn is_history_lost(error: &Error) -> bool {
    server_code(error) == Some(CHANGE_STREAM_HISTORY_LOST)
}

/// Whether an error with this code says nothing against what was written.
pub(crate) fn is_passing(code: i32) -> bool {
    PASSING_CODES.contains(&code)
}
