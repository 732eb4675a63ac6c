//! A server's errors, as many as have room: read into values, they take many times the bytes of their text.

use std::fmt;

use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Bytes of errors that are read. The first error is that which counts.
pub(crate) const ERRORS_BYTES_MAX: usize = 64 * 1024;

/// In the place of an error that is not read.
const TOO_LARGE: &str = "The server reported an error that is too large.";

/// Reads the member `errors`: those that come first, if they are too many. What is too large and no list is null.
pub(crate) fn first<'de, D: Deserializer<'de>>(errors: D) -> Result<Value, D::Error> {
    <&RawValue>::deserialize(errors).map(|errors| first_of(errors.get()))
}

/// The same for a JSON text.
pub(crate) fn first_of(errors: &str) -> Value {
    if errors.len() <= ERRORS_BYTES_MAX {
        return serde_json::from_str(errors).unwrap_or_default();
    }
    serde_json::from_str(errors).map_or(Value::Null, |First(errors)| errors.into())
}

struct First(Vec<Value>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = First;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of errors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
                let (mut first, mut bytes) = (Vec::new(), 0);
                while let Some(error) = list.next_element::<&RawValue>()? {
                    bytes += error.get().len();
                    if bytes > ERRORS_BYTES_MAX {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        if first.is_empty() {
                            first.push(json!({ "message": TOO_LARGE }));
                        }
                        break;
                    }
                    first.push(serde_json::from_str(error.get()).unwrap_or_default());
                }
                Ok(First(first))
            }
        }
        list.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_errors_the_first_are_read() {
        let few = json!([{ "message": "a" }, { "message": "b" }]);
        assert_eq!(first_of(&few.to_string()), few);
        let code = json!({ "extensions": { "code": "RATE_LIMITED" } });
        let many = format!("[{code}{}]", ",{}".repeat(1 << 20));
        let read = first_of(&many);
        let read = read.as_array().expect("a list");
        assert_eq!(read[0], code);
        assert!(read.len() <= ERRORS_BYTES_MAX / 2, "{}", read.len());
        let large = format!("[{{\"message\":\"{}\"}}]", "x".repeat(ERRORS_BYTES_MAX));
        assert_eq!(first_of(&large), json!([{ "message": TOO_LARGE }]));
        assert_eq!(first_of(&json!(large).to_string()), json!(null));
        for odd in ["null", "{\"a\":1}", "7"] {
            let value: Value = serde_json::from_str(odd).expect("JSON");
            assert_eq!(first_of(odd), value);
        }
    }

    #[test]
    fn a_message_that_is_full_of_errors_is_still_a_failure() {
        let text = format!(
            "{{\"data\":null,\"errors\":[{{}}{}]}}",
            ",{}".repeat(1 << 20)
        );
        let message = crate::contract::Response::parse(&text).expect("a response");
        assert!(message.is_refusal());
        assert!(message.errors.as_array().expect("a list").len() <= ERRORS_BYTES_MAX / 2);
    }
}
