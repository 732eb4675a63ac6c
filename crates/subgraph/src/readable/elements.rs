//! The top-level elements of any BSON document, whatever other programs wrote into it.
//!
//! The `bson` crate's iterators stop at a field name that is not UTF-8, and MongoDB stores such names. This
//! one passes over what it does not know and never fails on a document that the server delivers. Source of
//! the layout: <https://bsonspec.org/spec.html>.

use bson::RawDocument;

/// One element: its name, its type and the bytes of its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'d> {
    /// The field's name as stored; it need not be UTF-8.
    pub name: &'d [u8],
    /// The BSON type, as the specification numbers it.
    pub kind: u8,
    /// The value without its type and name.
    pub value: &'d [u8],
}

/// BSON's numbers of the types that a field may have here.
pub(crate) mod kind {
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0A;
}

/// The elements of a document, in their order. Ends early where the bytes are no BSON.
pub(crate) fn elements(document: &RawDocument) -> Elements<'_> {
    // The length comes first, four bytes.
    Elements {
        rest: document.as_bytes().get(4..).unwrap_or_default(),
    }
}

pub(crate) struct Elements<'d> {
    rest: &'d [u8],
}

impl<'d> Iterator for Elements<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        let (&kind, rest) = self.rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let (name, rest) = split_c_string(rest)?;
        let (value, rest) = rest.split_at_checked(value_length(kind, rest)?)?;
        self.rest = rest;
        Some(Element { name, kind, value })
    }
}

impl<'d> Element<'d> {
    /// The bytes of a string, without its length and its end.
    pub fn text(&self) -> Option<&'d [u8]> {
        let (_, text) = self.value.split_first_chunk::<4>()?;
        text.split_last().map(|(_, text)| text)
    }
}

fn split_c_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// How many bytes the value takes that `bytes` begin with; `None` for a type that BSON does not have.
fn value_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let length = || {
        let (length, _) = bytes.split_first_chunk::<4>()?;
        usize::try_from(i32::from_le_bytes(*length)).ok()
    };
    Some(match kind {
        // null, undefined, the least and the greatest key
        kind::NULL | 0x06 | 0x7F | 0xFF => 0,
        kind::BOOLEAN => 1,
        // 32 bit integer
        0x10 => 4,
        // double, date, timestamp, 64 bit integer
        0x01 | kind::DATE | 0x11 | 0x12 => 8,
        kind::OBJECT_ID => 12,
        // decimal
        0x13 => 16,
        // string, code, symbol: the length counts the end
        kind::STRING | 0x0D | 0x0E => length()?.checked_add(4)?,
        // document, array, code with scope: the length counts itself
        kind::DOCUMENT | 0x04 | 0x0F => length()?,
        // binary: a length, and a subtype
        0x05 => length()?.checked_add(5)?,
        // pointer: a string and an id
        0x0C => length()?.checked_add(16)?,
        // regular expression: two C strings
        0x0B => {
            let (pattern, rest) = split_c_string(bytes)?;
            let (options, _) = split_c_string(rest)?;
            pattern.len() + options.len() + 2
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{Binary, Bson, DbPointer, JavaScriptCodeWithScope, Regex, Timestamp, doc, rawdoc};

    use super::*;

    #[test]
    fn values_of_every_type_are_passed_over() {
        let regex = Regex {
            pattern: "a.*".try_into().expect("no zero byte"),
            options: "im".try_into().expect("no zero byte"),
        };
        let document = doc! {
            "double": 1.5, "string": "text", "document": { "a": { "b": 1 } }, "array": [1, [2]],
            "binary": Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] },
            "old binary": Binary { subtype: bson::spec::BinarySubtype::BinaryOld, bytes: vec![1, 2] },
            "undefined": Bson::Undefined, "id": ObjectId::new(), "boolean": true,
            "date": bson::DateTime::now(), "null": Bson::Null, "regex": regex,
            "code": Bson::JavaScriptCode("x".to_owned()), "symbol": Bson::Symbol("s".to_owned()),
            "scope": JavaScriptCodeWithScope { code: "y".to_owned(), scope: doc! { "y": 1 } },
            "int": 1_i32, "timestamp": Timestamp { time: 1, increment: 2 }, "long": 1_i64,
            "decimal": Bson::Decimal128("1.5".parse().expect("a decimal")),
            "least": Bson::MinKey, "greatest": Bson::MaxKey, "": "no name", "last": "end",
        };
        let raw = bson::RawDocumentBuf::try_from(&document).expect("a document");
        let names: Vec<&[u8]> = elements(&raw).map(|element| element.name).collect();
        let expected: Vec<&[u8]> = document.keys().map(|name| name.as_bytes()).collect();
        assert_eq!(names, expected);
        let last = elements(&raw).last().expect("an element");
        assert_eq!(last.text(), Some(&b"end"[..]));
        let _ = DbPointer::clone;
    }

    #[test]
    fn a_name_that_is_not_text_hides_no_other() {
        let mut bytes = rawdoc! { "XX": 1, "text": "after it" }.into_bytes();
        let name = bytes.windows(2).position(|pair| pair == b"XX");
        let name = name.expect("the name");
        bytes[name..name + 2].copy_from_slice(&[0xFF, 0xFE]);
        let document = RawDocument::from_bytes(&bytes).expect("framed");
        let last = elements(document).last().expect("an element");
        assert_eq!(
            (last.name, last.text()),
            (&b"text"[..], Some(&b"after it"[..]))
        );
    }

    #[test]
    fn random_bytes_end_the_elements_and_nothing_else() {
        let mut state = 1_u64;
        for length in 0..2_000_usize {
            let mut bytes: Vec<u8> = (0..length + 5)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 33) as u8 % 20
                })
                .collect();
            let total = bytes.len();
            bytes[..4].copy_from_slice(&(total as i32).to_le_bytes());
            bytes[total - 1] = 0;
            let document = RawDocument::from_bytes(&bytes).expect("framed");
            assert!(elements(document).count() <= total);
        }
    }
}
