//! Points in the history of a cluster: resume tokens and operation times.

use std::fmt;
use std::str::FromStr;

use bson::{RawDocument, RawDocumentBuf, Timestamp};
use mongodb::ClientSession;
use serde::{Deserialize, Serialize};

/// The first byte of a token's key: the tag of a timestamp in the server's KeyString format.
const TIMESTAMP_TAG: &str = "82";
/// Hex digits of the tag and of the timestamp (seconds, then the increment, both big-endian).
const TIMESTAMP_DIGITS: usize = 16;

/// The place of one event in the history of its collection, as the server names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResumeToken(pub(crate) RawDocumentBuf);

impl ResumeToken {
    pub(crate) fn from_raw(token: &RawDocument) -> Self {
        Self(token.to_owned())
    }

    /// The token that the server knows by this key.
    pub(crate) fn from_data(data: &str) -> Self {
        let mut token = RawDocumentBuf::new();
        token.append(bson::cstr!("_data"), data);
        Self(token)
    }

    /// A place before every event of a time: a high-water mark as the server writes them, cut to
    /// the time that our own cursors need.
    pub(crate) fn before(time: Timestamp) -> Self {
        Self::from_data(&format!(
            "{TIMESTAMP_TAG}{:08X}{:08X}",
            time.time, time.increment
        ))
    }

    /// Its size on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_bytes().len()
    }

    /// The token's key, in hexadecimal digits. Keys of one format version compare like the events.
    pub(crate) fn data(&self) -> Option<&str> {
        self.0.get_str("_data").ok()
    }

    /// The cluster time that the key begins with, both in format version 1 (MongoDB 6.0) and
    /// version 2 (6.1 and later): `KeyString` tag 0x82 and eight bytes
    /// (`src/mongo/db/pipeline/resume_token.cpp`). `None` for a token that looks otherwise.
    pub(crate) fn cluster_time(&self) -> Option<Timestamp> {
        let digits = self
            .data()?
            .strip_prefix(TIMESTAMP_TAG)?
            .get(..TIMESTAMP_DIGITS)?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        Some(Timestamp {
            time: (number >> 32) as u32,
            increment: number as u32,
        })
    }

    pub(crate) fn to_driver(
        &self,
    ) -> Result<mongodb::change_stream::event::ResumeToken, bson::error::Error> {
        bson::deserialize_from_slice(&bson::serialize_to_vec(&TokenOnly { token: self })?)
            .map(|only: DriverTokenOnly| only.token)
    }

    pub(crate) fn from_driver(
        token: &mongodb::change_stream::event::ResumeToken,
    ) -> Result<Self, bson::error::Error> {
        bson::deserialize_from_slice(&bson::serialize_to_vec(&DriverTokenOnlyRef { token })?)
            .map(|only: TokenOnlyOwned| only.token)
    }
}

#[derive(Serialize)]
struct TokenOnly<'a> {
    token: &'a ResumeToken,
}
#[derive(Deserialize)]
struct TokenOnlyOwned {
    token: ResumeToken,
}
#[derive(Serialize)]
struct DriverTokenOnlyRef<'a> {
    token: &'a mongodb::change_stream::event::ResumeToken,
}
#[derive(Deserialize)]
struct DriverTokenOnly {
    token: mongodb::change_stream::event::ResumeToken,
}

/// A place in a stream that can be compared with others. Places of the same time differ by
/// their keys, which is right within one format version of the server's tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub time: Timestamp,
    key: Box<str>,
}

impl Position {
    /// Before every event of a time.
    pub fn before(time: Timestamp) -> Self {
        Self {
            time,
            key: "".into(),
        }
    }

    /// The place that a token names; `None` for a token without a readable time.
    pub fn of(token: &ResumeToken) -> Option<Self> {
        Some(Self {
            time: token.cluster_time()?,
            key: token.data()?.into(),
        })
    }

    /// Its size on the heap.
    pub fn bytes(&self) -> usize {
        self.key.len()
    }
}

/// The first time after another one.
pub(crate) fn first_after(time: Timestamp) -> Timestamp {
    Timestamp {
        increment: time.increment.saturating_add(1),
        ..time
    }
}

/// The last time before another one.
pub(crate) fn last_before(time: Timestamp) -> Timestamp {
    match time.increment.checked_sub(1) {
        Some(increment) => Timestamp { increment, ..time },
        None => Timestamp {
            time: time.time.saturating_sub(1),
            increment: u32::MAX,
        },
    }
}

/// The time of an operation on the cluster's own clock. A mutation hands it out in text form; a
/// query that sends it back can wait until the projection has passed it
/// ([`crate::Projector::wait_until_passed`]). The text is opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationTime(Timestamp);

impl OperationTime {
    /// The time of the last operation in this session; `None` before the first one.
    pub fn of(session: &ClientSession) -> Option<Self> {
        session.operation_time().map(Self)
    }

    /// Returns the same time as MongoDB's type: seconds since 1970, and a counter within the second.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for OperationTime {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

impl fmt::Display for OperationTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}{:08x}", self.0.time, self.0.increment)
    }
}

/// The text is not an operation time of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an operation time: pass on the text of a mutation's answer unchanged")]
pub struct OperationTimeError;

impl FromStr for OperationTime {
    type Err = OperationTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != TIMESTAMP_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(OperationTimeError);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| OperationTimeError)?;
        Ok(Self(Timestamp {
            time: (number >> 32) as u32,
            increment: number as u32,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_cluster_time() {
        let token = ResumeToken::from_data("8265A1B2C3000000052B0229296E04");
        assert_eq!(
            token.cluster_time(),
            Some(Timestamp {
                time: 0x65A1_B2C3,
                increment: 5
            })
        );
        assert_eq!(ResumeToken::from_data("82").cluster_time(), None);
        assert_eq!(
            ResumeToken::from_data("8265A1B2C30000000é2B").cluster_time(),
            None
        );
    }

    #[test]
    fn a_token_goes_to_the_driver_and_back() {
        let token = ResumeToken::from_data("8265A1B2C300000005");
        let driver = token.to_driver().expect("a driver's token");
        assert_eq!(ResumeToken::from_driver(&driver).expect("our token"), token);
    }

    #[test]
    fn an_operation_time_survives_its_text_form() {
        let time = OperationTime(Timestamp {
            time: 1_700_000_000,
            increment: 7,
        });
        assert_eq!(time.to_string().parse(), Ok(time));
        for forged in [
            "",
            "12",
            "zzzzzzzzzzzzzzzz",
            "+123456789abcdef",
            "6553f100000000070",
        ] {
            assert_eq!(
                forged.parse::<OperationTime>(),
                Err(OperationTimeError),
                "{forged:?}"
            );
        }
    }
}
