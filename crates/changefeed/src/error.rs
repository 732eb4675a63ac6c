//! What can go wrong, with stable codes for what a client is meant to handle.

use std::time::Duration;

use crate::Cursor;
use crate::server_codes::is_passing;

/// A fault of the machinery: for logs and operators, not for clients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed or refused.
    #[error("the database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error. Its own text includes the server's whole answer; [`crate::WithCauses`] leaves
        /// it out.
        #[source]
        source: mongodb::error::Error,
    },
    /// A document of the crate's own collections, or an event's envelope, could not be read.
    #[error("{what} could not be read")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// The field and the type that did not fit, from the decoder.
        #[source]
        source: bson::error::Error,
    },
    /// The server is not a member of a replica set: it has no change streams.
    #[error(
        "the server is not part of a replica set or sharded cluster, so it has no change streams"
    )]
    NotReplicated,
    /// The server refused a write of the crate's own.
    #[error("the server refused a write: {0}")]
    Refused(String),
    /// A background task ended unexpectedly.
    #[error("{0} ended unexpectedly")]
    TaskEnded(&'static str),
}

impl Error {
    /// Whether it says nothing against the documents: the server could not be asked, or was busy.
    pub(crate) fn is_passing(&self) -> bool {
        use mongodb::error::ErrorKind;
        let Self::Database { source, .. } = self else {
            return true;
        };
        match source.kind.as_ref() {
            ErrorKind::Command(command) => is_passing(command.code),
            ErrorKind::BsonDeserialization(_)
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::InvalidResponse { .. }
            | ErrorKind::Write(_) => false,
            _ => true,
        }
    }

    /// Whether the server went away, or cannot be reached.
    pub(crate) fn is_connection_lost(&self) -> bool {
        use mongodb::error::ErrorKind;
        let Self::Database { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind.as_ref(),
            ErrorKind::Io(_)
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::ServerSelection { .. }
        )
    }
}

/// Why [`crate::Projector::wait_until_passed`] gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The projection has not come so far in time.
    #[error("the projection has not passed that time within {} ms", waited.as_millis())]
    Behind {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The projection has stopped in this process.
    #[error("the projection is stopping")]
    Stopped,
}

impl BarrierError {
    /// The stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "PROJECTION_BEHIND",
            Self::Stopped => "PROJECTION_STOPPED",
        }
    }
}

/// Why a projection is not ready. The texts are for operators.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// The projection does not get further by itself.
    #[error("{reason}")]
    Failing {
        /// What stops it, and what would help.
        reason: String,
    },
    /// The projection is being built for the first time: there is nothing to read yet.
    #[error("the first build of the projection is under way")]
    FirstBuild,
    /// The projection is further behind its source than [`crate::ProjectorSettings::ready_lag_max`].
    #[error("the projection is {} s behind; {} s are allowed", behind.as_secs(), limit.as_secs())]
    Behind {
        /// Time since it was last level with its source.
        behind: Duration,
        /// The most that is allowed.
        limit: Duration,
    },
}

/// Why a cursor was refused. The texts are safe to show to clients.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CursorError {
    /// Not a cursor, or not all of it.
    #[error("the cursor is not complete: pass it on exactly as it was received")]
    Malformed,
    /// A cursor of a version that this server does not know.
    #[error("the cursor has version {0}, which this server does not know")]
    UnknownVersion(u8),
    /// A cursor of another topic, collection or database.
    #[error("the cursor belongs to another {0}")]
    Foreign(&'static str),
    /// Not a cursor that this system has given out.
    #[error("the cursor was not given out by this server")]
    Forged,
    /// A cursor that is later than everything in the database, as after the servers' clocks were set back.
    #[error(
        "the cursor is later than everything in the database: read the current state together with a new cursor, then subscribe after that cursor"
    )]
    Future,
    /// A cursor from before the database was restored from a backup, which took back what its owner has seen.
    #[error(
        "the database was restored from a backup since: read the current state together with a new cursor, then subscribe after that cursor"
    )]
    Restored,
    /// The hub has stopped.
    #[error("the live feed is stopping")]
    Stopped,
}

impl CursorError {
    /// The stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "CURSOR_MALFORMED",
            Self::UnknownVersion(_) => "CURSOR_VERSION_UNKNOWN",
            Self::Foreign(_) => "CURSOR_FOREIGN",
            Self::Forged => "CURSOR_FORGED",
            Self::Future => "CURSOR_FUTURE",
            Self::Restored => "CURSOR_RESTORED",
            Self::Stopped => "FEED_STOPPED",
        }
    }
}

/// Why a subscription ended or a change could not be delivered. The texts are safe to show.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The subscriber was too slow; the subscription ends. Resume after `cursor`.
    #[error(
        "{missed} changes were missed because they were not read in time: resume after the cursor"
    )]
    Lagged {
        /// The cursor of the last change that was delivered.
        cursor: Cursor,
        /// How many changes have passed since, at least.
        missed: u64,
    },
    /// The changes after the last one are no longer kept; the subscription ends.
    #[error(
        "the changes after the last one are no longer kept: read the current state together with a new cursor, then subscribe after that cursor"
    )]
    ResyncRequired,
    /// The hub has stopped; resume after `cursor`, here or at another instance.
    #[error("the live feed is stopping: resume after the cursor")]
    Stopped {
        /// The cursor of the last change that was delivered.
        cursor: Cursor,
    },
}

impl TopicError {
    /// The stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Lagged { .. } => "SUBSCRIPTION_LAGGED",
            Self::ResyncRequired => "RESYNC_REQUIRED",
            Self::Stopped { .. } => "FEED_STOPPED",
        }
    }

    /// The cursor to resume after, where there is one.
    pub fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::Lagged { cursor, .. } | Self::Stopped { cursor } => Some(cursor),
            Self::ResyncRequired => None,
        }
    }
}
