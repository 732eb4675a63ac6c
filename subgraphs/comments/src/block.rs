//! The block of an author, as MongoDB stores it and as moderators see it.

use async_graphql::{ID, SimpleObject};
use bson::{Bson, Document, RawDocument, doc};
use changefeed::{FromDocument, Unreadable};
use subgraph::owner::ID_BYTES_MAX;
use subgraph::page::{ListId, ListTag};
use subgraph::readable::{Kind, Shape};
use subgraph::{DateTime, ListPosition};

/// Marks the cursors of the list of blocks.
pub const BLOCKS_LIST: ListTag = ListTag(b'b');

/// Which documents the list has. All others block, too, if their `_id` is a person's.
const SHAPE: Shape<2> = Shape([
    (
        "_id",
        Kind::Text {
            bytes_max: ID_BYTES_MAX,
        },
    ),
    ("since", Kind::Date),
]);

/// An author who is blocked: may write neither posts nor comments, and may edit none.
#[derive(Clone, Debug, SimpleObject)]
pub struct Block {
    /// The id of the author.
    pub author_id: ID,
    /// When the author was blocked. Null if another program has blocked the author without a date.
    pub since: Option<DateTime>,
    /// Why. Null if another program has blocked the author without a reason.
    pub reason: Option<String>,
}

/// The id of an author, by which blocks of the same moment are ordered.
#[derive(Clone, Debug)]
pub struct BlockedId(String);

impl Block {
    /// The block that is stored for an author. Whatever the document holds, it blocks.
    pub fn read(author_id: ID, document: &RawDocument) -> Self {
        let since = document.get_datetime("since").ok();
        let since = since.map(|since| DateTime::from_millis(since.timestamp_millis()));
        Self {
            author_id,
            since: since.filter(|since| since.is_in_rfc3339()),
            reason: document.get_str("reason").ok().map(str::to_owned),
        }
    }

    /// The block's position in the list.
    pub fn position(&self) -> ListPosition<BlockedId> {
        ListPosition {
            created_at: self.since,
            id: BlockedId(self.author_id.to_string()),
        }
    }
}

/// The filter of the documents that the list has.
pub fn listed() -> Document {
    let mut filter = SHAPE.filter();
    filter.insert("_id", doc! { "$type": "string", "$ne": "" });
    filter
}

impl FromDocument for Block {
    /// [`listed`] says the same at the server.
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        let [id, _] = SHAPE.read(document)?;
        match id.text() {
            Some(id) if !id.is_empty() => Ok(Self::read(ID(id.into_owned()), document)),
            _ => Err(Unreadable {
                field: "_id".into(),
                reason: "the field _id has an invalid value: the id of a person is expected".into(),
            }),
        }
    }
}

impl From<BlockedId> for Bson {
    fn from(id: BlockedId) -> Self {
        id.0.into()
    }
}

impl ListId for BlockedId {
    const DATE: &'static str = "since";

    fn to_bytes(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = std::str::from_utf8(bytes).ok()?;
        (1..=ID_BYTES_MAX)
            .contains(&id.len())
            .then(|| Self(id.to_owned()))
    }
}
