//! The status frame of resumable subscriptions: whether the changes of a subscription reach its server right now.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::ResponseJson;

/// Whether the changes of a subscription reach its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Changes arrive as they happen.
    #[default]
    Live,
    /// Nothing can arrive. What happens meanwhile follows later, or an error says that it does not.
    Interrupted,
}

#[derive(Deserialize)]
struct StatusJson {
    #[serde(rename = "version")]
    _version: u32,
    status: Value,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Interrupted => "INTERRUPTED",
        }
    }

    /// A status that a later version of the contract has is none.
    pub(super) fn of_json(json: &Value) -> Option<Self> {
        let all = [Self::Live, Self::Interrupted];
        all.into_iter().find(|status| json == status.as_str())
    }

    /// The status frame: a GraphQL response without data.
    pub fn body(self) -> Bytes {
        Bytes::from_static(self.text())
    }

    pub(crate) fn text(self) -> &'static [u8] {
        match self {
            Self::Live => {
                br#"{"data":null,"extensions":{"delivery":{"version":1,"status":"LIVE"}}}"#
            }
            Self::Interrupted => {
                br#"{"data":null,"extensions":{"delivery":{"version":1,"status":"INTERRUPTED"}}}"#
            }
        }
    }

    /// What a message of another server says, if it is a status frame; `Some(None)` is a status that is not known here.
    pub fn of_message(message: &[u8]) -> Option<Option<Self>> {
        let response: ResponseJson<'_> = serde_json::from_slice(message).ok()?;
        if response.data.is_some() || response.errors.is_some() {
            return None;
        }
        let delivery = response.extensions?.delivery?;
        let json: StatusJson = serde_json::from_str(delivery.get()).ok()?;
        Some(Self::of_json(&json.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_frame_is_known_by_its_reader() {
        for status in [Status::Live, Status::Interrupted] {
            assert_eq!(Status::of_message(&status.body()), Some(Some(status)));
            let named = format!(
                "\"version\":{},\"status\":\"{}\"",
                super::super::VERSION,
                status.as_str()
            );
            let body = String::from_utf8(status.body().into()).expect("text");
            assert!(body.contains(&named), "{body}");
        }
        for message in [
            r#"{"data":{"a":1},"extensions":{"delivery":{"version":1,"status":"LIVE"}}}"#,
            r#"{"errors":[],"extensions":{"delivery":{"version":1,"status":"LIVE"}}}"#,
            r#"{"data":null,"extensions":{"delivery":{"status":"LIVE"}}}"#,
            "{}",
            "",
        ] {
            assert_eq!(Status::of_message(message.as_bytes()), None, "{message}");
        }
        for unknown in ["\"LATER\"", "1"] {
            let message = format!(
                r#"{{"data":null,"extensions":{{"delivery":{{"version":1,"status":{unknown}}}}}}}"#
            );
            assert_eq!(
                Status::of_message(message.as_bytes()),
                Some(None),
                "{message}"
            );
        }
    }
}
