//! What one field may hold, checked in Rust and by an equivalent expression at the server.

use std::borrow::Cow;
use std::fmt;

use bson::oid::ObjectId;
use bson::{Bson, RawDocument, doc};

use crate::{DateTime, reference};

use super::elements::{Element, kind};

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An `ObjectId`; it must be there.
    Id,
    /// The id of another document: an `ObjectId`, or its text as Mongoose may store it, 24 hexadecimal
    /// digits in lower case. It must be there.
    Reference,
    /// A string of so many bytes at most; it may be missing or null. Bytes that are not UTF-8 are read as
    /// U+FFFD.
    Text {
        /// The most bytes, as stored.
        bytes_max: usize,
    },
    /// A date that RFC 3339 can write, from year 0 to 9999; it may be missing or null.
    Date,
    /// A Boolean; it may be missing or null.
    Flag,
    /// A document that is read elsewhere; anything else is as if it were missing.
    Document,
    /// A name that is compared with others byte by byte: a string of 1 to so many bytes, in UTF-8. Anything else is
    /// accepted as a name that nothing has; it may be missing or null.
    Name {
        /// The most bytes, as stored.
        bytes_max: usize,
    },
    /// A mark: `true`. Anything else is as if it were missing.
    Mark,
    /// The id of another document that need not be there: an `ObjectId`. Anything else is as if it were missing.
    Link,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'d> {
    /// Nothing: the field is missing or null.
    #[default]
    Absent,
    /// Of [`Kind::Id`], [`Kind::Reference`] and [`Kind::Link`].
    Id(ObjectId),
    /// Of [`Kind::Text`]: its bytes, which need not be UTF-8. Of [`Kind::Name`]: a name.
    Text(&'d [u8]),
    /// Of [`Kind::Date`], with a year from 0 to 9999.
    Date(DateTime),
    /// The Boolean of a [`Kind::Flag`] or a [`Kind::Mark`].
    Flag(bool),
    /// Of [`Kind::Document`]: its bytes, in which no field was looked at.
    Document(&'d RawDocument),
    /// Of [`Kind::Name`]: a value that is no name.
    Unknown,
}

impl<'d> Value<'d> {
    /// The id, if it is one.
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Id(id) => Some(*id),
            _ => None,
        }
    }

    /// The text, if it is one. Copied only where it is not UTF-8.
    pub fn text(self) -> Option<Cow<'d, str>> {
        match self {
            Self::Text(text) => Some(match std::str::from_utf8(text) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(text),
            }),
            _ => None,
        }
    }

    /// The date, if it is one.
    pub fn date(&self) -> Option<DateTime> {
        match self {
            Self::Date(date) => Some(*date),
            _ => None,
        }
    }

    /// The document, if it is one.
    pub fn document(&self) -> Option<&'d RawDocument> {
        match self {
            Self::Document(document) => Some(document),
            _ => None,
        }
    }

    /// The Boolean, if it is one.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => formatter.write_str("an ObjectId is expected"),
            Self::Reference => formatter
                .write_str("an ObjectId or its 24 hexadecimal digits in lower case are expected"),
            Self::Text { bytes_max } => write!(
                formatter,
                "a string of at most {bytes_max} bytes is expected"
            ),
            Self::Date => formatter.write_str("a date from year 0 to 9999 is expected"),
            Self::Flag => formatter.write_str("a Boolean is expected"),
            Self::Document | Self::Name { .. } | Self::Mark | Self::Link => {
                formatter.write_str("anything is accepted")
            }
        }
    }
}

impl Kind {
    /// Reads a field that is there; `None` when it may not hold this.
    pub(crate) fn read<'d>(self, element: &Element<'d>) -> Option<Value<'d>> {
        match (self, element.kind) {
            (Self::Id | Self::Reference | Self::Link, kind::OBJECT_ID) => Some(Value::Id(
                ObjectId::from_bytes(element.value.try_into().ok()?),
            )),
            (Self::Reference, kind::STRING) => {
                let text = std::str::from_utf8(element.text()?).ok()?;
                reference::of_text(text).map(Value::Id)
            }
            (Self::Id | Self::Reference, _) => None,
            (Self::Document, kind::DOCUMENT) => RawDocument::from_bytes(element.value)
                .ok()
                .map(Value::Document),
            (Self::Document | Self::Link, _) | (_, kind::NULL) => Some(Value::Absent),
            (Self::Name { bytes_max }, kind::STRING) => {
                let name = element.text().filter(|name| {
                    (1..=bytes_max).contains(&name.len()) && std::str::from_utf8(name).is_ok()
                });
                Some(name.map_or(Value::Unknown, Value::Text))
            }
            (Self::Name { .. }, _) => Some(Value::Unknown),
            (Self::Mark, kind::BOOLEAN) if element.value != [0] => Some(Value::Flag(true)),
            (Self::Mark, _) => Some(Value::Absent),
            (Self::Text { bytes_max }, kind::STRING) => {
                let text = element.text()?;
                (text.len() <= bytes_max).then_some(Value::Text(text))
            }
            (Self::Date, kind::DATE) => {
                let date =
                    DateTime::from_millis(i64::from_le_bytes(element.value.try_into().ok()?));
                date.is_in_rfc3339().then_some(Value::Date(date))
            }
            (Self::Flag, kind::BOOLEAN) => Some(Value::Flag(element.value != [0])),
            _ => None,
        }
    }

    /// Whether the field has to be there.
    pub(crate) fn is_required(self) -> bool {
        match self {
            Self::Id | Self::Reference => true,
            Self::Text { .. }
            | Self::Date
            | Self::Flag
            | Self::Document
            | Self::Name { .. }
            | Self::Mark
            | Self::Link => false,
        }
    }

    /// The aggregation expression that is true where [`Kind::read`] gives a value, or where the field is
    /// missing and may be.
    pub(crate) fn expression(self, field: &str) -> Bson {
        let value = format!("${field}");
        let has_type = |name: &str| doc! { "$eq": [{ "$type": &value }, name] };
        let is_absent = || doc! { "$in": [{ "$type": &value }, ["missing", "null"]] };
        // Only the branch that is taken is evaluated: the server's string operators fail on other types.
        let of_type = |name: &str, then: Bson, otherwise: Bson| {
            Bson::from(doc! { "$cond": [has_type(name), then, otherwise] })
        };
        match self {
            Self::Id => has_type("objectId").into(),
            Self::Reference => {
                let is_hex =
                    doc! { "$eq": [{ "$toString": reference::expression(field) }, &value] };
                let is_id = has_type("objectId").into();
                of_type("string", is_hex.into(), is_id)
            }
            Self::Text { bytes_max } => {
                let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
                let fits = doc! { "$lte": [{ "$strLenBytes": &value }, bytes_max] };
                of_type("string", fits.into(), is_absent().into())
            }
            Self::Date => {
                let (first, last) = (DateTime::RFC3339_FIRST, DateTime::RFC3339_LAST);
                let fits =
                    doc! { "$and": [{ "$gte": [&value, first] }, { "$lte": [&value, last] }] };
                of_type("date", fits.into(), is_absent().into())
            }
            Self::Flag => of_type("bool", true.into(), is_absent().into()),
            Self::Document | Self::Name { .. } | Self::Mark | Self::Link => true.into(),
        }
    }
}
