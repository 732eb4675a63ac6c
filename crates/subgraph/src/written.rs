//! The result of a write, with its time on the database's clock.

use changefeed::OperationTime;
use mongodb::ClientSession;

/// The result of a write and its time, which a query can ask to be shown.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub value: T,
    /// The time in its opaque text form.
    pub operation_time: String,
}

impl<T> Written<T> {
    /// The result of what was just written in a session.
    pub fn in_session(value: T, session: &ClientSession) -> Self {
        // Every answer of a replica set has it. Without it, a client has nothing to wait for.
        let time = OperationTime::of(session);
        Self {
            value,
            operation_time: time.map(|time| time.to_string()).unwrap_or_default(),
        }
    }
}

impl<T> Written<Option<T>> {
    /// The result, if there is one.
    pub fn transpose(self) -> Option<Written<T>> {
        let Self {
            value,
            operation_time,
        } = self;
        value.map(|value| Written {
            value,
            operation_time,
        })
    }
}
