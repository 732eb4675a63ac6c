//! Why a subscription failed, and what can be done about it.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::cursor_in;

/// Events of a while are missing, and the subscription goes on.
pub(crate) const SUBSCRIPTION_INTERRUPTED: &str = "SUBSCRIPTION_INTERRUPTED";
/// The history after the cursor is gone.
pub(crate) const RESYNC_REQUIRED: &str = "RESYNC_REQUIRED";
/// The request is malformed, or its cursor cannot be used.
pub(crate) const BAD_USER_INPUT: &str = "BAD_USER_INPUT";
/// Of this side: a message has more bytes than are allowed.
pub(crate) const MESSAGE_TOO_LARGE: &str = "CLIENT_MESSAGE_TOO_LARGE";

/// A server that asks to wait for longer is tried all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// The close code "try again later" of the IANA registry.
const TRY_AGAIN_LATER: u16 = 1013;

/// Errors that another try of the same subscription cannot cure.
const FINAL_CODES: [&str; 12] = [
    BAD_USER_INPUT,
    "CSRF_REFUSED",
    "FORBIDDEN",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "NOT_FOUND",
    "OPERATION_RESOLUTION_FAILURE",
    "SUBSCRIPTION_FORBIDDEN",
    "SUBSCRIPTION_SCHEMA_CHANGED",
    "SUBSCRIPTION_TOO_LARGE",
    "UNAUTHENTICATED",
    "UNAUTHORIZED_FIELD_OR_TYPE",
];

/// Errors that end a subscription, wherever they come, as the contract has them.
const ENDING_CODES: [&str; 5] = [
    BAD_USER_INPUT,
    RESYNC_REQUIRED,
    "RATE_LIMITED",
    "SUBSCRIPTION_LAGGED",
    "TOKEN_EXPIRED",
];

/// Whether an error with this code ends the subscription, wherever it comes.
pub(crate) fn is_ending_code(code: &str) -> bool {
    ENDING_CODES.contains(&code)
}

/// Whether another try is of no use after an error with this code.
pub fn is_final_code(code: &str) -> bool {
    let limit = |it: &str| it.starts_with("MAX_") && it.ends_with("_EXCEEDED");
    FINAL_CODES.contains(&code) || limit(code)
}

/// Why a subscription, or one try of it, ended: GraphQL errors, a closed connection, or a server that cannot be
/// understood.
#[derive(Clone)]
pub struct Failure(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    /// Never empty.
    errors: Vec<Value>,
    close_code: Option<u16>,
    status: Option<u16>,
}

