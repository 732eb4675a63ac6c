//! Why a supergraph was not read.

use crate::subgraphs::FetchError;

/// Why a supergraph was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: Reason,
    /// For operators, without secrets.
    pub message: String,
}

/// The kinds of failures, which metrics distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no file, or it cannot be read.
    Unreadable,
    /// No connection, or an untrusted one.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// Another HTTP status than 200 and 304.
    Status,
    /// More bytes than are allowed.
    TooLarge,
    /// The answer ends before its end, or is no HTTP or no answer of the protocol.
    Broken,
    /// The registry says that it gives none.
    Refused,
    /// Not UTF-8.
    NotText,
    /// The copy on disk could not be read or written.
    Copy,
}

impl Reason {
    /// The label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::NotText => "not_text",
            Self::Copy => "copy",
        }
    }
}

impl Failure {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// The same, said of one of several places.
    pub(super) fn at(self, place: &str) -> Self {
        Self {
            message: format!("{place}: {}", self.message),
            ..self
        }
    }

    /// The failures of all places that were asked. The last one gives the reason.
    pub(super) fn of_all(failures: Vec<Self>) -> Self {
        let reason = failures.last().map_or(Reason::Unreachable, |it| it.reason);
        let messages: Vec<String> = failures.into_iter().map(|it| it.message).collect();
        Self::new(reason, messages.join("; "))
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let reason = match error {
            FetchError::Connect(_) | FetchError::Untrusted(_) | FetchError::Tls(_) => {
                Reason::Unreachable
            }
            FetchError::Timeout(_) => Reason::Timeout,
            FetchError::TooLarge(_) => Reason::TooLarge,
            _ => Reason::Broken,
        };
        Self::new(reason, error.to_string())
    }
}
