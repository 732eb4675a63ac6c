//! Close codes, the reasons that go with them, and what a client reads from them.

use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use crate::{code::Code, request::NotAdmitted};

/// Bytes of a reason: a close frame has 125 bytes, the code takes two.
const REASON_BYTES_MAX: usize = 123;

/// Why a connection is closed, as the protocol numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// A message that is not of the protocol.
    Invalid(String),
    /// The client sent `subscribe` before it received `connection_ack`.
    Unauthorized,
    /// `connection_init` with something that cannot be accepted.
    Forbidden(String),
    /// The subprotocol was not offered.
    SubprotocolNotAcceptable,
    /// No `connection_init` in time.
    InitialisationTimeout,
    /// An id that is in use.
    SubscriberExists(String),
    /// The client sent `connection_init` a second time.
    TooManyInitialisationRequests,
    /// More pings than a client may send (RFC 6455, "policy violation").
    TooManyPings,
    /// A defect of ours.
    InternalError,
    /// A message larger than the limit (RFC 6455).
    TooBig,
    /// No room for an unfinished message (IANA's registry, "Try Again Later").
    TooManyBytes,
    /// The client's credentials cannot be checked now (IANA's registry, "Try Again Later").
    Unavailable,
    /// More clients come at once than the service admits (IANA's registry, "Try Again Later"): after how many seconds to
    /// come again.
    TooManyNewClients(u64),
    /// The service restarts: come back (IANA's registry, "Service Restart").
    Restarting,
}

impl Close {
    /// Returns the code of the close frame: the protocol's own, or RFC 6455's.
    pub fn code(&self) -> u16 {
        match self {
            Self::Invalid(_) => 4400,
            Self::Unauthorized => 4401,
            Self::Forbidden(_) => 4403,
            Self::SubprotocolNotAcceptable => 4406,
            Self::InitialisationTimeout => 4408,
            Self::SubscriberExists(_) => 4409,
            Self::TooManyInitialisationRequests => 4429,
            Self::TooManyPings => 1008,
            Self::InternalError => 4500,
            Self::TooBig => 1009,
            Self::Restarting => 1012,
            Self::TooManyBytes | Self::Unavailable | Self::TooManyNewClients(_) => 1013,
        }
    }

    /// The code of the request or message that the close refuses, if a client that sends only such ones is to blame.
    pub(super) fn refused(&self) -> Option<Code> {
        match self {
            Self::Invalid(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::SubprotocolNotAcceptable
            | Self::InitialisationTimeout
            | Self::SubscriberExists(_)
            | Self::TooManyInitialisationRequests
            | Self::TooManyPings => Some(Code::BadRequest),
            Self::TooBig => Some(Code::RequestTooLarge),
            _ => None,
        }
    }

    /// The close frame. A longer reason is cut.
    pub fn frame(&self) -> Message {
        let reason = match self {
            Self::Invalid(what) => what.clone(),
            Self::Unauthorized => "Unauthorized".to_owned(),
            Self::Forbidden(why) => format!("Forbidden: {why}"),
            Self::SubprotocolNotAcceptable => "Subprotocol not acceptable".to_owned(),
            Self::InitialisationTimeout => "Connection initialisation timeout".to_owned(),
            Self::SubscriberExists(id) => format!("Subscriber for {id} already exists"),
            Self::TooManyInitialisationRequests => "Too many initialisation requests".to_owned(),
            Self::TooManyPings => "Too many pings".to_owned(),
            Self::InternalError => "Internal server error".to_owned(),
            Self::TooBig => "Message too big".to_owned(),
            Self::Restarting => "Restarting: connect again".to_owned(),
            Self::Unavailable => {
                "The credentials cannot be checked now: try again later".to_owned()
            }
            // Clients look for the last words: `docs/resumable-subscriptions.md`.
            Self::TooManyNewClients(seconds) => {
                format!("Too many clients come at once: try again later (retry-after: {seconds})")
            }
            Self::TooManyBytes => "Too many unfinished messages: try again later".to_owned(),
        };
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Message::Close(Some(CloseFrame {
            code: self.code().into(),
            reason: reason[..end].into(),
        }))
    }
}

impl From<NotAdmitted> for Close {
    fn from(refused: NotAdmitted) -> Self {
        match refused {
            NotAdmitted::Forbidden(why) => Self::Forbidden(why),
            NotAdmitted::Unavailable(_) => Self::Unavailable,
        }
    }
}

/// Whether a server that closes with this code found a message not acceptable. Other codes say that it
/// stops (1001, 1012), has enough to do (1013), wants other credentials (4401, 4403), or that a limit
/// of the whole connection is reached (4408, 4429).
pub fn is_about_a_message(code: u16) -> bool {
    !matches!(
        code,
        1000 | 1001 | 1005 | 1006 | 1012..=1014 | 4401 | 4403 | 4406 | 4408 | 4429
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let Message::Close(Some(frame)) = Close::Invalid("é".repeat(100)).frame() else {
            panic!("a close frame");
        };
        assert_eq!((u16::from(frame.code), frame.reason.len()), (4400, 122));
    }
}