impl Failure {
    /// A failure without GraphQL errors, as a lost connection is.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::of(vec![json!({ "message": message.to_string() })])
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The server sent a message of more than {bytes_max} bytes.");
        let extensions = json!({ "code": MESSAGE_TOO_LARGE });
        Self::of(vec![
            json!({ "message": message, "extensions": extensions }),
        ])
    }

    /// The errors in a server's message. It may have sent anything.
    pub(crate) fn from_errors(errors: Value) -> Self {
        let Value::Array(errors) = errors else {
            return Self::new("The server reported an error of no known form.");
        };
        let errors: Vec<Value> = errors.into_iter().filter(Value::is_object).collect();
        match errors.is_empty() {
            true => Self::new("The server reported an error of no known form."),
            false => Self::of(errors),
        }
    }

    /// The server closed the WebSocket.
    pub(crate) fn closed(code: u16, reason: &str) -> Self {
        let mut failure = Self::new(format_args!(
            "The server closed the connection: {code} {reason}"
        ));
        failure.0.close_code = Some(code);
        if let (TRY_AGAIN_LATER, Some(seconds)) = (code, seconds_in(reason)) {
            failure.ask_to_wait(seconds);
        }
        failure
    }

    /// The server answered with this status in the place of a subscription.
    pub(crate) fn refused(status: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let errors = answer["errors"].as_array().filter(|it| !it.is_empty());
        let mut failure = match errors {
            Some(errors) => Self::from_errors(errors.clone().into()),
            None => Self::new(format_args!("The server answered with status {status}.")),
        };
        failure.0.status = Some(status);
        if let Some(seconds) = retry_after {
            failure.ask_to_wait(seconds);
        }
        failure
    }

    /// What the error itself says comes first.
    fn ask_to_wait(&mut self, seconds: u64) {
        let Some(first) = self.0.errors[0].as_object_mut() else {
            return;
        };
        let extensions = first.entry("extensions").or_insert_with(|| json!({}));
        if let Some(extensions) = extensions.as_object_mut() {
            extensions
                .entry("retryAfter")
                .or_insert_with(|| seconds.into());
        }
    }

    fn of(errors: Vec<Value>) -> Self {
        Self(Box::new(Inner {
            errors,
            close_code: None,
            status: None,
        }))
    }

    /// The code of the first error; empty where there is none, as after a lost connection.
    pub fn code(&self) -> &str {
        self.extension("code").as_str().unwrap_or_default()
    }

    /// The text of the first error.
    pub fn message(&self) -> &str {
        let message = self.0.errors[0]["message"].as_str();
        message.unwrap_or("The server reported an error without a message.")
    }

    /// All GraphQL errors, as the server sent them. Never empty: a lost connection is one with a message alone.
    pub fn errors(&self) -> &[Value] {
        &self.0.errors
    }

    /// Where the subscription can be resumed, if the server said it.
    pub fn cursor(&self) -> Option<&str> {
        cursor_in(self.extension("cursor"))
    }

    /// How long the server asks to wait, at most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self
            .extension("retryAfter")
            .as_f64()
            .filter(|it| *it > 0.0)?;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT);
        Some(wait.min(LONGEST_WAIT))
    }

    /// The code with which the server closed the WebSocket.
    pub fn close_code(&self) -> Option<u16> {
        self.0.close_code
    }

    /// The HTTP status with which the server answered in the place of a subscription.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Whether one of the errors has this code.
    pub fn has_code(&self, code: &str) -> bool {
        let mut errors = self.0.errors.iter();
        errors.any(|error| error["extensions"]["code"] == code)
    }

    /// Whether the server has enough to do, and does not say for how long.
    pub(crate) fn is_try_later(&self) -> bool {
        self.0.close_code == Some(TRY_AGAIN_LATER)
    }

    fn extension(&self, name: &str) -> &Value {
        &self.0.errors[0]["extensions"][name]
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            "" => formatter.write_str(self.message()),
            code => write!(formatter, "{} ({code})", self.message()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Failure {}

/// The seconds after `retry-after: ` in the reason of a close.
fn seconds_in(reason: &str) -> Option<u64> {
    let (_, rest) = reason.split_once("retry-after: ")?;
    let end = rest.find(|it: char| !it.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_any_form_are_a_failure() {
        for errors in [
            json!(null),
            json!([]),
            json!(["x", null, 7]),
            json!({"a": 1}),
        ] {
            let failure = Failure::from_errors(errors);
            assert_eq!((failure.code(), failure.cursor()), ("", None));
            assert!(!failure.message().is_empty());
        }
        let odd = Failure::from_errors(json!([{ "message": 5, "extensions": "no" }]));
        assert_eq!(
            odd.to_string(),
            "The server reported an error without a message."
        );
    }

    #[test]
    fn a_time_to_wait_that_is_none_is_not_waited_for() {
        let wait = |seconds: Value| {
            let error = json!([{ "extensions": { "retryAfter": seconds } }]);
            Failure::from_errors(error).retry_after()
        };
        for odd in [
            json!(-1),
            json!(0),
            json!("soon"),
            json!(null),
            json!({ "seconds": 1 }),
        ] {
            assert_eq!(wait(odd), None);
        }
        assert_eq!(wait(json!(1.5)), Some(Duration::from_millis(1_500)));
        assert_eq!(wait(json!(1e300)), Some(LONGEST_WAIT));
    }

    #[test]
    fn a_close_that_says_when_to_come_again_is_obeyed() {
        let wait = |code, reason| Failure::closed(code, reason).retry_after();
        let twelve = Some(Duration::from_secs(12));
        assert_eq!(wait(1013, "try again later (retry-after: 12)"), twelve);
        assert_eq!(wait(1013, "retry-after: 12"), twelve);
        assert_eq!(wait(1012, "retry-after: 12"), None);
        for odd in [
            "",
            "busy",
            "retry-after: ",
            "retry-after: -5",
            "retry-after: 99999999999999999999",
        ] {
            assert_eq!(wait(1013, odd), None, "{odd}");
        }
    }

    #[test]
    fn a_refusal_has_the_time_of_its_header_if_the_error_has_none() {
        let body = br#"{"errors":[{"message":"slow","extensions":{"code":"RATE_LIMITED"}}]}"#;
        let refused = Failure::refused(429, Some(3), body);
        assert_eq!(refused.code(), "RATE_LIMITED");
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(3)));
        let page = Failure::refused(503, Some(2), b"<html>no</html>");
        assert_eq!((page.code(), page.status()), ("", Some(503)));
        assert_eq!(page.retry_after(), Some(Duration::from_secs(2)));
        let own = br#"{"errors":[{"message":"slow","extensions":{"retryAfter":9}}]}"#;
        let wait = Failure::refused(429, Some(3), own).retry_after();
        assert_eq!(wait, Some(Duration::from_secs(9)));
    }
}
