//! Events too large to be sent: the server cuts their documents down to the fields by which their topic or target is found.
//!
//! An event holds the document before and after a change, and the server refuses to send more than
//! 16 MB (`BSONObjectTooLarge`, code 10334): an update of a document of 9 MB would end the stream. So
//! every stream with images has these stages. They leave `updateDescription` out, which nothing here
//! reads, and replace the images of an event that would be too large by a few of their fields. Such
//! an event has `oversized: true` and is a change whose documents are not known. The stages leave
//! resume tokens as they are, so a stream goes on from the token of one with other stages.
//! (`$changeStreamSplitLargeEvent` does it without a loss, but MongoDB has it from 6.0.9 on.)

use bson::{Document, doc};

/// The field of an event whose images are cut down.
pub(crate) const MARK: &str = "oversized";
/// Bytes of images, and four times those of the document's key, that an event may have: the server's
/// limit is 16 KB larger. The key is in the event itself, and as hexadecimal digits in its token.
const IMAGES_BYTES_MAX: i32 = 16 << 20;
/// Bytes of a field that a cut image keeps, at most.
const FIELD_BYTES_MAX: i32 = 1024;

/// The stages; `kept` names the fields that a cut image keeps beside `_id`.
pub(crate) fn cut_down(kept: &[String]) -> [Document; 3] {
    let size = |of: &str| doc! { "$ifNull": [{ "$bsonSize": format!("${of}") }, 0] };
    let key = doc! { "$multiply": [4, size("documentKey")] };
    let bytes = doc! { "$add": [size("fullDocument"), size("fullDocumentBeforeChange"), key] };
    let too_large = doc! { "$gt": [bytes, IMAGES_BYTES_MAX] };
    [
        doc! { "$unset": "updateDescription" },
        doc! { "$set": { MARK: { "$cond": [too_large, true, "$$REMOVE"] } } },
        doc! { "$set": {
            "fullDocument": cut("fullDocument", kept),
            "fullDocumentBeforeChange": cut("fullDocumentBeforeChange", kept),
        } },
    ]
}

/// The image in a field of the event, cut down where the event is too large.
fn cut(image: &str, kept: &[String]) -> Document {
    let whole = format!("${image}");
    let mut fields = doc! { "_id": format!("{whole}._id") };
    for field in kept {
        let value = format!("{whole}.{field}");
        let small = doc! { "$lte": [{ "$bsonSize": { "v": &value } }, FIELD_BYTES_MAX] };
        fields.insert(field, doc! { "$cond": [small, value, "$$REMOVE"] });
    }
    let is_there = doc! { "$eq": [{ "$type": &whole }, "object"] };
    let is_cut = doc! { "$and": [format!("${MARK}"), is_there] };
    doc! { "$cond": [is_cut, fields, whole] }
}
