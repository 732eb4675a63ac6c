//! What a subscription tells its application.

use std::time::Duration;

use serde::de::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::Failure;

/// One item of a [`Subscription`](crate::Subscription). Kinds that are not known may be passed over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event, each once and in order.
    Event(Event),
    /// The subscription stands: every later change arrives, or an item says that it did not.
    Stands {
        /// The events after this cursor follow. `None` where the server keeps no cursors.
        from: Option<String>,
        /// The server does not say when a subscription stands: it did not refuse it for a time.
        is_guess: bool,
    },
    /// Events from before this moment may be missing: read your data again now. The events from now on follow.
    Gap(Gap),
    /// The connection is lost, or the server ended the subscription with an error that another try may cure.
    Reconnecting {
        /// Why.
        failure: Failure,
        /// The next try is made after this time.
        pause: Duration,
    },
}

/// Why data has to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The first one: nothing was read before, unless the application began with data of its own.
    pub is_first: bool,
    /// The server does not say when a subscription stands: it did not refuse it for a time.
    pub is_guess: bool,
}

/// A GraphQL response with data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    data: Box<RawValue>,
    /// Errors beside the data: some of its fields are null because of them. Of very many, the first.
    pub errors: Vec<Value>,
    /// The response's `extensions`.
    pub extensions: Map<String, Value>,
    /// The position of the event. Whoever applied it goes on after this cursor.
    pub cursor: Option<String>,
}

impl Event {
    pub(crate) fn new(
        data: Box<RawValue>,
        errors: Value,
        extensions: Value,
        cursor: Option<String>,
    ) -> Self {
        let errors = match errors {
            Value::Array(errors) => errors,
            _ => Vec::new(),
        };
        let extensions = match extensions {
            Value::Object(extensions) => extensions,
            _ => Map::new(),
        };
        Self {
            data,
            errors,
            extensions,
            cursor,
        }
    }

    /// Reads the data: as a type of yours, or as [`Value`].
    ///
    /// # Errors
    /// When the data is not of this type.
    pub fn data<'event, T: Deserialize<'event>>(&'event self) -> serde_json::Result<T> {
        serde_json::from_str(self.data.get())
    }

    /// The data's JSON, as the server sent it.
    pub fn json(&self) -> &str {
        self.data.get()
    }
}
