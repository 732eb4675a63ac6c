//! Typed ids: an `ObjectId` that knows what it names, written as 24 hexadecimal digits.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    ContextSelectionSet, ID, InputType, InputValueError, InputValueResult, OutputType, Positioned,
    ServerResult, Value,
};
use bson::Bson;
use bson::oid::ObjectId;
use serde::{Deserialize, Serialize};

use crate::{Code, DateTime};

/// The id of a `T`. It is GraphQL's `ID`, and an `ObjectId` in MongoDB; a malformed one is refused
/// with `BAD_USER_INPUT` before any resolver runs.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Id<T> {
    object_id: ObjectId,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

/// A text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: an id has 24 hexadecimal digits")]
pub struct MalformedId {
    text: String,
}

impl<T> Id<T> {
    /// An id that no other document has.
    pub fn new() -> Self {
        ObjectId::new().into()
    }

    /// The id as MongoDB stores it.
    pub fn object_id(self) -> ObjectId {
        self.object_id
    }

    /// The time in the id: the date of a document that has no `createdAt`.
    pub fn created_at(self) -> DateTime {
        DateTime::of_id(self.object_id)
    }

    /// Writes the 24 hexadecimal digits.
    pub fn write_hex(self, text: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: u8| [byte >> 4, byte & 0xf].map(|half| DIGITS[usize::from(half)]);
        text.extend(self.object_id.bytes().into_iter().flat_map(digits));
    }

    /// The same id, taken as the id of something else.
    pub fn cast<U>(self) -> Id<U> {
        self.object_id.into()
    }
}

impl<T> FromStr for Id<T> {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        /// The error repeats no more of the text than a reader needs.
        const SHOWN_CHARS: usize = 40;
        ObjectId::parse_str(text)
            .map(Self::from)
            .map_err(|_| MalformedId {
                text: text.chars().take(SHOWN_CHARS).collect(),
            })
    }
}

impl<T> InputType for Id<T> {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        <ID as InputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <ID as InputType>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let parsed = match value.unwrap_or_default() {
            Value::String(text) => text.parse().map_err(InputValueError::custom),
            other => Err(InputValueError::expected_type(other)),
        };
        parsed.map_err(|error| error.with_extension("code", Code::BadUserInput.as_str()))
    }

    fn to_value(&self) -> Value {
        Value::String(self.object_id.to_hex())
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

impl<T> OutputType for Id<T> {
    fn type_name() -> Cow<'static, str> {
        <ID as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <ID as OutputType>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        _: &ContextSelectionSet<'_>,
        _: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(Value::String(self.object_id.to_hex()))
    }
}

impl<T> From<ObjectId> for Id<T> {
    fn from(object_id: ObjectId) -> Self {
        Self {
            object_id,
            of: PhantomData,
        }
    }
}

impl<T> From<Id<T>> for Bson {
    fn from(id: Id<T>) -> Self {
        Self::ObjectId(id.object_id)
    }
}

impl<T> Default for Id<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.object_id == other.object_id
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.object_id.hash(state);
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object_id.fmt(formatter)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object_id.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_24_hexadecimal_digits() {
        let id: Id<()> = "65f0c0ffee65f0c0ffee65f0"
            .parse()
            .expect("a well-formed id");
        assert_eq!(id.to_string(), "65f0c0ffee65f0c0ffee65f0");
        let mut digits = Vec::new();
        id.write_hex(&mut digits);
        assert_eq!(digits, b"65f0c0ffee65f0c0ffee65f0");
        for malformed in [
            "",
            "65f0",
            "65f0c0ffee65f0c0ffee65fz",
            "ünïcödé-ünïcödé-ünïcödé",
        ] {
            assert!(malformed.parse::<Id<()>>().is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn the_error_does_not_repeat_a_long_text() {
        let error = "x"
            .repeat(1_000_000)
            .parse::<Id<()>>()
            .expect_err("not an id");
        assert!(error.to_string().len() < 120);
    }
}
