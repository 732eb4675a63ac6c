//! Whom a post or a comment belongs to: in its document, and as clients see it.
//!
//! A document has the owner's id in `authorId`; what a guest wrote has `guest: true` instead. Documents that are
//! older than owners, or that another program wrote, have neither.

use async_graphql::{ID, Object};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::InputError;
pub use crate::claims::ID_BYTES_MAX;
use crate::readable::{Kind, Value};

/// The field with the owner's id, in the shape of a document.
pub const AUTHOR_ID: (&str, Kind) = (
    "authorId",
    Kind::Name {
        bytes_max: ID_BYTES_MAX,
    },
);
/// The field that marks what a guest wrote.
pub const GUEST: (&str, Kind) = ("guest", Kind::Mark);

/// Checks an id of a person that a client sends. It is taken byte by byte: an id may begin with a blank.
///
/// # Errors
/// When it is longer than any id, or empty.
pub fn check_id(field: &'static str, id: ID) -> Result<ID, InputError> {
    match id.len() {
        1..=ID_BYTES_MAX => Ok(id),
        bytes => Err(InputError::PersonId {
            field,
            bytes,
            bytes_max: ID_BYTES_MAX,
        }),
    }
}

/// Whom a document belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: it is older than owners are, or another program wrote it.
    #[default]
    Nobody,
    /// Nobody: a guest wrote it.
    Guest,
    /// The person with this id.
    Person(ID),
    /// `authorId` has a value that is no person's id here. Another program knows whose it is.
    Unknown,
}

impl Owner {
    /// Reads the values of [`AUTHOR_ID`] and [`GUEST`].
    pub fn read(author_id: Value<'_>, guest: Value<'_>) -> Self {
        match author_id {
            Value::Absent if guest.flag() == Some(true) => Self::Guest,
            Value::Absent => Self::Nobody,
            value => match value.text() {
                Some(id) => Self::Person(ID(id.into_owned())),
                None => Self::Unknown,
            },
        }
    }

    /// The id of the person, if it is one.
    pub fn id(&self) -> Option<&ID> {
        match self {
            Self::Person(id) => Some(id),
            _ => None,
        }
    }
}

/// The fields of a document.
impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        match self {
            Self::Person(id) => fields.serialize_entry(AUTHOR_ID.0, id.as_str())?,
            Self::Guest => fields.serialize_entry(GUEST.0, &true)?,
            Self::Nobody | Self::Unknown => {}
        }
        fields.end()
    }
}

/// The fields of posts and comments that say whose they are.
#[Object]
impl Owner {
    /// The id of the author: the `id` of their `viewer`. Null if the author was not signed in.
    async fn author_id(&self) -> Option<&ID> {
        self.id()
    }

    /// Whether the author was not signed in: anybody could have written under this name. Texts that are
    /// older than sign-in, or that another program wrote, are not marked.
    async fn written_by_guest(&self) -> bool {
        *self == Self::Guest
    }
}
