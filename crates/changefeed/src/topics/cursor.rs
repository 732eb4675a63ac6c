//! Cursors: where in a topic a subscriber is, in a form that clients can keep but not make.

use std::fmt;

/// A place in one topic, opaque to clients and safe in a URL. Resume after it with
/// [`crate::Hub::subscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// The text to hand out.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
