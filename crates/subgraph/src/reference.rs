//! References from one document to another.
//!
//! Mongoose stores a reference as an `ObjectId` or as a text, as its schema says. This project stores
//! `ObjectId`s and reads both: a text of 24 hexadecimal digits in lower case names the same document.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use changefeed::TopicField;

/// The id that a text names; none where it is not 24 hexadecimal digits in lower case.
pub fn of_text(text: &str) -> Option<ObjectId> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hex = text.len() == 24 && text.bytes().all(is_digit);
    is_hex.then(|| ObjectId::parse_str(text).ok()).flatten()
}

/// The filter that finds the documents whose field refers to one of `ids`, by an index on that field. It may
/// find other documents too: one with a list that contains such an id, for example.
pub fn filter(field: &str, ids: impl IntoIterator<Item = ObjectId>) -> Document {
    let forms: Vec<Bson> = ids.into_iter().flat_map(forms).collect();
    doc! { field: { "$in": forms } }
}

/// The aggregation expression of the id that a field refers to; null where it refers to none.
pub fn expression(field: &str) -> Document {
    doc! { "$convert": {
        "input": format!("${field}"), "to": "objectId", "onError": null, "onNull": null,
    } }
}

/// The field as the topic of a live feed: both forms of a reference are one topic.
pub fn topic_field(field: &str) -> TopicField {
    TopicField::new(field).with_forms(
        |value| match &value {
            Bson::String(text) => of_text(text).map_or(value, Bson::ObjectId),
            _ => value,
        },
        |topic| match topic {
            Bson::ObjectId(id) => forms(*id).into(),
            _ => vec![topic.clone()],
        },
    )
}

/// The forms that a reference to a document may have.
fn forms(id: ObjectId) -> [Bson; 2] {
    [Bson::from(id), Bson::from(id.to_hex())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_an_object_id_or_its_text() {
        let id = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").expect("an id");
        assert_eq!(of_text("65f0c0ffee65f0c0ffee65f0"), Some(id));
        for other in [
            "65F0C0FFEE65F0C0FFEE65F0",
            "65f0",
            "65f0c0ffee65f0c0ffee65fz",
        ] {
            assert_eq!(of_text(other), None, "{other}");
        }
        let found = doc! { "postId": { "$in": [id, "65f0c0ffee65f0c0ffee65f0"] } };
        assert_eq!(filter("postId", [id]), found);
    }
}
