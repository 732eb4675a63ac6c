//! Counts what has come of an unfinished message, within the bounds of request bodies.
//!
//! A client decides how long a message is on its way, and what came of it takes memory for so long.

use std::io::{Error, ErrorKind, Result};

use tokio_tungstenite::tungstenite::Message;

use super::frames::Frames;
use crate::{
    counted::{Count, Counted},
    in_flight::{SMALL_BYTES_MAX, Share},
};

/// The head of a client's control frame, in bytes: those have no long lengths, and a mask.
const CONTROL_HEAD_BYTES: usize = 6;

/// A read fails once an unfinished message finds no room.
pub(super) type Metered<S> = Counted<S, Meter>;

/// The count of an unfinished message.
pub(super) struct Meter {
    share: Share,
    frames: Frames,
    /// Bytes since the end of the last message. The first of the next message may be missing.
    unfinished: usize,
}

impl Meter {
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            frames: Frames::default(),
            unfinished: 0,
        }
    }

    /// Whether all that was read has come as messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.frames.is_between_messages()
    }

    /// Notes a message that has come. One of control may come between the pieces of another.
    pub(super) fn has_come(&mut self, message: &Message) {
        self.frames.has_come();
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.unfinished = 0;
                self.share.clear();
            }
            control => {
                let bytes = control.len() + CONTROL_HEAD_BYTES;
                self.unfinished = self.unfinished.saturating_sub(bytes);
            }
        }
    }
}

impl Count for Meter {
    fn read(&mut self, bytes: &[u8]) -> Result<()> {
        self.frames.read(bytes);
        self.unfinished += bytes.len();
        // Most messages are small, and whole at once.
        if self.unfinished > SMALL_BYTES_MAX && self.share.grow_to(self.unfinished).is_err() {
            let reason = "too many unfinished messages";
            return Err(Error::new(ErrorKind::QuotaExceeded, reason));
        }
        Ok(())
    }
}

/// Whether a read failed as there is no room.
pub(super) fn is_full(error: &Error) -> bool {
    error.kind() == ErrorKind::QuotaExceeded
}
