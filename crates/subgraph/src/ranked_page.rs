//! Relay pages over a list ordered by a number, such as a count: the highest first, and the newest of those with the
//! same.
//!
//! The number is not stored, so the whole list is put into order at the server for each page. What is sorted are
//! documents `{ _id, rank, createdAt }`, where `createdAt` is null for an item without a date. A cursor has all three,
//! so it stays valid when its item is deleted or gets another number.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::{Bson, Document, RawBsonRef, RawDocument, doc};

use crate::page::{ListTag, Order, Position};
use crate::{DateTime, InputError, ListPosition, PageArguments, PageRequest};

/// An item's position in such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RankedPosition {
    /// What the list is ordered by.
    pub rank: i64,
    /// Orders items of the same rank.
    pub position: ListPosition,
}

impl RankedPosition {
    /// Version 1: version, list, rank (big endian), and a position as in other cursors.
    const CURSOR_VERSION: u8 = 1;

    /// Reads what was sorted; none if it is no such document.
    pub fn read(item: &RawDocument) -> Option<Self> {
        let rank = match item.get("rank").ok()?? {
            RawBsonRef::Int32(rank) => rank.into(),
            RawBsonRef::Int64(rank) => rank,
            _ => return None,
        };
        let created_at = item.get_datetime("createdAt").ok();
        let created_at = created_at.map(|at| DateTime::from_millis(at.timestamp_millis()));
        let id = item.get_object_id("_id").ok()?;
        let position = ListPosition { created_at, id };
        Some(Self { rank, position })
    }

    /// The values in the order in which they are compared.
    fn key(self) -> Document {
        let ListPosition { created_at, id } = self.position;
        doc! { "rank": self.rank, "at": created_at.map_or(Bson::Null, Bson::from), "id": id }
    }
}

impl Position for RankedPosition {
    fn to_cursor(&self, tag: ListTag) -> String {
        let (head, rank) = ([Self::CURSOR_VERSION, tag.0], self.rank.to_be_bytes());
        let bytes = [&head[..], &rank, &self.position.to_bytes()].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn from_cursor(tag: ListTag, cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (rank, position) = rest.split_first_chunk::<8>()?;
        if *head != [Self::CURSOR_VERSION, tag.0] {
            return None;
        }
        Some(Self {
            rank: i64::from_be_bytes(*rank),
            position: ListPosition::from_bytes(position)?,
        })
    }
}

impl PageArguments {
    /// Checks the sizes and cursors of such a list.
    ///
    /// # Errors
    /// As [`PageArguments::check`].
    pub fn check_ranked(&self, tag: ListTag) -> Result<PageRequest<RankedPosition>, InputError> {
        // Among those of one rank.
        self.check(tag, Order::NewestFirst)
    }
}

impl PageRequest<RankedPosition> {
    /// The stages that leave the page's items of what is to be sorted, in the direction in which the page is read.
    pub fn ranked_stages(&self) -> Vec<Document> {
        let mut bounds = Vec::new();
        bounds.extend(self.after().map(|after| bound("$lt", *after)));
        bounds.extend(self.before().map(|before| bound("$gt", *before)));
        let mut stages: Vec<_> = match bounds.is_empty() {
            true => Vec::new(),
            false => vec![doc! { "$match": { "$expr": { "$and": bounds } } }],
        };
        let direction = if self.is_from_end() { 1 } else { -1 };
        let sort = doc! { "rank": direction, "createdAt": direction, "_id": direction };
        stages.extend([doc! { "$sort": sort }, doc! { "$limit": self.limit() }]);
        stages
    }

    /// The stages that leave an item where a cursor cut one off before the position where the page's reading starts;
    /// none without such a cursor.
    pub fn ranked_behind(&self) -> Option<Vec<Document>> {
        let bound = match self.is_from_end() {
            true => bound("$lte", *self.before()?),
            false => bound("$gte", *self.after()?),
        };
        Some(vec![
            doc! { "$match": { "$expr": bound } },
            doc! { "$limit": 1 },
        ])
    }

    /// The same at the far end of the page's reading.
    pub fn ranked_ahead(&self) -> Option<Vec<Document>> {
        self.reversed().ranked_behind()
    }
}

/// Compares an item with a position. Documents are compared field by field, and null comes before all dates.
fn bound(operator: &str, position: RankedPosition) -> Document {
    let item = doc! { "rank": "$rank", "at": "$createdAt", "id": "$_id" };
    doc! { operator: [item, { "$literal": position.key() }] }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;

    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        const TAG: ListTag = ListTag(7);
        let dated = ListPosition {
            created_at: Some(DateTime::from_millis(1_700_000_000_123)),
            id: ObjectId::new(),
        };
        let undated = ListPosition {
            created_at: None,
            ..dated
        };
        for position in [dated, undated] {
            for rank in [0, 1, i64::MAX, -1] {
                let ranked = RankedPosition { rank, position };
                let cursor = ranked.to_cursor(TAG);
                assert_eq!(RankedPosition::from_cursor(TAG, &cursor), Some(ranked));
                assert_eq!(RankedPosition::from_cursor(ListTag(8), &cursor), None);
                assert_eq!(<ListPosition>::from_cursor(TAG, &cursor), None);
                assert_eq!(RankedPosition::from_cursor(TAG, &cursor[1..]), None);
            }
            let cursor = position.to_cursor(TAG);
            assert_eq!(RankedPosition::from_cursor(TAG, &cursor), None);
        }
    }
}
