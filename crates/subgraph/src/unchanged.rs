//! Edits that must not overwrite somebody else's: a filter that matches a document only while its `updatedAt`
//! is the one that the editor has read.

use bson::{Bson, Document, doc};

use crate::DateTime;

/// Adds to `filter` that the document's `updatedAt`, as clients see it, is `seen`. Clients see `createdAt`
/// where a document has no `updatedAt`, and `created_by_id`, the time in its id, where it has neither.
pub fn unchanged_since(filter: &mut Document, seen: DateTime, created_by_id: DateTime) {
    let mut ways = vec![
        doc! { "updatedAt": seen },
        doc! { "updatedAt": Bson::Null, "createdAt": seen },
    ];
    if seen == created_by_id {
        ways.push(doc! { "updatedAt": Bson::Null, "createdAt": Bson::Null });
    }
    filter.insert("$or", ways);
}

/// The `updatedAt` of an edit at `now` of what was last changed at `seen`. It is always a later one, also after
/// a clock was set back: whoever read the old text sees that it changed.
pub fn next_version(now: DateTime, seen: Option<DateTime>) -> DateTime {
    let after = |seen: DateTime| DateTime::from_millis(seen.timestamp_millis().saturating_add(1));
    seen.map_or(now, |seen| now.max(after(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_later_than_what_it_changes() {
        let at = DateTime::from_millis;
        assert_eq!(next_version(at(5), None), at(5));
        assert_eq!(next_version(at(5), Some(at(3))), at(5));
        assert_eq!(next_version(at(5), Some(at(5))), at(6));
        assert_eq!(next_version(at(5), Some(at(9))), at(10));
    }
}
